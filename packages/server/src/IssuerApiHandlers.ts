/**
 * The handlers of a token issuer's key set and discovery document.
 *
 * @since 0.1.0
 */
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as AgentIdentityIssuer from "./AgentIdentityIssuer.ts"
import * as IssuerApi from "./IssuerApi.ts"

/**
 * Serves the keys that the issuer has at the time of the request. Answers may be cached for 300 seconds: a cache in
 * front of the server delays by as much when its clients see a new key.
 *
 * @example
 * import { AgentIdentityIssuer, IssuerApi, IssuerApiHandlers } from "@agent-identity/server"
 * import { HttpLayerRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const Routes = HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(
 *   Layer.provide(IssuerApiHandlers.layer),
 *   Layer.provide(AgentIdentityIssuer.layer),
 *   Layer.provide(HttpServer.layerContext)
 * )
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(Routes, { disableLogger: true })
 * const response = await handler(new Request(`http://localhost${IssuerApi.jwksPath}`))
 * assert.deepStrictEqual((await response.json()).keys[0].kty, "RSA")
 * await dispose()
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  HttpApiGroup.ApiGroup<"IssuerApi", "issuer">,
  never,
  AgentIdentityIssuer.AgentIdentityIssuer
> = HttpApiBuilder.group(
  IssuerApi.IssuerApi,
  "issuer",
  (handlers) =>
    Effect.map(AgentIdentityIssuer.AgentIdentityIssuer, ({ issuer, jwks }) => {
      const keySet = () => Effect.zipRight(cacheable, jwks)
      const discovery = { issuer, jwks_uri: new URL(IssuerApi.jwksPath, issuer).href }
      return handlers
        .handle("jwks", keySet)
        .handle("plainJwks", keySet)
        .handle("discovery", () => Effect.as(cacheable, discovery))
    })
)

const cacheable = HttpApp.appendPreResponseHandler((_request, response) =>
  Effect.succeed(HttpServerResponse.setHeader(response, "cache-control", "public, max-age=300"))
)
