/**
 * Lets only verified agents through to the handlers of an HttpApi, and tells the handlers who it is.
 *
 * @since 0.1.0
 */
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AgentAssertionVerifier from "./AgentAssertionVerifier.ts"
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
 * Put it on an endpoint, a group or an API with `.middleware(AgentAuthentication)`.
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
          verify(Redacted.value(header)).pipe(
            Effect.tapError((error) =>
              Effect.logDebug(error.message).pipe(Effect.annotateLogs("reason", error.reason))
            ),
            Effect.mapError((error): AuthApi.Unauthorized | AuthApi.Unavailable =>
              error._tag === "AgentDirectoryError"
                ? AuthApi.unavailable
                : { error: { code: error.code, message: messages[error.code] } }
            )
          )
      }
    })
  )

const messages: Record<AgentAssertionVerifier.RefusalCode, string> = {
  missing_assertion: "Send an Authorization header with the scheme AgentAssertion.",
  invalid_assertion: "The assertion is not signed by a registered agent.",
  stale_assertion: "The assertion's timestamp is too far from the server's clock.",
  task_not_found: "The assertion's task is not known; register a task and sign for it.",
  task_expired: "The assertion's task has expired; register a task and sign for it."
}
