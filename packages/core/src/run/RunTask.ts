/**
 * The run's one task: registered while layers build, shared by every dependent, over when the layer's scope closes.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import type { TaskId } from "../protocol/TaskId.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import * as Backoff from "./backoff.ts"
import * as Moment from "./moment.ts"
import * as SingleFlight from "./singleFlight.ts"
import * as TaskRegistration from "./TaskRegistration.ts"
import * as Telemetry from "./telemetry.ts"

/**
 * Why a run cannot send a request.
 *
 * - `Closed`: the run's scope is closed
 * - `SigningFailed`: the agent's key did not sign
 * - `NoLogin`: the login whose bearer token the run sends has ended, or cannot be read
 * - `StaleAuth`: that login is another account's by now
 *
 * @since 0.1.0
 * @category errors
 */
export class RunTaskError extends Schema.TaggedError<RunTaskError>("@agent-identity/core/RunTaskError")(
  "RunTaskError",
  {
    reason: Schema.Literal("Closed", "SigningFailed", "NoLogin", "StaleAuth"),
    /** Undefined for a run of a login that has no agent. */
    agentRuntimeId: Schema.optional(Schema.String),
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    const run = this.agentRuntimeId === undefined
      ? "This run"
      : `The run of agent ${JSON.stringify(this.agentRuntimeId)}`
    return `${run} sends nothing: ${this.detail}`
  }
}

/**
 * Of a run that is over.
 *
 * @internal
 */
export const closedError = (agentRuntimeId: AgentRuntimeId): RunTaskError =>
  new RunTaskError({
    reason: "Closed",
    agentRuntimeId,
    detail: "its scope is closed; send requests inside of the run's `Effect.provide`"
  })

/**
 * How many renewals this process has made, by what came of them: `renewed`, or the reason of the failure.
 *
 * @internal
 */
export const renewals = Metric.frequency("agent_identity_task_renewals", {
  description: "Renewals of a run's task, by outcome"
})

/**
 * The run's one task, and its renewal.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The task as it is now. Fails with `Closed` once the run is over. */
  readonly current: Effect.Effect<TaskId, RunTaskError>
  /**
   * Returns the task that follows `stale`. A caller whose task is no longer the current one gets the current one; all
   * callers with the current one share one registration, and none of them can interrupt it for the others.
   */
  readonly renew: (
    stale: TaskId
  ) => Effect.Effect<TaskId, RunTaskError | TaskRegistration.TaskRegistrationError>
  /**
   * Renews a task that the server has refused. Skipped within 30 s of its registration or of a failed renewal; the
   * back-off doubles up to 10 min. Returns `None` when skipped or failed, which is logged.
   */
  readonly recover: (refused: TaskId) => Effect.Effect<Option.Option<TaskId>, RunTaskError>
  /** Ends once this task is no longer the current one: replaced by another, or the run has ended. */
  readonly replaced: (taskId: TaskId) => Effect.Effect<"Replaced" | "Ended">
}

