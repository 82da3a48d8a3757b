import { AccountId, AgentKey, AgentRuntimeId } from "@agent-identity/core"
import { AgentIdentityIssuer, IssuerApi, IssuerApiHandlers } from "@agent-identity/server"
import { HttpApiClient, HttpClient, HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Exit, Fiber, Layer, Redacted, TestClock } from "effect"
import * as jose from "jose"
import { inspect } from "node:util"

const PRIVATE_KEY = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"
const DAY = 86_400

const claims: AgentIdentityIssuer.Claims = {
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"),
  privateKey: Redacted.make(PRIVATE_KEY),
  accountId: AccountId.AccountId.make("account-1"),
  chatgptUserId: "user-1",
  email: "someone@example.com",
  planType: "enterprise",
  fedramp: true
}

const issue = (more?: Partial<AgentIdentityIssuer.Claims>) =>
  Effect.flatMap(AgentIdentityIssuer.AgentIdentityIssuer, (_) => _.issue({ ...claims, ...more }))

const jwks = Effect.flatMap(AgentIdentityIssuer.AgentIdentityIssuer, (_) => _.jwks)
const kids = Effect.map(jwks, ({ keys }) => keys.map((_) => _.kid))
const rotate = Effect.flatMap(AgentIdentityIssuer.AgentIdentityIssuer, (_) => _.rotate)

const kidOf = (token: Redacted.Redacted<string>) => jose.decodeProtectedHeader(Redacted.value(token)).kid!

/** What a verifier of ours checks, over these keys and at the time of Effect's clock. */
const verify = (token: Redacted.Redacted<string>, keySet?: unknown) =>
  Effect.gen(function*() {
    const { audience, issuer } = yield* AgentIdentityIssuer.AgentIdentityIssuer
    const keys = jose.createLocalJWKSet((keySet ?? (yield* jwks)) as jose.JSONWebKeySet)
    const currentDate = new Date(yield* Clock.currentTimeMillis)
    return yield* Effect.tryPromise(() =>
      jose.jwtVerify(Redacted.value(token), keys, {
        algorithms: ["RS256"],
        issuer,
        audience,
        requiredClaims: ["iat", "exp"],
        clockTolerance: 60,
        currentDate
      })
    )
  })

const getJson = (path: string) =>
  Effect.gen(function*() {
    const response = yield* HttpClient.get(path)
    return { status: response.status, headers: response.headers, body: yield* response.json }
  })

const layerServer = <E, R>(issuer: Layer.Layer<AgentIdentityIssuer.AgentIdentityIssuer, E, R>) =>
  HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(
    Layer.provide(IssuerApiHandlers.layer),
    (routes) => HttpLayerRouter.serve(routes, { disableLogger: true, disableListenLog: true }),
    Layer.provideMerge(issuer),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )

/** An issuer that is named after the server it is on. */
const Loopback = layerServer(
  Layer.unwrapEffect(HttpServer.addressFormattedWith((origin) =>
    Effect.succeed(AgentIdentityIssuer.layerWith({
      issuer: `${origin.replace("0.0.0.0", "127.0.0.1")}/codex-backend/agent-identity`
    }))
  ))
)

const JWKS_PATHS = ["/backend-api/wham/agent-identities/jwks", "/agent-identities/jwks"]

