/** One effect at a time, whose end all who ask for it meanwhile share: a registration, a fetch of a key set, a signature. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"

/** @internal */
export interface SingleFlight<A, E> {
  /**
   * Runs the effect, or shares the exit of the one that is running with the same key. It runs on a fiber of its own, so that no caller can
   * interrupt it for the others; it has to end by itself. Nothing is remembered.
   */
  readonly share: (effect: Effect.Effect<A, E>, key?: unknown) => Effect.Effect<A, E>
  readonly isBusy: () => boolean
  /** Gives this exit to all who wait, and interrupts what runs in the background. */
  readonly abandon: (exit: Exit.Exit<A, E>) => Effect.Effect<void>
}

/**
 * Makes a place where an effect runs once per key at a time, in the runtime of its maker.
 * @internal
 */
export const make = <A, E>(): Effect.Effect<SingleFlight<A, E>> =>
  Effect.map(Effect.runtime<never>(), (runtime) => {
    interface Flight {
      readonly done: Deferred.Deferred<A, E>
      fiber: Fiber.RuntimeFiber<unknown> | undefined
    }
    const runFork = Runtime.runFork(runtime)
    /** By key. */
    const flights = new Map<unknown, Flight>()

    const start = (effect: Effect.Effect<A, E>, key: unknown): Flight => {
      // Registered before it is forked: it may end, or ask for itself again, while it is being forked.
      const started: Flight = { done: Deferred.unsafeMake(FiberId.none), fiber: undefined }
      flights.set(key, started)
      started.fiber = runFork(
        Effect.flatMap(Effect.exit(Effect.interruptible(effect)), (exit) => {
          if (flights.get(key) === started) flights.delete(key)
          return Deferred.done(started.done, exit)
        })
      )
      return started
    }

    return {
      share: (effect, key) => Effect.suspend(() => Deferred.await((flights.get(key) ?? start(effect, key)).done)),
      isBusy: () => flights.size > 0,
      abandon: (exit) =>
        Effect.suspend(() => {
          const ended = Array.from(flights.values())
          flights.clear()
          return Effect.forEach(ended, ({ done, fiber }) => {
            const interrupt = fiber === undefined ? Effect.void : Fiber.interruptFork(fiber)
            return Effect.zipRight(Deferred.done(done, exit), interrupt)
          }, { discard: true })
        })
    }
  })
