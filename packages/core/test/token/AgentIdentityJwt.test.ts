import { type AgentIdentity, AgentIdentityJwt, Jwks } from "@agent-identity/core"
import { toEffect } from "@agent-identity/core/run/either"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Either, Fiber, Layer, Option, Redacted, TestClock } from "effect"
import * as jose from "jose"
import { createHmac, createPrivateKey, generateKeyPairSync, type JsonWebKey } from "node:crypto"
import { shown, toHex, vector } from "../fixtures.ts"
import { turn } from "../utils.ts"
import {
  type Claims,
  claimsWith,
  goodClaims,
  json,
  keySet,
  makeKey,
  makeServer,
  mint,
  sign,
  signAnyhow,
  unsigned
} from "./issuer.ts"

const [first, second] = await Promise.all([makeKey("first"), makeKey("second")])

/** Too short for RS256. */
const weak = generateKeyPairSync("rsa", { modulusLength: 1024 })

const layerOf = (keys: unknown) => AgentIdentityJwt.layer(Jwks.layerStatic(keys))

const Static = layerOf(keySet(first, second))

const verify = (token: string) =>
  Effect.flatMap(AgentIdentityJwt.AgentIdentityJwt, (_) => _.verify(Redacted.make(token)))

/** A verifier whose key set asks this effect, and how often it was asked. */
const layerFind = (find: Jwks.Service["find"]) => {
  const asked: Array<string> = []
  const layer = AgentIdentityJwt.layer(
    Layer.succeed(Jwks.Jwks, { find: (kid) => Effect.suspend(() => (asked.push(kid), find(kid))) })
  )
  return { asked, layer }
}

/** The three parts of a token. */
const partsOf = (token: string) => token.split(".") as [header: string, payload: string, signature: string]

const base64Url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url")

const good = mint(first)

describe("a token", () => {
  it.effect("that is good says all that it says", () =>
    Effect.gen(function*() {
      const { key, ...claims } = yield* verify(yield* good)
      assert.deepStrictEqual(claims as object, {
        issuer: "https://chatgpt.com/codex-backend/agent-identity",
        audience: "codex-app-server",
        issuedAt: 0,
        expiresAt: 3600,
        agentRuntimeId: "agent-1",
        accountId: "acct-1",
        chatgptUserId: "user-1",
        email: "someone@example.com",
        plan: { name: "pro", raw: "pro", displayName: "Pro", workspace: false },
        fedramp: false
      })
      assert.strictEqual(toHex(Redacted.value(key.seed)), vector.seed)
    }).pipe(Effect.provide(Static)))

  it("of ChatGPT has the issuer and audience of the reference, and a minute of leeway", () => {
    assert.strictEqual(AgentIdentityJwt.chatGptIssuer, "https://chatgpt.com/codex-backend/agent-identity")
    assert.strictEqual(AgentIdentityJwt.chatGptAudience, "codex-app-server")
    assert.strictEqual(AgentIdentityJwt.leewaySeconds, 60)
  })

  const accepted: ReadonlyArray<
    readonly [name: string, changes: Claims, says: Partial<AgentIdentityJwt.UnverifiedClaims>]
  > = [
    ["without an email", { email: undefined }, { email: undefined }],
    ["whose email is null", { email: null }, { email: undefined }],
    ["with claims that nobody knows", { sub: "x", jti: 7, "urn:x": { y: [1] }, __proto_: 1, key: "x" }, {}],
    ["of a FedRAMP account", { chatgpt_account_is_fedramp: true }, { fedramp: true }],
    ["with a private key of version 2", { agent_private_key: vector.pkcs8V2 }, {}],
    ["that is valid from now on", { nbf: 0 }, {}],
    ["issued a year ago", { iat: 0, exp: 40_000_000 }, { expiresAt: 40_000_000 }],
    ["with an agent id that needs escapes", { agent_runtime_id: "a/b c" }, { agentRuntimeId: "a/b c" as never }],
    ["of a plan that is not known", { plan_type: "galactic" }, {
      plan: { name: "unknown", raw: "galactic", displayName: "galactic", workspace: false }
    }],
    ["of a plan in other case", { plan_type: "Pro" }, {
      plan: { name: "unknown", raw: "Pro", displayName: "Pro", workspace: false }
    }],
    ["of the plan hc, which is enterprise", { plan_type: "hc" }, {
      plan: { name: "enterprise", raw: "hc", displayName: "Enterprise", workspace: true }
    }],
    ["of the plan education, which is edu", { plan_type: "education" }, {
      plan: { name: "edu", raw: "education", displayName: "Edu", workspace: true }
    }]
  ]
  for (const [name, changes, says] of accepted) {
    it.effect(`${name} is accepted`, () =>
      Effect.gen(function*() {
        const claims = yield* verify(yield* mint(first, changes))
        for (const [claim, value] of Object.entries(says)) {
          assert.deepStrictEqual(claims[claim as keyof AgentIdentityJwt.Claims] as unknown, value)
        }
      }).pipe(Effect.provide(Static)))
  }

  it.effect("is accepted with white space around it", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* verify(`\r\n\t ${yield* good} \n`)).agentRuntimeId, "agent-1")
    }).pipe(Effect.provide(Static)))

  it.effect("is accepted with either key of the set, and with header members that say nothing here", () =>
    Effect.gen(function*() {
      yield* verify(yield* mint(second))
      yield* verify(
        yield* mint(first, {}, { typ: "at+jwt", cty: "x", jku: "https://evil.test", jwk: second.publicJwk })
      )
    }).pipe(Effect.provide(Static)))

  it.effect("is accepted with 16 KiB, and Malformed, without a look at it, when it is longer", () =>
    Effect.gen(function*() {
      const room = 16 * 1024 - (yield* mint(first, { padding: "" })).length
      const fits = yield* mint(first, { padding: "x".repeat(Math.floor(room / 4) * 3) })
      assert.isAbove(fits.length, 16 * 1024 - 8)
      assert.isAtMost(fits.length, 16 * 1024)
      assert.strictEqual((yield* verify(fits)).agentRuntimeId, "agent-1")
      const long = yield* mint(first, { padding: "x".repeat(Math.floor(room / 4) * 3 + 8) })
      assert.isAbove(long.length, 16 * 1024)
      assert.strictEqual((yield* Effect.flip(verify(long))).reason, "Malformed")
    }).pipe(Effect.provide(Static)))
})

