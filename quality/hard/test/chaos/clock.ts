/** A clock that goes on as the real one does, but can jump. */
import { Clock, Effect } from "effect"

export const jumpingClock = () => {
  const live = Clock.make()
  let offset = 0
  const unsafeCurrentTimeMillis = () => live.unsafeCurrentTimeMillis() + offset
  const unsafeCurrentTimeNanos = () => live.unsafeCurrentTimeNanos() + BigInt(offset) * 1_000_000n
  const clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis,
    unsafeCurrentTimeNanos,
    currentTimeMillis: Effect.sync(unsafeCurrentTimeMillis),
    currentTimeNanos: Effect.sync(unsafeCurrentTimeNanos),
    sleep: (duration) => live.sleep(duration)
  }
  return { clock, now: unsafeCurrentTimeMillis, jump: (millis: number) => void (offset += Math.round(millis)) }
}

export type JumpingClock = ReturnType<typeof jumpingClock>
