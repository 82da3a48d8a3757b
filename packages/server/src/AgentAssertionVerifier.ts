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
import * as Timestamp from "@agent-identity/core/Timestamp"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AgentDirectory from "./AgentDirectory.ts"
import * as AgentSignature from "./internal/agentSignature.ts"
import { BoundedMap } from "./internal/boundedMap.ts"

/**
 * Why an assertion was refused, in full, for logs and metrics. `code` is what the client may be told: `Malformed`,
 * `UnknownAgent` and `BadSignature` share one, and so do `UnknownTask` and `ForeignTask`. The ids are those that the
 * header names: nobody has proved them, unless the signature was verified (`Replayed` and the three that are about
 * tasks).
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
      "Replayed",
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
  | "replayed_assertion"
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
 * Verifies assertions.
 *
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
 * Verifies the value of a header. `AgentAuthentication` does it for the routes of a server; take it yourself at another
 * door, such as a message queue.
 *
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
 * How strict a verifier is, and how much it remembers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How far a timestamp may be from this machine's clock, either way; 300 seconds by default. */
  readonly skew?: Duration.DurationInput | undefined
  /** The one form of payload that is taken; `v1` by default. */
  readonly payloadForm?: SignedPayload.PayloadForm | undefined
  /**
   * What is done about an assertion that was sent before. `accept`, the default: clients of this protocol send one
   * assertion with all requests of a second, so it is no replay, and its signature is not verified again. `refuse`: for
   * clients that sign each request anew; it is refused as `Replayed`, by this process, as long as the skew would let it in.
   */
  readonly repeats?: "accept" | "refuse" | undefined
  /**
   * How many assertions are remembered at most; 10,000 by default. Under `accept` those that were not used lately are
   * forgotten for a new one; under `refuse` a new one is refused as `Replayed` while that many may still be sent.
   */
  readonly capacity?: number | undefined
  /**
   * How many agents' public keys are kept imported, each about 1 KiB; 10,000 by default. It hardly matters: an import
   * costs about a tenth of a verification.
   */
  readonly keyCapacity?: number | undefined
}

/**
 * A verifier over this directory, by Effect's clock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, never, AgentDirectory.AgentDirectory | Signing.Signing> =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const checkSignature = yield* AgentSignature.makeCheck(options)
    const skew = Duration.toMillis(options.skew ?? AgentSignature.defaultSkew)
    const form = options.payloadForm ?? "v1"
    const capacity = options.capacity ?? 10_000
    const verified = new BoundedMap<string, Signed>(options.repeats === "refuse" ? 0 : capacity)
    const replays = options.repeats === "refuse" ? makeReplays(capacity, skew) : undefined

    const checkTask = ({ assertion }: Signed) =>
      Effect.flatMap(directory.findTask(assertion.taskId), (task) =>
        Effect.clockWith((clock) => {
          if (Option.isNone(task)) return refuse("UnknownTask", assertion)
          if (task.value.agentRuntimeId !== assertion.agentRuntimeId) return refuse("ForeignTask", assertion)
          return task.value.expiresAt > clock.unsafeCurrentTimeMillis()
            ? Effect.succeed(assertion)
            : refuse("ExpiredTask", assertion)
        }))

    const verifyNew = (
      authorization: string
    ): Effect.Effect<Verified, AssertionRefused | AgentDirectory.AgentDirectoryError> => {
      const decoded = AssertionHeader.decode(authorization)
      if (Either.isLeft(decoded)) return Effect.fail(refuse("Malformed", undefined, decoded.left.message))
      const { agentRuntimeId, signature, taskId, timestamp } = decoded.right
      const payload = SignedPayload.assertion(form, agentRuntimeId, taskId, timestamp)
      return Effect.matchEffect(checkSignature({ agentRuntimeId, timestamp, payload, signature }), {
        onFailure: (error) => Effect.fail(typeof error === "string" ? refuse(error, decoded.right) : error),
        onSuccess: ({ publicKey }) => {
          const signedAt = Timestamp.parse(timestamp)!
          const signed: Signed = { assertion: { agentRuntimeId, taskId, timestamp }, publicKey, signedAt }
          if (replays === undefined) {
            verified.set(authorization, signed)
            return checkTask(signed)
          }
          return Effect.flatMap(
            replays.isNew(Encoding.encodeBase64(signature), signedAt),
            (isNew) => isNew ? checkTask(signed) : Effect.fail(refuse("Replayed", decoded.right))
          )
        }
      })
    }

    /** All but the signature: its bytes have been verified with the key that the agent still has. */
    const verifyAgain = (authorization: string, signed: Signed) =>
      Effect.clockWith((clock) =>
        AgentSignature.isStale(signed.signedAt, clock.unsafeCurrentTimeMillis(), skew)
          ? Effect.fail(refuse("Stale", signed.assertion))
          : Effect.flatMap(
            directory.findAgent(signed.assertion.agentRuntimeId),
            (agent) =>
              Option.isSome(agent) && AgentSignature.isSame(agent.value.publicKey, signed.publicKey)
                ? checkTask(signed)
                : verifyNew(authorization)
          )
      )

    const verify = (authorization: string | undefined) =>
      Effect.catchTag(
        Effect.suspend((): Effect.Effect<Verified, AssertionRefused | AgentDirectory.AgentDirectoryError> => {
          if (authorization === undefined || authorization === "") return Effect.fail(refuse("Missing"))
          const signed = verified.get(authorization)
          return signed === undefined ? verifyNew(authorization) : verifyAgain(authorization, signed)
        }),
        "AssertionRefused",
        (refused) => Effect.zipRight(Metric.update(refusals, refused.reason), trace(refused))
      )

    return { verify }
  })

