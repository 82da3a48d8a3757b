/**
 * A server on `node:http` that stays up: its routes are built before it listens, and at the end it answers what has begun
 * before anything that the routes need is let go.
 *
 * Needs `@effect/platform-node`, and is imported by its own name: `@agent-identity/server/NodeServer`.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import type * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServer from "@effect/platform/HttpServer"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Net from "node:net"

/**
 * Where a server listens, what it takes, and how it ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<E = never, R = never> {
  /** 0 for a free one. */
  readonly port: number
  /** `127.0.0.1` by default; `0.0.0.0` for every address of this machine. */
  readonly host?: string | undefined
  /**
   * Succeeds where requests can be answered; always, by default. `/readyz` asks it, once a second at most, and gives it 2
   * seconds. A failure is logged as a warning.
   */
  readonly ready?: Effect.Effect<unknown, E, R> | undefined
  /** How long the server goes on to listen after `/readyz` says that it ends; not at all by default. */
  readonly drainDelay?: Duration.DurationInput | undefined
  /** How long what has begun may take after that; 10 seconds by default. Then its connection is closed. */
  readonly drainTimeout?: Duration.DurationInput | undefined
  /** How many connections there may be at once; 10,000 by default. More are closed as they come. */
  readonly maxConnections?: number | undefined
  /** How many bytes of a body are read at most; 10 MiB by default. The AuthAPI reads less. */
  readonly maxBodyBytes?: number | undefined
  /** How long a whole request may take to arrive; 30 seconds by default. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** How long an idle connection is kept; 75 seconds by default, so that a balancer that keeps its for 60 closes first. */
  readonly keepAliveTimeout?: Duration.DurationInput | undefined
  /** How routes are matched; `AuthApi.routerConfig` for the AuthAPI. */
  readonly routerConfig?: typeof HttpLayerRouter.RouterConfig.Service | undefined
  /** What is around every answer, as in `HttpLayerRouter.serve`. */
  readonly middleware?: HttpMiddleware.HttpMiddleware | undefined
}

/**
 * Finds a port that is free on loopback now, for examples and tests whose routes have to know it before they listen.
 *
 * @since 0.1.0
 * @category constructors
 */
