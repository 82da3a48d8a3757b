/**
 * Registers the task of a run with the AuthAPI: one signed POST, one task id.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as Base64 from "../protocol/base64.ts"
import type { UrlDerivationError } from "../protocol/Environment.ts"
import * as SignedPayload from "../protocol/SignedPayload.ts"
import { TaskId } from "../protocol/TaskId.ts"
import * as Text from "../protocol/text.ts"
import * as Timestamp from "../protocol/Timestamp.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import * as AuthApi from "./authApi.ts"
import * as Caller from "./caller.ts"
import { toEffect } from "./either.ts"
import type * as Signing from "./Signing.ts"
import * as Telemetry from "./telemetry.ts"
import * as UrlDerivation from "./UrlDerivation.ts"

/**
 * Why no task was registered. `url` is what was asked, `attempts` how often, and `status` what the last answer was, if
 * there was one.
 *
 * - `IdentityExpired`: the agent's token has expired; get a new one
 * - `SigningFailed`: the key did not sign, or the clock is outside the years 0000 to 9999
 * - `Transport`: no answer, or not all of it
 * - `Certificate`: the server's certificate is not trusted, has expired, or is of another name
 * - `Timeout`: no answer within 30 s, or no task within 75 s over all attempts
 * - `Throttled`: the server asks to wait longer than 20 s; `retryAfterMillis` says how long
 * - `Status`: an answer other than 2xx; `body` is its start, without anything that was sent
 * - `ResponseTooLarge`: an answer of more than 64 KiB
 * - `InvalidResponse`: a 2xx without a task id that is allowed
 * - `SealedTaskId`: a task id that was sealed for another key, or damaged
 * - `AgentDeleted`: a 403 that says that the agent is no more; make a new agent
 * - `StaleAuth`: the login that the agent was made for has ended or changed; nothing was kept
 * - `Store`: the task could not be kept, or the one that is kept not be read
 *
 * @since 0.1.0
 * @category errors
 */
export class TaskRegistrationError extends Schema.TaggedError<TaskRegistrationError>(
  "@agent-identity/core/TaskRegistrationError"
)("TaskRegistrationError", {
  reason: Schema.Literal(
    "IdentityExpired",
    "SigningFailed",
    "Transport",
    "Certificate",
    "Timeout",
    "Throttled",
    "Status",
    "ResponseTooLarge",
    "InvalidResponse",
    "SealedTaskId",
    "AgentDeleted",
    "StaleAuth",
    "Store"
  ),
  agentRuntimeId: Schema.String,
  url: Schema.String,
  detail: Schema.String,
  status: Schema.optional(Schema.Number),
  body: Schema.optional(Schema.String),
  retryAfterMillis: Schema.optional(Schema.Number),
  attempts: Schema.Number
}) {
  /**
   * Whether the same registration may succeed later.
   *
   * @since 0.1.0
   */
  get retryable(): boolean {
    return AuthApi.isRetryable(this)
  }

  /**
   * @since 0.1.0
   */
  override get message() {
    const attempts = this.attempts === 1 ? "1 attempt" : `${this.attempts} attempts`
    const body = this.body === undefined || this.body === "" ? "" : `: ${this.body}`
    const from = this.url === "" ? "" : ` from ${this.url} (${attempts})`
    return `No task for agent ${JSON.stringify(this.agentRuntimeId)}${from}: ${this.detail}${body}`
  }
}

/**
 * A task, and when it was registered in milliseconds since the Unix epoch; undefined where nobody remembers.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisteredTask {
  readonly taskId: TaskId
  readonly registeredAt: number | undefined
}

/**
 * Registers tasks of one agent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * A task from the AuthAPI. `stale` is the task that is to be replaced, none at the start of a run: a layer that
   * keeps tasks can answer with a stored one that differs from it.
   */
  readonly register: (stale: Option.Option<TaskId>) => Effect.Effect<RegisteredTask, TaskRegistrationError>
}

/**
 * Where a run's tasks come from. Another layer of it can keep them, as `AgentProvisioning.layerAgent` does.
 *
 * @since 0.1.0
 * @category tags
 */
export class TaskRegistration
  extends Context.Tag("@agent-identity/core/TaskRegistration")<TaskRegistration, Service>()
{}

