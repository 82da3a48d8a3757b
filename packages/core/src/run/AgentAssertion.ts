/**
 * The run's assertion for the present second.
 *
 * Ed25519 is deterministic and time on the wire is whole seconds: within one second the same task has the same bytes,
 * so it is signed once and reused.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as AssertionHeader from "../protocol/AssertionHeader.ts"
import * as SignedPayload from "../protocol/SignedPayload.ts"
import type { TaskId } from "../protocol/TaskId.ts"
import * as Timestamp from "../protocol/Timestamp.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import * as RunTask from "./RunTask.ts"
import * as SingleFlight from "./singleFlight.ts"

/**
 * The signed headers of a request, and the agent, the task and the account that they name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assertion {
  readonly _tag: "Assertion"
  readonly agentRuntimeId: AgentRuntimeId
  readonly taskId: TaskId
  /** The account that is named beside the assertion. */
  readonly account: AgentIdentity.Account | undefined
  /** The whole value of `Authorization`, as `AssertionHeader.encode` writes it. */
  readonly header: Redacted.Redacted<string>
  /** `Authorization`, and the companion headers of the account: `ChatGPT-Account-ID`, `X-OpenAI-Fedramp`. */
  readonly headers: Redacted.Redacted<Headers.Headers>
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
 * The run's assertion, for code that sends it by hand. For an `HttpClient`, `ProviderAuth` does so.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentAssertion extends Context.Tag("@agent-identity/core/AgentAssertion")<AgentAssertion, Service>() {}

/**
 * How many assertions this process has signed (`made`), and how many it has taken from the same second (`reused`).
 *
 * @internal
 */
export const signatures = Metric.frequency("agent_identity_signatures", {
  description: "Assertions, by whether they were signed or reused",
  preregisteredWords: ["made", "reused"]
})

/**
 * Signs the run's task in this form, for the second that Effect's clock shows. All requests of one second share one
 * signature, also while a slow signer is at work; interrupting one of them fails no other.
 *
 * @internal
 */
export const make = (
  form: SignedPayload.PayloadForm
): Effect.Effect<Service, never, AgentIdentity.AgentIdentity | RunTask.RunTask | Scope.Scope> =>
  Effect.gen(function*() {
    const { account, agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
    const task = yield* RunTask.RunTask
    const fail = (detail: string) => new RunTask.RunTaskError({ reason: "SigningFailed", agentRuntimeId, detail })

    const accountHeaders = AgentIdentity.accountHeaders(account)
    const flight = yield* SingleFlight.make<Assertion, RunTask.RunTaskError>()
    // Whoever waits for a signer when the run ends waits no longer.
    yield* Effect.addFinalizer(() => flight.abandon(Exit.fail(RunTask.closedError(agentRuntimeId))))
    let last: Signed | undefined

    const sign = (signed: Signed): Effect.Effect<Assertion, RunTask.RunTaskError> => {
      const { second, taskId } = signed
      const timestamp = Timestamp.format(second * 1000)
      if (timestamp === undefined) return Effect.fail(fail("the clock is outside the years 0000 to 9999; set it"))
      const signature = signer.sign(SignedPayload.assertion(form, agentRuntimeId, taskId, timestamp))
      const keep = (signature: Uint8Array): Assertion => {
        const header = AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
        const assertion: Assertion = {
          _tag: "Assertion",
          agentRuntimeId,
          taskId,
          account,
          header: Redacted.make(header),
          headers: Redacted.make(Headers.unsafeFromRecord({ authorization: header, ...accountHeaders }))
        }
        signed.assertion = Effect.succeed(assertion)
        signatures.unsafeUpdate("made", [])
        return assertion
      }
      // Without a fiber: with one, a header costs 1.5 signatures instead of 1.15.
      const ready = exitOf(signature)
      if (ready !== undefined) {
        return Exit.match(ready, {
          onFailure: (cause) => Effect.failCause(Cause.map(cause, ({ message }) => fail(message))),
          onSuccess: (signature) => Effect.succeed(keep(signature))
        })
      }
      const signing = flight.share(
        Effect.mapBoth(signature, {
          onFailure: ({ message }) => {
            signed.assertion = undefined
            return fail(message)
          },
          onSuccess: keep
        }),
        signed
      )
      // The run may end or go on to another task meanwhile.
      return signed.assertion = Effect.flatMap(
        signing,
        (assertion) => Effect.flatMap(task.current, (now) => now === taskId ? Effect.succeed(assertion) : current)
      )
    }

    const current: Effect.Effect<Assertion, RunTask.RunTaskError> = Effect.flatMap(
      task.current,
      (taskId) =>
        Effect.clockWith((clock) => {
          const second = Math.floor(clock.unsafeCurrentTimeMillis() / 1000)
          if (last === undefined || last.second !== second || last.taskId !== taskId) {
            last = { second, taskId, assertion: undefined }
          }
          if (last.assertion === undefined) {
            return sign(last)
          }
          // Not as an effect: this is the path of nearly every request.
          signatures.unsafeUpdate("reused", [])
          return last.assertion
        })
    )

    return { current }
  })

/** What a signer in this process gives is there already. */
const exitOf = <A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> | undefined =>
  Exit.isExit(effect) ? effect as Exit.Exit<A, E> : undefined

/** What was signed for a second and a task, or is being signed: all requests of that second take it from here. */
interface Signed {
  readonly second: number
  readonly taskId: TaskId
  assertion: Effect.Effect<Assertion, RunTask.RunTaskError> | undefined
}

/**
 * Assertions over an agent and its task. The form is `v1`, the one that OpenAI's service takes.
 *
 * @example
 * import { AgentAssertion, AssertionHeader } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Either, Layer, Redacted } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { current } = yield* AgentAssertion.AgentAssertion
 *   const { header, taskId } = yield* current
 *   const sent = Either.getOrThrow(AssertionHeader.decode(Redacted.value(header)))
 *   assert.deepStrictEqual(sent.taskId, taskId)
 * })
 *
 * const Assertion = AgentAssertion.layer(Layer.merge(Fakes.layerRunTask, Fakes.layerAgentIdentity))
 * await Effect.runPromise(Effect.provide(program, Assertion))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  over: Layer.Layer<AgentIdentity.AgentIdentity | RunTask.RunTask, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<AgentAssertion, E, R> => layerWith(over, { form: "v1" })

/**
 * `layer` in another form: `v2` is for a backend that verifies this form.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E, R>(
  over: Layer.Layer<AgentIdentity.AgentIdentity | RunTask.RunTask, E, R> & AgentIdentity.Closed<R>,
  options: { readonly form: SignedPayload.PayloadForm }
): Layer.Layer<AgentAssertion, E, R> => Layer.provide(Layer.scoped(AgentAssertion, make(options.form)), over)