export const freePort: Effect.Effect<number> = Effect.async((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

/**
 * Builds the routes, and listens once they are built. Beside them it answers `/healthz` while the process is alive, and
 * `/readyz`: 200 while `ready` succeeds, 503 where it fails and from the moment the layer's scope closes.
 *
 * Then every answer carries `Connection: close`; after `drainDelay` no connection is taken; what has begun is answered
 * within `drainTimeout`; connections that are left are closed; and only then the routes and what they need are let go.
 * Under `NodeRuntime.runMain` that is what SIGTERM does. Layers inside of `routes` are this server's own: provide what it
 * shares with others, such as a directory, to the whole.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <A, E, R, E2 = never, R2 = never>(
  routes: Layer.Layer<A, E, R>,
  options: Options<E2, R2>
): Layer.Layer<
  HttpServer.HttpServer,
  HttpLayerRouter.Request.Without<E> | ServeError,
  Exclude<
    | R2
    | HttpLayerRouter.Request.Without<R>
    | Exclude<HttpLayerRouter.Request.Only<"Requires" | "GlobalRequires", R>, HttpLayerRouter.GlobalProvided>,
    HttpLayerRouter.HttpRouter | Layer.Layer.Success<typeof NodeHttpServer.layerContext>
  >
> =>
  Layer.scoped(
    HttpServer.HttpServer,
    Effect.gen(function*() {
      const state: State = { isDraining: false, inFlight: new Set(), sockets: new Set() }
      // Fresh: another server in this composition has a router of its own, and routes like `layerErrors` are constants.
      const app = yield* HttpLayerRouter.toHttpEffect(Layer.merge(routes, layerHealth(state, options))).pipe(
        Effect.provideServiceEffect(Layer.CurrentMemoMap, Layer.makeMemoMap),
        Effect.provideService(HttpLayerRouter.RouterConfig, options.routerConfig ?? {})
      )
      const server = makeNode(state, options)
      // A scope of its own: it gets more to close when the first WebSocket comes, and the draining is before all of that.
      const scope = yield* Effect.acquireRelease(
        Scope.make(),
        (scope, exit) => Effect.zipRight(drain(server, state, options), Scope.close(scope, exit))
      )
      const listening = yield* Scope.extend(
        NodeHttpServer.make(() => server, { port: options.port, host: options.host ?? "127.0.0.1" }),
        scope
      )
      yield* listening.serve(app as never, options.middleware as never).pipe(
        Effect.provideService(
          HttpIncomingMessage.MaxBodySize,
          Option.some(FileSystem.Size(options.maxBodyBytes ?? 10 * 1024 * 1024))
        ),
        Scope.extend(scope)
      )
      return listening
    })
  ).pipe(Layer.provide(NodeHttpServer.layerContext)) as never

interface State {
  isDraining: boolean
  readonly inFlight: Set<Http.ServerResponse>
  /** Of WebSockets too, which Node's server forgets. */
  readonly sockets: Set<Net.Socket>
}

const makeNode = (state: State, options: Options<unknown, unknown>): Http.Server => {
  const requestTimeout = Duration.toMillis(options.requestTimeout ?? "30 seconds")
  const server = Http.createServer({
    // Node throws for one that is longer than that of the whole request.
    headersTimeout: Math.min(10_000, requestTimeout),
    requestTimeout,
    keepAliveTimeout: Duration.toMillis(options.keepAliveTimeout ?? "75 seconds"),
    // Node looks every 30 seconds by default, so that a slow body would have twice its time.
    connectionsCheckingInterval: 1000
  })
  server.maxConnections = options.maxConnections ?? 10_000
  server.on("connection", (socket) => {
    state.sockets.add(socket)
    socket.once("close", () => state.sockets.delete(socket))
  })
  return server.on("request", (_, response) => {
    state.inFlight.add(response)
    response.once("close", () => state.inFlight.delete(response))
    if (state.isDraining) response.shouldKeepAlive = false
  })
}

/** What `/healthz` and `/readyz` answer: no more than a word, since anybody may ask. */
const layerHealth = <E, R>(state: State, { ready = Effect.void }: Options<E, R>) =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function*() {
      const context = yield* Effect.context<R>()
      const isReady = yield* Effect.cachedWithTTL(
        ready.pipe(
          Effect.timeout("2 seconds"),
          Effect.as(true),
          Effect.catchAllCause((cause) => Effect.as(Effect.logWarning("The server is not ready", cause), false)),
          Effect.provide(context)
        ),
        "1 second"
      )
      const answer = (status: number, text: string) =>
        HttpServerResponse.unsafeJson({ status: text }, { status, headers: { "cache-control": "no-store" } })
      yield* router.add("GET", "/healthz", Effect.succeed(answer(200, "ok")))
      yield* router.add(
        "GET",
        "/readyz",
        Effect.suspend(() =>
          state.isDraining
            ? Effect.succeed(answer(503, "ending"))
            : Effect.map(isReady, (isReady) => isReady ? answer(200, "ok") : answer(503, "unavailable"))
        )
      )
    })
  )

/**
 * Answers what has begun. A request may be on its way over a connection that is idle here, so these are closed a moment
 * later than the listener. Connections are of the real world, and so is the time that they get.
 */
const drain = (server: Http.Server, state: State, options: Options<unknown, unknown>): Effect.Effect<void> =>
  Effect.gen(function*() {
    state.isDraining = true
    for (const response of state.inFlight) response.shouldKeepAlive = false
    yield* Effect.sleep(options.drainDelay ?? 0)
    // Not by the server's own `close`, which closes idle connections at once and watches no time-outs any more.
    Net.Server.prototype.close.call(server)
    const closed = performance.now()
    const drainMillis = Duration.toMillis(options.drainTimeout ?? "10 seconds")
    for (;;) {
      const millis = performance.now() - closed
      if (state.sockets.size === 0 || millis >= drainMillis) break
      if (state.inFlight.size === 0 && millis >= idleMillis) break
      yield* Effect.sleep(10)
    }
    for (const socket of state.sockets) socket.destroy()
  }).pipe(Effect.withClock(Clock.make()))

const idleMillis = 250