/**
 * Takes the plain `HttpClient`, never one that signs. At most 3 attempts on 429, 5xx, timeouts and transport failures,
 * 30 s each, as the reference client has it; 75 s over all, every one signed anew; a `Retry-After` of up to 20 s is
 * waited for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<
  Service,
  UrlDerivationError,
  AgentIdentity.AgentIdentity | UrlDerivation.UrlDerivation | HttpClient.HttpClient
> = Effect.gen(function*() {
  const { agentRuntimeId, expiresAt, signer } = yield* AgentIdentity.AgentIdentity
  const client = yield* Effect.flatMap(HttpClient.HttpClient, Caller.client)
  const urls = yield* UrlDerivation.UrlDerivation
  const url = yield* toEffect(urls.taskRegistration(agentRuntimeId))

  const register = Effect.suspend(() => {
    let attempts = 0
    const fail = (
      reason: TaskRegistrationError["reason"],
      detail: string,
      more?: Partial<AuthApi.Failure>
    ) => new TaskRegistrationError({ ...more, reason, agentRuntimeId, url: url.href, detail, attempts })

    const attempt = Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (expiresAt !== undefined && now >= expiresAt) {
        return yield* fail("IdentityExpired", "the agent identity has expired; get a new token and start anew")
      }
      attempts += 1
      const timestamp = Timestamp.format(now)
      if (timestamp === undefined) {
        return yield* fail("SigningFailed", "the clock is outside the years 0000 to 9999; set it")
      }
      const body = yield* Effect.mapError(
        requestBody(signer, agentRuntimeId, timestamp),
        (error) => fail("SigningFailed", error.message)
      )
      const answer = yield* Effect.mapError(
        AuthApi.post(client, { url, body, secrets: [body.signature], advice }),
        (failure) => fail(failure.reason, failure.detail, failure)
      )
      const taskId = yield* Effect.mapError(
        readTaskId(signer, answer.body),
        (error) => fail(error.reason, error.detail, { status: answer.status })
      )
      return { taskId, registeredAt: yield* Clock.currentTimeMillis }
    })

    return AuthApi.retrying(attempt, () => fail("Timeout", "no task within 75 seconds over all attempts")).pipe(
      Effect.tap(({ taskId }) => Effect.annotateCurrentSpan(Telemetry.attributes({ agentRuntimeId, taskId }))),
      Effect.tap(({ taskId }) => logRegistration(agentRuntimeId, taskId))
    )
  })

  return {
    register: () =>
      Effect.withSpan(register, "TaskRegistration.register", {
        captureStackTrace: false,
        attributes: Telemetry.attributes({ agentRuntimeId })
      })
  }
})

/**
 * Registers tasks of this agent. Fails where no URL can be made of the agent's runtime id.
 *
 * @example
 * import { Signing, TaskRegistration } from "@agent-identity/core"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
 * import { Effect, Layer, Option } from "effect"
 *
 * const Registration = TaskRegistration.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-123" })).pipe(
 *   Layer.provide(SocketlessAuthApi.layer),
 *   Layer.provide(Signing.layer)
 * )
 *
 * const task = Effect.flatMap(TaskRegistration.TaskRegistration, ({ register }) => register(Option.none()))
 * const { taskId } = await Effect.runPromise(Effect.provide(task, Registration))
 * assert.match(taskId, /^task-/)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  agent: Layer.Layer<AgentIdentity.AgentIdentity, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<TaskRegistration, E | UrlDerivationError, R | UrlDerivation.UrlDerivation | HttpClient.HttpClient> =>
  Layer.provide(Layer.effect(TaskRegistration, make), agent)

/**
 * How many tasks this process has registered. More than one a run means that layers are provided in more than one
 * place.
 *
 * @internal
 */
export const registrations = Metric.counter("agent_identity_task_registrations", {
  description: "Tasks registered with the AuthAPI",
  incremental: true
})

/**
 * The whole JSON body of a registration: these two members and no other. The signature is standard base64 of 64 bytes
 * over `SignedPayload.taskRegistration`.
 *
 * @internal
 */
export const requestBody = (
  signer: Signing.Signer,
  agentRuntimeId: AgentRuntimeId,
  timestamp: string
): Effect.Effect<{ readonly timestamp: string; readonly signature: string }, Signing.SigningError> =>
  Effect.map(
    signer.sign(SignedPayload.taskRegistration(agentRuntimeId, timestamp)),
    (signature) => ({ timestamp, signature: Base64.encode(signature) })
  )

/**
 * The task id in the body of a successful answer: the first that is neither absent nor null of `task_id`, `taskId`,
 * and, sealed for the agent, `encrypted_task_id` and `encryptedTaskId`.
 *
 * @internal
 */
export const readTaskId = (
  signer: Signing.Signer,
  body: Uint8Array
): Effect.Effect<TaskId, { readonly reason: "InvalidResponse" | "SealedTaskId"; readonly detail: string }> =>
  Effect.gen(function*() {
    const invalid = (detail: string) => Effect.fail({ reason: "InvalidResponse" as const, detail })
    const unsealable = (detail: string) => Effect.fail({ reason: "SealedTaskId" as const, detail })
    const answer = Text.readJson(body)
    if (!Predicate.isRecord(answer)) {
      return yield* invalid("the answer is not a JSON object; check the AuthAPI base URL")
    }
    const name = members.find((member) => Object.hasOwn(answer, member) && answer[member] !== null)
    if (name === undefined) return yield* invalid(`the answer has none of ${members.join(", ")}`)
    const value = answer[name]
    if (typeof value !== "string") return yield* invalid(`${name} is not a string`)
    let text = value
    if (name.startsWith("encrypted")) {
      const sealed = Base64.decode(value)
      if (sealed === undefined) return yield* unsealable(`${name} is not standard base64 with padding`)
      const opened = yield* Effect.catchAll(signer.openSealed(sealed), (error) => unsealable(error.message))
      const utf8 = Text.fromUtf8(opened)
      if (utf8 === undefined) return yield* unsealable(`${name} does not hold UTF-8`)
      text = utf8
    }
    return yield* Effect.catchAll(
      decodeTaskId(text),
      () => invalid(`${name} is empty, blank, not well-formed or longer than 1024 characters`)
    )
  })

/** Each registration is seen, with its number, so that a provide in the wrong place is noticed. */
const logRegistration = (agentRuntimeId: AgentRuntimeId, taskId: TaskId) =>
  Effect.gen(function*() {
    yield* Metric.increment(registrations)
    const { count } = yield* Metric.value(registrations)
    yield* Effect.annotateLogs(
      Effect.logInfo(`Registered task ${count} of this process`),
      Telemetry.annotations({ agentRuntimeId, taskId })
    )
  })

const advice = "check the agent's id, its key, the AuthAPI base URL and this machine's clock"

const members = ["task_id", "taskId", "encrypted_task_id", "encryptedTaskId"] as const

const decodeTaskId = Schema.decodeUnknown(TaskId)
