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

/** So many milliseconds before, on both clocks. @internal */
export const before = (now: Moment, millis: number): Moment => ({
  wall: now.wall - millis,
  monotonic: now.monotonic - millis
})

/**
 * Milliseconds until a span is over; 0 where it is. It is over when either clock says so, and when the wall clock went back:
 * then nobody knows how old it is.
 * @internal
 */
export const remaining = (since: Moment, spanMillis: number, now: Moment): number =>
  now.wall < since.wall
    ? 0
    : Math.max(0, spanMillis - Math.max(now.wall - since.wall, now.monotonic - since.monotonic))

/** @internal */
export const isWithin = (since: Moment, spanMillis: number, now: Moment): boolean =>
  remaining(since, spanMillis, now) > 0
