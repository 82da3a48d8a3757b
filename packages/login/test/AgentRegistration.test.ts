import { AgentKey, UrlDerivation } from "@agent-identity/core"
import { AgentRegistration } from "@agent-identity/login"
import { NodeSigning } from "@agent-identity/node"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Encoding, Fiber, Layer, Redacted } from "effect"
import { assertClean, shown } from "../../core/test/leaks.ts"
import { driven, transports } from "../../core/test/utils.ts"

const over = (transport: (typeof transports)[number][1]) =>
  AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation)).pipe(
    Layer.provideMerge(Scripted.layer),
    Layer.provide([transport, NodeSigning.layer])
  )
const undici = over(transports[0]![1])

const publicKey = Either.getOrThrow(
  Encoding.decodeHex("ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c")
)
const request: AgentRegistration.Request = {
  token: Redacted.make(Scripted.bearerToken),
  publicKey,
  billOfMaterials: AgentRegistration.billOfMaterials({ agentVersion: "1.2.3", sessionSource: "cli", platform: "linux" })
}

const register = (more?: Partial<AgentRegistration.Request>) =>
  Effect.flatMap(AgentRegistration.AgentRegistration, (_) => _.register({ ...request, ...more }))

const status = (status: number, retryAfter?: string, body = ""): Scripted.Fault => ({
  _tag: "Status",
  status,
  body,
  headers: retryAfter === undefined ? {} : { "retry-after": retryAfter }
})
const late: Scripted.Fault = { _tag: "Late", delay: "40 seconds" }
const drop: Scripted.Fault = { _tag: "Drop" }
const half: Scripted.Fault = { _tag: "HalfBody" }

const cases: ReadonlyArray<{
  readonly name: string
  readonly faults: ReadonlyArray<Scripted.Fault>
  readonly reason?: AgentRegistration.AgentRegistrationError["reason"]
  readonly tries: number
  readonly takes?: readonly [number, number]
}> = [
  { name: "no fault", faults: [], tries: 1 },
  { name: "503 twice", faults: [status(503), status(503)], tries: 3 },
  { name: "503 thrice", faults: [status(503), status(503), status(503)], reason: "Status", tries: 3 },
  { name: "429 with Retry-After 3", faults: [status(429, "3")], tries: 2, takes: [3_000, 10_000] },
  { name: "429 with Retry-After 21", faults: [status(429, "21")], reason: "Throttled", tries: 1 },
  { name: "one answer 40 s late", faults: [late], tries: 2, takes: [30_000, 40_000] },
  { name: "all answers 40 s late", faults: [late, late, late], reason: "Timeout", tries: 3, takes: [75_000, 75_500] },
  { name: "a connection dropped twice", faults: [drop, drop], tries: 3 },
  { name: "a connection dropped thrice", faults: [drop, drop, drop], reason: "Transport", tries: 3 },
  { name: "half a body once", faults: [half], tries: 2 },
  ...[400, 401, 403, 404, 409, 422].map((code) => ({
    name: String(code),
    faults: [status(code)],
    reason: "Status" as const,
    tries: 1
  })),
  {
    name: "a 403 about a deleted agent",
    faults: [status(
      403,
      undefined,
      "{\"error\":{\"code\":\"biscuit_baker_service_agent_error_status\",\"message\":\"Agent runtime has been deleted.\"}}"
    )],
    reason: "Status",
    tries: 1
  },
  { name: "garbage", faults: [{ _tag: "Garbage" }], reason: "InvalidResponse", tries: 1 },
  { name: "an oversized body", faults: [{ _tag: "OversizedBody" }], reason: "ResponseTooLarge", tries: 1 },
  { name: "a redirect", faults: [{ _tag: "Redirect", location: "/elsewhere" }], reason: "Status", tries: 1 },
  ...["{}", "[]", "null", "{\"agentRuntimeId\":\"a\"}", "{\"agent_runtime_id\":\"\"}", "{\"agent_runtime_id\":7}"].map((
    body
  ) => ({ name: body, faults: [status(200, undefined, body)], reason: "InvalidResponse" as const, tries: 1 })),
  ...["a:b", "..", " ", "a\\u0000", "a".repeat(257)].map((id) => ({
    name: `an agent runtime id that is not allowed (${id.slice(0, 8)})`,
    faults: [status(200, undefined, `{"agent_runtime_id":"${id}"}`)],
    reason: "InvalidResponse" as const,
    tries: 1
  })),
  { name: "201 in text/plain", faults: [status(201, undefined, "{\"agent_runtime_id\":\"a\",\"more\":1}")], tries: 1 }
]

