/**
 * The run's one task: registered while layers build, shared by every dependent, over when the layer's scope closes.
 *
 * `layer` is a constant, so that whatever is composed of it shares one task: compose first, provide once. Give
 * `Layer.fresh` of a whole run to each of several runs, and to each of several agents.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { TaskId } from "../protocol/TaskId.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import * as TaskRegistration from "./TaskRegistration.ts"
import * as Telemetry from "./telemetry.ts"

/**
 * Why a run cannot send a request: it is `Closed`, or its key did not sign.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunTaskError extends Schema.TaggedError<RunTaskError>("@agent-identity/core/RunTaskError")(
  "RunTaskError",
  {
    reason: Schema.Literal("Closed", "SigningFailed"),
    agentRuntimeId: Schema.String,
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The run of agent ${JSON.stringify(this.agentRuntimeId)} sends nothing: ${this.detail}`
  }
}

/**
 * How many renewals this process has made, by what came of them: `renewed`, or the reason of the failure.
 *
 * @since 0.1.0
 * @category metrics
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
  /** The task as it is now, read without an effect; a `RunTaskError` once the run is over. */
  readonly current: () => Either.Either<TaskId, RunTaskError>
  /**
   * The task that follows `stale`. Whoever holds a task that is no longer the current one gets the current one; all who
   * hold the current one share one registration, and none of them can interrupt it for the others.
   */
  readonly renew: (
    stale: TaskId
  ) => Effect.Effect<TaskId, RunTaskError | TaskRegistration.TaskRegistrationError>
  /**
   * `renew` for a task that a server has refused, where it is worth a try: not within 30 s of the task's registration,
   * nor of a renewal that failed, which doubles with each further failure up to 10 min. None where it is not, or did not
   * succeed; the failure is logged.
   */
  readonly recover: (refused: TaskId) => Effect.Effect<Option.Option<TaskId>, RunTaskError>
  /** Ends once this task is no longer the current one: replaced by another, or the run has ended. */
  readonly replaced: (taskId: TaskId) => Effect.Effect<"Replaced" | "Ended">
}

/**
 * The task of the run. Whatever is built over one layer of it has the same one.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunTask extends Context.Tag("@agent-identity/core/RunTask")<RunTask, Service>() {}

/**
 * A run, from its first task on. `first` is taken as it is; `renew` goes to TaskRegistration.
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
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const closed = new RunTaskError({
      reason: "Closed",
      agentRuntimeId,
      detail: "its scope is closed; send requests inside of the run's `Effect.provide`"
    })

    let current: Either.Either<TaskId, RunTaskError> = Either.right(first.taskId)
    let replaced = Deferred.unsafeMake<"Replaced" | "Ended">(FiberId.none)
    let renewal: Renewal | undefined
    let pause = MIN_PAUSE_MILLIS
    /** No renewal in this time. It is over, too, for a clock that was set back to before it. */
    let rest: Rest | undefined
    const restSince = (since: number, millis: number): Rest => ({ since, until: since + millis })
    const isResting = (now: number) => rest !== undefined && now >= rest.since && now < rest.until
    if (first.registeredAt !== undefined) {
      // A clock that is ahead, of whoever registered the task, must not put it off.
      rest = restSince(Math.min(first.registeredAt, yield* Clock.currentTimeMillis), MIN_PAUSE_MILLIS)
    }

    const become = (next: Either.Either<TaskId, RunTaskError>) => {
      const before = replaced
      current = next
      replaced = Deferred.unsafeMake(FiberId.none)
      Deferred.unsafeDone(before, Effect.succeed(Either.isRight(next) ? "Replaced" : "Ended"))
    }

    /** On a fiber of its own: no waiter owns it, and the end of the run does not wait for it. */
    const startRenewal = (stale: TaskId, parent: Option.Option<Tracer.AnySpan>): Renewal => {
      const done = Deferred.unsafeMake<TaskId, Failure>(FiberId.none)
      const started: Renewal = {
        done,
        fiber: runFork(
          Effect.interruptible(register(Option.some(stale))).pipe(
            Effect.withSpan("RunTask.renew", {
              ...(Option.isSome(parent) ? { parent: parent.value } : undefined),
              captureStackTrace: false,
              attributes: Telemetry.attributes({ agentRuntimeId, taskId: stale })
            }),
            Effect.exit,
            Effect.flatMap((exit) =>
              Effect.clockWith((clock) => {
                // After the end of the run its waiters have their answer, and it has no task any more.
                if (renewal !== started) return Effect.void
                renewal = undefined
                const now = clock.unsafeCurrentTimeMillis()
                if (Exit.isSuccess(exit)) {
                  pause = MIN_PAUSE_MILLIS
                  rest = restSince(Math.min(exit.value.registeredAt ?? now, now), MIN_PAUSE_MILLIS)
                  become(Either.right(exit.value.taskId))
                } else {
                  rest = restSince(now, pause)
                  pause = Math.min(2 * pause, MAX_PAUSE_MILLIS)
                }
                Deferred.unsafeDone(done, Exit.map(exit, (_) => _.taskId))
                return report(exit)
              })
            )
          ),
          { immediate: false }
        )
      }
      return started
    }

    const report = (exit: Exit.Exit<unknown, TaskRegistration.TaskRegistrationError>): Effect.Effect<void> => {
      if (Exit.isSuccess(exit)) return Metric.update(renewals, "renewed")
      const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
      const reason = failure?.reason ?? "Defect"
      return Effect.logWarning(`The task was not renewed: ${failure?.message ?? "its registration has a defect"}`).pipe(
        Effect.annotateLogs({ agentRuntimeId, reason }),
        Effect.zipRight(Metric.update(renewals, reason))
      )
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        const ended = renewal
        renewal = undefined
        become(Either.left(closed))
        return ended === undefined
          ? Effect.void
          : Effect.zipRight(Deferred.fail(ended.done, closed), Fiber.interruptFork(ended.fiber))
      })
    )

    const isCurrent = (taskId: TaskId) => Either.isRight(current) && current.right === taskId

    const renew: Service["renew"] = (stale) =>
      Effect.flatMap(Effect.serviceOption(Tracer.ParentSpan), (parent) => {
        if (!isCurrent(stale)) return current
        renewal ??= startRenewal(stale, parent)
        return Deferred.await(renewal.done)
      })

    return {
      current: () => current,
      renew,
      recover: (refused) =>
        Effect.clockWith((clock) =>
          isCurrent(refused) && renewal === undefined && isResting(clock.unsafeCurrentTimeMillis())
            ? Effect.succeedNone
            : Effect.catchAllCause(Effect.asSome(renew(refused)), (cause) => {
              // A registration that fails by a defect, too, leaves the request its answer.
              const failure = Option.getOrUndefined(Cause.failureOption(cause))
              return failure?._tag === "RunTaskError" ? Effect.fail(failure) : Effect.succeedNone
            })
        ),
      replaced: (taskId) =>
        Effect.suspend(() => {
          if (isCurrent(taskId)) return Deferred.await(replaced)
          return Effect.succeed(Either.isRight(current) ? "Replaced" : "Ended")
        })
    }
  })

