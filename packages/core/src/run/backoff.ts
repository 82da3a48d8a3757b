/** When a renewal is worth a try. */

/** @internal */
export interface Backoff {
  readonly succeeded: (at: number, now: number) => void
  readonly failed: (now: number) => void
  /** What is waited for, and milliseconds until it is over; undefined where nothing is. */
  readonly pause: (now: number) => { readonly after: "registration" | "failure"; readonly millis: number } | undefined
}

const minMillis = 30_000
const maxMillis = 600_000

/**
 * Pauses for 30 s after a success, and after a failure, which doubles with each further one up to 10 min. A pause is over
 * for a clock that was set back to before it, too.
 * @internal
 */
export const make = (): Backoff => {
  let pause: { readonly after: "registration" | "failure"; readonly since: number; readonly millis: number } | undefined
  let nextMillis = minMillis
  return {
    succeeded: (at, now) => {
      nextMillis = minMillis
      // The clock of the process that registered the task may be ahead, which must not prolong the pause.
      pause = { after: "registration", since: Math.min(at, now), millis: minMillis }
    },
    failed: (now) => {
      pause = { after: "failure", since: now, millis: nextMillis }
      nextMillis = Math.min(2 * nextMillis, maxMillis)
    },
    pause: (now) =>
      pause !== undefined && now >= pause.since && now < pause.since + pause.millis
        ? { after: pause.after, millis: pause.since + pause.millis - now }
        : undefined
  }
}
