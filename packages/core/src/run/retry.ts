/** How a registration is tried again. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

/** @internal */
export interface Retryable {
  readonly retryable: boolean
  readonly retryAfterMillis?: number | undefined
}

/** A longer `Retry-After` ends the attempts. @internal */
export const maxRetryAfterMillis = 20_000

/** Three attempts; 250 ms doubling with full jitter between them, or what the server asked for. @internal */
export const policy = <E extends Retryable>() =>
  Schedule.identity<E>().pipe(
    Schedule.whileInput((error: E) => error.retryable && (error.retryAfterMillis ?? 0) <= maxRetryAfterMillis),
    Schedule.intersect(Schedule.exponential("250 millis")),
    Schedule.intersect(Schedule.recurs(2)),
    Schedule.modifyDelayEffect(([[error, backoff]]) =>
      error.retryAfterMillis === undefined
        ? Effect.map(Random.nextRange(0, Duration.toMillis(backoff)), Duration.millis)
        : Effect.succeed(Duration.millis(error.retryAfterMillis))
    )
  )
