/** What a directory does beside its requests: removes what is over, in a fiber of its own. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"

/**
 * Lets the event loop turn: a fiber that yields gives way to other fibers alone.
 *
 * @internal
 */
export const turn: Effect.Effect<void> = Effect.suspend(() => wait(0, true))

/**
 * Runs the pass again and again while the scope is open: ten times in a task's life, but at most once a second and at
 * least every ten minutes. A pass that fails is logged, and the next one is made all the same.
 *
 * @internal
 */
export const forkPasses = <E>(
  taskLifetime: Duration.DurationInput,
  pass: Effect.Effect<void, E>
): Effect.Effect<void, never, Scope.Scope> => {
  const millis = Math.min(Math.max(Duration.toMillis(taskLifetime) / 10, 1000), 600_000)
  return pass.pipe(
    Effect.catchAllCause((cause) => Effect.logWarning("Expired agents and tasks were not removed", cause)),
    (logged) => Effect.zipRight(wait(millis, false), logged),
    Effect.forever,
    Effect.forkScoped,
    Effect.asVoid
  )
}

/** In real time: a test that sets its clock to a date would run millions of passes on the way. */
const wait = (millis: number, keepsProcess: boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    const timer: unknown = setTimeout(() => resume(Effect.void), millis)
    if (!keepsProcess && Predicate.hasProperty(timer, "unref") && typeof timer.unref === "function") timer.unref()
    return Effect.sync(() => clearTimeout(timer as ReturnType<typeof setTimeout>))
  })
