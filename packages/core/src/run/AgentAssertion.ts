/**
 * The run's assertion for the present second.
 *
 * Ed25519 is deterministic and time on the wire is whole seconds: within one second the same task has the same bytes,
 * so it is signed once and reused.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as AssertionHeader from "../protocol/AssertionHeader.ts"
import * as SignedPayload from "../protocol/SignedPayload.ts"
import type { TaskId } from "../protocol/TaskId.ts"
import * as Timestamp from "../protocol/Timestamp.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import * as RunTask from "./RunTask.ts"

/**
 * A header value, and the agent and the task that it names.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assertion {
  /** The whole value of `Authorization`, as `AssertionHeader.encode` writes it. */
  readonly header: Redacted.Redacted<string>
  readonly agentRuntimeId: AgentRuntimeId
  readonly taskId: TaskId
}

/**
 * The assertion to send now, to be asked for at every request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Fails once the run is over, and where the key does not sign. */
  readonly current: Effect.Effect<Assertion, RunTask.RunTaskError>
}

/**
 * The run's assertion, for whoever sends it by hand. For an `HttpClient`, `ProviderAuth` does so.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentAssertion extends Context.Tag("@agent-identity/core/AgentAssertion")<AgentAssertion, Service>() {}

/**
 * How many assertions this process has signed (`made`), and how many it has taken from the same second (`reused`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const signatures = Metric.frequency("agent_identity_signatures", {
  description: "Assertions, by whether they were signed or reused",
  preregisteredWords: ["made", "reused"]
})

/**
 * Assertions of the run's task in this form, for the second that Effect's clock shows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  form: SignedPayload.PayloadForm
): Effect.Effect<Service, never, AgentIdentity.AgentIdentity | RunTask.RunTask> =>
  Effect.gen(function*() {
    const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
    const task = yield* RunTask.RunTask

    const fail = (detail: string) => new RunTask.RunTaskError({ reason: "SigningFailed", agentRuntimeId, detail })

    let last:
      | { readonly second: number; readonly taskId: TaskId; readonly assertion: Effect.Effect<Assertion> }
      | undefined

    const sign = (second: number, taskId: TaskId): Effect.Effect<Assertion, RunTask.RunTaskError> => {
      const timestamp = Timestamp.format(second * 1000)
      if (timestamp === undefined) return Effect.fail(fail("the clock is outside the years 0000 to 9999; set it"))
      return Effect.matchEffect(signer.sign(SignedPayload.assertion(form, agentRuntimeId, taskId, timestamp)), {
        onFailure: (error) => Effect.fail(fail(error.message)),
        onSuccess: (signature) => {
          const header = AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
          const assertion = Effect.succeed<Assertion>({ header: Redacted.make(header), agentRuntimeId, taskId })
          last = { second, taskId, assertion }
          signatures.unsafeUpdate("made", [])
          // A signer may take its time, and the run may end or go on to another task meanwhile.
          const now = task.current()
          return Either.isRight(now) && now.right === taskId ? assertion : current
        }
      })
    }

    const current: Effect.Effect<Assertion, RunTask.RunTaskError> = Effect.clockWith((clock) => {
      const taskId = task.current()
      if (Either.isLeft(taskId)) return Effect.fail(taskId.left)
      const second = Math.floor(clock.unsafeCurrentTimeMillis() / 1000)
      if (last === undefined || last.second !== second || last.taskId !== taskId.right) {
        return sign(second, taskId.right)
      }
      // Not as an effect: this is the path of nearly every request.
      signatures.unsafeUpdate("reused", [])
      return last.assertion
    })

    return { current }
  })

/**
 * Assertions in the form `v1`, the one that OpenAI's service takes.
 *
 * @example
 * import { AgentAssertion, AssertionHeader } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Either, Redacted } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { current } = yield* AgentAssertion.AgentAssertion
 *   const { header, taskId } = yield* current
 *   const sent = Either.getOrThrow(AssertionHeader.decode(Redacted.value(header)))
 *   assert.deepStrictEqual(sent.taskId, taskId)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Fakes.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentAssertion, never, AgentIdentity.AgentIdentity | RunTask.RunTask> = Layer.effect(
  AgentAssertion,
  make("v1")
)

/**
 * Assertions in the form `v2`, for a backend of one's own that verifies this form.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerV2: Layer.Layer<AgentAssertion, never, AgentIdentity.AgentIdentity | RunTask.RunTask> = Layer.effect(
  AgentAssertion,
  make("v2")
)
