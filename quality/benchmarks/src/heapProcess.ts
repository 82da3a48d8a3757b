/** Makes headers in a process of its own, started by the group heap, and prints the heap as it goes. */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import process from "node:process"
import * as Agent from "./agent.ts"
import * as Harness from "./harness.ts"

/** What is still in use, buffers included. */
const used = () => {
  for (let time = 0; time < 3; time++) globalThis.gc!()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

const [kind, headers] = [process.argv[2], Number(process.argv[3])]

const program = Effect.gen(function*() {
  const { current } = Context.get(yield* Layer.build(Agent.layerRun(NodeSigning.layer)), AgentAssertion.AgentAssertion)
  const clock = Agent.makeMovingClock()
  const loop = Harness.inFiber(() => current)
  const make = (times: number) => kind === "fresh" ? Effect.withClock(loop(times), clock) : loop(times)
  // A tenth of them first: by then all that is made once has been made.
  yield* make(headers / 10)
  const before = used()
  yield* make(headers)
  process.stdout.write(JSON.stringify({ before, after: used() }))
})

await Effect.runPromise(Effect.scoped(program))
