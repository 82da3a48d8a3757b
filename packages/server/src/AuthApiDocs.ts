/**
 * The OpenAPI document of the AuthAPI and the token issuer, and a page to browse it. Everything that the page needs is in
 * it, so it works without the internet; it is large, so the package's index does not import this module.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiSwagger from "@effect/platform/HttpApiSwagger"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AuthApi from "./AuthApi.ts"
import * as IssuerApi from "./IssuerApi.ts"

/**
 * What is documented: every group of both.
 *
 * @since 0.1.0
 * @category api
 */
export class DocumentedApi extends HttpApi.make("AgentIdentity")
  .addHttpApi(AuthApi.AuthApi)
  .addHttpApi(IssuerApi.IssuerApi)
  .annotate(OpenApi.Title, "Agent identity")
  .annotate(
    OpenApi.Description,
    "The AuthAPI, where agents and their tasks are registered, and the token issuer's keys."
  )
  .annotate(OpenApi.Version, "0.1.0")
{}

/**
 * `GET /openapi.json`, and the page at `GET /docs`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = Layer.mergeAll(
  HttpLayerRouter.use((router) =>
    router.add("GET", "/openapi.json", Effect.orDie(HttpServerResponse.json(OpenApi.fromApi(DocumentedApi))))
  ),
  HttpApiSwagger.layerHttpLayerRouter({ api: DocumentedApi, path: "/docs" })
)
