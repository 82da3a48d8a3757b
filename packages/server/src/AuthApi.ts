/**
 * The contract of the AuthAPI, and of the errors that every endpoint behind an assertion answers with.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"

/** How an error looks on the wire: `{"error": {"code": …, "message": …}}`. */
const errorBody = <const Codes extends ReadonlyArray<string>>(identifier: string, status: number, ...codes: Codes) =>
  Schema.Struct({
    error: Schema.Struct({ code: Schema.Literal(...codes), message: Schema.String })
  }).annotations({ ...HttpApiSchema.annotations({ status }), identifier })

/**
 * An assertion or a registration was refused. `task_not_found` and `task_expired` ask for a new task.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Unauthorized = errorBody(
  "Unauthorized",
  401,
  "missing_assertion",
  "invalid_assertion",
  "stale_assertion",
  "replayed_assertion",
  "task_not_found",
  "task_expired",
  "invalid_registration",
  "stale_registration",
  "invalid_token"
)

/**
 * The body of a 401.
 *
 * @since 0.1.0
 * @category models
 */
export type Unauthorized = typeof Unauthorized.Type

/**
 * A body that is too large, or of another form.
 *
 * @since 0.1.0
 * @category schemas
 */
export const BadRequest = errorBody("BadRequest", 400, "invalid_request")

/**
 * The body of a 400.
 *
 * @since 0.1.0
 * @category models
 */
export type BadRequest = typeof BadRequest.Type

/**
 * There is no such agent, or it is somebody else's.
 *
 * @since 0.1.0
 * @category schemas
 */
export const NotFound = errorBody("NotFound", 404, "agent_not_found")

/**
 * The body of a 404.
 *
 * @since 0.1.0
 * @category models
 */
export type NotFound = typeof NotFound.Type

/**
 * Too many registrations; the header `Retry-After` says when the next one is taken.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TooManyRequests = errorBody("TooManyRequests", 429, "too_many_registrations")

/**
 * The body of a 429.
 *
 * @since 0.1.0
 * @category models
 */
export type TooManyRequests = typeof TooManyRequests.Type

/**
 * The agent directory cannot be asked now; the header `Retry-After` says when to ask again.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Unavailable = errorBody("Unavailable", 503, "directory_unavailable")

/**
 * The body of a 503.
 *
 * @since 0.1.0
 * @category models
 */
export type Unavailable = typeof Unavailable.Type

/**
 * After how many seconds a client may ask again that has got a 503: the value of its `Retry-After`.
 *
 * @since 0.1.0
 * @category constants
 */
export const retryAfterSeconds = 2

/**
 * The answer while the directory cannot be asked. It carries `Retry-After`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unavailable: Unavailable = {
  error: { code: "directory_unavailable", message: "The agent directory is unavailable; try again." }
}

/**
 * What an agent sends for a task: a time in the form of `Timestamp`, and standard base64 of its signature over
 * `SignedPayload.taskRegistration`. `TaskRegistration.requestBody` makes it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TaskRegistrationRequest = Schema.Struct({
  timestamp: Schema.String,
  signature: Schema.String
}).annotations({ identifier: "TaskRegistrationRequest" })

/**
 * The task id, plain or sealed for the agent's key.
 *
 * @since 0.1.0
 * @category schemas
 */
export const TaskRegistrationResponse = Schema.Union(
  Schema.Struct({ task_id: Schema.String }),
  Schema.Struct({ encrypted_task_id: Schema.String })
).annotations({ identifier: "TaskRegistrationResponse" })

/**
 * What is sent for a new agent. `ttl` is how long it is to live, in seconds from now, more than 0; null and none leave it
 * to the server, where an agent then lives until it is deleted.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentRegistrationRequest = Schema.Struct({
  /** An agent bill of materials: what the agent is, and where it runs. */
  abom: Schema.Struct({
    agent_version: Schema.String,
    agent_harness_id: Schema.String,
    running_location: Schema.String
  }),
  /** An OpenSSH line: `ssh-ed25519 …`. */
  agent_public_key: Schema.String,
  capabilities: Schema.Array(Schema.String),
  ttl: Schema.optional(Schema.NullOr(Schema.Number.pipe(Schema.finite(), Schema.positive())))
}).annotations({ identifier: "AgentRegistrationRequest" })

/**
 * The runtime id of the agent.
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentRegistrationResponse = Schema.Struct({
  agent_runtime_id: Schema.String
}).annotations({ identifier: "AgentRegistrationResponse" })

/**
 * What an agent, and whoever registers one, asks of the AuthAPI.
 *
 * @since 0.1.0
 * @category api
 */
export class AgentGroup extends HttpApiGroup.make("agent")
  .add(
    HttpApiEndpoint.post("registerAgent", "/v1/agent/register")
      .setPayload(AgentRegistrationRequest)
      .addSuccess(AgentRegistrationResponse)
      .addError(BadRequest)
      .addError(Unauthorized)
      .addError(TooManyRequests)
      .addError(Unavailable)
      .annotate(
        OpenApi.Description,
        "Registers an agent. Wants a bearer token in Authorization. The same key of the same owner is the same agent, with the ttl of the last registration."
      )
  )
  .add(
    HttpApiEndpoint.post(
      "registerTask"
    )`/v1/agent/${HttpApiSchema.param("agent_runtime_id", Schema.String)}/task/register`
      .setPayload(TaskRegistrationRequest)
      .addSuccess(TaskRegistrationResponse)
      .addError(BadRequest)
      .addError(Unauthorized)
      .addError(TooManyRequests)
      .addError(Unavailable)
      .annotate(
        OpenApi.Description,
        "Registers a task of an agent, signed by it: base64 of a signature of id:timestamp."
      )
  )
  .add(
    HttpApiEndpoint.del("deleteAgent")`/v1/agent/${HttpApiSchema.param("agent_runtime_id", Schema.String)}`
      .addSuccess(HttpApiSchema.NoContent)
      .addError(Unauthorized)
      .addError(NotFound)
      .addError(TooManyRequests)
      .addError(Unavailable)
      .annotate(OpenApi.Description, "Deletes an agent with its tasks. Wants the bearer token of who registered it.")
  )
  // A group has the title of its API unless it has its own.
  .annotate(OpenApi.Title, "agent")
{}

/**
 * For whoever watches the server: `GET /api/accounts/health`, without credentials.
 *
 * @since 0.1.0
 * @category api
 */
export class HealthGroup extends HttpApiGroup.make("health")
  .add(
    HttpApiEndpoint.get("health", "/health")
      .addSuccess(Schema.Struct({ status: Schema.Literal("ok") }))
      .annotate(OpenApi.Description, "Whether the server answers.")
  )
  .annotate(OpenApi.Title, "health")
{}

/**
 * The whole contract, below `/api/accounts`. `AuthApiHandlers` implements it; a client of it is
 * `HttpApiClient.make(AuthApi)`.
 *
 * @since 0.1.0
 * @category api
 */
export class AuthApi extends HttpApi.make("AuthApi")
  .add(AgentGroup)
  .add(HealthGroup)
  .prefix("/api/accounts")
  .annotate(OpenApi.Title, "AuthAPI of agent identities")
  .annotate(OpenApi.Version, "0.1.0")
{}

/**
 * For the router that serves it (`routerConfig`): an escaped agent runtime id is longer than the 100 characters that a
 * router takes by default, and paths differ by case.
 *
 * @since 0.1.0
 * @category constants
 */
export const routerConfig = { maxParamLength: 256 * 9, caseSensitive: true }
