/**
 * From the value of an `Authorization` header to a verified agent.
 *
 * The order is fixed: shape, time, agent, signature, and only then the task, so that nobody learns ids by asking.
 *
 * @since 0.1.0
 */
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as AssertionHeader from "@agent-identity/core/AssertionHeader"
import * as SignedPayload from "@agent-identity/core/SignedPayload"
import type * as Signing from "@agent-identity/core/Signing"
import type { TaskId } from "@agent-identity/core/TaskId"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AgentDirectory from "./AgentDirectory.ts"
import * as AgentSignature from "./internal/agentSignature.ts"

/**
 * Why an assertion was refused, in full, for logs and metrics. `code` is what the client may be told: `Malformed`,
 * `UnknownAgent` and `BadSignature` share one, and so do `UnknownTask` and `ForeignTask`.
 *
 * @since 0.1.0
 * @category errors
 */
export class AssertionRefused extends Schema.TaggedError<AssertionRefused>("@agent-identity/server/AssertionRefused")(
  "AssertionRefused",
  {
    reason: Schema.Literal(
      "Missing",
      "Malformed",
      "Stale",
      "UnknownAgent",
      "BadSignature",
      "UnknownTask",
      "ForeignTask",
      "ExpiredTask"
    ),
    agentRuntimeId: Schema.optional(Schema.String),
    taskId: Schema.optional(Schema.String),
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  get code(): RefusalCode {
    return codes[this.reason]
  }
  /**
   * @since 0.1.0
   */
  override get message() {
    const agent = this.agentRuntimeId === undefined ? "" : ` of agent ${JSON.stringify(this.agentRuntimeId)}`
    return `Assertion${agent} refused: ${this.detail}`
  }
}

/**
 * What a refused client is told.
 *
 * @since 0.1.0
 * @category models
 */
export type RefusalCode =
  | "missing_assertion"
  | "invalid_assertion"
  | "stale_assertion"
  | "task_not_found"
  | "task_expired"

/**
 * Who sent a request: an agent whose signature was verified, and its live task.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verified {
  readonly agentRuntimeId: AgentRuntimeId
  readonly taskId: TaskId
  /** The second of the signature, as it stood in the header. */
  readonly timestamp: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Takes the value of the header `Authorization`, undefined or empty where there is none. */
  readonly verify: (
    authorization: string | undefined
  ) => Effect.Effect<Verified, AssertionRefused | AgentDirectory.AgentDirectoryError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class AgentAssertionVerifier
  extends Context.Tag("@agent-identity/server/AgentAssertionVerifier")<AgentAssertionVerifier, Service>()
{}

/**
 * How many assertions this process has refused, by reason.
 *
 * @since 0.1.0
 * @category metrics
 */
export const refusals = Metric.frequency("agent_identity_assertion_refusals", {
  description: "Assertions that were refused, by reason"
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How far a timestamp may be from this machine's clock, either way; 300 seconds by default. */
  readonly skew?: Duration.DurationInput | undefined
  /** The one form of payload that is taken; `v1` by default. */
  readonly payloadForm?: SignedPayload.PayloadForm | undefined
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options?: Options
): Effect.Effect<Service, never, AgentDirectory.AgentDirectory | Signing.Signing> =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const checkSignature = yield* AgentSignature.makeCheck(options)
    const form = options?.payloadForm ?? "v1"

    const verify = (authorization: string | undefined) =>
      Effect.gen(function*() {
        if (authorization === undefined || authorization === "") return yield* refuse("Missing")
        const decoded = AssertionHeader.decode(authorization)
        if (Either.isLeft(decoded)) return yield* refuse("Malformed", undefined, decoded.left.message)
        const { agentRuntimeId, signature, taskId, timestamp } = decoded.right
        const payload = SignedPayload.assertion(form, agentRuntimeId, taskId, timestamp)
        yield* Effect.mapError(
          checkSignature({ agentRuntimeId, timestamp, payload, signature }),
          (error) => typeof error === "string" ? refuse(error, decoded.right) : error
        )
        const task = yield* directory.findTask(taskId)
        if (Option.isNone(task)) return yield* refuse("UnknownTask", decoded.right)
        if (task.value.agentRuntimeId !== agentRuntimeId) return yield* refuse("ForeignTask", decoded.right)
        if (!(task.value.expiresAt > (yield* Clock.currentTimeMillis))) {
          return yield* refuse("ExpiredTask", decoded.right)
        }
        return { agentRuntimeId, taskId, timestamp }
      }).pipe(
        Effect.catchTag(
          "AssertionRefused",
          (refused) => Effect.zipRight(Metric.update(refusals, refused.reason), trace(refused))
        )
      )

    return { verify }
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentAssertionVerifier, never, AgentDirectory.AgentDirectory | Signing.Signing> = Layer
  .effect(AgentAssertionVerifier, make())

/**
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<AgentAssertionVerifier, never, AgentDirectory.AgentDirectory | Signing.Signing> =>
  Layer.effect(AgentAssertionVerifier, make(options))

/** A span of the failure alone: one around every verification would cost as much as the verification. */
const trace = (refused: AssertionRefused): Effect.Effect<never, AssertionRefused> =>
  Effect.withSpan(Effect.fail(refused), "AgentAssertionVerifier.refuse", {
    captureStackTrace: false,
    attributes: {
      "agent_identity.refusal": refused.reason,
      ...(refused.agentRuntimeId === undefined
        ? undefined
        : { "agent_identity.agent_runtime_id": refused.agentRuntimeId, "agent_identity.task_id": refused.taskId })
    }
  })

const refuse = (
  reason: AssertionRefused["reason"],
  assertion?: { readonly agentRuntimeId: string; readonly taskId: string },
  detail: string = details[reason]
) =>
  new AssertionRefused({
    reason,
    detail,
    ...(assertion === undefined
      ? undefined
      : { agentRuntimeId: assertion.agentRuntimeId, taskId: assertion.taskId })
  })

const details: Record<AssertionRefused["reason"], string> = {
  Missing: "the request has no Authorization header",
  Malformed: "the Authorization header is no agent assertion",
  Stale: "its timestamp is too far from this server's clock",
  UnknownAgent: "no such agent is registered",
  BadSignature: "its signature is not the agent's",
  UnknownTask: "no such task is registered",
  ForeignTask: "its task belongs to another agent",
  ExpiredTask: "its task has expired"
}

const codes: Record<AssertionRefused["reason"], RefusalCode> = {
  Missing: "missing_assertion",
  Malformed: "invalid_assertion",
  Stale: "stale_assertion",
  UnknownAgent: "invalid_assertion",
  BadSignature: "invalid_assertion",
  UnknownTask: "task_not_found",
  ForeignTask: "task_not_found",
  ExpiredTask: "task_expired"
}
