import { AgentAssertion, AgentIdentity, AssertionHeader, RunTask, TaskId, TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentAuthentication, AgentDirectory } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { HttpClient, HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Redacted } from "effect"
import { layerServer } from "./utils.ts"

const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-1" })

/** A run whose tasks come straight from the server's directory. */
const Registration = Layer.effect(
  TaskRegistration.TaskRegistration,
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
    return {
      register: () =>
        Effect.orDie(
          Effect.map(directory.issueTask(agentRuntimeId), ({ taskId }) => ({ taskId, registeredAt: undefined }))
        )
    }
  })
).pipe(Layer.provide(Agent))

const Task = RunTask.layer(Layer.merge(Agent, Registration))
const Assertion = AgentAssertion.layer(Layer.merge(Agent, Task))

const over = (directory?: Layer.Layer<AgentDirectory.AgentDirectory>) =>
  Assertion.pipe(
    Layer.provideMerge(layerServer(directory)),
    Layer.provide(NodeSigning.layer)
  )

const whoami = (authorization: string | undefined) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* client.get("/whoami", {
      headers: authorization === undefined ? {} : { authorization }
    })
    return { status: response.status, body: yield* response.json }
  })

const header = Effect.flatMap(
  AgentAssertion.AgentAssertion,
  (_) => Effect.map(_.current, ({ header }) => Redacted.value(header))
)

describe("AgentAuthentication", () => {
  it.effect("tells a handler which agent and which task called", () =>
    Effect.gen(function*() {
      const assertion = yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
      assert.deepStrictEqual(yield* whoami(Redacted.value(assertion.header)), {
        status: 200,
        body: { agent: "agent-1", task: assertion.taskId, timestamp: "1970-01-01T00:00:00Z" }
      })
    }).pipe(Effect.provide(over())))

  const refused: ReadonlyArray<readonly [what: string, change: (header: string) => string | undefined, code: string]> =
    [
      ["no header", () => undefined, "missing_assertion"],
      ["a bearer", () => "Bearer abc", "invalid_assertion"],
      ["the token alone", (header) => header.slice("AgentAssertion ".length), "invalid_assertion"],
      ["a token that is cut", (header) => header.slice(0, -4), "invalid_assertion"]
    ]
  for (const [what, change, code] of refused) {
    it.effect(`answers ${what} with 401 ${code}`, () =>
      Effect.gen(function*() {
        const { body, status } = yield* whoami(change(yield* header))
        assert.strictEqual(status, 401)
        assert.deepNestedInclude(body, { "error.code": code })
      }).pipe(Effect.provide(over())))
  }

  it.effect("answers a task that is not known with a code that asks for a new one", () =>
    Effect.gen(function*() {
      const decoded = Either.getOrThrow(AssertionHeader.decode(yield* header))
      const forged = yield* whoami(AssertionHeader.encode({ ...decoded, taskId: TaskId.TaskId.make("task-x") }))
      assert.deepNestedInclude(forged.body, { "error.code": "invalid_assertion" })
      const other = yield* Effect.provide(
        header,
        AgentAssertion.layer(Layer.provideMerge(
          Layer.scoped(
            RunTask.RunTask,
            RunTask.make({ taskId: TaskId.TaskId.make("task-x"), registeredAt: undefined })
          ),
          Layer.merge(Agent, Registration)
        )).pipe(Layer.provide(NodeSigning.layer))
      )
      assert.deepNestedInclude((yield* whoami(other)).body, { "error.code": "task_not_found" })
    }).pipe(Effect.provide(over())))

  it.effect("challenges whom it refuses, with the code", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      for (
        const [authorization, code] of [[undefined, "missing_assertion"], ["Bearer abc", "invalid_assertion"]] as const
      ) {
        const response = yield* client.get("/whoami", { headers: authorization === undefined ? {} : { authorization } })
        assert.strictEqual(response.headers["www-authenticate"], `AgentAssertion error="${code}"`)
      }
      const accepted = yield* client.get("/whoami", { headers: { authorization: yield* header } })
      assert.strictEqual(accepted.status, 200)
      assert.notProperty(accepted.headers, "www-authenticate")
    }).pipe(Effect.provide(over())))

  it.effect("answers 503 while the directory is unavailable", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.get("/whoami", { headers: { authorization: yield* header } })
      assert.strictEqual(response.status, 503)
      assert.strictEqual(response.headers["retry-after"], "2")
      assert.deepNestedInclude(yield* response.json, { "error.code": "directory_unavailable" })
    }).pipe(Effect.provide(over(Layer.succeed(AgentDirectory.AgentDirectory, {
      ...AgentDirectory.makeMemory(),
      findTask: () => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })
    })))))
})

describe("AgentAuthentication.middleware", () => {
  const router = HttpRouter.empty.pipe(
    HttpRouter.get(
      "/whoami",
      Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId }) => HttpServerResponse.text(agentRuntimeId))
    ),
    HttpRouter.use(AgentAuthentication.middleware)
  )
  const layerRouter = (directory?: Layer.Layer<AgentDirectory.AgentDirectory>) =>
    Assertion.pipe(
      Layer.provideMerge(HttpServer.serve(router)),
      Layer.provide(AgentAssertionVerifier.layer),
      Layer.provide(directory ?? AgentDirectory.layerMemory),
      Layer.provideMerge(NodeHttpServer.layerTest),
      Layer.provide(NodeSigning.layer)
    )
  const ask = (authorization?: string) =>
    Effect.flatMap(
      HttpClient.HttpClient,
      (client) => client.get("/whoami", { headers: authorization === undefined ? {} : { authorization } })
    )

  it.effect("tells a plain route who called", () => {
    const directory = AgentDirectory.makeMemory()
    return Effect.gen(function*() {
      const response = yield* ask(yield* header)
      assert.strictEqual(yield* response.text, "agent-1")
    }).pipe(Effect.provide(layerRouter(Layer.succeed(AgentDirectory.AgentDirectory, directory))))
  })

  it.effect("answers everybody else like the middleware of an HttpApi", () =>
    Effect.gen(function*() {
      const missing = yield* ask()
      assert.strictEqual(missing.status, 401)
      assert.strictEqual(missing.headers["www-authenticate"], "AgentAssertion error=\"missing_assertion\"")
      assert.deepNestedInclude(yield* missing.json, { "error.code": "missing_assertion" })
      assert.strictEqual((yield* ask("AgentAssertion abc")).status, 401)
    }).pipe(Effect.provide(layerRouter())))

  it.effect("answers 503 while the directory is unavailable", () =>
    Effect.gen(function*() {
      const response = yield* ask(yield* header)
      assert.strictEqual(response.status, 503)
      assert.strictEqual(response.headers["retry-after"], "2")
      assert.deepNestedInclude(yield* response.json, { "error.code": "directory_unavailable" })
    }).pipe(Effect.provide(layerRouter(Layer.succeed(AgentDirectory.AgentDirectory, {
      ...AgentDirectory.makeMemory(),
      findAgent: () => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })
    })))))
})
