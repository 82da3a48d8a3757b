/**
 * An `HttpClient` that the AuthAPI's real handlers answer, without a socket between them.
 *
 * @since 0.1.0
 */
import type * as Signing from "@agent-identity/core/Signing"
import type * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as AuthApi from "@agent-identity/server/AuthApi"
import * as AuthApiHandlers from "@agent-identity/server/AuthApiHandlers"
import * as RegistrationBearer from "@agent-identity/server/RegistrationBearer"
import * as RegistrationLimits from "@agent-identity/server/RegistrationLimits"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fakes from "./Fakes.ts"

/**
 * The client, with an empty directory in memory and the URLs of `Fakes.layerUrlDerivation`. It answers registrations;
 * where nothing is served it answers 404.
 *
 * @example
 * import { Signing } from "@agent-identity/core"
 * import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
 * import { HttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const response = yield* HttpClient.get("https://authapi.test/api/accounts/health")
 *   assert.deepStrictEqual(yield* response.json, { status: "ok" })
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Layer.provide(SocketlessAuthApi.layer, Signing.layer)))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  HttpClient.HttpClient | AgentDirectory.AgentDirectory | UrlDerivation.UrlDerivation,
  never,
  Signing.Signing
> = Layer.unwrapScoped(Effect.gen(function*() {
  const router = yield* HttpLayerRouter.HttpRouter
  const handle = HttpApp.toWebHandlerRuntime(yield* Effect.runtime<never>())(router.asHttpEffect())
  return Layer.provide(
    FetchHttpClient.layer,
    Layer.succeed(FetchHttpClient.Fetch, (input, init) => handle(new Request(input, init)))
  )
})).pipe(
  Layer.provide(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layer),
      Layer.provide([RegistrationBearer.layerNone, RegistrationLimits.layerUnlimited])
    )
  ),
  Layer.provide([
    Layer.provide(HttpLayerRouter.layer, Layer.succeed(HttpLayerRouter.RouterConfig, AuthApi.routerConfig)),
    HttpServer.layerContext
  ]),
  Layer.provideMerge(Layer.merge(AgentDirectory.layerMemory, Fakes.layerUrlDerivation))
)
