/** Two agents in one app: what a service sends is sent by the agent that it is built over. */
import { AssertionHeader, Run } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Either, Layer } from "effect"

/** A client of the provider, whose answer is the name of the agent that has asked. */
class Api extends Context.Tag("Api")<Api, { readonly whoAmI: Effect.Effect<string, unknown> }>() {}

const makeApi = Effect.map(HttpClient.HttpClient, (client) => ({
  whoAmI: Effect.flatMap(client.get(Fakes.providerBase), (response) => response.text)
}))

class Planner extends Effect.Service<Planner>()("Planner", { effect: Effect.map(Api, ({ whoAmI }) => ({ whoAmI })) }) {}
class Writer extends Effect.Service<Writer>()("Writer", { effect: Effect.map(Api, ({ whoAmI }) => ({ whoAmI })) }) {}

/** A function, so that there is one for each agent: a constant is built once, for the agent that reaches it first. */
const apiOf = (agent: Layer.Layer<HttpClient.HttpClient>) => Layer.provide(Layer.effect(Api, makeApi), agent)

const App = (one: Layer.Layer<HttpClient.HttpClient>, other: Layer.Layer<HttpClient.HttpClient>) =>
  Layer.merge(
    Layer.provide(Planner.Default, apiOf(one)),
    Layer.provide(Writer.Default, apiOf(other))
  )

const agent = (agentRuntimeId: string) =>
  Run.layerWith(Layer.provide(Fakes.layerAgentIdentityWith({ agentRuntimeId }), Fakes.layerSigning), {
    registration: Fakes.layerTaskRegistration
  }).pipe(Layer.provide([Provider, Fakes.layerUrlDerivation]), Layer.orDie)

const Provider = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) => {
    const { agentRuntimeId } = Either.getOrThrow(AssertionHeader.decode(request.headers.authorization!))
    return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(agentRuntimeId)))
  })
)

it.effect("each service asks as its own agent", () =>
  Effect.gen(function*() {
    assert.strictEqual(yield* (yield* Planner).whoAmI, "agent-a")
    assert.strictEqual(yield* (yield* Writer).whoAmI, "agent-b")
  }).pipe(Effect.provide(App(agent("agent-a"), agent("agent-b")))))
