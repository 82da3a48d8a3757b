/** When a renewal is worth a try. */
import * as Moment from "./moment.ts"

/** What is waited for, since when, and milliseconds until it is over. @internal */
export interface Pause {
  readonly after: "registration" | "failure"
  readonly since: Moment.Moment
  readonly millis: number
}

/** @internal */
export interface Backoff {
  /** `registeredAt` is the wall clock's time of the process that registered the task, which may be another one. */
  readonly succeeded: (registeredAt: number, now: Moment.Moment) => void
  readonly failed: (now: Moment.Moment) => void
  /** Undefined where nothing is waited for. The `since` of one pause is one object. */
  readonly pause: (now: Moment.Moment) => Pause | undefined
}

const minMillis = 30_000
const maxMillis = 600_000

/**
 * Pauses for 30 s after a success, and after a failure, which doubles with each further one up to 10 min.
 * @internal
 */
export const make = (): Backoff => {
  let pause: Pause | undefined
  let nextMillis = minMillis
  return {
    succeeded: (registeredAt, now) => {
      nextMillis = minMillis
      // The clock of the process that registered the task may be ahead, which must not prolong the pause.
      const since = Moment.before(now, Math.max(0, now.wall - registeredAt))
      pause = { after: "registration", since, millis: minMillis }
    },
    failed: (now) => {
      pause = { after: "failure", since: now, millis: nextMillis }
      nextMillis = Math.min(2 * nextMillis, maxMillis)
    },
    pause: (now) => {
      if (pause === undefined) return undefined
      const millis = Moment.remaining(pause.since, pause.millis, now)
      return millis > 0 ? { ...pause, millis } : undefined
    }
  }
}
