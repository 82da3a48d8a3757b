/**
 * The run's one task: registered while layers build, shared by every dependent, over when the layer's scope closes.
 *
 * `layer` is a constant, so that whatever is composed of it shares one task: compose first, provide once. Give
 * `Layer.fresh` of a whole run to each of several runs, and to each of several agents.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AgentIdentity from "./AgentIdentity.ts"
import type { TaskId } from "./TaskId.ts"
import * as TaskRegistration from "./TaskRegistration.ts"

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
}

/**
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
  first: TaskId
): Effect.Effect<
  Service,
  never,
  AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration | Scope.Scope
> =>
  Effect.gen(function*() {
    const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
    const { register } = yield* TaskRegistration.TaskRegistration
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const closed = new RunTaskError({ reason: "Closed", agentRuntimeId, detail: "its scope is closed" })

    let current: Either.Either<TaskId, RunTaskError> = Either.right(first)
    let renewal: Renewal | undefined

    /** On a fiber of its own: no waiter owns it, and the end of the run does not wait for it. */
    const startRenewal = (stale: TaskId): Renewal => {
      const done = Deferred.unsafeMake<TaskId, Failure>(FiberId.none)
      const started: Renewal = {
        done,
        fiber: runFork(
          Effect.flatMap(Effect.exit(Effect.interruptible(register(Option.some(stale)))), (exit) => {
            // After the end of the run its waiters have their answer.
            if (renewal !== started) return Effect.void
            renewal = undefined
            if (Exit.isSuccess(exit)) current = Either.right(exit.value)
            return Deferred.done(done, exit)
          }),
          { immediate: false }
        )
      }
      return started
    }

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        const ended = renewal
        renewal = undefined
        current = Either.left(closed)
        return ended === undefined
          ? Effect.void
          : Effect.zipRight(Deferred.fail(ended.done, closed), Fiber.interruptFork(ended.fiber))
      })
    )

    return {
      current: () => current,
      renew: (stale) =>
        Effect.suspend(() => {
          if (Either.isLeft(current) || current.right !== stale) return current
          renewal ??= startRenewal(stale)
          return Deferred.await(renewal.done)
        })
    }
  })

/**
 * A new run: registers its task while the layer builds, so that a failure is the layer's error. A failed build stays
 * failed for what it was built for: provide again, or make another `ManagedRuntime`.
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
 * @since 0.1.0
 * @category layers
 */
export const layerFromTaskId = (
  taskId: TaskId
): Layer.Layer<RunTask, never, AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration> =>
  Layer.scoped(RunTask, make(taskId))

type Failure = RunTaskError | TaskRegistration.TaskRegistrationError

interface Renewal {
  readonly done: Deferred.Deferred<TaskId, Failure>
  readonly fiber: Fiber.RuntimeFiber<unknown>
}
