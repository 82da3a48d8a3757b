import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"

/**
 * At most one run of the effect at a time: whoever asks meanwhile shares its exit. It runs on a fiber of its own, so
 * that no waiter can interrupt it for the others; the effect has to end by itself. Nothing is remembered.
 * @internal
 */
export const make = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Effect.Effect<A, E>> =>
  Effect.map(Effect.runtime<never>(), (runtime) => {
    let flight: Deferred.Deferred<A, E> | undefined
    return Effect.suspend(() => {
      if (flight !== undefined) return Deferred.await(flight)
      const started = flight = Deferred.unsafeMake<A, E>(FiberId.none)
      Runtime.runFork(runtime)(
        Effect.flatMap(Effect.exit(Effect.interruptible(effect)), (exit) => {
          flight = undefined
          return Deferred.done(started, exit)
        }),
        { immediate: false }
      )
      return Deferred.await(started)
    })
  })
