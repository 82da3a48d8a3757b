import { AgentIdentity, AgentKey, RunTask, SealedBox, Signing, TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { HttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Either, Encoding, HashMap, Layer, Logger, Metric, Option, TestClock } from "effect"
import { tracing } from "../provider/server.ts"
import { driven, transports } from "../utils.ts"

const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent/1 ü" })

const Server = Agent.pipe(
  Layer.provideMerge(Scripted.layer),
  Layer.provideMerge(NodeSigning.layer)
)

const over = (transport: (typeof transports)[number][1]) =>
  TaskRegistration.layer(Agent).pipe(Layer.provideMerge(Server), Layer.provide(transport))

const register = Effect.flatMap(
  TaskRegistration.TaskRegistration,
  (_) => Effect.map(_.register(Option.none()), ({ taskId }) => taskId)
)

interface Case {
  readonly name: string
  readonly faults: ReadonlyArray<Scripted.Fault>
  /** A reason, or none where a task comes out of it. */
  readonly reason?: TaskRegistration.TaskRegistrationError["reason"]
  readonly tries: number
  readonly error?: Partial<TaskRegistration.TaskRegistrationError>
  /** Milliseconds on the clock, from and to. */
  readonly takes?: readonly [number, number]
}

const status = (status: number, retryAfter?: string): Scripted.Fault => ({
  _tag: "Status",
  status,
  ...(retryAfter === undefined ? undefined : { headers: { "retry-after": retryAfter } })
})
const late: Scripted.Fault = { _tag: "Late", delay: "40 seconds" }
const drop: Scripted.Fault = { _tag: "Drop" }
const half: Scripted.Fault = { _tag: "HalfBody" }

const cases: ReadonlyArray<Case> = [
  { name: "no fault", faults: [], tries: 1 },
  { name: "one answer 40 s late", faults: [late], tries: 2, takes: [30_000, 40_000] },
  { name: "all answers 40 s late", faults: [late, late, late], reason: "Timeout", tries: 3, takes: [75_000, 75_500] },
  { name: "an answer 20 s late is waited for", faults: [{ _tag: "Late", delay: "20 seconds" }], tries: 1 },
  { name: "429 once", faults: [status(429)], tries: 2 },
  { name: "429 with Retry-After 2", faults: [status(429, "2")], tries: 2, takes: [2_000, 10_000] },
  { name: "429 with Retry-After 20", faults: [status(429, "20")], tries: 2, takes: [20_000, 30_000] },
  {
    name: "503 with Retry-After as a date",
    faults: [status(503, "Thu, 01 Jan 1970 00:00:15 GMT")],
    tries: 2,
    takes: [10_000, 25_000]
  },
  {
    name: "429 with Retry-After 21",
    faults: [status(429, "21")],
    reason: "Throttled",
    tries: 1,
    error: { status: 429, retryAfterMillis: 21_000 }
  },
  {
    name: "503 with Retry-After of a day",
    faults: [status(503, "86400")],
    reason: "Throttled",
    tries: 1,
    error: { status: 503, retryAfterMillis: 86_400_000 }
  },
  { name: "500 twice", faults: [status(500), status(500)], tries: 3, takes: [0, 10_000] },
  {
    name: "503 thrice",
    faults: [status(503), status(503), status(503)],
    reason: "Status",
    tries: 3,
    error: { status: 503 }
  },
  ...[400, 401, 403, 404, 409, 422].map((code): Case => ({
    name: String(code),
    faults: [status(code, "1")],
    reason: "Status",
    tries: 1,
    error: { status: code }
  })),
  {
    name: "a 403 that says that the agent is deleted",
    faults: [{
      _tag: "Status",
      status: 403,
      body:
        "{\"error\":{\"code\":\"biscuit_baker_service_agent_error_status\",\"message\":\"Agent runtime has been deleted.\"}}"
    }],
    reason: "AgentDeleted",
    tries: 1,
    error: { status: 403, retryable: false }
  },
  ...[200, 201, 202, 299].map((code): Case => ({
    name: `${code} with JSON in text/plain`,
    faults: [{ _tag: "Status", status: code, body: "{\"taskId\":\"t\"}" }],
    tries: 1
  })),
  { name: "204 without a body", faults: [status(204)], reason: "InvalidResponse", tries: 1 },
  { name: "garbage", faults: [{ _tag: "Garbage" }], reason: "InvalidResponse", tries: 1, error: { status: 200 } },
  { name: "a connection dropped twice", faults: [drop, drop], tries: 3 },
  { name: "a connection dropped thrice", faults: [drop, drop, drop], reason: "Transport", tries: 3 },
  { name: "half a body once", faults: [half], tries: 2 },
  { name: "half a body thrice", faults: [half, half, half], reason: "Transport", tries: 3 },
  { name: "an oversized body", faults: [{ _tag: "OversizedBody" }], reason: "ResponseTooLarge", tries: 1 },
  {
    name: "a redirect",
    faults: [{ _tag: "Redirect", location: "/elsewhere" }],
    reason: "Status",
    tries: 1,
    error: { status: 307 }
  },
  {
    name: "half of a 403",
    faults: [{ _tag: "HalfBody", status: 403 }],
    reason: "Status",
    tries: 1,
    error: { status: 403 }
  },
  {
    name: "half of a 429 with Retry-After 60",
    faults: [{ _tag: "HalfBody", status: 429, headers: { "retry-after": "60" } }],
    reason: "Throttled",
    tries: 1,
    error: { status: 429, retryAfterMillis: 60_000 }
  },
  {
    name: "a Retry-After of 400 digits",
    faults: [status(429, "9".repeat(400))],
    reason: "Throttled",
    tries: 1,
    error: { retryAfterMillis: Number.MAX_SAFE_INTEGER }
  },
  { name: "one of each kind that passes", faults: [status(500), drop], tries: 3 }
]

for (const [transport, layer] of transports) {
  describe(`TaskRegistration over ${transport}`, () => {
    for (const { error, faults, name, reason, takes, tries } of cases) {
      it.effect(`${name}: ${reason ?? "a task"} after ${tries} ${tries === 1 ? "try" : "tries"}`, () =>
        Effect.gen(function*() {
          const server = yield* ScriptedAuthApi
          for (const fault of faults) yield* server.script(fault)
          const start = yield* Clock.currentTimeMillis
          const result = yield* Effect.either(driven(register))
          const took = (yield* Clock.currentTimeMillis) - start

          assert.strictEqual((yield* server.requests).length, tries)
          if (takes !== undefined) assert.isTrue(took >= takes[0] && took <= takes[1], `took ${took} ms`)
          if (Either.isRight(result)) return assert.strictEqual(reason, undefined)
          assert.strictEqual(result.left.reason, reason)
          assert.strictEqual(result.left.attempts, tries)
          for (const [name, value] of Object.entries(error ?? {})) {
            assert.strictEqual(result.left[name as "status"], value as number)
          }
        }).pipe(Effect.provide(over(layer))))
    }

    it.effect("sends timestamp and signature, nothing else, and no Authorization", () =>
      Effect.gen(function*() {
        const server = yield* ScriptedAuthApi
        yield* driven(register)
        const [request] = yield* server.requests
        assert.strictEqual(request?.method, "POST")
        assert.strictEqual(request?.url, "/api/accounts/v1/agent/agent%2F1%20%C3%BC/task/register")
        assert.match(request?.body ?? "", /^\{"timestamp":"1970-01-01T00:00:00Z","signature":"[A-Za-z0-9+/]{86}=="\}$/)
        assert.notProperty(request?.headers, "authorization")
        assert.notProperty(request?.headers, "chatgpt-account-id")
        assert.strictEqual(request?.headers["content-type"], "application/json")
      }).pipe(Effect.provide(over(layer))))

    it.effect("signs every attempt anew", () =>
      Effect.gen(function*() {
        const server = yield* ScriptedAuthApi
        yield* server.script(status(503, "5"))
        yield* driven(register)
        const [first, second] = yield* server.requests
        assert.notStrictEqual(first?.body, second?.body)
        assert.notInclude(second?.body, "00:00:00Z")
      }).pipe(Effect.provide(over(layer))))

    it.effect("follows no redirect to another server", () =>
      Effect.gen(function*() {
        const server = yield* ScriptedAuthApi
        const elsewhere = yield* Layer.build(Layer.provide(Layer.fresh(Scripted.layer), NodeSigning.layer)).pipe(
          Effect.map((context) => context.unsafeMap.get(ScriptedAuthApi.key) as Scripted.Service)
        )
        yield* server.script({ _tag: "Redirect", location: `${elsewhere.origin}/api/accounts` })
        const error = yield* Effect.flip(driven(register))
        assert.strictEqual(error.status, 307)
        assert.include(error.message, "none is followed")
        assert.deepStrictEqual(yield* elsewhere.requests, [])
      }).pipe(Effect.scoped, Effect.provide(over(layer))))
  })
}

describe("TaskRegistration errors", () => {
  it.effect("quote at most 512 characters of an answer, without what was sent and without credentials", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
      const secrets = ["Bearer abc.def", "AgentAssertion eyJhZ2VudCI6MX0", jwt, "at-1234567890"]
      yield* server.script({ _tag: "Status", status: 400, body: `${secrets.join(" ; ")} ${"x".repeat(1000)}` })
      const error = yield* Effect.flip(driven(register))
      assert.isAtMost(error.body!.length, 515)
      for (const secret of ["abc.def", "eyJhZ2VudCI6MX0", jwt, "at-1234567890"]) {
        assert.notInclude(error.message, secret)
      }
      assert.include(error.message, "xxx")
    }).pipe(Effect.provide(over(transports[0]![1]))))

  it.effect("never echo the signature that was sent", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* server.script({ _tag: "Status", status: 500, headers: { "retry-after": "100" } })
      yield* Effect.flip(driven(register))
      const { signature } = JSON.parse((yield* server.requests)[0]!.body)
      // The clock is where it was within the second, so that the next signature is the same.
      yield* server.script({
        _tag: "Status",
        status: 400,
        body: `signature ${signature} of ${signature.replaceAll("/", "\\/")}`
      })
      const error = yield* Effect.flip(register)
      assert.strictEqual(error.body, "signature <redacted> of <redacted>")
    }).pipe(Effect.provide(over(transports[0]![1]))))

  it.effect("name the agent, the URL, the attempts and what to do", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* server.script(drop, 3)
      const error = yield* Effect.flip(driven(register))
      assert.strictEqual(
        error.message.replace(/\d{4,5}/, "PORT").replace(/ \(\w+\)/, ""),
        "No task for agent \"agent/1 ü\" from " +
          "http://127.0.0.1:PORT/api/accounts/v1/agent/agent%2F1%20%C3%BC/task/register (3 attempts): " +
          "the request could not be sent or was not answered; check the network and the base URL"
      )
      assert.isTrue(error.retryable)
    }).pipe(Effect.provide(over(transports[0]![1]))))
})

