import { AgentIdentity, TaskId, TaskRegistration, Timestamp, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory, AuthApi } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { HttpApiClient, HttpBody, HttpClient, HttpServer } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Layer, Option, TestClock } from "effect"
import { layerServer } from "./utils.ts"

const Server = (agentRuntimeId: string, directory?: Layer.Layer<AgentDirectory.AgentDirectory>) =>
  RegisteredAgent.layer({ agentRuntimeId }).pipe(
    Layer.provideMerge(layerServer(directory)),
    Layer.provideMerge(NodeSigning.layer)
  )

const signedBody = (millis?: number) =>
  Effect.gen(function*() {
    const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
    const timestamp = Timestamp.format(millis ?? (yield* Clock.currentTimeMillis))!
    return yield* TaskRegistration.requestBody(signer, agentRuntimeId, timestamp)
  })

const post = (agentRuntimeId: string, body: unknown) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* client.post(
      `/api/accounts/v1/agent/${encodeURIComponent(agentRuntimeId)}/task/register`,
      { body: HttpBody.unsafeJson(body) }
    )
    return { status: response.status, body: (yield* response.json) as never as Record<string, unknown> }
  })

describe("the AuthAPI", () => {
  it.effect("gives two byte-identical registrations two tasks, both of the agent", () =>
    Effect.gen(function*() {
      const body = yield* signedBody()
      const answers = yield* Effect.all([post("agent-1", body), post("agent-1", body)])
      assert.deepStrictEqual(answers.map((_) => _.status), [200, 200])
      const ids = answers.map((_) => TaskId.TaskId.make(_.body.task_id as string))
      assert.notStrictEqual(ids[0], ids[1])
      const directory = yield* AgentDirectory.AgentDirectory
      for (const id of ids) {
        assert.strictEqual(Option.getOrThrow(yield* directory.findTask(id)).agentRuntimeId, "agent-1")
      }
    }).pipe(Effect.provide(Server("agent-1"))))

  for (
    const id of [
      "a/b",
      "a b",
      "a?b#c",
      "日本語",
      "%2F",
      "a%b",
      "...",
      "a".repeat(256),
      "日".repeat(256),
      "/".repeat(256)
    ]
  ) {
    it.effect(`knows the agent ${id.slice(0, 8)} (${id.length}) by its escaped id`, () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* post(id, yield* signedBody())).status, 200)
      }).pipe(Effect.provide(Server(id))))
  }

  const refusals: ReadonlyArray<
    readonly [
      what: string,
      agent: string,
      body: Effect.Effect<unknown, unknown, AgentIdentity.AgentIdentity>,
      status: number,
      code: string
    ]
  > = [
    ["an unknown agent", "agent-2", signedBody(), 401, "invalid_registration"],
    ["an id that is none", "a:b", signedBody(), 401, "invalid_registration"],
    [
      "another signature",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: `${"A".repeat(86)}==` })),
      401,
      "invalid_registration"
    ],
    [
      "a signature that is none",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: "%" })),
      401,
      "invalid_registration"
    ],
    [
      "a signature in a second spelling",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: `${_.signature}\n` })),
      401,
      "invalid_registration"
    ],
    ["a registration of 301 s ago", "agent-1", signedBody(0), 401, "stale_registration"],
    [
      "another form of time",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, timestamp: "now" })),
      401,
      "stale_registration"
    ]
  ]
  for (const [what, agent, body, status, code] of refusals) {
    it.effect(`refuses ${what} with ${status} ${code}`, () =>
      Effect.gen(function*() {
        yield* TestClock.adjust("301 seconds")
        const answer = yield* post(agent, yield* body)
        assert.strictEqual(answer.status, status)
        assert.deepNestedInclude(answer.body, { "error.code": code })
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  for (const body of [{}, { timestamp: "x" }, { timestamp: 1, signature: "x" }, [], null, "x"]) {
    it.effect(`refuses the body ${JSON.stringify(body)} with 400`, () =>
      Effect.gen(function*() {
        const answer = yield* post("agent-1", body)
        assert.strictEqual(answer.status, 400)
        assert.deepNestedInclude(answer.body, { "error.code": "invalid_request" })
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  const large: ReadonlyArray<readonly [what: string, padding: string]> = [
    ["more than 1 KiB", "x".repeat(1024)],
    ["a deep one", "[".repeat(10_000)],
    ["50 MiB", "x".repeat(50 * 1024 * 1024)]
  ]
  for (const [what, padding] of large) {
    it.effect(`refuses a body of ${what} without reading on`, () =>
      Effect.gen(function*() {
        const before = process.memoryUsage().rss
        // The server may hang up on a client that goes on sending.
        const outcome = yield* Effect.either(post("agent-1", { ...(yield* signedBody()), padding }))
        if (Either.isRight(outcome)) assert.strictEqual(outcome.right.status, 400)
        assert.isBelow(process.memoryUsage().rss - before, 400 * 1024 * 1024)
        assert.strictEqual((yield* post("agent-1", yield* signedBody())).status, 200)
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  it.effect("tells paths that differ in case apart", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post("/API/Accounts/v1/agent/agent-1/task/register", {
        body: HttpBody.unsafeJson(yield* signedBody())
      })
      assert.strictEqual(response.status, 404)
    }).pipe(Effect.provide(Server("agent-1"))))

  it.effect("answers 503 while its directory is unavailable", () =>
    Effect.gen(function*() {
      const answer = yield* post("agent-1", yield* signedBody())
      assert.deepStrictEqual(answer, { status: 503, body: { ...AuthApi.unavailable } })
    }).pipe(Effect.provide(Server(
      "agent-1",
      Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        issueTask: () => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })
      })
    ))))

  it.effect("is understood by the client of its own contract and by ours alike", () =>
    Effect.gen(function*() {
      const contract = yield* HttpApiClient.make(AuthApi.AuthApi)
      const derived = yield* contract.agent.registerTask({
        path: { agent_runtime_id: "agent-1" },
        payload: yield* signedBody()
      })
      assert.match("task_id" in derived ? derived.task_id : "", /^task-/)

      const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
      const ours = yield* Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none())).pipe(
        Effect.provide(Layer.provide(TaskRegistration.layer, NodeHttpClient.layerUndici)),
        Effect.provide(UrlDerivation.layerCustom({
          authApi: `${origin.replace("0.0.0.0", "127.0.0.1")}/api/accounts`,
          jwksBase: `${origin.replace("0.0.0.0", "127.0.0.1")}/backend-api`,
          providers: [],
          loopbackHttp: true
        }))
      )
      assert.match(ours.taskId, /^task-/)
    }).pipe(Effect.provide(Server("agent-1"))))
})