/** Marks a value of a claim that no error may show. */
const SECRET = "S3cr3tValue"

interface Refused {
  readonly name: string
  readonly token: Effect.Effect<string>
  readonly reason: AgentIdentityJwt.AgentIdentityJwtError["reason"]
  readonly says?: ReadonlyArray<string>
  /** Whether the key set was looked at. */
  readonly asked?: boolean
}

const malformed = (name: string, token: string | Effect.Effect<string>): Refused => ({
  name,
  token: typeof token === "string" ? Effect.succeed(token) : token,
  reason: "Malformed",
  says: ["not three parts of base64url with a JSON header, within 16 KiB"],
  asked: false
})

const algorithm = (name: string, token: Effect.Effect<string>): Refused => ({
  name,
  token,
  reason: "Algorithm",
  says: ["not RS256"],
  asked: false
})

const edited = (edit: (parts: [header: string, payload: string, signature: string]) => ReadonlyArray<string>) =>
  Effect.map(good, (token) => edit(partsOf(token)).join("."))

const publicPem = await jose.exportSPKI((await jose.importJWK(first.publicJwk, "RS256")) as CryptoKey)

const hmac = (header: object) => {
  const input = `${base64Url(header)}.${base64Url(goodClaims)}`
  return `${input}.${createHmac("sha256", publicPem).update(input).digest("base64url")}`
}

const signature = (name: string, token: Effect.Effect<string>): Refused => ({
  name,
  token,
  reason: "BadSignature",
  says: ["its signature is not of the key that it names"]
})

const claims = (
  name: string,
  changes: Claims,
  reason: Refused["reason"],
  ...says: ReadonlyArray<string>
): Refused => ({ name, token: mint(first, changes), reason, says })

const REQUIRED = [
  "iat",
  "exp",
  "agent_runtime_id",
  "agent_private_key",
  "account_id",
  "chatgpt_user_id",
  "plan_type",
  "chatgpt_account_is_fedramp"
]

const illTyped: ReadonlyArray<readonly [claim: string, values: ReadonlyArray<unknown>]> = [
  ["iat", [SECRET, null, "0", 0.5, -1, 2 ** 53, [0], true]],
  ["exp", [SECRET, null, "3600", 3600.5, 2 ** 53, [3600], true]],
  ["nbf", [SECRET, null, "0", [0]]],
  ["agent_runtime_id", [7, null, "", " ", "..", `${SECRET}:1`, `${SECRET}\n`, "x".repeat(257), [SECRET]]],
  ["agent_private_key", [7, null, [SECRET], { key: SECRET }]],
  ["account_id", [7, null, "", `${SECRET} 1`, `${SECRET}\r\nx: y`, `${SECRET}é`, [SECRET]]],
  ["chatgpt_user_id", [7, null, [SECRET]]],
  ["email", [7, false, [SECRET]]],
  ["plan_type", [7, null, [SECRET]]],
  ["chatgpt_account_is_fedramp", [SECRET, "true", null, 1, 0]]
]