describe("TaskRegistration", () => {
  const undici = transports[0]![1]

  it.effect("logs each registration at info, with how many this process has made", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => lines.push(`${logLevel.label} ${String(message)}`))
      const before = (yield* Metric.value(TaskRegistration.registrations)).count
      yield* Effect.provide(Effect.zipRight(register, register), Layer.provide(over(undici), Logger.add(logger)))
      assert.deepStrictEqual(lines, [
        `INFO Registered task ${before + 1} of this process`,
        `INFO Registered task ${before + 2} of this process`
      ])
    }))

  it.effect("shows a task id with control characters escaped, in log lines and spans, and hands it out as it came", () =>
    Effect.gen(function*() {
      const taskId = "task\u001b[31m\u202e\n-1"
      const shown: Array<unknown> = []
      const logger = Logger.make(({ annotations }) => shown.push(HashMap.unsafeGet(annotations, "taskId")))
      const { spans, trace } = tracing()
      const issued = yield* Effect.zipRight(
        Effect.flatMap(
          ScriptedAuthApi,
          (server) => server.script({ _tag: "Status", status: 200, body: JSON.stringify({ task_id: taskId }) })
        ),
        register
      ).pipe(Effect.provide(Layer.provide(over(undici), Logger.add(logger))), trace)
      assert.strictEqual(issued, taskId)
      for (const span of spans) shown.push(span.attributes.get("agent_identity.task_id"))
      assert.deepStrictEqual(shown.filter((_) => _ !== undefined), Array(2).fill("task\\u{1b}[31m\\u{202e}\\u{a}-1"))
    }))

  it.effect("registers nothing once the identity has expired", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("59 seconds")
      yield* register
      yield* TestClock.adjust("1 second")
      const error = yield* Effect.flip(register)
      assert.strictEqual(error.reason, "IdentityExpired")
      assert.isFalse(error.retryable)
      assert.strictEqual((yield* Effect.flatMap(ScriptedAuthApi, (_) => _.requests)).length, 1)
    }).pipe(Effect.provide(
      TaskRegistration.layer(
        Layer.map(Agent, (context) => {
          const identity = Context.get(context, AgentIdentity.AgentIdentity)
          return Context.make(AgentIdentity.AgentIdentity, { ...identity, expiresAt: 60_000 })
        })
      ).pipe(
        Layer.provideMerge(Server),
        Layer.provide(undici)
      )
    )))

  it.effect("times out also where its layer is built in a region that nothing interrupts", () =>
    Effect.gen(function*() {
      const error = yield* driven(Effect.uninterruptible(Effect.scoped(Layer.build(
        RunTask.layer(
          Layer.provideMerge(TaskRegistration.layer(Fakes.layerAgentIdentity), Fakes.layerAgentIdentity)
        ).pipe(
          Layer.provide(Fakes.layerUrlDerivation),
          Layer.provide(Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.never)))
        )
      )))).pipe(Effect.flip)
      assert.strictEqual(error.reason, "Timeout")
    }))
})

