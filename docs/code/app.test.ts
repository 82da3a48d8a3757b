/** The planner over fakes: no network, no key, no AuthAPI. */
import { ProviderAuth } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Planner } from "./app.ts"

/** Answers with the scheme of the `Authorization` that it was sent. */
const Provider = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) =>
    Effect.succeed(HttpClientResponse.fromWeb(request, new Response(request.headers.authorization?.split(" ")[0])))
  )
)

const Signed = Layer.provide(ProviderAuth.layerHttpClient(Fakes.layerProviderAuth), Provider)

it.effect("the planner asks as an agent", () =>
  Effect.gen(function*() {
    const planner = yield* Planner
    assert.strictEqual(yield* planner.whoAmI, "AgentAssertion")
  }).pipe(Effect.provide(Planner.Default.pipe(Layer.provide(Signed), Layer.provide(Fakes.layer)))))