const refused: ReadonlyArray<Refused> = [
  malformed("nothing", ""),
  malformed("white space", " \n"),
  malformed("garbage", SECRET),
  malformed("dots", ".."),
  malformed("two parts", edited(([header, payload]) => [header, payload])),
  malformed("four parts", edited((parts) => [...parts, "x"])),
  malformed("five parts, as an encrypted token has", edited((parts) => [...parts, "x", "y"])),
  malformed("an empty header", edited(([, payload, signature]) => ["", payload, signature])),
  malformed("an empty payload", edited(([header, , signature]) => [header, "", signature])),
  malformed("no signature behind its last dot", edited(([header, payload]) => [header, payload, ""])),
  malformed("no signature, and `none` for an algorithm", Effect.succeed(unsigned({ alg: "none" }, goodClaims, ""))),
  malformed("a header that is not base64url", edited(([, ...rest]) => [`+${SECRET}/`, ...rest])),
  malformed("a padded header", edited(([header, ...rest]) => [`${header}=`, ...rest])),
  malformed("a header that is not JSON", edited(([, ...rest]) => [Buffer.from(SECRET).toString("base64url"), ...rest])),
  malformed(
    "a header that is no UTF-8",
    edited(([, ...rest]) => [Buffer.from([0x22, 0xff]).toString("base64url"), ...rest])
  ),
  malformed("null for a header", edited(([, ...rest]) => [base64Url(null), ...rest])),
  malformed("an array for a header", edited(([, ...rest]) => [base64Url([{ alg: "RS256", kid: "first" }]), ...rest])),
  malformed("a string for a header", edited(([, ...rest]) => [base64Url("RS256"), ...rest])),
  malformed("a padded signature", edited(([header, payload, signature]) => [header, payload, `${signature}==`])),
  malformed(
    "white space in its signature",
    edited(([header, payload, signature]) => [header, payload, `${signature.slice(0, 9)}\n${signature.slice(9)}`])
  ),
  malformed(
    "standard base64 for a signature",
    edited(([header, payload, signature]) => [header, payload, `+/${signature.slice(2)}`])
  ),
  malformed(
    "another spelling of its signature",
    edited(([header, payload, signature]) => {
      // 256 bytes leave four bits of the last character over.
      const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
      return [header, payload, signature.slice(0, -1) + alphabet[alphabet.indexOf(signature.at(-1)!) + 1]!]
    })
  ),
  malformed("a padded payload", edited(([header, payload, signature]) => [header, `${payload}=`, signature])),
  malformed("the scheme before it", Effect.map(good, (token) => `Bearer ${token}`)),

  algorithm("`none` for an algorithm", Effect.succeed(unsigned({ alg: "none", kid: "first" }, goodClaims))),
  algorithm("`None` for an algorithm", Effect.succeed(unsigned({ alg: "None", kid: "first" }, goodClaims))),
  algorithm("no algorithm", Effect.succeed(unsigned({ kid: "first" }, goodClaims))),
  algorithm("an algorithm in an array", Effect.succeed(unsigned({ alg: ["RS256"], kid: "first" }, goodClaims))),
  algorithm("`rs256` for an algorithm", edited(([, ...rest]) => [base64Url({ alg: "rs256", kid: "first" }), ...rest])),
  algorithm("HS256", sign(goodClaims, new Uint8Array(32), { alg: "HS256", kid: "first" })),
  algorithm("HS256 over the public key", Effect.succeed(hmac({ alg: "HS256", kid: "first" }))),
  algorithm("PS256 of the right key", mint(first, {}, { alg: "PS256" })),
  algorithm("RS384 of the right key", mint(first, {}, { alg: "RS384" })),
  algorithm("RS512 of the right key", mint(first, {}, { alg: "RS512" })),

  ...[undefined, null, "", 7, ["first"], { kid: "first" }].map((kid): Refused => ({
    name: `${JSON.stringify(kid) ?? "nothing"} for a kid`,
    token: mint(first, {}, { kid }),
    reason: "MissingKid",
    says: ["names no key (`kid`)"],
    asked: false
  })),
  ...["third", "First", "first ", "__proto__", "constructor", SECRET].map((kid): Refused => ({
    name: `the kid ${JSON.stringify(kid)}`,
    token: mint(first, {}, { kid }),
    reason: "UnknownKid",
    says: ["(`kid`) is not in the issuer's key set"]
  })),

  signature("the kid of another key", mint(second, {}, { kid: "first" })),
  signature("a key of its own in its header", mint(second, {}, { kid: "first", jwk: second.publicJwk })),
  signature(
    "another payload",
    edited(([header, , signature]) => [header, base64Url(claimsWith({ agent_runtime_id: SECRET })), signature])
  ),
  signature(
    "the payload of another good token",
    Effect.flatMap(
      mint(first, { account_id: "acct-2" }),
      (other) => edited(([header, , signature]) => [header, partsOf(other)[1], signature])
    )
  ),
  signature(
    "another header",
    edited(([, ...rest]) => [base64Url({ alg: "RS256", kid: "first", typ: "JWT" }), ...rest])
  ),
  signature(
    "a cut signature",
    edited(([header, payload, signature]) => {
      const cut = Buffer.from(signature, "base64url").subarray(0, 253)
      return [header, payload, cut.toString("base64url")]
    })
  ),
  signature("a signature of one byte", edited(([header, payload]) => [header, payload, "AA"])),
  signature(
    "a signature of zeros",
    edited(([header, payload]) => [header, payload, Buffer.alloc(256).toString("base64url")])
  ),
  signature("an HMAC over the public key that is called RS256", Effect.succeed(hmac({ alg: "RS256", kid: "first" }))),
  signature(
    "a made-up signature, before its end is looked at",
    Effect.succeed(
      unsigned({ alg: "RS256", kid: "first" }, claimsWith({ exp: -1 }))
    )
  ),

  { name: "an array for a payload", token: sign([goodClaims], first), reason: "Malformed", says: ["no signed JWT"] },
  {
    name: "a critical header member that is no list",
    token: edited(([, ...rest]) => [base64Url({ alg: "RS256", kid: "first", crit: "exp" }), ...rest]),
    reason: "Malformed",
    says: ["no signed JWT"]
  },
  { name: "a string for a payload", token: sign(SECRET, first), reason: "Malformed" },
  { name: "null for a payload", token: sign(null, first), reason: "Malformed" },
  { name: "no JSON for a payload", token: sign(Buffer.from(SECRET), first), reason: "Malformed" },
  { name: "bytes for a payload", token: sign(Uint8Array.of(0x22, 0xff, 0x22), first), reason: "Malformed" },

  ...[
    "https://chatgpt.com/codex-backend/agent-identity/",
    "https://chatgpt.com",
    "HTTPS://CHATGPT.COM/codex-backend/agent-identity",
    "",
    SECRET,
    7,
    null,
    ["https://chatgpt.com/codex-backend/agent-identity"],
    undefined
  ].map((iss) => claims(`the issuer ${JSON.stringify(iss) ?? "left out"}`, { iss }, "Issuer", "(`iss`)")),
  ...["codex-app-servers", "Codex-App-Server", "", SECRET, 7, null, [], ["other", SECRET], undefined].map((aud) =>
    claims(`the audience ${JSON.stringify(aud) ?? "left out"}`, { aud }, "Audience", "(`aud`)")
  ),
  claims("an array with our audience", { aud: ["codex-app-server"] }, "InvalidClaims", ": aud"),
  claims("an array with our audience and another", { aud: [SECRET, "codex-app-server"] }, "InvalidClaims", ": aud"),
  claims("neither issuer nor audience", { iss: undefined, aud: undefined }, "Issuer"),

  claims("an end long ago", { exp: -7200 }, "Expired", "(`exp`)"),
  claims("an end that is exactly the leeway ago", { exp: -60 }, "Expired"),
  claims("a beginning in 61 seconds", { nbf: 61 }, "NotYetValid", "(`nbf`)"),
  claims("an issue in 61 seconds", { iat: 61 }, "NotYetValid", "(`iat`)"),
  claims("an issue after its end", { iat: 7200 }, "NotYetValid", "(`iat`)"),

  ...REQUIRED.map((claim) => claims(`no ${claim}`, { [claim]: undefined }, "InvalidClaims", `: ${claim}`)),
  ...illTyped.flatMap(([claim, values]) =>
    values.map((value) =>
      claims(`${JSON.stringify(value)} for ${claim}`, { [claim]: value }, "InvalidClaims", `: ${claim}`)
    )
  ),
  claims(
    "several broken claims",
    { account_id: undefined, email: 7, plan_type: [SECRET] },
    "InvalidClaims",
    "account_id",
    "email",
    "plan_type"
  ),
  claims("no claims", Object.fromEntries(Object.keys(goodClaims).map((_) => [_, undefined])), "Issuer"),

  ...["", SECRET, `${vector.pkcs8V1}=`, vector.pkcs8V1.slice(0, -4), `${vector.pkcs8V1.slice(0, -2)}\n`, vector.seed]
    .map((agent_private_key) =>
      claims(`the private key ${JSON.stringify(agent_private_key)}`, { agent_private_key }, "InvalidPrivateKey")
    )
]