describe("TaskRegistration.readTaskId", () => {
  const signer = Effect.gen(function*() {
    const signing = yield* Signing.Signing
    return yield* signing.importPrivateKey(yield* AgentKey.generate())
  }).pipe(Effect.provide(Signing.layer))

  const accepted: ReadonlyArray<readonly [name: string, body: string, taskId: string]> = [
    ["task_id", "{\"task_id\":\"a\"}", "a"],
    ["taskId", "{\"taskId\":\"a\"}", "a"],
    ["task_id before taskId", "{\"taskId\":\"b\",\"task_id\":\"a\"}", "a"],
    ["null is absent", "{\"task_id\":null,\"taskId\":\"a\"}", "a"],
    ["plain before sealed", "{\"encrypted_task_id\":\"%\",\"taskId\":\"a\"}", "a"],
    ["not trimmed", "{\"task_id\":\" a:b\\n\"}", " a:b\n"],
    ["white space around the JSON", " {\"task_id\" : \"a\"}\n", "a"]
  ]
  for (const [name, body, taskId] of accepted) {
    it.effect(`takes ${name}`, () =>
      Effect.gen(function*() {
        const result = yield* TaskRegistration.readTaskId(yield* signer, new TextEncoder().encode(body))
        assert.strictEqual(result, taskId)
      }))
  }

  const refused: ReadonlyArray<readonly [name: string, body: string | Uint8Array, reason: string]> = [
    ["an empty id", "{\"task_id\":\"\",\"taskId\":\"a\"}", "InvalidResponse"],
    ["a blank id", "{\"task_id\":\" \\t\"}", "InvalidResponse"],
    ["a number", "{\"task_id\":7}", "InvalidResponse"],
    ["an id that is too long", JSON.stringify({ task_id: "x".repeat(1025) }), "InvalidResponse"],
    ["a lone surrogate", "{\"task_id\":\"\\ud800\"}", "InvalidResponse"],
    ["no member", "{}", "InvalidResponse"],
    ["inherited members", "{\"__proto__\":{\"task_id\":\"a\"}}", "InvalidResponse"],
    ["an array", "[\"a\"]", "InvalidResponse"],
    ["a string", "\"a\"", "InvalidResponse"],
    ["nothing", "", "InvalidResponse"],
    ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22), "InvalidResponse"],
    ["sealed text that is not base64", "{\"encrypted_task_id\":\"%\"}", "SealedTaskId"],
    ["sealed text that is not for us", `{"encryptedTaskId":"${"A".repeat(64)}"}`, "SealedTaskId"]
  ]
  for (const [name, body, reason] of refused) {
    it.effect(`refuses ${name}`, () =>
      Effect.gen(function*() {
        const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body
        const error = yield* Effect.flip(TaskRegistration.readTaskId(yield* signer, bytes))
        assert.strictEqual(error.reason, reason)
      }))
  }

  for (const member of ["encrypted_task_id", "encryptedTaskId"]) {
    it.effect(`opens ${member}`, () =>
      Effect.gen(function*() {
        const agent = yield* signer
        const sealed = yield* SealedBox.seal(agent.publicKey, new TextEncoder().encode("tâche:1"))
        const body = new TextEncoder().encode(JSON.stringify({ [member]: Encoding.encodeBase64(sealed) }))
        assert.strictEqual(yield* TaskRegistration.readTaskId(agent, body), "tâche:1")
      }))
  }
})
