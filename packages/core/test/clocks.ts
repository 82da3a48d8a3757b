/** The two clocks of a machine, which a test sets apart: people set the wall clock, and a machine that sleeps stops the other. */
import { Clock, Effect } from "effect"

const hour = 3_600_000
const day = 24 * hour

export interface Change {
  readonly wall?: number
  readonly monotonic?: number
}

/** What may happen to the clocks, so that a span of up to an hour is over. */
export const changes = {
  "the clock is set back a day": { wall: -day },
  "the clock is set ahead a day": { wall: day },
  "the process is suspended for an hour": { wall: hour },
  "an hour passes, and the clock is set back by as much": { monotonic: hour },
  "an hour passes": { wall: hour, monotonic: hour }
} satisfies Record<string, Change>

/** A clock that stands where it is until it is set. Its timers are the system's. */
export const make = () => {
  const system = Clock.make()
  let wall = Date.UTC(2026, 0, 1)
  let monotonic = 1000
  const clock: Clock.Clock = Object.assign(Object.create(system), {
    unsafeCurrentTimeMillis: () => wall,
    unsafeCurrentTimeNanos: () => BigInt(Math.round(monotonic * 1e6)),
    currentTimeMillis: Effect.sync(() => wall),
    currentTimeNanos: Effect.sync(() => BigInt(Math.round(monotonic * 1e6)))
  })
  const change = (by: Change) =>
    Effect.sync(() => {
      wall += by.wall ?? 0
      monotonic += by.monotonic ?? 0
    })
  return { clock, change, pass: (millis: number) => change({ wall: millis, monotonic: millis }) }
}
