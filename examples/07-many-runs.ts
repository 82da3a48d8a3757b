/** Many runs in one process: one token, one connection pool, and a task for each run. */
import { AgentIdentity, Run, RunTask, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"

const work = (name: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const { environment } = yield* UrlDerivation.UrlDerivation
    const task = yield* (yield* RunTask.RunTask).current
    const { status } = yield* client.get(`${environment.providers[0]}/models`)
    yield* Console.log(`${name}: ${status} with ${task}`)
  })

const program = Effect.gen(function*() {
  // Verified once, with its key imported once.
  const identity = Layer.succeed(AgentIdentity.AgentIdentity, yield* AgentIdentity.AgentIdentity)
  const run = (name: string) => Effect.provide(work(name), Run.layer(identity))
  yield* Effect.all([run("first"), run("second"), run("third")], { concurrency: "unbounded" })
})

program.pipe(Effect.provide(NodeAgentIdentity.layerProcessConfig), NodeRuntime.runMain())
