/**
 * What every route of a server has: an id for each request, and errors of one form.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"

/**
 * Answers with a header `x-request-id`, and logs with it: the one that the request came with, if it is 1 to 128 visible
 * ASCII characters, or a new one.
 *
 * @since 0.1.0
 * @category middleware
 */
export const requestId = <E, R>(
  app: HttpApp.Default<E, R>
): HttpApp.Default<E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
    const given = headers["x-request-id"]
    const id = given !== undefined && /^[\x21-\x7e]{1,128}$/.test(given) ? given : globalThis.crypto.randomUUID()
    return HttpApp.appendPreResponseHandler((_request, response) =>
      Effect.succeed(HttpServerResponse.setHeader(response, "x-request-id", id))
    ).pipe(
      Effect.zipRight(app),
      Effect.annotateLogs("requestId", id)
    )
  })

/**
 * Answers a request for which there is no route as every other error is answered: `{"error": {"code": …, "message": …}}`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNotFound: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = HttpLayerRouter.middleware(
  // No route for every path: it would win over HEAD of a GET, and a router asks no route for a path it cannot decode.
  (app) =>
    Effect.catchIf(
      app,
      (error) => Predicate.isTagged(error, "RouteNotFound"),
      () =>
        Effect.succeed(HttpServerResponse.unsafeJson(
          { error: { code: "not_found", message: "There is nothing at this path for this method." } },
          { status: 404 }
        ))
    ),
  { global: true }
)
