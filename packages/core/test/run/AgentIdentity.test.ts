import { AgentIdentity, SealedBox, Signing } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { hex, shown, toHex, utf8, vector } from "../fixtures.ts"

const options: AgentIdentity.Options = {
  agentRuntimeId: "agent-123",
  privateKey: Redacted.make(vector.pkcs8V1),
  accountId: "acct-1",
  fedramp: true
}

/** A file whose public key is another's. */
const mismatch = `${vector.pkcs8V2.slice(0, -8)}AAAAAAA=`

const identity = (changes: Partial<AgentIdentity.Options>) =>
  AgentIdentity.AgentIdentity.pipe(
    Effect.provide(Layer.provide(AgentIdentity.layer({ ...options, ...changes }), Signing.layer))
  )

describe("layer", () => {
  for (const [version, privateKey] of [["1", vector.pkcs8V1], ["2", vector.pkcs8V2]] as const) {
    it.effect(`imports a key of version ${version}, which signs and opens sealed boxes`, () =>
      Effect.gen(function*() {
        const { agentRuntimeId, signer } = yield* identity({ privateKey: Redacted.make(privateKey) })
        assert.strictEqual(agentRuntimeId, "agent-123")
        assert.strictEqual(toHex(signer.publicKey), vector.publicKey)
        const signature = yield* signer.sign(utf8(`agent-123:${vector.timestamp}`))
        assert.strictEqual(
          Buffer.from(signature).toString("base64"),
          "3HXOrVnOX7USh8WvXXCZnUyrvwUdaWFME6ZQv+foYCmk7QXzPpNPLR/Qe26X9XkHB2SGAZjnOifmm39FXjdACA=="
        )
        const sealed = yield* SealedBox.seal(hex(vector.publicKey), utf8("task-123"))
        assert.deepStrictEqual(yield* signer.openSealed(sealed), utf8("task-123"))
      }))
  }

  it.effect("has an account where one is named, which is a FedRAMP account only where that is said", () =>
    Effect.gen(function*() {
      const account = (changes: Partial<AgentIdentity.Options>) =>
        Effect.map(identity(changes), ({ account }) => account as unknown)
      assert.deepStrictEqual(yield* account({}), { id: "acct-1", fedramp: true })
      assert.deepStrictEqual(yield* account({ fedramp: false }), { id: "acct-1", fedramp: false })
      assert.deepStrictEqual(yield* account({ fedramp: undefined }), { id: "acct-1", fedramp: false })
      assert.isUndefined(yield* account({ accountId: undefined }))
    }))

  it.effect("takes the key as a PEM and as a JWK, too", () =>
    Effect.gen(function*() {
      const d = Buffer.from(vector.seed, "hex").toString("base64url")
      const pem = `-----BEGIN PRIVATE KEY-----\n${vector.pkcs8V1}\n-----END PRIVATE KEY-----`
      for (const privateKey of [pem, { kty: "OKP", crv: "Ed25519", d }]) {
        const { signer } = yield* identity({ privateKey: Redacted.make(privateKey) })
        assert.strictEqual(Buffer.from(signer.publicKey).toString("hex"), vector.publicKey)
      }
    }))

  const refused: ReadonlyArray<
    readonly [string, Partial<AgentIdentity.Options>, AgentIdentity.AgentIdentityError["reason"], says: string]
  > = [
    [
      "an agent runtime id with a colon",
      { agentRuntimeId: "agent:123" },
      "InvalidAgentRuntimeId",
      "\"agent:123\" is refused: an agent runtime id"
    ],
    ["an empty agent runtime id", { agentRuntimeId: "" }, "InvalidAgentRuntimeId", "an agent runtime id"],
    [
      "an account id that is no header value",
      { accountId: "acct\n1" },
      "InvalidAccountId",
      "\"acct\\n1\" is refused: an account id"
    ],
    ["an empty account id", { accountId: "" }, "InvalidAccountId", "an account id"],
    [
      "a key that is no base64",
      { privateKey: Redacted.make(`${vector.pkcs8V1}!`) },
      "InvalidPrivateKey",
      "unknown format"
    ],
    [
      "a key that is no PKCS#8",
      { privateKey: Redacted.make(`${vector.pkcs8V1}BwcH`) },
      "InvalidPrivateKey",
      "not PKCS#8"
    ],
    ["an empty key", { privateKey: Redacted.make("") }, "InvalidPrivateKey", "is empty"],
    [
      "a key beside another's public key",
      { privateKey: Redacted.make(mismatch) },
      "InvalidPrivateKey",
      "the public key of another key"
    ]
  ]
  for (const [name, changes, reason, says] of refused) {
    it.effect(`refuses ${name}, and shows nothing of the key`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(identity(changes))
        assert.strictEqual(error._tag, "AgentIdentityError")
        assert.strictEqual(error.reason, reason)
        assert.include(error.message, says)
        assert.strictEqual(error.input === undefined, reason === "InvalidPrivateKey")
        for (const part of ["MC4C", "MFEC", "BwcH", "0707", "7,7", "7, 7"]) assert.notInclude(shown(error), part)
      }))
  }

  it.effect("quotes no more of a long id than it takes to recognise it", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(identity({ agentRuntimeId: "x".repeat(9999) }))
      assert.strictEqual(error.input, `${"x".repeat(64)}...`)
    }))

  it.effect("the identity itself shows nothing of the key", () =>
    Effect.gen(function*() {
      const shownIdentity = shown(yield* identity({}))
      assert.include(shownIdentity, "agent-123")
      for (const part of ["MC4C", "BwcH", "0707", "7,7", "7, 7"]) assert.notInclude(shownIdentity, part)
    }))
})