/**
 * The task of the run. Everything that is built over one layer of it has the same one.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunTask extends Context.Tag("@agent-identity/core/RunTask")<RunTask, Service>() {}

/**
 * Starts a run with this task. Nothing is registered until it has to be renewed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  first: TaskRegistration.RegisteredTask
): Effect.Effect<
  Service,
  never,
  AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration | Scope.Scope
> =>
  Effect.gen(function*() {
    const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
    const { register } = yield* TaskRegistration.TaskRegistration
    const renewal = yield* SingleFlight.make<TaskId, Failure>()
    const backoff = Backoff.make()
    const closed = closedError(agentRuntimeId)
    if (first.registeredAt !== undefined) backoff.succeeded(first.registeredAt, yield* Moment.now)

    let task = stateOf(first.taskId)
    const current = Effect.suspend(() => task.effect)
    const next = (state: State, end: "Replaced" | "Ended") => {
      const before = task
      task = state
      Deferred.unsafeDone(before.end, Effect.succeed(end))
    }

    /** Its end is noted on its own fiber: those who wait for it may be gone by then. */
    const registered = (stale: TaskId, parent: Option.Option<Tracer.AnySpan>): Effect.Effect<TaskId, Failure> =>
      // All who ask in this turn share it, also where it ends at once.
      Effect.zipRight(Effect.yieldNow(), register(Option.some(stale))).pipe(
        Effect.withSpan("RunTask.renew", {
          ...(Option.isSome(parent) ? { parent: parent.value } : undefined),
          captureStackTrace: false,
          attributes: Telemetry.attributes({ agentRuntimeId, taskId: stale })
        }),
        Effect.exit,
        Effect.flatMap((exit) =>
          Effect.flatMap(Moment.now, (now) => {
            // After its end the run has no task any more.
            if (task.taskId !== stale) return Effect.map(exit, (_) => _.taskId)
            if (Exit.isSuccess(exit)) {
              backoff.succeeded(exit.value.registeredAt ?? now.wall, now)
              next(stateOf(exit.value.taskId), "Replaced")
            } else backoff.failed(now)
            return Effect.zipRight(report(exit), Effect.map(exit, (_) => _.taskId))
          })
        )
      )

    const report = (exit: Exit.Exit<unknown, TaskRegistration.TaskRegistrationError>): Effect.Effect<void> => {
      if (Exit.isSuccess(exit)) return Metric.update(renewals, "renewed")
      const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
      const reason = failure?.reason ?? "Defect"
      return Effect.logWarning(`The task was not renewed: ${failure?.message ?? "its registration has a defect"}`).pipe(
        Effect.annotateLogs({ ...Telemetry.annotations({ agentRuntimeId }), reason }),
        Effect.zipRight(Metric.update(renewals, reason))
      )
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        next({ taskId: undefined, effect: Effect.fail(closed), end: Deferred.unsafeMake(FiberId.none) }, "Ended")
        return renewal.abandon(Exit.fail(closed))
      })
    )

    const renew: Service["renew"] = (stale) =>
      Effect.flatMap(
        Effect.serviceOption(Tracer.ParentSpan),
        (parent) => task.taskId === stale ? renewal.share(registered(stale, parent)) : current
      )

    /** The pause that has been logged: one line says it for all requests of that time. */
    let said: Moment.Moment | undefined
    const skipped = (pause: Backoff.Pause) => {
      if (said === pause.since) return Effect.succeedNone
      said = pause.since
      const after = pause.after === "registration" ? "it was registered just now" : "its last renewal failed"
      return Effect.logWarning(
        `A server refused the task, and it is not renewed for another ${Math.ceil(pause.millis / 1000)} s: ${after}`
      ).pipe(Effect.annotateLogs(Telemetry.annotations({ agentRuntimeId })), Effect.zipRight(Effect.succeedNone))
    }

    return {
      current,
      renew,
      recover: (refused) =>
        Effect.flatMap(Moment.now, (now) => {
          const pause = task.taskId === refused && !renewal.isBusy() ? backoff.pause(now) : undefined
          return pause !== undefined
            ? skipped(pause)
            : Effect.catchAllCause(Effect.asSome(renew(refused)), (cause) => {
              // A registration that fails by a defect, too, leaves the request its answer.
              const failure = Option.getOrUndefined(Cause.failureOption(cause))
              return failure?._tag === "RunTaskError" ? Effect.fail(failure) : Effect.succeedNone
            })
        }),
      replaced: (taskId) =>
        Effect.suspend(() =>
          task.taskId === taskId
            ? Deferred.await(task.end)
            : Effect.succeed(task.taskId === undefined ? "Ended" : "Replaced")
        )
    }
  })

/**
 * Registers a task and starts a run with it.
 * @internal
 */
export const makeRegistered = Effect.gen(function*() {
  const { register } = yield* TaskRegistration.TaskRegistration
  return yield* make(yield* register(Option.none()))
})

/**
 * Registers the task of a new run while the layer builds, so that a failure is the layer's error. A failed build stays
 * failed for what it was built for: provide again, or make another `ManagedRuntime`. `Run.layer` is a whole run.
 *
 * @example
 * import { RunTask } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Layer } from "effect"
 *
 * const Task = RunTask.layer(Layer.merge(Fakes.layerTaskRegistration, Fakes.layerAgentIdentity))
 *
 * // Out of the layer's scope the run is over.
 * const { current } = await Effect.runPromise(Effect.provide(RunTask.RunTask, Task))
 * assert.deepStrictEqual((await Effect.runPromise(Effect.flip(current))).reason, "Closed")
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  over:
    & Layer.Layer<AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration, E, R>
    & AgentIdentity.Closed<R>
): Layer.Layer<RunTask, E | TaskRegistration.TaskRegistrationError, R> =>
  Layer.provide(Layer.scoped(RunTask, makeRegistered), over)

type Failure = RunTaskError | TaskRegistration.TaskRegistrationError

interface State {
  /** Undefined once the run is over. */
  readonly taskId: TaskId | undefined
  readonly effect: Effect.Effect<TaskId, RunTaskError>
  readonly end: Deferred.Deferred<"Replaced" | "Ended">
}

const stateOf = (taskId: TaskId): State => ({
  taskId,
  effect: Effect.succeed(taskId),
  end: Deferred.unsafeMake(FiberId.none)
})
