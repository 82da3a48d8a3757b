/** A run from its agent identity JWT, end to end: the issuer's keys, the AuthAPI and the provider on loopback. */
import {
  AgentAssertion,
  AgentIdentity,
  AgentIdentityJwt,
  AgentKey,
  AgentRuntimeId,
  Jwks,
  ProviderAuth,
  Run,
  RunAuth,
  RunTask,
  Signing,
  type TaskId,
  TaskRegistration,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Context, Effect, Either, Exit, Layer, Redacted, TestClock } from "effect"
import { hex, toHex, vector } from "../fixtures.ts"
import { assertClean, observer, shown, spellings } from "../leaks.ts"
import { driven } from "../utils.ts"
import { type Claims, goodClaims, json, keySet, makeKey, makeServer, mint, paths, sign, unsigned } from "./issuer.ts"

const [issuer, other] = await Promise.all([makeKey("issuer"), makeKey("other")])

const JWKS = "GET /backend-api/wham/agent-identities/jwks"
const TASK = "POST /api/accounts/v1/agent/agent-1/task/register"
const RESPONSES = "/backend-api/codex/responses"

const Server = AgentAssertionVerifier.layer.pipe(
  Layer.provideMerge(Scripted.layer),
  Layer.provideMerge(NodeSigning.layer),
  Layer.provideMerge(NodeHttpClient.layerUndici)
)

const served = (body: unknown): Scripted.Fault => ({ _tag: "Status", status: 200, body: JSON.stringify(body) })
const status = (status: number, body = ""): Scripted.Fault => ({ _tag: "Status", status, body })

