/**
 * A run goes on with a task that the backend has forgotten: a hundred requests at once are refused, the task is renewed
 * once for all of them, and each is sent once more.
 */
import { AgentIdentity, Run, TaskId, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { HttpBody, HttpClient } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { makeAgent, makeBackend } from "./backend.ts"

/** What the backend has answered. */
const answers: Array<string> = []
const count = (answer: string) => answers.filter((line) => line.endsWith(answer)).length

const Process = NodeHttpClient.layerUndici.pipe(
  Layer.merge(makeBackend((line) => Effect.sync(() => answers.push(line)))),
  Layer.provideMerge(NodeSigning.layer)
)

const ResumedRun = Run.layerWith(Layer.unwrapEffect(Effect.map(makeAgent("agent-demo"), AgentIdentity.layer)), {
  taskId: TaskId.TaskId.make("task-of-yesterday")
})

const program = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const { environment } = yield* UrlDerivation.UrlDerivation
  const ask = client.post(`${environment.providers[0]}/responses`, { body: HttpBody.unsafeJson({ input: "hello" }) })
  const responses = yield* Effect.all(Array.from({ length: 100 }, () => ask), { concurrency: "unbounded" })
  yield* Console.log(`requests: ${responses.length}`)
  yield* Console.log(`answered with 401: ${count("/responses -> 401")}`)
  yield* Console.log(`registrations: ${count("/task/register -> 200")}`)
  yield* Console.log(`successes: ${responses.filter(({ status }) => status === 200).length}`)
})

program.pipe(Effect.provide(Layer.provideMerge(ResumedRun, Process)), NodeRuntime.runMain())
