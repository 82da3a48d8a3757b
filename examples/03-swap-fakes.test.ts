/** Your own tests: the app's code over fakes, with no network and no cryptography. */
import { AgentAssertion, ProviderAuth, RunAuth, RunTask } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"

/** The code under test. */
const listModels = Effect.flatMap(
  HttpClient.get(`${Fakes.providerBase}/models`),
  (response) => response.json
)

/** A provider that answers with the header that it was sent. */
const Provider = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) =>
    Effect.succeed(HttpClientResponse.fromWeb(request, Response.json(request.headers.authorization ?? null)))
  )
)

const signedBy = (auth: Layer.Layer<ProviderAuth.ProviderAuth>) =>
  Layer.provide(ProviderAuth.layerHttpClient(auth), Provider)

it.effect("the request is signed for the run's task", () =>
  Effect.gen(function*() {
    assert.match(String(yield* listModels), /^AgentAssertion /)
  }).pipe(Effect.provide(signedBy(Fakes.layerProviderAuth))))

/** One fake swapped: a run that is over, under the real services. */
const Assertion = AgentAssertion.layer(Layer.merge(Fakes.layerRunTaskClosed, Fakes.layerAgentIdentity))
const Closed = ProviderAuth.layer(RunAuth.layer(Layer.merge(Assertion, Fakes.layerRunTaskClosed))).pipe(
  Layer.provide(Fakes.layerUrlDerivation)
)

it.effect("the request fails once the run is over, and is never sent unsigned", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(listModels)
    assert.include(error.message, "its scope is closed")
  }).pipe(Effect.provide(signedBy(Closed))))

it.effect("a renewed task is the next one", () =>
  Effect.gen(function*() {
    const run = yield* RunTask.RunTask
    assert.strictEqual(yield* run.renew(yield* run.current), "task-2")
  }).pipe(Effect.provide(Fakes.layer)))
