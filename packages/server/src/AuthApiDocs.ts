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
import * as Record from "effect/Record"
import * as Struct from "effect/Struct"
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
  .annotate(OpenApi.Transform, (document) => complete(document as OpenApi.OpenAPISpec))
{}

/**
 * `GET /openapi.json`, and the page at `GET /docs`.
 *
 * @example
 * import * as AuthApiDocs from "@agent-identity/server/AuthApiDocs"
 * import { HttpLayerRouter } from "@effect/platform"
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(AuthApiDocs.layer, { disableLogger: true })
 *
 * const response = await handler(new Request("http://localhost/openapi.json"))
 * assert.deepStrictEqual((await response.json()).info.title, "Agent identity")
 * await dispose()
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

/**
 * Says which operations want a bearer; and takes out the errors of decoding, which an HttpApi documents everywhere: ids
 * are any text and the handlers read bodies by themselves, so that nobody is answered so.
 */
const complete = (document: OpenApi.OpenAPISpec): OpenApi.OpenAPISpec => ({
  ...document,
  components: {
    schemas: Struct.omit(document.components.schemas, "HttpApiDecodeError", "Issue", "PropertyKey"),
    securitySchemes: { bearer: { type: "http", scheme: "bearer" } }
  },
  paths: Record.map(document.paths, (methods) => Record.map(methods as Operations, completeOperation))
})

type Operations = globalThis.Record<string, OpenApi.OpenAPISpecOperation>

const completeOperation = (operation: OpenApi.OpenAPISpecOperation): OpenApi.OpenAPISpecOperation => ({
  ...operation,
  responses: {
    ...Struct.omit(operation.responses, 400),
    ...(operation.requestBody === undefined ? undefined : { 400: badRequest })
  },
  security: bearerOperations.includes(operation.operationId) ? [{ bearer: [] }] : []
})

const bearerOperations = ["agent.registerAgent", "agent.deleteAgent"]

const badRequest: OpenApi.OpenApiSpecResponse = {
  description: "BadRequest",
  content: { "application/json": { schema: { $ref: "#/components/schemas/BadRequest" } } }
}
