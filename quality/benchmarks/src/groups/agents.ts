/** What a verifier costs by how many agents send to it, each of them in turn, and no header twice. */
import * as Effect from "effect/Effect"
import * as Harness from "../harness.ts"
import * as Verifying from "../verifying.ts"

/** With the keys that a verifier keeps: 10,000 unless it is told otherwise. */
export const AGENTS = [
  { agents: 1, keyCapacity: 10_000 },
  { agents: 1_000, keyCapacity: 10_000 },
  { agents: 4_000, keyCapacity: 10_000 },
  { agents: 20_000, keyCapacity: 10_000 },
  { agents: 20_000, keyCapacity: 40_000 }
]

const make = Effect.forEach(AGENTS, ({ agents, keyCapacity }) =>
  Effect.gen(function*() {
    const { headers, verifier } = yield* Verifying.makeAgents(agents)
    // That it remembers no assertion makes each one new.
    const { verify } = yield* verifier({ capacity: 0, keyCapacity })
    // Each key is met for the first time once, and that is no part of the curve.
    if (agents < keyCapacity) yield* Effect.forEach(headers, verify, { discard: true })
    const next = Verifying.cycle(headers)
    return {
      name: `${agents.toLocaleString("en")} agents, ${keyCapacity.toLocaleString("en")} keys kept`,
      loop: Harness.inFiber(() => verify(next()))
    }
  }))

export const agents: Harness.Group = {
  name: "agents",
  title: "A new header, by how many agents send, against one agent",
  cases: Effect.orDie(make)
}
