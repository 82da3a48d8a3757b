/**
 * A Responses endpoint that only verified agents reach, and that tells them who called and what was asked: the protected
 * end of the protocol, for examples, for tests and to try a client against.
 *
 * @since 0.1.0
 */
import * as AgentAssertionVerifier from "@agent-identity/server/AgentAssertionVerifier"
import * as AgentAuthentication from "@agent-identity/server/AgentAuthentication"
import type * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as RequestBody from "./internal/requestBody.ts"
import * as ResponsesApi from "./ResponsesApi.ts"

/**
 * What is answered, and how much is read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The text of an answer, in the parts that a stream sends it in; by default it says who called and what was asked. */
  readonly answer?: ((caller: AgentAssertionVerifier.Verified, asked: string) => ReadonlyArray<string>) | undefined
  /** The most bytes of a body as it is sent; 1 MiB by default. */
  readonly maxBodyBytes?: number | undefined
  /** The most bytes of a body once it is decoded; 1 MiB by default. */
  readonly maxDecodedBytes?: number | undefined
  /** How long it may take to decode a body; 5 seconds by default. */
  readonly decodeTimeout?: Duration.DurationInput | undefined
}

/**
 * `POST /backend-api/codex/responses`: Server-Sent Events where `stream` is true, else JSON, with the caller's `agent`
 * and `task` beside the response. A body may be in Zstandard, as Codex sends it. A request for a WebSocket is answered
 * with 426, on which Codex turns to POST.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerResponses = (options: Options): Layer.Layer<never, never, Requirements> =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function*() {
      const protect = yield* makeProtect
      const readBody = yield* RequestBody.make(ResponsesApi.ResponsesRequest, options)
      const answer = options.answer ?? echo

      yield* router.add(
        "POST",
        ResponsesApi.responsesPath,
        protect((caller, request) =>
          Effect.gen(function*() {
            const body = yield* readBody(request)
            const given: ResponsesApi.Answer = {
              id: globalThis.crypto.randomUUID(),
              createdAt: Math.floor((yield* Clock.currentTimeMillis) / 1000),
              model: body.model ?? "model-demo",
              deltas: answer(caller, ResponsesApi.askedOf(body))
            }
            return body.stream === true ? streamed(given) : HttpServerResponse.unsafeJson({
              agent: caller.agentRuntimeId,
              task: caller.taskId,
              ...ResponsesApi.toResponse(given)
            })
          }).pipe(Effect.catchTag("RequestBodyError", (error) => Effect.succeed(error.response)))
        )
      )
      yield* router.add(
        "GET",
        ResponsesApi.responsesPath,
        protect((_caller, { headers }) =>
          Effect.succeed(headers.upgrade?.toLowerCase() === "websocket" ? upgradeRefused : methodRefused)
        )
      )
    })
  )

/**
 * `GET /backend-api/codex/models`: none, so that Codex takes those that it knows.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerModels: Layer.Layer<never, never, Requirements> = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    const protect = yield* makeProtect
    yield* router.add(
      "GET",
      ResponsesApi.modelsPath,
      protect(() => Effect.succeed(HttpServerResponse.unsafeJson({ models: [] })))
    )
  })
)

/**
 * All of the above.
 *
 * @example
 * import { ResponsesApi, ResponsesHandlers } from "@agent-identity/authapi"
 * import { Signing } from "@agent-identity/core"
 * import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
 * import { HttpLayerRouter } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const Routes = ResponsesHandlers.layer.pipe(
 *   Layer.provide(AgentAssertionVerifier.layer),
 *   Layer.provide([AgentDirectory.layerMemory, Signing.layer])
 * )
 *
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(Routes, { disableLogger: true })
 * const response = await handler(new Request(`http://localhost${ResponsesApi.modelsPath}`))
 * assert.deepStrictEqual(response.status, 401)
 * await dispose()
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, never, Requirements> = Layer.merge(layerResponses({}), layerModels)

type Requirements = AgentAssertionVerifier.AgentAssertionVerifier | HttpLayerRouter.HttpRouter

type Handler = (
  caller: AgentAssertionVerifier.Verified,
  request: HttpServerRequest.HttpServerRequest
) => Effect.Effect<HttpServerResponse.HttpServerResponse>

/** Verifies before anything else of the request is looked at. */
const makeProtect = Effect.map(
  AgentAssertionVerifier.AgentAssertionVerifier,
  ({ verify }) => (handler: Handler) => (request: HttpServerRequest.HttpServerRequest) =>
    Effect.matchEffect(verify(request.headers.authorization), {
      onFailure: refuse,
      onSuccess: (caller) => handler(caller, request)
    })
)

const refuse = (error: AgentAssertionVerifier.AssertionRefused | AgentDirectory.AgentDirectoryError) =>
  Effect.logDebug(error.message).pipe(
    Effect.annotateLogs("reason", error.reason),
    Effect.as(AgentAuthentication.refusal(error))
  )

const echo = ({ agentRuntimeId }: AgentAssertionVerifier.Verified, asked: string): ReadonlyArray<string> => [
  "Hello, ",
  agentRuntimeId,
  ". You asked: ",
  asked
]

const streamed = (answer: ResponsesApi.Answer): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.stream(Stream.encodeText(Stream.fromIterable(ResponsesApi.toEvents(answer))), {
    contentType: "text/event-stream",
    headers: { "cache-control": "no-cache" }
  })

const failure = (status: number, headers: Readonly<Record<string, string>>, code: string, message: string) =>
  HttpServerResponse.unsafeJson({ error: { code, message } }, { status, headers })

const upgradeRefused = failure(
  426,
  { connection: "upgrade", upgrade: "HTTP/1.1" },
  "websocket_unsupported",
  "There are no WebSockets here; send the request as POST."
)

const methodRefused = failure(405, { allow: "POST" }, "method_not_allowed", "Send the request as POST.")
