/** Two services of one app. They know an `HttpClient`, and nothing of agents, keys and tasks. */
import { UrlDerivation } from "@agent-identity/core"
import { HttpClient } from "@effect/platform"
import { Effect } from "effect"

const makeAsk = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const { environment } = yield* UrlDerivation.UrlDerivation
  const ask = client.get(`${environment.providers[0]}/models`)
  return { whoAmI: Effect.flatMap(ask, (response) => response.text) }
})

export class Planner extends Effect.Service<Planner>()("Planner", { effect: makeAsk }) {}
export class Writer extends Effect.Service<Writer>()("Writer", { effect: makeAsk }) {}