for (const [transport, layer] of transports) {
  describe(`AgentRegistration over ${transport}`, () => {
    for (const { faults, name, reason, takes, tries } of cases) {
      it.effect(`${name}: ${reason ?? "an agent"} after ${tries} ${tries === 1 ? "try" : "tries"}`, () =>
        Effect.gen(function*() {
          const server = yield* ScriptedAuthApi
          for (const fault of faults) yield* server.script(fault)
          const start = yield* Clock.currentTimeMillis
          const result = yield* Effect.either(driven(register()))
          const took = (yield* Clock.currentTimeMillis) - start

          const requests = yield* server.requests
          assert.strictEqual(requests.length, tries)
          // The same key at every attempt, and the same everything.
          assert.strictEqual(new Set(requests.map(({ body }) => body)).size, 1)
          if (takes !== undefined) assert.isTrue(took >= takes[0] && took <= takes[1], `took ${took} ms`)
          if (Either.isRight(result)) return assert.strictEqual(reason, undefined)
          assert.strictEqual(result.left.reason, reason)
          assert.strictEqual(result.left.attempts, tries)
          assert.strictEqual(
            result.left.retryable,
            ["Transport", "Timeout", "Throttled"].includes(result.left.reason) || result.left.status === 503
          )
        }).pipe(Effect.provide(over(layer))))
    }

    it.effect("sends the bearer, and a body of five members", () =>
      Effect.gen(function*() {
        const server = yield* ScriptedAuthApi
        yield* driven(register())
        const [sent] = yield* server.requests
        assert.strictEqual(`${sent?.method} ${sent?.url}`, "POST /api/accounts/v1/agent/register")
        assert.strictEqual(sent?.headers.authorization, `Bearer ${Scripted.bearerToken}`)
        assert.strictEqual(sent?.headers["content-type"], "application/json")
        assert.notProperty(sent?.headers, "x-openai-fedramp")
        assert.deepStrictEqual(JSON.parse(sent?.body ?? ""), {
          abom: { agent_version: "1.2.3", agent_harness_id: "codex-cli", running_location: "cli-linux" },
          agent_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs",
          capabilities: ["responsesapi"],
          ttl: null
        })
      }).pipe(Effect.provide(over(layer))))
  })
}

describe("AgentRegistration", () => {
  it.effect("says FedRAMP, capabilities and ttl where it is told to", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* driven(register({ fedramp: true, capabilities: ["a", "b"], ttl: 3600 }))
      const [sent] = yield* server.requests
      assert.strictEqual(sent?.headers["x-openai-fedramp"], "true")
      const { capabilities, ttl } = JSON.parse(sent?.body ?? "")
      assert.deepStrictEqual({ capabilities, ttl }, { capabilities: ["a", "b"], ttl: 3600 })
    }).pipe(Effect.provide(undici)))

  for (const token of ["", " ", "a b", "a\nb", "ä"]) {
    it.effect(`sends nothing with a token that is no header value: ${JSON.stringify(token)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(register({ token: Redacted.make(token) }))
        assert.strictEqual(error.reason, "InvalidToken")
        assert.deepStrictEqual(yield* Effect.flatMap(ScriptedAuthApi, (_) => _.requests), [])
      }).pipe(Effect.provide(undici)))
  }

  it.effect("quotes an answer without the token that was sent", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* server.script(
        status(403, undefined, `the token ${Scripted.bearerToken} of ${AgentKey.toSshPublicKey(publicKey)} is refused`)
      )
      const error = yield* Effect.flip(driven(register()))
      assert.include(error.body, "the token <redacted> of ssh-ed25519")
      assert.match(
        error.message,
        /^No agent from http:\/\/127\.0\.0\.1:\d+\/api\/accounts\/v1\/agent\/register \(1 attempt\): status 403; see that the bearer token is a present one, and of somebody who may register agents: the token/
      )
      assertClean("an error", shown(error), [Scripted.bearerToken])
    }).pipe(Effect.provide(undici)))

  it.effect("ends when its caller is interrupted", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      yield* server.script(late)
      const fiber = yield* Effect.fork(register())
      while ((yield* server.requests).length === 0) yield* Effect.promise(() => new Promise((_) => setTimeout(_, 5)))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual((yield* server.requests).length, 1)
    }).pipe(Effect.provide(undici)))
})

describe("AgentRegistration.billOfMaterials", () => {
  const rows: ReadonlyArray<readonly [source: string, platform: string, harness: string, location: string]> = [
    ["cli", "linux", "codex-cli", "cli-linux"],
    ["cli", "darwin", "codex-cli", "cli-macos"],
    ["vscode", "win32", "codex-app", "vscode-windows"],
    ["exec", "freebsd", "codex-cli", "exec-freebsd"],
    ["mcp", "sunos", "codex-cli", "mcp-solaris"],
    ["subagent_review", "linux", "codex-cli", "subagent_review-linux"],
    ["my-app", "linux", "codex-cli", "my-app-linux"]
  ]
  for (const [sessionSource, platform, agentHarnessId, runningLocation] of rows) {
    it(`${sessionSource} on ${platform} is ${agentHarnessId} at ${runningLocation}`, () => {
      assert.deepStrictEqual(
        AgentRegistration.billOfMaterials({ agentVersion: "1", sessionSource, platform }),
        { agentVersion: "1", agentHarnessId, runningLocation }
      )
    })
  }
})
