/** What a verifier costs by how many of its headers it has seen before. */
import * as Effect from "effect/Effect"
import * as Crypto from "node:crypto"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"
import * as Verifying from "../verifying.ts"

export const HIT_RATES = [0, 0.5, 0.9, 0.99, 1]

const make = Effect.gen(function*() {
  const { headers, payload, signature, verifier } = yield* Verifying.makeAgent
  const mixed = yield* Effect.forEach(HIT_RATES, (rate) =>
    Effect.map(verifier({}), ({ verify }) => {
      const next = Verifying.cycle(headers)
      let header = next()
      let hits = 0
      let count = 0
      // So many of them are the one before, evenly.
      return {
        name: `${rate * 100} % were seen before`,
        loop: Harness.inFiber(() => {
          count++
          if (hits < Math.floor(count * rate)) hits++
          else header = next()
          return verify(header)
        })
      }
    }))
  return [
    {
      name: "raw: node:crypto verify",
      loop: Harness.plain(() => Crypto.verify(null, payload, Agent.publicKey, signature))
    },
    ...mixed
  ]
})

export const hitRate: Harness.Group = {
  name: "hitRate",
  title: "From a header to a verified agent, by how many headers were seen before",
  cases: Effect.orDie(make)
}
