/** When something was, on both clocks: the wall clock is set by people, and the monotonic one stands still while a machine sleeps. */
import * as Effect from "effect/Effect"

/** In milliseconds. @internal */
export interface Moment {
  readonly wall: number
  readonly monotonic: number
}

/** @internal */
export const now: Effect.Effect<Moment> = Effect.clockWith((clock) =>
  Effect.sync(() => ({
    wall: clock.unsafeCurrentTimeMillis(),
    monotonic: Number(clock.unsafeCurrentTimeNanos()) / 1_000_000
  }))
)

/** A span is over when either clock says so, and when the wall clock went back: then nobody knows how old it is. @internal */
export const isWithin = (since: Moment, spanMillis: number, now: Moment): boolean =>
  now.wall >= since.wall && now.wall - since.wall < spanMillis && now.monotonic - since.monotonic < spanMillis