/**
 * Takes assertions in the form `v1`, within 300 seconds, and the same one again.
 *
 * @example
 * import { AgentAssertion, Run, Signing } from "@agent-identity/core"
 * import { AgentAssertionVerifier } from "@agent-identity/server"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
 *   const { current } = yield* AgentAssertion.AgentAssertion
 *   const { header, taskId } = yield* current
 *   assert.deepStrictEqual((yield* verify(Redacted.value(header))).taskId, taskId)
 * })
 *
 * const AgentRun = Run.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-123" }))
 * const Both = Layer.provide(Layer.merge(AgentRun, AgentAssertionVerifier.layer), SocketlessAuthApi.layer)
 * await Effect.runPromise(Effect.provide(program, Layer.provide(Both, Signing.layer)))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentAssertionVerifier, never, AgentDirectory.AgentDirectory | Signing.Signing> = Layer
  .effect(AgentAssertionVerifier, make())

/**
 * `layer` with other limits, another form, or each assertion once.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<AgentAssertionVerifier, never, AgentDirectory.AgentDirectory | Signing.Signing> =>
  Layer.effect(AgentAssertionVerifier, make(options))

/** An assertion whose signature was verified, with the key that verified it. */
interface Signed {
  readonly assertion: Verified
  readonly publicKey: Uint8Array
  readonly signedAt: number
}

/** The signatures that may still come again. One that the skew no longer lets in is forgotten. */
const makeReplays = (capacity: number, skew: number) => {
  const seen = new Map<string, number>()
  return {
    isNew: (signature: string, signedAt: number) =>
      Effect.clockWith((clock) => {
        const now = clock.unsafeCurrentTimeMillis()
        if (seen.size >= capacity) {
          for (const [old, at] of seen) if (AgentSignature.isStale(at, now, skew)) seen.delete(old)
        }
        // A slow directory may have answered after the skew was over: it may be forgotten by now that it was seen.
        const isNew = !AgentSignature.isStale(signedAt, now, skew) && !seen.has(signature) && seen.size < capacity
        if (isNew) seen.set(signature, signedAt)
        return Effect.succeed(isNew)
      })
  }
}

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
  Replayed: "it was sent before, and this server takes each assertion once",
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
  Replayed: "replayed_assertion",
  UnknownTask: "task_not_found",
  ForeignTask: "task_not_found",
  ExpiredTask: "task_expired"
}