describe("a token", () => {
  it.effect("has exactly the header and the claims of the wire", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_999)
      const { payload, protectedHeader } = yield* verify(yield* issue())
      assert.deepStrictEqual(protectedHeader, { alg: "RS256", kid: (yield* kids)[0]!, typ: "JWT" })
      assert.deepStrictEqual(payload, {
        iss: "https://chatgpt.com/codex-backend/agent-identity",
        aud: "codex-app-server",
        iat: 1_700_000_000,
        exp: 1_700_000_000 + 30 * DAY,
        agent_runtime_id: "agent-1",
        agent_private_key: PRIVATE_KEY,
        account_id: "account-1",
        chatgpt_user_id: "user-1",
        email: "someone@example.com",
        plan_type: "enterprise",
        chatgpt_account_is_fedramp: true
      })
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("has no email where there is none, and keeps plans and keys as they are", () =>
    Effect.gen(function*() {
      const { email, ...without } = claims
      assert.isDefined(email)
      const { issue } = yield* AgentIdentityIssuer.AgentIdentityIssuer
      for (const given of [without, { ...without, email: undefined }]) {
        const { payload } = yield* verify(
          yield* issue({ ...given, planType: "日本", fedramp: false, privateKey: Redacted.make("no key") })
        )
        assert.notProperty(payload, "email")
        assert.include(payload, { plan_type: "日本", chatgpt_account_is_fedramp: false, agent_private_key: "no key" })
      }
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("is of the configured issuer, audience and lifetime", () =>
    Effect.gen(function*() {
      const service = yield* AgentIdentityIssuer.AgentIdentityIssuer
      assert.include(service, { issuer: "http://localhost:1/issuer", audience: "mine" })
      const { payload } = yield* verify(yield* issue())
      assert.include(payload, { iss: "http://localhost:1/issuer", aud: "mine", iat: 0, exp: 3600 })
      assert.strictEqual((yield* verify(yield* issue({ lifetime: "2500 millis" }))).payload.exp, 2)
    }).pipe(Effect.provide(AgentIdentityIssuer.layerWith({
      issuer: "http://localhost:1/issuer",
      audience: "mine",
      tokenLifetime: "1 hour"
    }))))

  it.effect("carries a key that can be read again", () =>
    Effect.gen(function*() {
      const key = yield* AgentKey.generate()
      const { payload } = yield* verify(yield* issue({ privateKey: AgentKey.toPkcs8(key) }))
      const read = Either.getOrThrow(AgentKey.fromPkcs8(Redacted.make(payload.agent_private_key as string)))
      assert.deepStrictEqual(Redacted.value(read.seed), Redacted.value(key.seed))
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  for (const lifetime of [0, "999 millis", NaN, Infinity, Number.MAX_VALUE] as const) {
    it.effect(`does not live ${lifetime}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(issue({ lifetime }))
        assert.strictEqual(error.reason, "InvalidLifetime")
        assert.strictEqual(
          (yield* Effect.flip(AgentIdentityIssuer.make({ tokenLifetime: lifetime }))).reason,
          "InvalidLifetime"
        )
      }).pipe(Effect.provide(AgentIdentityIssuer.layer)))
  }

  it.effect("that cannot be signed is a typed error, which shows no claim", () =>
    Effect.gen(function*() {
      for (const more of [{ planType: (() => PRIVATE_KEY) as never }, { privateKey: PRIVATE_KEY as never }]) {
        const error = yield* Effect.flip(issue(more))
        assert.strictEqual(error.reason, "SigningFailed")
        assert.notInclude(`${error.message} ${inspect(error, { depth: 9, showHidden: true })}`, PRIVATE_KEY)
      }
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))
})

describe("an issuer", () => {
  const refused = [
    "",
    "issuer",
    "urn:issuer",
    "ftp://example.com",
    "https://",
    "https://user:hunter2@example.com",
    "https://example.com?hunter2",
    "https://example.com#hunter2",
    "https://example.com/ "
  ]
  for (const issuer of refused) {
    it.effect(`is not ${JSON.stringify(issuer)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(AgentIdentityIssuer.make({ issuer }))
        assert.strictEqual(error.reason, "InvalidIssuer")
        assert.notInclude(`${error.message} ${inspect(error)}`, "hunter2")
      }))
  }

  it.effect("shows no key and no token", () =>
    Effect.gen(function*() {
      const service = yield* AgentIdentityIssuer.AgentIdentityIssuer
      const token = yield* issue()
      for (const shown of [token, service, { token, service }, claims]) {
        const all = `${inspect(shown, { depth: 9, showHidden: true })} ${JSON.stringify(shown)} ${String(shown)}`
        assert.notInclude(all, Redacted.value(token))
        assert.notInclude(all, PRIVATE_KEY)
        assert.notMatch(all, /CryptoKey|privateKey: \{/)
      }
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("has keys of its own in each build", () =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([
        Effect.provide(Effect.flatMap(issue(), verify), AgentIdentityIssuer.layer),
        Effect.provide(Effect.flatMap(issue(), verify), AgentIdentityIssuer.layer)
      ])
      assert.notStrictEqual(one.protectedHeader.kid, other.protectedHeader.kid)
    }))
})

describe("the key set", () => {
  it.effect("has public members only, and thumbprints as key ids", () =>
    Effect.gen(function*() {
      yield* issue()
      yield* rotate
      const { keys } = yield* jwks
      assert.strictEqual(keys.length, 2)
      for (const key of keys) {
        assert.sameMembers(Object.keys(key), ["kid", "kty", "n", "e", "use", "alg"])
        assert.include(key, { kty: "RSA", use: "sig", alg: "RS256", e: "AQAB" })
        assert.strictEqual(Buffer.from(key.n, "base64url").length, 256)
        assert.strictEqual(key.kid, yield* Effect.promise(() => jose.calculateJwkThumbprint(key)))
      }
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("keeps an old key until its last token expired 60 seconds ago, and no longer", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("10 seconds")
      // The last to expire is not the last that was issued.
      const long = yield* issue({ lifetime: "1 hour" })
      const short = yield* issue({ lifetime: "1 minute" })
      yield* rotate
      const fresh = yield* issue()
      const [newKid, oldKid] = [kidOf(fresh), kidOf(long)]
      assert.notStrictEqual(newKid, oldKid)
      assert.deepStrictEqual(yield* kids, [newKid, oldKid])
      for (const token of [long, short, fresh]) yield* verify(token)

      // The last moment at which a verifier with 60 seconds of leeway takes it.
      yield* TestClock.setTime((10 + 3600 + 59) * 1000 + 999)
      assert.deepStrictEqual(yield* kids, [newKid, oldKid])
      yield* verify(long)
      assert.isTrue(Either.isLeft(yield* Effect.either(verify(short))))

      // The reference client's library still takes it in this second, ours does not.
      yield* TestClock.setTime((10 + 3600 + 60) * 1000 + 999)
      assert.deepStrictEqual(yield* kids, [newKid, oldKid])
      assert.isTrue(Either.isLeft(yield* Effect.either(verify(long))))

      yield* TestClock.setTime((10 + 3600 + 61) * 1000)
      assert.deepStrictEqual(yield* kids, [newKid])
      yield* verify(fresh)
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("keeps each of several old keys for its own tokens, and none that signed nothing", () =>
    Effect.gen(function*() {
      const hours = yield* issue({ lifetime: "2 hours" })
      yield* rotate
      const hour = yield* issue({ lifetime: "1 hour" })
      yield* rotate
      yield* rotate
      const now = yield* issue()
      assert.deepStrictEqual(yield* kids, [now, hour, hours].map(kidOf))
      for (const token of [hours, hour, now]) yield* verify(token)

      yield* TestClock.setTime((3600 + 61) * 1000)
      assert.deepStrictEqual(yield* kids, [now, hours].map(kidOf))
      yield* rotate
      const later = yield* issue()
      assert.deepStrictEqual(yield* kids, [later, now, hours].map(kidOf))

      yield* TestClock.setTime((7200 + 61) * 1000)
      assert.deepStrictEqual(yield* kids, [later, now].map(kidOf))
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("never loses its only key, however old that is", () =>
    Effect.gen(function*() {
      const before = yield* kids
      yield* issue({ lifetime: "1 second" })
      yield* TestClock.adjust("1000 days")
      assert.deepStrictEqual(yield* kids, before)
      yield* verify(yield* issue())
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("verifies every token that is issued while keys rotate, and loses no rotation", () =>
    Effect.gen(function*() {
      const tokens: Array<Redacted.Redacted<string>> = []
      const used = new Set<string>()
      const issuing = Effect.gen(function*() {
        const token = yield* issue()
        tokens.push(token)
        used.add(kidOf(token))
      })
      yield* Effect.all(
        [
          Effect.repeatN(Effect.all(Array.from({ length: 5 }, () => issuing), { concurrency: "unbounded" }), 20),
          Effect.repeatN(rotate, 1),
          Effect.repeatN(rotate, 1)
        ],
        { concurrency: "unbounded" }
      )
      yield* rotate
      const set = yield* jwks
      yield* Effect.forEach(tokens, (token) => verify(token, set), { concurrency: 16, discard: true })
      assert.strictEqual(tokens.length, 105)
      assert.includeMembers(set.keys.map((_) => _.kid), [...used])
      assert.strictEqual(new Set(set.keys.map((_) => _.kid)).size, set.keys.length)
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.scoped("keeps the key of a token that is still being signed", () =>
    Effect.gen(function*() {
      const started = yield* Effect.makeLatch()
      const held = yield* Effect.makeLatch()
      const subtle: { sign?: SubtleCrypto["sign"] } = globalThis.crypto.subtle
      const sign = globalThis.crypto.subtle.sign.bind(globalThis.crypto.subtle)
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          subtle.sign = (...args) =>
            Effect.runPromise(Effect.zipRight(started.open, held.await)).then(() => sign(...args))
        }),
        // The one of the prototype is back.
        () => Effect.sync(() => delete subtle.sign)
      )
      const signing = yield* Effect.fork(issue())
      yield* started.await
      yield* rotate
      yield* rotate
      const set = yield* jwks
      yield* held.open
      yield* verify(yield* Fiber.join(signing), set)
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))

  it.effect("is not hurt by a rotation that is interrupted", () =>
    Effect.gen(function*() {
      const token = yield* issue()
      const exit = yield* Effect.exit(Effect.raceFirst(rotate, Effect.interrupt))
      assert.isTrue(Exit.isInterrupted(exit))
      assert.deepStrictEqual(yield* kids, [kidOf(token)])
      yield* verify(yield* issue())
    }).pipe(Effect.provide(AgentIdentityIssuer.layer)))
})

describe("over HTTP", () => {
  for (const path of JWKS_PATHS) {
    it.effect(`serves the key set at ${path}, as it is at the time`, () =>
      Effect.gen(function*() {
        const token = yield* issue()
        const before = yield* getJson(path)
        assert.strictEqual(before.status, 200)
        assert.strictEqual(before.headers["cache-control"], "public, max-age=300")
        assert.match(before.headers["content-type"]!, /^application\/json/)
        assert.deepStrictEqual(before.body, yield* jwks)
        yield* verify(token, before.body)

        yield* rotate
        const fresh = yield* issue()
        assert.isTrue(Either.isLeft(yield* Effect.either(verify(fresh, before.body))))
        const { body } = yield* getJson(path)
        yield* verify(token, body)
        yield* verify(fresh, body)
        assert.notMatch(JSON.stringify(body), /"(d|p|q|dp|dq|qi|oth|k)":/)
      }).pipe(Effect.provide(Loopback)))
  }

  it.effect("is found by discovery from the issuer alone", () =>
    Effect.gen(function*() {
      const { issuer } = yield* AgentIdentityIssuer.AgentIdentityIssuer
      const found = yield* getJson(`${new URL(issuer).pathname}/.well-known/openid-configuration`)
      assert.strictEqual(found.status, 200)
      assert.strictEqual(found.headers["cache-control"], "public, max-age=300")
      assert.deepStrictEqual(found.body, {
        issuer,
        jwks_uri: `${new URL(issuer).origin}/backend-api/wham/agent-identities/jwks`
      })
      const { jwks_uri } = found.body as { readonly jwks_uri: string }
      const keySet = yield* Effect.promise(() => fetch(jwks_uri).then((_) => _.json()))
      const { payload } = yield* verify(yield* issue(), keySet)
      assert.strictEqual(payload.iss, issuer)
    }).pipe(Effect.provide(Loopback)))

  it.effect("names the default issuer's own key set", () =>
    Effect.gen(function*() {
      const { body } = yield* getJson("/codex-backend/agent-identity/.well-known/openid-configuration")
      assert.deepStrictEqual(body, {
        issuer: "https://chatgpt.com/codex-backend/agent-identity",
        jwks_uri: "https://chatgpt.com/backend-api/wham/agent-identities/jwks"
      })
    }).pipe(Effect.provide(layerServer(AgentIdentityIssuer.layer))))

  it.effect("is understood by the client of its own contract", () =>
    Effect.gen(function*() {
      const client = yield* HttpApiClient.make(IssuerApi.IssuerApi)
      const expected = yield* jwks
      assert.deepStrictEqual(yield* client.issuer.jwks(), expected)
      assert.deepStrictEqual(yield* client.issuer.plainJwks(), expected)
      assert.strictEqual(
        (yield* client.issuer.discovery()).issuer,
        (yield* AgentIdentityIssuer.AgentIdentityIssuer).issuer
      )
    }).pipe(Effect.provide(Loopback)))
})
