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
  /** Gives this exit to all who wait for the newest effect, and interrupts that in the background. */
  readonly abandon: (exit: Exit.Exit<A, E>) => Effect.Effect<void>
}

/**
 * At most one run of an effect at a time, in the runtime of whoever makes it.
 * @internal
 */
export const make = <A, E>(): Effect.Effect<SingleFlight<A, E>> =>
  Effect.map(Effect.runtime<never>(), (runtime) => {
    interface Flight {
      readonly key: unknown
      readonly done: Deferred.Deferred<A, E>
      fiber: Fiber.RuntimeFiber<unknown> | undefined
    }
    const runFork = Runtime.runFork(runtime)
    let flight: Flight | undefined

    const start = (effect: Effect.Effect<A, E>, key: unknown): Deferred.Deferred<A, E> => {
      // Registered before it is forked: it may end, or ask for itself again, while it is being forked.
      const started: Flight = { key, done: Deferred.unsafeMake(FiberId.none), fiber: undefined }
      flight = started
      started.fiber = runFork(
        Effect.flatMap(Effect.exit(Effect.interruptible(effect)), (exit) => {
          if (flight === started) flight = undefined
          return Deferred.done(started.done, exit)
        })
      )
      return started.done
    }

    return {
      share: (effect, key) =>
        Effect.suspend(() =>
          Deferred.await(flight === undefined || flight.key !== key ? start(effect, key) : flight.done)
        ),
      isBusy: () => flight !== undefined,
      abandon: (exit) =>
        Effect.suspend(() => {
          const ended = flight
          flight = undefined
          if (ended === undefined) return Effect.void
          const interrupt = ended.fiber === undefined ? Effect.void : Fiber.interruptFork(ended.fiber)
          return Effect.zipRight(Deferred.done(ended.done, exit), interrupt)
        })
    }
  })
