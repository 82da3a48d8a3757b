/**
 * Lets only verified agents through to a handler, and tells the handler who it is: as a middleware of an HttpApi, and of
 * any HttpApp or HttpRouter.
 *
 * @since 0.1.0
 */
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AgentAssertionVerifier from "./AgentAssertionVerifier.ts"
import type * as AgentDirectory from "./AgentDirectory.ts"
import * as AuthApi from "./AuthApi.ts"

/**
 * The agent that sent the request at hand.
 *
 * @since 0.1.0
 * @category tags
 */
export class VerifiedAgent
  extends Context.Tag("@agent-identity/server/VerifiedAgent")<VerifiedAgent, AgentAssertionVerifier.Verified>()
{}

/**
 * Put it on an endpoint, a group or an API with `.middleware(AgentAuthentication)`: its handlers then have
 * `VerifiedAgent`.
 *
 * `HttpApiSecurity.bearer` would cut seven characters off any scheme, so the header is taken whole.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentAuthentication extends HttpApiMiddleware.Tag<AgentAuthentication>()(
  "@agent-identity/server/AgentAuthentication",
  {
    failure: Schema.Union(AuthApi.Unauthorized, AuthApi.Unavailable),
    provides: VerifiedAgent,
    security: { agentAssertion: HttpApiSecurity.apiKey({ in: "header", key: "authorization" }) }
  }
) {}

/**
 * Verifies by `AgentAssertionVerifier`. A refusal is answered with 401 and its challenge, and 503 with `Retry-After`
 * where the directory cannot be asked; both are logged at debug.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentAuthentication, never, AgentAssertionVerifier.AgentAssertionVerifier> = Layer
  .effect(
    AgentAuthentication,
    Effect.gen(function*() {
      const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
      return {
        agentAssertion: (header) =>
          Effect.catchAll(
            verify(Redacted.value(header)),
            (error): Effect.Effect<never, AuthApi.Unauthorized | AuthApi.Unavailable> => {
              const headers = HttpApp.appendPreResponseHandler((_request, response) =>
                Effect.succeed(HttpServerResponse.setHeaders(response, headersOf(error)))
              )
              return Effect.zipRight(
                Effect.zipRight(log(error), headers),
                Effect.fail(error._tag === "AgentDirectoryError" ? AuthApi.unavailable : bodyOf(error))
              )
            }
          )
      }
    })
  )

/**
 * The same for an HttpApp, an HttpRouter (`HttpRouter.use`) or routes of an HttpLayerRouter: what is around a handler that
 * takes `VerifiedAgent`.
 *
 * @example
 * import { Signing } from "@agent-identity/core"
 * import { AgentAssertionVerifier, AgentAuthentication, AgentDirectory } from "@agent-identity/server"
 * import { HttpApp, HttpServerResponse } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * const whoami = Effect.map(AgentAuthentication.VerifiedAgent, (agent) => HttpServerResponse.text(agent.agentRuntimeId))
 *
 * const Verifier = AgentAssertionVerifier.layer.pipe(Layer.provide([AgentDirectory.layerMemory, Signing.layer]))
 * const { dispose, handler } = HttpApp.toWebHandlerLayer(AgentAuthentication.middleware(whoami), Verifier)
 *
 * const response = await handler(new Request("http://localhost/whoami"))
 * assert.deepStrictEqual(response.status, 401)
 * assert.deepStrictEqual(response.headers.get("www-authenticate"), "AgentAssertion error=\"missing_assertion\"")
 * await dispose()
 *
 * @since 0.1.0
 * @category middleware
 */
export const middleware = <E, R>(
  app: HttpApp.Default<E, R>
): HttpApp.Default<
  E,
  AgentAssertionVerifier.AgentAssertionVerifier | HttpServerRequest.HttpServerRequest | Exclude<R, VerifiedAgent>
> =>
  Effect.gen(function*() {
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const verified = yield* Effect.either(verify(headers.authorization))
    return verified._tag === "Right"
      ? yield* Effect.provideService(app, VerifiedAgent, verified.right)
      : yield* Effect.as(log(verified.left), refusal(verified.left))
  })

/**
 * What a request is answered whose assertion was refused, or cannot be verified now: 401 with a challenge, or 503 with
 * `Retry-After`. For servers that verify by themselves, such as at the handshake of a WebSocket.
 *
 * @since 0.1.0
 * @category responses
 */
export const refusal = (
  error: AgentAssertionVerifier.AssertionRefused | AgentDirectory.AgentDirectoryError
): HttpServerResponse.HttpServerResponse =>
  error._tag === "AgentDirectoryError"
    ? HttpServerResponse.unsafeJson(AuthApi.unavailable, { status: 503, headers: headersOf(error) })
    : HttpServerResponse.unsafeJson(bodyOf(error), { status: 401, headers: headersOf(error) })

const headersOf = (
  error: AgentAssertionVerifier.AssertionRefused | AgentDirectory.AgentDirectoryError
): Record<string, string> =>
  error._tag === "AgentDirectoryError"
    ? { "retry-after": String(AuthApi.retryAfterSeconds) }
    : { "www-authenticate": `AgentAssertion error="${error.code}"` }

const bodyOf = ({ code }: AgentAssertionVerifier.AssertionRefused): AuthApi.Unauthorized => ({
  error: { code, message: messages[code] }
})

/** In full, for whoever runs the server. */
const log = (error: AgentAssertionVerifier.AssertionRefused | AgentDirectory.AgentDirectoryError) =>
  Effect.annotateLogs(Effect.logDebug(error.message), "reason", error.reason)

const messages: Record<AgentAssertionVerifier.RefusalCode, string> = {
  missing_assertion: "Send an Authorization header with the scheme AgentAssertion.",
  invalid_assertion: "The assertion is not signed by a registered agent.",
  stale_assertion: "The assertion's timestamp is too far from the server's clock.",
  replayed_assertion: "The assertion was sent before; sign each request anew.",
  task_not_found: "The assertion's task is not known; register a task and sign for it.",
  task_expired: "The assertion's task has expired; register a task and sign for it."
}
