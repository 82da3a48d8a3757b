/**
 * A task that the backend forgets while it streams: the app gives each event of the stream to `recover`, and asks again
 * where the run has another task.
 */
import { AgentIdentity, ProviderAuth, Run, TaskId, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier } from "@agent-identity/server"
import { Sse } from "@effect/experimental"
import { HttpClient, HttpLayerRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Option, Stream } from "effect"
import { makeAgent, makeBackend } from "./backend.ts"

const event = (value: object) => `data: ${JSON.stringify(value)}\n\n`

/** It accepts every request, and says in the stream what is wrong with its task. */
const Model = HttpLayerRouter.add(
  "GET",
  "/backend-api/codex/events",
  Effect.gen(function*() {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const last = yield* Effect.match(verify(headers.authorization), {
      onFailure: () => ({ type: "response.failed", response: { error: { code: "task_expired" } } }),
      onSuccess: ({ agentRuntimeId }) => ({ type: "response.completed", text: `Hello, ${agentRuntimeId}` })
    })
    return HttpServerResponse.text(event({ type: "response.created" }) + event(last), {
      contentType: "text/event-stream"
    })
  })
)

const Process = NodeHttpClient.layerUndici.pipe(
  Layer.merge(makeBackend((line) => Console.log(`  server  ${line}`), Model)),
  Layer.provideMerge(NodeSigning.layer)
)

const ResumedRun = Run.layerWith(Layer.unwrapEffect(Effect.map(makeAgent("agent-demo"), AgentIdentity.layer)), {
  taskId: TaskId.TaskId.make("task-of-yesterday")
})

/** Prints the events, up to one that gave the run another task. True if there was one. */
const ask = Effect.gen(function*() {
  const { recover } = yield* ProviderAuth.ProviderAuth
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/events`)
  const recovered = yield* response.stream.pipe(
    Stream.decodeText(),
    Stream.pipeThroughChannel(Sse.makeChannel()),
    Stream.tap(({ data }) => Console.log(`  app     ${data}`)),
    Stream.mapEffect(({ data }) => recover(response, data)),
    Stream.filter((isRecovered) => isRecovered),
    Stream.runHead
  )
  return Option.isSome(recovered)
})

const program = Effect.gen(function*() {
  if (yield* ask) yield* ask
})

program.pipe(Effect.provide(Layer.provideMerge(ResumedRun, Process)), NodeRuntime.runMain())
