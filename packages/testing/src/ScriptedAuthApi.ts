/**
 * An AuthAPI on a loopback port with the real handlers, that records what it gets and misbehaves when told to.
 *
 * @since 0.1.0
 */
import type * as Signing from "@agent-identity/core/Signing"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as AuthApi from "@agent-identity/server/AuthApi"
import * as AuthApiHandlers from "@agent-identity/server/AuthApiHandlers"
import * as RegistrationBearer from "@agent-identity/server/RegistrationBearer"
import * as RegistrationLimits from "@agent-identity/server/RegistrationLimits"
import * as ServerMiddleware from "@agent-identity/server/ServerMiddleware"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServer from "@effect/platform/HttpServer"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Http from "node:http"

/**
 * What the server does instead of answering.
 *
 * - `Late`: answers as it should, after this time by its Clock
 * - `Status`: this status, with these headers and this body
 * - `Garbage`: 200, and text that is not JSON
 * - `HalfBody`: 200 or this status, half of an answer, and then the connection is gone
 * - `OversizedBody`: 200, and 1 MiB of JSON
 * - `Redirect`: 307 to this URL
 * - `Drop`: the connection is gone before an answer
 *
 * @since 0.1.0
 * @category models
 */
export type Fault =
  | { readonly _tag: "Late"; readonly delay: Duration.DurationInput }
  | {
    readonly _tag: "Status"
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
  | { readonly _tag: "Garbage" | "OversizedBody" | "Drop" }
  | { readonly _tag: "HalfBody"; readonly status?: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly _tag: "Redirect"; readonly location: string }

/**
 * A request as it came in. Header names are in lower case.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecordedRequest {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * What came in, and what shall go wrong.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** `http://127.0.0.1:port` */
  readonly origin: string
  /** Everything that came in so far, in order. */
  readonly requests: Effect.Effect<ReadonlyArray<RecordedRequest>>
  /** The next `times` requests meet this fault, once by default, after those that were scripted before. */
  readonly script: (fault: Fault, times?: number) => Effect.Effect<void>
}

/**
 * The way to the server from the test that runs it.
 *
 * @since 0.1.0
 * @category tags
 */
export class ScriptedAuthApi
  extends Context.Tag("@agent-identity/testing/ScriptedAuthApi")<ScriptedAuthApi, Service>()
{}

/**
 * The bearer token that it registers new agents for.
 *
 * @since 0.1.0
 * @category constants
 */
export const bearerToken = "chatgpt-token"

/**
 * The server with an empty directory in memory, and URLs that lead to it: the AuthAPI is at `/api/accounts`, first
 * party is `/backend-api/codex`, where nothing answers.
 *
 * @example
 * import { Signing, TaskRegistration } from "@agent-identity/core"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import * as ScriptedAuthApi from "@agent-identity/testing/ScriptedAuthApi"
 * import { NodeHttpClient } from "@effect/platform-node"
 * import { Effect, Layer, Option } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { register } = yield* TaskRegistration.TaskRegistration
 *   const { requests, script } = yield* ScriptedAuthApi.ScriptedAuthApi
 *   yield* script({ _tag: "Status", status: 503 })
 *   yield* register(Option.none())
 *   assert.deepStrictEqual((yield* requests).length, 2)
 * })
 *
 * const Agent = TaskRegistration.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-123" }))
 * const Server = Layer.provideMerge(ScriptedAuthApi.layer, Layer.merge(Signing.layer, NodeHttpClient.layer))
 * await Effect.runPromise(Effect.provide(program, Layer.provideMerge(Agent, Server)))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  ScriptedAuthApi | AgentDirectory.AgentDirectory | UrlDerivation.UrlDerivation,
  HttpServerError.ServeError,
  Signing.Signing
> = Layer.unwrapEffect(Effect.sync(() => {
  const requests: Array<RecordedRequest> = []
  const faults: Array<Fault> = []

  const misbehave = HttpMiddleware.make((app) =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const body = yield* Effect.orDie(request.text)
      requests.push({ method: request.method, url: request.url, headers: { ...request.headers }, body })
      const fault = faults.shift()
      return yield* fault === undefined ? app : act(fault, request, app)
    })
  )

  const Control = Layer.effect(
    ScriptedAuthApi,
    HttpServer.addressFormattedWith((origin) =>
      Effect.succeed({
        origin,
        requests: Effect.sync(() => requests.slice()),
        script: (fault: Fault, times = 1) =>
          Effect.sync(() => void faults.push(...Array.from({ length: times }, () => fault)))
      })
    )
  )

  const Urls = Layer.unwrapEffect(
    HttpServer.addressFormattedWith((origin) =>
      Effect.succeed(Layer.orDie(UrlDerivation.layerCustom({
        authApi: `${origin}/api/accounts`,
        jwksBase: `${origin}/backend-api`,
        providers: [`${origin}/backend-api/codex`],
        loopbackHttp: true
      })))
    )
  )

  return HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
    Layer.provide(AuthApiHandlers.layer),
    Layer.provide([
      RegistrationBearer.layerTokens({ person: Redacted.make(bearerToken) }),
      RegistrationLimits.layerUnlimited
    ]),
    Layer.provide(HttpLayerRouter.middleware(misbehave, { global: true })),
    (routes) =>
      HttpLayerRouter.serve(routes, {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: AuthApi.routerConfig,
        middleware: ServerMiddleware.guardUpgrade
      }),
    Layer.provideMerge(Layer.mergeAll(Control, Urls, AgentDirectory.layerMemory)),
    Layer.provide(NodeHttpServer.layer(Http.createServer, { port: 0, host: "127.0.0.1" }))
  )
}))

const act = <E, R>(
  fault: Fault,
  request: HttpServerRequest.HttpServerRequest,
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> => {
  switch (fault._tag) {
    case "Late":
      return Effect.delay(app, fault.delay)
    case "Status":
      return Effect.succeed(
        HttpServerResponse.text(fault.body ?? "", { status: fault.status, headers: fault.headers ?? {} })
      )
    case "Garbage":
      return Effect.succeed(HttpServerResponse.text("<html>not JSON</html>"))
    case "OversizedBody":
      return Effect.succeed(HttpServerResponse.text(`{"task_id":"t","padding":"${"x".repeat(1024 * 1024)}"}`))
    case "Redirect":
      return Effect.succeed(HttpServerResponse.empty({ status: 307, headers: { location: fault.location } }))
    case "HalfBody":
      return abandon(request, (response) => {
        response.writeHead(fault.status ?? 200, {
          "content-type": "application/json",
          "content-length": "40",
          ...fault.headers
        })
        response.write("{\"task_id\":\"half", () => response.destroy())
      })
    case "Drop":
      return abandon(request, (response) => response.destroy())
  }
}

/** Leaves the connection to `act`, and never answers by itself. */
const abandon = (
  request: HttpServerRequest.HttpServerRequest,
  act: (response: Http.ServerResponse) => void
): Effect.Effect<never> =>
  Effect.zipRight(Effect.sync(() => act(NodeHttpServerRequest.toServerResponse(request))), Effect.never)
