import { AccountId, AgentKey, AgentRuntimeId, Jwks, Signing } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory, AgentIdentityIssuer } from "@agent-identity/server"
import { HttpLayerRouter } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted } from "effect"
import * as Admin from "../src/internal/admin.ts"

const token = "admin-token"

/** The admin route over a directory, with a check of public keys that says this. */
const over = (directory: AgentDirectory.Service, checkPublicKey: Signing.Service["checkPublicKey"]) =>
  Effect.gen(function*() {
    const issuer = yield* AgentIdentityIssuer.make()
    const jwks = Context.get(yield* Layer.build(Jwks.layerStatic(yield* issuer.jwks)), Jwks.Jwks)
    const signing = Layer.effect(
      Signing.Signing,
      Effect.map(Signing.Signing, (signing) => ({ ...signing, checkPublicKey }))
    )
    const { dispose, handler } = HttpLayerRouter.toWebHandler(
      Admin.layer({ port: 80, token, jwks: Option.some(jwks) }).pipe(
        Layer.provide(Layer.provide(signing, NodeSigning.layer)),
        Layer.provide(Layer.succeed(AgentDirectory.AgentDirectory, directory)),
        Layer.provide(Layer.succeed(AgentIdentityIssuer.AgentIdentityIssuer, issuer))
      ),
      { disableLogger: true }
    )
    yield* Effect.addFinalizer(() => Effect.promise(dispose))
    const post = (path: string, body: object) =>
      Effect.promise(() =>
        handler(
          new Request(`http://localhost:80/admin/${path}`, {
            method: "POST",
            headers: { host: "localhost:80", authorization: `Bearer ${token}`, "content-type": "application/json" },
            body: JSON.stringify(body)
          })
        )
      )
    const outside = yield* issuer.issue({
      agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-2"),
      privateKey: AgentKey.toPkcs8(yield* AgentKey.generate()),
      accountId: AccountId.AccountId.make("account-2"),
      chatgptUserId: "user-2",
      planType: "pro",
      fedramp: false
    })
    const mint = post("mint", { runtimeId: "agent-1", account: "a", user: "u", plan: "pro", fedramp: false })
    const trust = post("trust", { token: Redacted.value(outside) })
    return yield* Effect.all({ mint, trust })
  })

describe("the admin route", () => {
  it.scopedLive("checks each public key that it puts into the directory, and puts none that fails", () =>
    Effect.gen(function*() {
      for (const accepted of [true, false]) {
        const directory = AgentDirectory.makeMemory()
        const checked: Array<Uint8Array> = []
        const answers = yield* over(directory, (publicKey) => {
          checked.push(publicKey)
          return accepted ? Effect.void : new Signing.SigningError({ reason: "InvalidPublicKey" })
        })
        assert.strictEqual(answers.mint.status, accepted ? 200 : 400)
        assert.strictEqual(answers.trust.status, accepted ? 200 : 400)
        assert.lengthOf(checked, 2)
        for (const [index, id] of ["agent-1", "agent-2"].entries()) {
          const found = yield* directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(id))
          assert.deepStrictEqual(
            Option.map(found, ({ publicKey }) => publicKey),
            accepted ? Option.some(checked[index]) : Option.none()
          )
        }
      }
    }))
})
