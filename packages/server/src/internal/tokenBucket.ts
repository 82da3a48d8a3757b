/** What may happen so often a second, and as often at once after a second of rest. */

/** @internal */
export class TokenBucket {
  readonly #perSecond: number
  #left: number
  #at: number | undefined

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#left = perSecond
  }

  /**
   * Whether it may happen now, in milliseconds of the monotonic clock: nobody sets it, and while it stands still nothing is
   * refilled.
   */
  take(now: number): boolean {
    const seconds = this.#at === undefined ? 0 : Math.max(0, now - this.#at) / 1000
    this.#at = now
    this.#left = Math.min(this.#perSecond, this.#left + seconds * this.#perSecond)
    if (!(this.#left >= 1)) return false
    this.#left--
    return true
  }
}
