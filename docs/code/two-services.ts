/** Compose first, provide once: both services get the client of one run, and its task. */
import { NodeAgentIdentity } from "@agent-identity/node"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { Planner, Writer } from "./app.ts"

const App = Layer.merge(Planner.Default, Writer.Default).pipe(
  Layer.provide(NodeAgentIdentity.layerConfig)
)

const program = Effect.gen(function*() {
  yield* Console.log("planner", yield* Effect.flatMap(Planner, (_) => _.whoAmI))
  yield* Console.log("writer ", yield* Effect.flatMap(Writer, (_) => _.whoAmI))
})

program.pipe(Effect.provide(App), NodeRuntime.runMain())
