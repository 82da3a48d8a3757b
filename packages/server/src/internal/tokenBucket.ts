/** What may happen so often a second, and as often at once after a second of rest. */
import type * as Clock from "effect/Clock"

/** @internal */
export class TokenBucket {
  readonly #perSecond: number
  #left: number
  #at: bigint | undefined

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#left = perSecond
  }

  /** Whether it may happen now. By the monotonic clock: nobody sets it, and while it stands still nothing is refilled. */
  take(clock: Clock.Clock): boolean {
    const now = clock.unsafeCurrentTimeNanos()
    const seconds = this.#at === undefined ? 0 : Math.max(0, Number(now - this.#at) / 1e9)
    this.#at = now
    this.#left = Math.min(this.#perSecond, this.#left + seconds * this.#perSecond)
    if (!(this.#left >= 1)) return false
    this.#left--
    return true
  }
}
