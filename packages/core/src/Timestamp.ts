/**
 * The one form of time on the wire: UTC, RFC 3339, whole seconds, literal `Z`, twenty characters.
 *
 * @since 0.1.0
 */

/** 0000-01-01T00:00:00Z */
const FIRST = -62_167_219_200_000
/** 9999-12-31T23:59:59.999Z */
const LAST = 253_402_300_799_999

/**
 * The second in which `millis` (since the Unix epoch) lies, as text; undefined outside the years 0000 to 9999, where
 * the form has no fixed length.
 *
 * @example
 * import { Timestamp } from "@agent-identity/core"
 *
 * assert.deepStrictEqual(Timestamp.format(1_776_902_400_999), "2026-04-23T00:00:00Z")
 *
 * @since 0.1.0
 * @category encoding
 */
export const format = (millis: number): string | undefined =>
  millis >= FIRST && millis <= LAST ? `${new Date(millis).toISOString().slice(0, 19)}Z` : undefined

/**
 * Milliseconds since the Unix epoch; undefined for every other form of time, for a date that is none and for a leap
 * second.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (text: string): number | undefined => {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return undefined
  const millis = Date.parse(text)
  // `Date.parse` lets 30 February roll over into March, and 24:00 into the next day.
  return Number.isNaN(millis) || format(millis) !== text ? undefined : millis
}