/** The issuer's keys for the first request, and then these; the agent is registered. */
const prepare = (
  faults: ReadonlyArray<Scripted.Fault> = [],
  keys: Scripted.Fault = served(keySet(issuer)),
  publicKey = hex(vector.publicKey)
) =>
  Effect.gen(function*() {
    const server = yield* ScriptedAuthApi
    const { putAgent } = yield* AgentDirectory.AgentDirectory
    yield* putAgent({ agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"), publicKey })
    for (const fault of [keys, ...faults]) yield* server.script(fault)
    const lines = Effect.map(server.requests, (requests) => requests.map(({ method, url }) => `${method} ${url}`))
    return { ...server, lines }
  })

const Keys = Jwks.layer(Layer.service(UrlDerivation.UrlDerivation))
const Jwt = Layer.merge(AgentIdentityJwt.layer(Keys), Keys)

const identityOf = (token: string) => AgentIdentityJwt.layerIdentity(Redacted.make(token))

const runOf = (token: string) => Layer.provideMerge(Run.layer(identityOf(token)), Jwt)

/** A first-party request of the app, and its answer's status. */
const request = Effect.gen(function*() {
  const { origin } = yield* ScriptedAuthApi
  return (yield* HttpClient.get(origin + RESPONSES)).status
})

const task = Effect.flatMap(RunTask.RunTask, (_) => _.current)

describe("a run from a token", () => {
  it.effect("asks for the issuer's keys, registers its task with two members, and has it", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      const layer = runOf(yield* mint(issuer, { chatgpt_account_is_fedramp: true }))
      yield* Effect.gen(function*() {
        const { account, agentRuntimeId, expiresAt, signer } = yield* AgentIdentity.AgentIdentity
        assert.strictEqual(agentRuntimeId, "agent-1")
        assert.deepStrictEqual(account as unknown, { id: "acct-1", fedramp: true })
        assert.strictEqual(expiresAt, 3_660_000)
        assert.strictEqual(toHex(signer.publicKey), vector.publicKey)
        const { findTask } = yield* AgentDirectory.AgentDirectory
        assert.strictEqual((yield* Effect.flatten(findTask(yield* task))).agentRuntimeId, agentRuntimeId)
      }).pipe(Effect.provide(layer))

      assert.deepStrictEqual(yield* server.lines, [JWKS, TASK])
      const [keys, registration] = yield* server.requests
      assert.deepStrictEqual(Object.keys(JSON.parse(registration!.body)), ["timestamp", "signature"])
      for (const { headers } of [keys!, registration!]) {
        for (const name of ["authorization", "chatgpt-account-id", "x-openai-fedramp"]) {
          assert.notProperty(headers, name)
        }
      }
    }).pipe(Effect.provide(Server)))

  for (const fedramp of [true, false]) {
    it.effect(`signs what it sends to the provider, for the account of the token, FedRAMP ${fedramp}`, () =>
      Effect.gen(function*() {
        const server = yield* prepare()
        yield* Effect.gen(function*() {
          assert.strictEqual(yield* request, 404)
          const { headers, url } = (yield* server.requests).at(-1)!
          assert.strictEqual(url, RESPONSES)
          assert.strictEqual(headers["chatgpt-account-id"], "acct-1")
          assert.strictEqual(headers["x-openai-fedramp"], fedramp ? "true" : undefined)
          const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
          const verified = yield* verify(headers.authorization)
          assert.strictEqual(verified.agentRuntimeId, "agent-1")
          assert.strictEqual(verified.taskId, yield* task)
        }).pipe(Effect.provide(runOf(yield* mint(issuer, { chatgpt_account_is_fedramp: fedramp }))))
      }).pipe(Effect.provide(Server)))
  }

  it.effect("shares one verification and one task among all its dependents", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      const dependents = Array.from({ length: 20 }, (_, index) => {
        const Dependent = Context.GenericTag<TaskId.TaskId>(`Dependent${index}`)
        return { Dependent, layer: Layer.effect(Dependent, Effect.zipLeft(task, AgentIdentity.AgentIdentity)) }
      })
      const layer = Layer.mergeAll(Layer.empty, ...dependents.map((_) => _.layer)).pipe(
        Layer.provideMerge(runOf(yield* mint(issuer)))
      )
      const tasks = yield* Effect.forEach(
        Array.from({ length: 1000 }, (_, index) => dependents[index % 20]!.Dependent),
        (Dependent) => Effect.zip(Dependent, task),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(layer))
      assert.strictEqual(new Set(tasks.flat()).size, 1)
      assert.deepStrictEqual(yield* server.lines, [JWKS, TASK])
    }).pipe(Effect.provide(Server)))

  it.effect("is another run, with another task and the same keys, each time that it is provided over the same process", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      const token = yield* mint(issuer)
      yield* Effect.gen(function*() {
        const OneRun = Run.layer(identityOf(token))
        const [first, second] = [yield* Effect.provide(task, OneRun), yield* Effect.provide(task, OneRun)]
        assert.notStrictEqual(first, second)
      }).pipe(Effect.provide(Jwt))
      assert.deepStrictEqual(yield* server.lines, [JWKS, TASK, TASK])
    }).pipe(Effect.provide(Server)))

  it.scoped("is verified by the keys of its own issuer, and registers its own task, beside another's in one build", () =>
    Effect.gen(function*() {
      class One extends Context.Tag("test/One")<One, AgentAssertion.Assertion>() {}
      class Two extends Context.Tag("test/Two")<Two, AgentAssertion.Assertion>() {}
      const assertion = Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
      const world = (key: typeof issuer, agent: string) =>
        Effect.gen(function*() {
          const server = yield* makeServer
          const TASK = `/accounts/v1/agent/${agent}/task/register`
          yield* server.answer(paths({
            "/agent-identities/jwks": json(keySet(key)),
            [TASK]: json({ task_id: `task-of-${agent}` })
          }))
          const Urls = UrlDerivation.layerCustom({
            authApi: `${server.origin}/accounts`,
            jwksBase: server.origin,
            providers: [`${server.origin}/codex`],
            loopbackHttp: true
          })
          const identity = Layer.provide(
            identityOf(yield* mint(key, { agent_runtime_id: agent })),
            AgentIdentityJwt.layer(Jwks.layer(Urls))
          )
          const lines = ["GET /agent-identities/jwks", `POST ${TASK}`]
          return { server, lines, layer: Layer.provide(Run.layer(identity), Urls) }
        })
      const [a, b] = [yield* world(issuer, "agent-a"), yield* world(other, "agent-b")]
      const sent = yield* Effect.provide(
        Effect.all([One, Two]),
        Layer.merge(
          Layer.provide(Layer.effect(One, assertion), a.layer),
          Layer.provide(Layer.effect(Two, assertion), b.layer)
        )
      )
      assert.deepStrictEqual(sent.map(({ agentRuntimeId, taskId }) => `${agentRuntimeId} ${taskId}`), [
        "agent-a task-of-agent-a",
        "agent-b task-of-agent-b"
      ])
      assert.deepStrictEqual([a.server.requests, b.server.requests], [a.lines, b.lines])
    }).pipe(Effect.provide(NodeSigning.layer), Effect.provide(NodeHttpClient.layerUndici)))

  const passing: ReadonlyArray<readonly [name: string, fault: Scripted.Fault]> = [
    ["500", status(500)],
    ["429", status(429)],
    ["a dropped connection", { _tag: "Drop" }]
  ]
  for (const [name, fault] of passing) {
    it.effect(`goes on where the registration meets ${name} once`, () =>
      Effect.gen(function*() {
        const server = yield* prepare([fault])
        yield* driven(Effect.provide(task, runOf(yield* mint(issuer))))
        assert.deepStrictEqual(yield* server.lines, [JWKS, TASK, TASK])
      }).pipe(Effect.provide(Server)))
  }

  // PROTOCOL.md (l): what the reference client accepts.
  const accepted: ReadonlyArray<readonly [name: string, changes: Claims]> = [
    ["expired 30 seconds ago", { exp: 70 }],
    ["of an unknown plan", { plan_type: "galactic" }],
    ["without an email", { email: undefined }]
  ]
  for (const [name, changes] of accepted) {
    it.effect(`takes a token ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* prepare()
        yield* TestClock.setTime(100_000)
        assert.strictEqual(yield* Effect.provide(request, runOf(yield* mint(issuer, changes))), 404)
        assert.deepStrictEqual(yield* server.lines, [JWKS, TASK, `GET ${RESPONSES}`])
      }).pipe(Effect.provide(Server)))
  }

  it.effect("takes its token from the configuration", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      const layer = Layer.provide(
        Run.layer(AgentIdentityJwt.layerIdentityConfig(Config.redacted("CODEX_ACCESS_TOKEN"))),
        Jwt
      )
      const configured = (entries: ReadonlyArray<readonly [string, string]>) =>
        Effect.provide(task, layer).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(entries))))
      const missing = yield* Effect.flip(configured([]))
      assert.include(String(missing), "CODEX_ACCESS_TOKEN")
      assert.deepStrictEqual(yield* server.lines, [])
      yield* configured([["CODEX_ACCESS_TOKEN", `${yield* mint(issuer)}\n`]])
      assert.deepStrictEqual(yield* server.lines, [JWKS, TASK])
    }).pipe(Effect.provide(Server)))
})

describe("a run from a token is strict", () => {
  interface Failure {
    readonly name: string
    readonly token?: Effect.Effect<string>
    readonly keys?: Scripted.Fault
    readonly faults?: ReadonlyArray<Scripted.Fault>
    readonly error: readonly [tag: string, reason: string, cause?: string]
    readonly requests: ReadonlyArray<string>
  }

  const token = (
    name: string,
    token: Effect.Effect<string>,
    reason: AgentIdentityJwt.AgentIdentityJwtError["reason"],
    requests: ReadonlyArray<string> = [JWKS]
  ): Failure => ({ name, token, error: ["AgentIdentityJwtError", reason], requests })

  const claims = (name: string, changes: Claims, reason: AgentIdentityJwt.AgentIdentityJwtError["reason"]): Failure =>
    token(name, mint(issuer, changes), reason)

  const keys = (name: string, keys: Scripted.Fault, cause: Jwks.JwksError["reason"]): Failure => ({
    name,
    keys,
    error: ["AgentIdentityJwtError", "KeySetUnavailable", cause],
    // A broken connection is tried once more.
    ...(cause === "Transport" ? { faults: [keys], requests: [JWKS, JWKS] } : { requests: [JWKS] })
  })

  const registration = (
    name: string,
    faults: ReadonlyArray<Scripted.Fault>,
    reason: TaskRegistration.TaskRegistrationError["reason"]
  ): Failure => ({
    name,
    faults,
    error: ["TaskRegistrationError", reason],
    requests: [JWKS, ...faults.map(() => TASK)]
  })

  const three = <A>(fault: A): ReadonlyArray<A> => [fault, fault, fault]
  const toProvider: Scripted.Fault = { _tag: "Redirect", location: RESPONSES }

  const failures: ReadonlyArray<Failure> = [
    token("no token", Effect.succeed(""), "Malformed", []),
    token("a malformed token", Effect.succeed("not-a-jwt"), "Malformed", []),
    token("an unsigned token", Effect.succeed(unsigned({ alg: "none", kid: "issuer" }, goodClaims)), "Algorithm", []),
    token("no kid", mint(issuer, {}, { kid: undefined }), "MissingKid", []),
    token("an unknown kid", mint(issuer, {}, { kid: "unknown" }), "UnknownKid"),
    token("the key of another issuer", mint(other), "UnknownKid"),
    token("another's signature", mint(other, {}, { kid: "issuer" }), "BadSignature"),
    claims("another issuer", { iss: "https://issuer.test" }, "Issuer"),
    claims("another audience", { aud: "other" }, "Audience"),
    claims("an end two hours ago", { exp: -7200 }, "Expired"),
    claims("an issue in two minutes", { iat: 120 }, "NotYetValid"),
    claims("no iat", { iat: undefined }, "InvalidClaims"),
    claims("no account", { account_id: undefined }, "InvalidClaims"),
    claims("an agent runtime id that climbs", { agent_runtime_id: ".." }, "InvalidClaims"),
    claims("a bad private key", { agent_private_key: "not-a-key" }, "InvalidPrivateKey"),
    {
      name: "a private key beside another's public key",
      token: mint(issuer, { agent_private_key: `${vector.pkcs8V2.slice(0, -8)}AAAAAAA=` }),
      error: ["AgentIdentityError", "InvalidPrivateKey"],
      requests: [JWKS]
    },
    { ...token("an empty key set", mint(issuer), "UnknownKid"), keys: served({ keys: [] }) },
    keys("404 for a key set", status(404), "Status"),
    keys("500 for a key set", status(500), "Status"),
    keys("a key set that is somewhere else", toProvider, "Status"),
    keys("garbage for a key set", { _tag: "Garbage" }, "InvalidKeySet"),
    keys("a task for a key set", served({ task_id: "x" }), "InvalidKeySet"),
    keys("a huge key set", { _tag: "OversizedBody" }, "ResponseTooLarge"),
    keys("half a key set", { _tag: "HalfBody" }, "Transport"),
    keys("no key set", { _tag: "Drop" }, "Transport"),
    keys("a key set after 40 seconds", { _tag: "Late", delay: "40 seconds" }, "Timeout"),
    registration("503 for a task, three times", three(status(503)), "Status"),
    registration("500 for a task, three times", three(status(500)), "Status"),
    registration("429 for a task, three times", three(status(429)), "Status"),
    registration("three dropped registrations", three({ _tag: "Drop" }), "Transport"),
    registration("400 for a task", [status(400)], "Status"),
    registration("401 for a task", [status(401)], "Status"),
    registration("403 for a task", [status(403)], "Status"),
    registration("404 for a task", [status(404)], "Status"),
    registration("a task that is somewhere else", [toProvider], "Status"),
    registration("garbage for a task", [{ _tag: "Garbage" }], "InvalidResponse"),
    registration("no task in the answer", [served({})], "InvalidResponse"),
    registration("an empty task", [served({ task_id: "" })], "InvalidResponse"),
    registration("a task sealed for another", [served({ encrypted_task_id: "A".repeat(64) })], "SealedTaskId")
  ]
  for (const failure of failures) {
    const [tag, reason, cause] = failure.error
    it.effect(`${failure.name}: ${tag} ${reason}${cause === undefined ? "" : ` (${cause})`}, and nothing is sent`, () =>
      Effect.gen(function*() {
        const server = yield* prepare(failure.faults, failure.keys)
        let ran = false
        const program = Effect.zipRight(Effect.sync(() => void (ran = true)), request)
        const error = yield* Effect.flip(driven(Effect.provide(program, runOf(yield* failure.token ?? mint(issuer)))))
        const its = error._tag === "AgentIdentityJwtError" ? error.cause : undefined
        assert.deepStrictEqual([error._tag, error.reason, its?.reason], [tag, reason, cause])
        assert.isFalse(ran)
        assert.deepStrictEqual(yield* server.lines, failure.requests)
        for (const { headers } of yield* server.requests) {
          for (const name of ["authorization", "chatgpt-account-id"]) assert.notProperty(headers, name)
        }
      }).pipe(Effect.provide(Server)))
  }

  it.effect("an agent that the AuthAPI does not know, and nothing is sent", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* server.script(served(keySet(issuer)))
      const error = yield* Effect.flip(Effect.provide(request, runOf(yield* mint(issuer))))
      assert.deepInclude(error, { _tag: "TaskRegistrationError", reason: "Status" })
      assert.deepStrictEqual((yield* server.requests).map((_) => _.method), ["GET", "POST"])
    }).pipe(Effect.provide(Server)))

  it.effect("a failed build starts over at the next provide, and nothing of it is kept", () =>
    Effect.gen(function*() {
      const server = yield* prepare([], status(503))
      const layer = runOf(yield* mint(issuer))
      assert.strictEqual((yield* Effect.flip(Effect.provide(request, layer)))._tag, "AgentIdentityJwtError")
      yield* server.script(served(keySet(issuer)))
      assert.strictEqual(yield* Effect.provide(request, layer), 404)
      assert.deepStrictEqual(yield* server.lines, [JWKS, JWKS, TASK, `GET ${RESPONSES}`])
    }).pipe(Effect.provide(Server)))
})

describe("a token that expires during a run", () => {
  it.effect("does not end it: requests go on, signed for their own second", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      yield* Effect.gen(function*() {
        const before = yield* task
        for (const wait of ["1 hour", "61 seconds", "7 days"] as const) {
          yield* TestClock.adjust(wait)
          assert.strictEqual(yield* request, 404)
          const { headers } = (yield* server.requests).at(-1)!
          const { current } = yield* AgentAssertion.AgentAssertion
          assert.strictEqual(headers.authorization, Redacted.value((yield* current).header))
        }
        assert.strictEqual(yield* task, before)
        const sent = (yield* server.requests).map((_) => _.headers.authorization).filter((_) => _ !== undefined)
        assert.strictEqual(new Set(sent).size, 3)
      }).pipe(Effect.provide(runOf(yield* mint(issuer))))
      assert.deepStrictEqual((yield* server.lines).slice(0, 2), [JWKS, TASK])
    }).pipe(Effect.provide(Server)))

  it.effect("lets it renew its task until the leeway is over, and from then on fails as IdentityExpired", () =>
    Effect.gen(function*() {
      const server = yield* prepare()
      yield* Effect.gen(function*() {
        const { current, renew } = yield* RunTask.RunTask
        const first = yield* current
        yield* TestClock.adjust("3659 seconds")
        const second = yield* renew(first)
        assert.notStrictEqual(first, second)
        assert.deepStrictEqual(yield* server.lines, [JWKS, TASK, TASK])

        yield* TestClock.adjust("1 second")
        for (let attempt = 0; attempt < 3; attempt++) {
          const error = yield* Effect.flip(renew(second))
          assert.deepInclude(error, { _tag: "TaskRegistrationError", reason: "IdentityExpired" })
          assert.include(error.message, "has expired; get a new token")
        }
        assert.deepStrictEqual(yield* server.lines, [JWKS, TASK, TASK])
        assert.strictEqual(yield* current, second)
        assert.strictEqual(yield* request, 404)
        assert.property((yield* server.requests).at(-1)!.headers, "authorization")
      }).pipe(Effect.provide(runOf(yield* mint(issuer))))
    }).pipe(Effect.provide(Server)))

  it.effect("while its first task is registered ends the construction as IdentityExpired", () =>
    Effect.gen(function*() {
      const server = yield* prepare([{ _tag: "Status", status: 503, headers: { "retry-after": "15" } }])
      yield* TestClock.setTime(3_650_000)
      const error = yield* Effect.flip(driven(Effect.provide(task, runOf(yield* mint(issuer)))))
      assert.deepInclude(error, { _tag: "TaskRegistrationError", reason: "IdentityExpired" })
      assert.deepStrictEqual(yield* server.lines, [JWKS, TASK])
    }).pipe(Effect.provide(Server)))
})

/** Every piece of a text that an excerpt of 32 characters would hold. */
const pieces = (text: string): ReadonlyArray<string> =>
  Array.from({ length: Math.ceil(text.length / 8) }, (_, index) => text.slice(index * 8, index * 8 + 24))
    .filter((piece) => piece.length === 24)

/** An agent's key, and all that nobody may see of it. */
const makeSecret = Effect.gen(function*() {
  const key = yield* AgentKey.generate()
  const pkcs8 = Redacted.value(AgentKey.toPkcs8(key))
  const { publicKey } = yield* Effect.provide(
    Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key)),
    NodeSigning.layer
  )
  // The first 16 bytes of PKCS#8 are the same in every key.
  const secrets = [
    pkcs8,
    pkcs8.slice(24),
    ...spellings(Redacted.value(key.seed)),
    ...spellings(Buffer.from(pkcs8, "base64"))
  ]
  return { pkcs8, publicKey, secrets }
})

/** The header says nothing; the other two parts are secret as a whole and in pieces. */
const secretsOf = (token: string): ReadonlyArray<string> => [token, ...token.split(".").slice(1).flatMap(pieces)]

describe("no secret of a token", () => {
  it.effect("is in a service, a value, a log line, a span, or on the wire of a run", () =>
    Effect.gen(function*() {
      const { pkcs8, publicKey, secrets } = yield* makeSecret
      const token = yield* mint(issuer, { agent_private_key: pkcs8 })
      const all = [...secrets, ...secretsOf(token)]
      const { lines, observe, spans } = observer()
      const server = yield* prepare([], undefined, publicKey)
      const layer = runOf(token)
      const values = yield* observe(
        Effect.gen(function*() {
          assert.strictEqual(yield* request, 404)
          const jwt = yield* AgentIdentityJwt.AgentIdentityJwt
          return {
            layer,
            jwt,
            claims: yield* jwt.verify(Redacted.make(token)),
            unverified: AgentIdentityJwt.decodeUnverified(Redacted.make(token)),
            jwks: yield* Jwks.Jwks,
            identity: yield* AgentIdentity.AgentIdentity,
            task: yield* RunTask.RunTask,
            assertions: yield* AgentAssertion.AgentAssertion,
            assertion: yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current),
            credential: yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current),
            auth: yield* ProviderAuth.ProviderAuth,
            registration: yield* TaskRegistration.TaskRegistration,
            client: yield* HttpClient.HttpClient
          }
        }).pipe(Effect.provide(layer))
      )
      for (const [name, value] of Object.entries(values)) assertClean(name, shown(value), all)
      assertClean("a log line", lines.join("\n"), all)
      assertClean("a span", spans.join("\n"), all)
      assertClean("the wire", shown(yield* server.requests), all)
      assert.include(lines.join("\n"), "Registered task")
      assert.include(spans.join("\n"), "TaskRegistration.register")
      assert.include(spans.join("\n"), "/backend-api/wham/agent-identities/jwks")
    }).pipe(Effect.provide(Server)))

  /** Tokens with this private key, none of which makes a run. */
  const broken = (pkcs8: string): Readonly<Record<string, Effect.Effect<string>>> => {
    const claims = { agent_private_key: pkcs8 }
    const good = mint(issuer, claims)
    const edited = (edit: (token: string) => string) => Effect.map(good, edit)
    return {
      expired: mint(issuer, { ...claims, exp: -7200 }),
      early: mint(issuer, { ...claims, nbf: 7200 }),
      future: mint(issuer, { ...claims, iat: 7200 }),
      issuer: mint(issuer, { ...claims, iss: pkcs8 }),
      audience: mint(issuer, { ...claims, aud: pkcs8 }),
      "no plan": mint(issuer, { ...claims, plan_type: undefined }),
      "a key in the place of every claim": mint(issuer, {
        ...claims,
        iat: pkcs8,
        agent_runtime_id: [pkcs8],
        account_id: `${pkcs8}\n`,
        chatgpt_user_id: { pkcs8 },
        email: [pkcs8],
        plan_type: [pkcs8],
        chatgpt_account_is_fedramp: pkcs8
      }),
      "a key in the place of an id": mint(issuer, { ...claims, agent_runtime_id: `${pkcs8}:` }),
      "a key in an array": mint(issuer, { agent_private_key: [pkcs8] }),
      "a key with too much padding": mint(issuer, { agent_private_key: `${pkcs8}=` }),
      "a key that is cut": mint(issuer, { agent_private_key: pkcs8.slice(0, -4) }),
      "a key of another kind": mint(issuer, { agent_private_key: pkcs8.replace("MC4C", "MC4D") }),
      "another's public key": mint(issuer, {
        agent_private_key: Buffer.concat([
          Buffer.from("3051020101300506032b657004220420", "hex"),
          Buffer.from(pkcs8, "base64").subarray(16),
          Buffer.from("812100", "hex"),
          Buffer.alloc(32)
        ]).toString("base64")
      }),
      "an array for a payload": sign([claims], issuer),
      "no JSON for a payload": sign(Buffer.from(pkcs8), issuer),
      "an unknown kid": mint(issuer, claims, { kid: "unknown" }),
      "no kid": mint(issuer, claims, { kid: undefined }),
      "another's signature": mint(other, claims, { kid: "issuer" }),
      "another algorithm": mint(issuer, claims, { alg: "RS512" }),
      "no algorithm": Effect.succeed(unsigned({ alg: "none", kid: "issuer" }, { ...goodClaims, ...claims })),
      "a key for a header": Effect.succeed(`${Buffer.from(pkcs8).toString("base64url")}.${pkcs8}.${pkcs8}`),
      "two parts": edited((token) => token.slice(0, token.lastIndexOf("."))),
      "four parts": edited((token) => `${token}.${token}`),
      "a scheme before it": edited((token) => `Bearer ${token}`),
      "a cut signature": edited((token) => token.slice(0, -8)),
      "no signature": edited((token) => token.slice(0, token.lastIndexOf(".") + 1)),
      "too much": edited((token) => `${token}${"x".repeat(16 * 1024)}`)
    }
  }

  it.effect("is in an error, a log line or a span of a token that is refused", () =>
    Effect.gen(function*() {
      const { pkcs8, secrets } = yield* makeSecret
      const Keys = Jwks.layerStatic(keySet(issuer))
      for (const [name, make] of Object.entries(broken(pkcs8))) {
        const token = yield* make
        const all = [...secrets, ...secretsOf(token)]
        const { lines, observe, spans } = observer()
        const exit = yield* observe(
          Effect.zipRight(
            Effect.provide(AgentIdentity.AgentIdentity, identityOf(token)),
            Effect.void
          ).pipe(
            Effect.withSpan("verify"),
            Effect.tapErrorCause((cause) => Effect.logError("no identity", cause)),
            Effect.provide(AgentIdentityJwt.layer(Keys)),
            Effect.exit
          )
        )
        const cause = Exit.isFailure(exit) ? exit.cause : assert.fail(`${name} is accepted`)
        assert.isTrue(Cause.isFailType(cause), name)
        assertClean(`the exit of ${name}`, shown(exit), all)
        assertClean(`the error of ${name}`, shown(Cause.squash(cause)) + Cause.squash(cause), all)
        assertClean(`the pretty error of ${name}`, Cause.pretty(cause, { renderErrorCause: true }), all)
        assertClean(`a log line of ${name}`, lines.join("\n"), all)
        assertClean(`a span of ${name}`, spans.join("\n"), all)
        const unverified = AgentIdentityJwt.decodeUnverified(Redacted.make(token))
        if (Either.isLeft(unverified)) assertClean(`${name}, not verified`, shown(unverified.left), all)
      }
    }).pipe(Effect.provide(NodeSigning.layer)))

  it.effect("is in an error, a log line or a span of a run that fails, also where a server sends it back", () =>
    Effect.gen(function*() {
      const { pkcs8, publicKey, secrets } = yield* makeSecret
      const token = yield* mint(issuer, { agent_private_key: pkcs8 })
      const all = [...secrets, ...secretsOf(token)]
      const echo = `{"error":"${token} Bearer ${token}"}`
      const runs: ReadonlyArray<readonly [keys: Scripted.Fault | undefined, ...faults: Array<Scripted.Fault>]> = [
        [status(500, echo)],
        [status(200, echo)],
        [{ _tag: "Redirect", location: "/elsewhere" }],
        [{ _tag: "Drop" }],
        [{ _tag: "HalfBody" }],
        [undefined, status(403, echo)],
        [undefined, status(200, echo)],
        [undefined, status(503, echo), status(503, echo), status(503, echo)],
        [undefined, { _tag: "Drop" }, { _tag: "Drop" }, { _tag: "Drop" }]
      ]
      for (const [keys, ...faults] of runs) {
        const { lines, observe, spans } = observer()
        yield* prepare(faults, keys, publicKey)
        const exit = yield* observe(
          driven(Effect.provide(request, runOf(token))).pipe(
            Effect.tapErrorCause((cause) => Effect.logError("no run", cause)),
            Effect.exit
          )
        )
        const cause = Exit.isFailure(exit) ? exit.cause : assert.fail("there is a run")
        assertClean("the exit of a run", shown(exit), all)
        assertClean("the pretty error of a run", Cause.pretty(cause, { renderErrorCause: true }), all)
        assertClean("a log line of a run", lines.join("\n"), all)
        assertClean("a span of a run", spans.join("\n"), all)
      }
    }).pipe(Effect.provide(Server)))

  it.effect("stays unfound only because it is hidden: the printers of these tests would find it", () =>
    Effect.gen(function*() {
      const { pkcs8, secrets } = yield* makeSecret
      const token = yield* mint(issuer, { agent_private_key: pkcs8 })
      const all = [...secrets, ...secretsOf(token)]
      const { lines, observe, spans } = observer()
      yield* observe(Effect.exit(Effect.withSpan(
        Effect.zipRight(Effect.logTrace({ token }), Effect.fail(new Error(token.slice(200, 240)))),
        "leak"
      )))
      const found = (text: string) => assert.throws(() => assertClean("a leak", text, all))
      found(lines.join("\n"))
      found(spans.join("\n"))
      found(shown({ a: [new Error("x", { cause: { payload: { key: pkcs8 } } })] }))
      found(shown(Buffer.from(pkcs8, "base64")))
      for (const part of token.split(".").slice(1)) {
        for (let at = 0; at + 32 <= part.length; at += 7) found(`error: ${part.slice(at, at + 32)}...`)
      }
    }))
})