describe("a token is refused with", () => {
  for (const { asked, name, reason, says, token } of refused) {
    it.effect(`${name}: ${reason}`, () =>
      Effect.gen(function*() {
        const keys = layerFind((kid) =>
          Effect.flatMap(Jwks.Jwks, (_) => _.find(kid)).pipe(Effect.provide(Jwks.layerStatic(keySet(first, second))))
        )
        const given = yield* token
        const error = yield* Effect.flip(Effect.provide(verify(given), keys.layer))
        assert.instanceOf(error, AgentIdentityJwt.AgentIdentityJwtError)
        assert.strictEqual(error.reason, reason)
        assert.isTrue(error.message.startsWith("The agent identity JWT is refused: "), error.message)
        for (const part of says ?? []) assert.include(error.message, part)
        assert.strictEqual(keys.asked.length, asked === false ? 0 : 1)
        assert.isUndefined(error.cause)
        const text = shown(error)
        for (
          const secret of [
            SECRET,
            vector.pkcs8V1.slice(0, 40),
            ...partsOf(given).filter((_) => _ && _.length > 8)
          ]
        ) {
          assert.notInclude(text, secret)
        }
      }))
  }

  it.effect("a byte order mark before its payload: InvalidClaims, as without a look at its signature", () =>
    Effect.gen(function*() {
      const token = yield* sign(Uint8Array.from(Buffer.from(`\ufeff${JSON.stringify(goodClaims)}`)), first)
      assert.strictEqual((yield* Effect.flip(verify(token))).reason, "InvalidClaims")
      const unverified = yield* Effect.flip(toEffect(AgentIdentityJwt.decodeUnverified(Redacted.make(token))))
      assert.strictEqual(unverified.reason, "InvalidClaims")
    }).pipe(Effect.provide(Static)))

  it.effect("a claim that is nested too deep to be written out: InvalidClaims", () =>
    Effect.gen(function*() {
      const payload = JSON.stringify({ ...goodClaims, email: null }).replace(
        ":null,",
        `:${"[".repeat(5000)}${"]".repeat(5000)},`
      )
      const token = yield* sign(Buffer.from(payload), first)
      assert.isAtMost(token.length, 16 * 1024)
      for (
        const error of [
          yield* Effect.flip(verify(token)),
          yield* Effect.flip(toEffect(AgentIdentityJwt.decodeUnverified(Redacted.make(token))))
        ]
      ) {
        assert.strictEqual(error.reason, "InvalidClaims")
        assert.include(error.message, ": email")
      }
    }).pipe(Effect.provide(Static)))

  it.effect("a critical header member that nobody here knows", () =>
    Effect.gen(function*() {
      const key = createPrivateKey({ key: first.privateJwk as JsonWebKey, format: "jwk" })
      yield* verify(signAnyhow({ alg: "RS256", kid: "first" }, key))
      const token = signAnyhow({ alg: "RS256", kid: "first", crit: ["exp"], exp: 1 }, key)
      assert.isTrue(Either.isLeft(yield* Effect.either(verify(token))))
    }).pipe(Effect.provide(Static)))

  const useless: ReadonlyArray<readonly [name: string, key: object]> = [
    ["of 1,024 bits", weak.publicKey.export({ format: "jwk" })],
    ["that is no number", { ...first.publicJwk, n: "!" }],
    ["that is empty", { ...first.publicJwk, n: "", e: "" }]
  ]
  for (const [name, key] of useless) {
    it.effect(`a key ${name} in the set: Signature`, () =>
      Effect.gen(function*() {
        const token = signAnyhow({ alg: "RS256", kid: "weak" }, weak.privateKey)
        assert.strictEqual((yield* Effect.flip(verify(token))).reason, "BadSignature")
      }).pipe(Effect.provide(layerOf({ keys: [{ ...key, kid: "weak" }] }))))
  }

  it.effect("no key set: KeySetUnavailable, with its cause", () =>
    Effect.gen(function*() {
      const cause = new Jwks.JwksError({
        reason: "Status",
        source: "https://issuer.test/jwks",
        detail: "status 503 instead of 200",
        status: 503
      })
      const error = yield* Effect.flip(Effect.provide(verify(yield* good), layerFind(() => cause).layer))
      assert.strictEqual(error.reason, "KeySetUnavailable")
      assert.strictEqual(error.cause, cause)
      assert.include(error.message, "No key set from https://issuer.test/jwks: status 503 instead of 200")
    }))
})

