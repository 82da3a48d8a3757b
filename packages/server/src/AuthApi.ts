/**
 * The contract of the AuthAPI, and of the errors that every endpoint behind an assertion answers with.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"

/**
 * How an error looks on the wire: `{"error": {"code": …, "message": …}}`.
 *
 * @since 0.1.0
 * @category schemas
 */
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
  "task_not_found",
  "task_expired",
  "invalid_registration",
  "stale_registration"
)

/**
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
 * @since 0.1.0
 * @category models
 */
export type BadRequest = typeof BadRequest.Type

/**
 * The agent directory cannot be asked now.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Unavailable = errorBody("Unavailable", 503, "directory_unavailable")

/**
 * @since 0.1.0
 * @category models
 */
export type Unavailable = typeof Unavailable.Type

/**
 * The answer while the directory cannot be asked.
 *
 * @since 0.1.0
 * @category constructors
 */
export const unavailable: Unavailable = {
  error: { code: "directory_unavailable", message: "The agent directory is unavailable; try again." }
}

/**
 * @since 0.1.0
 * @category schemas
 */
export const TaskRegistrationRequest = Schema.Struct({
  timestamp: Schema.String,
  signature: Schema.String
}).annotations({ identifier: "TaskRegistrationRequest" })

/**
 * @since 0.1.0
 * @category schemas
 */
export const TaskRegistrationResponse = Schema.Struct({
  task_id: Schema.String
}).annotations({ identifier: "TaskRegistrationResponse" })

/**
 * What an agent asks of the AuthAPI.
 *
 * @since 0.1.0
 * @category api
 */
export class AgentGroup extends HttpApiGroup.make("agent").add(
  HttpApiEndpoint.post(
    "registerTask"
  )`/v1/agent/${HttpApiSchema.param("agent_runtime_id", Schema.String)}/task/register`
    .setPayload(TaskRegistrationRequest)
    .addSuccess(TaskRegistrationResponse)
    .addError(BadRequest)
    .addError(Unauthorized)
    .addError(Unavailable)
) {}

/**
 * @since 0.1.0
 * @category api
 */
export class AuthApi extends HttpApi.make("AuthApi").add(AgentGroup).prefix("/api/accounts") {}

/**
 * For the router that serves it (`routerConfig`): an escaped agent runtime id is longer than the 100 characters that a
 * router takes by default, and paths differ by case.
 *
 * @since 0.1.0
 * @category constants
 */
export const ROUTER_CONFIG = { maxParamLength: 256 * 9, caseSensitive: true }
