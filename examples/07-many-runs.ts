/** Many runs in one process: one token, one connection pool, and a task for each run. */
import { RunTask, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"

const work = (name: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const { environment } = yield* UrlDerivation.UrlDerivation
    const task = yield* (yield* RunTask.RunTask).current()
    const { status } = yield* client.get(`${environment.providers[0]}/models`)
    yield* Console.log(`${name}: ${status} with ${task}`)
  })

/** `Layer.fresh` says that it is another run; without it two runs of one build would share a task. */
const run = (name: string) => Effect.provide(work(name), Layer.fresh(NodeAgentIdentity.layerRun))

const program = Effect.all([run("first"), run("second"), run("third")], { concurrency: "unbounded" })

program.pipe(Effect.provide(NodeAgentIdentity.layerProcess), NodeRuntime.runMain())