describe("a key that is named twice", () => {
  /** Another key under the name of the first. */
  const other = { ...second, publicJwk: { ...second.publicJwk, kid: "first" } }

  for (const [name, keys] of [["first", [first, other]], ["second", [other, first]]] as const) {
    const layer = layerOf(keySet(...keys))
    it.effect(`verifies where the ${name} of the two fits`, () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* verify(yield* good)).agentRuntimeId, "agent-1")
      }).pipe(Effect.provide(layer)))

    it.effect(`says what else is wrong where the ${name} of the two fits`, () =>
      Effect.gen(function*() {
        const reason = (changes: Claims) =>
          Effect.map(Effect.flip(Effect.flatMap(mint(first, changes), verify)), (_) => _.reason)
        assert.strictEqual(yield* reason({ exp: -7200 }), "Expired")
        assert.strictEqual(yield* reason({ iss: "other" }), "Issuer")
        assert.strictEqual(yield* reason({ aud: "other" }), "Audience")
      }).pipe(Effect.provide(layer)))
  }

  it.effect("refuses the token where neither fits", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(verify(yield* good))).reason, "BadSignature")
    }).pipe(Effect.provide(layerOf(keySet(other, other)))))
})

describe("time", () => {
  const reasonOf = (token: string) =>
    Effect.map(Effect.either(verify(token)), Either.match({ onLeft: (_) => _.reason, onRight: () => "accepted" }))

  const edges: ReadonlyArray<readonly [name: string, changes: Claims, at: number, result: string]> = [
    ["is used until its end", {}, 3599, "accepted"],
    ["is used at its end", {}, 3600, "accepted"],
    ["is used 59 seconds after its end", {}, 3659, "accepted"],
    ["is used 59.999 seconds after its end", {}, 3659.999, "accepted"],
    ["has expired 60 seconds after its end", {}, 3660, "Expired"],
    ["has expired 61 seconds after its end", {}, 3661, "Expired"],
    ["has expired two hours after its end", {}, 10_800, "Expired"],
    ["is used 59 seconds before its issue", { iat: 1000 }, 941, "accepted"],
    ["is used 60 seconds before its issue", { iat: 1000 }, 940, "accepted"],
    ["is not valid 60.001 seconds before its issue", { iat: 1000 }, 939.999, "NotYetValid"],
    ["is not valid 61 seconds before its issue", { iat: 1000 }, 939, "NotYetValid"],
    ["is used 59 seconds before its beginning", { nbf: 1000 }, 941, "accepted"],
    ["is not valid 61 seconds before its beginning", { nbf: 1000 }, 939, "NotYetValid"]
  ]
  for (const [name, changes, at, result] of edges) {
    it.effect(`a token ${name}`, () =>
      Effect.gen(function*() {
        const token = yield* mint(first, changes)
        yield* TestClock.setTime(at * 1000)
        assert.strictEqual(yield* reasonOf(token), result)
      }).pipe(Effect.provide(Static)))
  }

  const slow: ReadonlyArray<readonly [rest: number, result: string]> = [[9, "accepted"], [8, "Expired"], [5, "Expired"]]
  for (const [rest, result] of slow) {
    it.scoped(`a token with ${rest} seconds left is ${result} where the key set takes 8 seconds`, () =>
      Effect.gen(function*() {
        const token = yield* good
        const server = yield* makeServer
        yield* server.hold
        const jwks = yield* Jwks.makeRemote(Effect.succeed(new URL(server.origin)))
        yield* TestClock.setTime((3660 - rest) * 1000)
        const verifier = yield* Effect.provideService(AgentIdentityJwt.make(), Jwks.Jwks, jwks)
        const fiber = yield* Effect.fork(
          Effect.provideService(reasonOf(token), AgentIdentityJwt.AgentIdentityJwt, verifier)
        )
        yield* Effect.repeat(turn, { until: () => server.requests.length === 1 })
        yield* TestClock.adjust("8 seconds")
        assert.isTrue(Option.isNone(yield* fiber.poll))
        yield* server.release(json(keySet(first)))
        assert.strictEqual(yield* Fiber.join(fiber), result)
      }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
  }

  it.effect("a token that expires between its signature's check and the end has Expired", () =>
    Effect.gen(function*() {
      const token = yield* good
      const system = Clock.make()
      const times = [3_659_000, 3_660_000]
      const clock: Clock.Clock = {
        ...system,
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        currentTimeMillis: Effect.sync(() => times.shift() ?? 0)
      }
      const error = yield* Effect.flip(Effect.withClock(verify(token), clock))
      assert.strictEqual(error.reason, "Expired")
      assert.deepStrictEqual(times, [])
    }).pipe(Effect.provide(Static)))
})

describe("AgentIdentityJwt", () => {
  const own: Claims = { iss: "https://issuer.test", aud: "our-servers" }
  const options: ReadonlyArray<
    readonly [name: string, options: AgentIdentityJwt.Options, accepted: Claims, refused: ReadonlyArray<Claims>]
  > = [
    ["an issuer and an audience", { issuer: "https://issuer.test", audience: "our-servers" }, own, [
      {},
      { ...own, iss: goodClaims.iss },
      { ...own, aud: goodClaims.aud }
    ]],
    ["an issuer", { issuer: "https://issuer.test" }, { iss: "https://issuer.test" }, [{}, own]],
    ["an audience", { audience: "our-servers" }, { aud: "our-servers" }, [{}, own]],
    ["nothing", { issuer: undefined, audience: undefined }, {}, [own]]
  ]
  for (const [name, given, accepted, refused] of options) {
    it.effect(`layerWith takes ${name}, for which ChatGPT's do not stand any more`, () =>
      Effect.gen(function*() {
        const claims = yield* verify(yield* mint(first, accepted))
        assert.strictEqual(claims.issuer, accepted.iss ?? goodClaims.iss)
        assert.strictEqual(claims.audience, accepted.aud ?? goodClaims.aud)
        for (const changes of refused) {
          const { reason } = yield* Effect.flip(verify(yield* mint(first, changes)))
          assert.include(["Issuer", "Audience"], reason)
        }
      }).pipe(Effect.provide(
        AgentIdentityJwt.layerWith(Jwks.layerStatic(keySet(first)), given)
      )))
  }
})

describe("two issuers in one build", () => {
  it.effect("each verify their own tokens and no other's", () =>
    Effect.gen(function*() {
      class One extends Context.Tag("test/One")<One, AgentIdentityJwt.Service>() {}
      class Two extends Context.Tag("test/Two")<Two, AgentIdentityJwt.Service>() {}
      const Both = Layer.merge(
        Layer.provide(Layer.effect(One, AgentIdentityJwt.AgentIdentityJwt), layerOf(keySet(first))),
        Layer.provide(Layer.effect(Two, AgentIdentityJwt.AgentIdentityJwt), layerOf(keySet(second)))
      )
      const [one, two] = yield* Effect.provide(Effect.all([One, Two]), Both)
      const tokens = [yield* mint(first), yield* mint(second)].map((token) => Redacted.make(token))
      assert.strictEqual((yield* one.verify(tokens[0]!)).agentRuntimeId, "agent-1")
      assert.strictEqual((yield* two.verify(tokens[1]!)).agentRuntimeId, "agent-1")
      assert.strictEqual((yield* Effect.flip(one.verify(tokens[1]!))).reason, "UnknownKid")
      assert.strictEqual((yield* Effect.flip(two.verify(tokens[0]!))).reason, "UnknownKid")
    }))

  it.effect("each verify by their own key and their own issuer, also where the keys have the same name", () =>
    Effect.gen(function*() {
      class One extends Context.Tag("test/One")<One, AgentIdentityJwt.Service>() {}
      class Two extends Context.Tag("test/Two")<Two, AgentIdentityJwt.Service>() {}
      const alike = { ...second, kid: first.kid, publicJwk: { ...second.publicJwk, kid: first.kid } }
      const [a, b] = ["https://a.test", "https://b.test"] as const
      const of = (key: typeof first, issuer: string) =>
        AgentIdentityJwt.layerWith(Jwks.layerStatic(keySet(key)), { issuer })
      const Both = Layer.merge(
        Layer.provide(Layer.effect(One, AgentIdentityJwt.AgentIdentityJwt), of(first, a)),
        Layer.provide(Layer.effect(Two, AgentIdentityJwt.AgentIdentityJwt), of(alike, b))
      )
      const [one, two] = yield* Effect.provide(Effect.all([One, Two]), Both)
      const token = (key: typeof first, iss: string) => Effect.map(mint(key, { iss }), (text) => Redacted.make(text))
      assert.strictEqual((yield* one.verify(yield* token(first, a))).issuer, a)
      assert.strictEqual((yield* two.verify(yield* token(alike, b))).issuer, b)
      assert.strictEqual((yield* Effect.flip(one.verify(yield* token(alike, a)))).reason, "BadSignature")
      assert.strictEqual((yield* Effect.flip(two.verify(yield* token(first, b)))).reason, "BadSignature")
      assert.strictEqual((yield* Effect.flip(one.verify(yield* token(first, b)))).reason, "Issuer")
      assert.strictEqual((yield* Effect.flip(two.verify(yield* token(alike, a)))).reason, "Issuer")
    }))
})

describe("decodeUnverified", () => {
  const decode = (token: string) => AgentIdentityJwt.decodeUnverified(Redacted.make(token))

  const NO_JSON = Buffer.from(SECRET).toString("base64url")

  type Unverified = AgentIdentityJwt.UnverifiedClaims
  type Has<Name extends string> = [Extract<keyof Unverified, Name>] extends [never] ? false : true
  type HasRedacted = [Extract<Unverified[keyof Unverified], Redacted.Redacted<unknown>>] extends [never] ? false : true

  /** Compiles only as long as nothing of a key is in the type, and it is no identity. */
  const types: {
    readonly key: Has<"key" | "privateKey" | "agentPrivateKey" | "agent_private_key" | "signer">
    readonly redacted: HasRedacted
    readonly claims: Unverified extends AgentIdentityJwt.Claims ? true : false
    readonly identity: Unverified extends AgentIdentity.Service ? true : false
  } = { key: false, redacted: false, claims: false, identity: false }

  it("shows the claims of an unsigned token, without the private key", () => {
    const claims = Either.getOrThrow(decode(` ${unsigned({ alg: "none" }, goodClaims)}\n`))
    assert.deepStrictEqual(claims as object, {
      issuer: goodClaims.iss,
      audience: goodClaims.aud,
      issuedAt: 0,
      expiresAt: 3600,
      agentRuntimeId: "agent-1",
      accountId: "acct-1",
      chatgptUserId: "user-1",
      email: "someone@example.com",
      plan: { name: "pro", raw: "pro", displayName: "Pro", workspace: false },
      fedramp: false
    })
    assert.notInclude(shown(claims), vector.pkcs8V1)
    assert.notInclude(Object.values(types), true)
  })

  it("shows claims of any issuer and time, with a private key that is none", () => {
    const changes = { iss: "x", aud: "y", exp: 1, iat: 9, agent_private_key: "z" }
    const claims = Either.getOrThrow(decode(unsigned({}, claimsWith(changes))))
    assert.deepInclude(claims, { issuer: "x", audience: "y", expiresAt: 1, issuedAt: 9 })
  })

  it("accepts a missing email, and null for one", () => {
    for (const email of [undefined, null]) {
      assert.isUndefined(Either.getOrThrow(decode(unsigned({ alg: "none" }, claimsWith({ email })))).email)
    }
  })

  it("reads the plan's other spellings", () => {
    for (const [plan_type, name] of [["hc", "enterprise"], ["education", "edu"], ["galactic", "unknown"]] as const) {
      const { plan } = Either.getOrThrow(decode(unsigned({ alg: "none" }, claimsWith({ plan_type }))))
      assert.deepInclude(plan, { name, raw: plan_type })
    }
  })

  it("looks at 16 KiB, and at not a character more", () => {
    const token = unsigned({ alg: "none" }, goodClaims, "")
    // Base64 has no such length.
    const rest = 16 * 1024 - token.length
    assert.notStrictEqual(rest % 4, 1)
    assert.isTrue(Either.isRight(decode(token + "A".repeat(rest))))
    for (const more of [1, 2, 3]) assert.isTrue(Either.isLeft(decode(token + "A".repeat(rest + more))))
  })

  const broken: ReadonlyArray<
    readonly [name: string, token: string, reason: AgentIdentityJwt.AgentIdentityJwtError["reason"], says?: string]
  > = [
    ["nothing", "", "Malformed"],
    ["garbage", SECRET, "Malformed"],
    ["two parts", `${base64Url({})}.${base64Url(goodClaims)}`, "Malformed"],
    ["four parts", `${unsigned({}, goodClaims)}.x`, "Malformed"],
    ["no signature", unsigned({ alg: "none" }, goodClaims, ""), "Malformed"],
    ["a header that is no JSON", `${NO_JSON}.${base64Url(goodClaims)}.c2ln`, "Malformed"],
    ["more than 16 KiB", unsigned({}, claimsWith({ padding: "x".repeat(16 * 1024) })), "Malformed"],
    ["a payload that is no base64url", `${base64Url({})}.+${SECRET}.c2ln`, "Malformed"],
    ["a signature that is no base64url", unsigned({}, goodClaims, "c2ln="), "Malformed"],
    ["a payload that is no JSON", `${base64Url({})}.${NO_JSON}.c2ln`, "InvalidClaims"],
    ["an array for a payload", unsigned({}, [goodClaims]), "InvalidClaims", "of another form: the payload"],
    ["null for a payload", unsigned({}, null), "InvalidClaims", "of another form: the payload"],
    [
      "two claims that are wrong",
      unsigned({}, claimsWith({ account_id: undefined, plan_type: 7 })),
      "InvalidClaims",
      "account_id, plan_type"
    ],
    ["an audience in an array", unsigned({}, claimsWith({ aud: ["codex-app-server"] })), "InvalidClaims", "aud"],
    ...[...REQUIRED, "iss", "aud"].map((claim) =>
      [`${claim} left out`, unsigned({}, claimsWith({ [claim]: undefined })), "InvalidClaims", claim] as const
    ),
    [
      "a key that is no string",
      unsigned({}, claimsWith({ agent_private_key: [SECRET] })),
      "InvalidClaims",
      "private_key"
    ],
    ["inherited claims", unsigned({}, JSON.parse(`{"__proto__":${JSON.stringify(goodClaims)}}`)), "InvalidClaims"]
  ]
  for (const [name, token, reason, says] of broken) {
    it(`refuses ${name}: ${reason}`, () => {
      const error = Either.getOrThrow(Either.flip(decode(token)))
      assert.instanceOf(error, AgentIdentityJwt.AgentIdentityJwtError)
      assert.strictEqual(error.reason, reason)
      if (says !== undefined) assert.include(error.message, says)
      for (const secret of [SECRET, NO_JSON, vector.pkcs8V1]) assert.notInclude(shown(error), secret)
    })
  }
})