/**
 * A new run: registers its task while the layer builds, so that a failure is the layer's error. A failed build stays
 * failed for what it was built for: provide again, or make another `ManagedRuntime`.
 *
 * @example
 * import { RunTask } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Either, Layer } from "effect"
 *
 * const Task = RunTask.layer.pipe(Layer.provide([Fakes.layerTaskRegistration, Fakes.layerAgentIdentity]))
 *
 * // Out of the layer's scope the run is over.
 * const { current } = await Effect.runPromise(Effect.provide(RunTask.RunTask, Task))
 * assert.deepStrictEqual(Either.getOrThrow(Either.flip(current())).reason, "Closed")
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  RunTask,
  TaskRegistration.TaskRegistrationError,
  AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration
> = Layer.scoped(
  RunTask,
  Effect.gen(function*() {
    const { register } = yield* TaskRegistration.TaskRegistration
    return yield* make(yield* register(Option.none()))
  })
)

/**
 * A run that goes on with a task that is known: nothing is registered until it has to be renewed.
 *
 * @example
 * import { RunTask, TaskId } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Layer } from "effect"
 *
 * const Resumed = RunTask.layerFromTaskId(TaskId.TaskId.make("task-of-yesterday")).pipe(
 *   Layer.provide([Fakes.layerTaskRegistration, Fakes.layerAgentIdentity])
 * )
 *
 * const program = Effect.gen(function*() {
 *   const run = yield* RunTask.RunTask
 *   const task = yield* run.current()
 *   assert.deepStrictEqual(task, "task-of-yesterday")
 *   assert.deepStrictEqual(yield* run.renew(task), "task-1")
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Resumed))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFromTaskId = (
  taskId: TaskId
): Layer.Layer<RunTask, never, AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration> =>
  Layer.scoped(RunTask, make({ taskId, registeredAt: undefined }))

const MIN_PAUSE_MILLIS = 30_000

const MAX_PAUSE_MILLIS = 600_000

type Failure = RunTaskError | TaskRegistration.TaskRegistrationError

/** From the first of these times to before the second, in milliseconds since the Unix epoch. */
interface Rest {
  readonly since: number
  readonly until: number
}

interface Renewal {
  readonly done: Deferred.Deferred<TaskId, Failure>
  readonly fiber: Fiber.RuntimeFiber<unknown>
}
