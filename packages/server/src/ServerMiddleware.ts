/**
 * What every route of a server has: an id for each request, and errors of one form.
 *
 * @since 0.1.0
 */
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerRespondable from "@effect/platform/HttpServerRespondable"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"

/**
 * Answers with a header `x-request-id`, and logs with it: the one that the request came with, if it is 1 to 128 visible
 * ASCII characters, or a new one.
 *
 * @example
 * import { ServerMiddleware } from "@agent-identity/server"
 * import { HttpApp, HttpServerResponse } from "@effect/platform"
 * import { Effect } from "effect"
 *
 * const app = ServerMiddleware.requestId(Effect.succeed(HttpServerResponse.text("hello")))
 *
 * const request = new Request("http://localhost/", { headers: { "x-request-id": "request-1" } })
 * const response = await HttpApp.toWebHandler(app)(request)
 * assert.deepStrictEqual(response.headers.get("x-request-id"), "request-1")
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
 * Answers what no handler answers as every other error is answered, `{"error": {"code": …, "message": …}}`: a request for
 * which there is no route with 404, a handler that has a defect with 500. And keeps the process alive when a connection
 * breaks that asked for an upgrade, which nobody listens for in `@effect/platform-node` 0.108: anybody could end it.
 *
 * @example
 * import { ServerMiddleware } from "@agent-identity/server"
 * import { HttpLayerRouter } from "@effect/platform"
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(ServerMiddleware.layerErrors, { disableLogger: true })
 *
 * const response = await handler(new Request("http://localhost/nothing"))
 * assert.deepStrictEqual(response.status, 404)
 * assert.deepStrictEqual((await response.json()).error.code, "not_found")
 * await dispose()
 *
 * @since 0.1.0
 * @category layers
 */
export const layerErrors: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> = HttpLayerRouter.middleware(
  // No route for every path: it would win over HEAD of a GET, and a router asks no route for a path it cannot decode.
  (app) =>
    guardUpgrade(app).pipe(
      Effect.catchIf(
        (error) => Predicate.isTagged(error, "RouteNotFound"),
        () => Effect.succeed(respond(404, "not_found", "There is nothing at this path for this method."))
      ),
      Effect.catchAllDefect((defect) =>
        HttpServerResponse.isServerResponse(defect) || HttpServerRespondable.isRespondable(defect)
          ? Effect.die(defect)
          : Effect.as(
            Effect.logError("A handler has a defect", defect),
            respond(500, "internal_error", "The server has failed; try again.")
          )
      )
    ),
  { global: true }
)

/**
 * The last of these alone, for a server without an HttpLayerRouter.
 *
 * @since 0.1.0
 * @category middleware
 */
export const guardUpgrade = <E, R>(
  app: HttpApp.Default<E, R>
): HttpApp.Default<E, R | HttpServerRequest.HttpServerRequest> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers, source }) => {
    if (headers.upgrade !== undefined && Predicate.hasProperty(source, "socket")) {
      const socket = source.socket as EventEmitter | undefined
      // Once a connection: the header alone is no upgrade, and may come with any number of requests.
      if (socket?.listeners?.("error").includes(ignore) === false) socket.on?.("error", ignore)
    }
    return app
  })

const ignore = () => undefined

interface EventEmitter {
  readonly listeners?: (event: "error") => ReadonlyArray<unknown>
  readonly on?: (event: "error", listener: () => void) => unknown
}

const respond = (status: number, code: string, message: string) =>
  HttpServerResponse.unsafeJson({ error: { code, message } }, { status })
