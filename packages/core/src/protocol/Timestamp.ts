/**
 * The one form of time on the wire: UTC, RFC 3339, whole seconds, literal `Z`, twenty characters.
 *
 * @since 0.1.0
 */

/** 0000-01-01T00:00:00Z */
const first = -62_167_219_200_000
/** 9999-12-31T23:59:59.999Z */
const last = 253_402_300_799_999

/**
 * The second in which `millis` (since the Unix epoch) lies, as text; undefined outside the years 0000 to 9999, where
 * the form has no fixed length.
 *
 * @internal
 */
export const format = (millis: number): string | undefined => {
  if (!(millis >= first && millis <= last)) return undefined
  const day = Math.floor(millis / dayMillis)
  // The date is the same all day long.
  if (day !== today.day) today = { day, date: new Date(day * dayMillis).toISOString().slice(0, 11) }
  const second = Math.floor((millis - day * dayMillis) / 1000)
  return `${today.date}${twoDigits[Math.floor(second / 3600)]}:${twoDigits[Math.floor(second / 60) % 60]}:${
    twoDigits[second % 60]
  }Z`
}

const dayMillis = 86_400_000
const twoDigits = Array.from({ length: 60 }, (_, index) => String(index).padStart(2, "0"))
let today = { day: 0, date: "1970-01-01T" }

/**
 * Milliseconds since the Unix epoch; undefined for every other form of time, for a date that is none and for a leap
 * second.
 *
 * @example
 * import { Timestamp } from "@agent-identity/core"
 *
 * assert.deepStrictEqual(Timestamp.parse("2026-04-23T00:00:00Z"), 1_776_902_400_000)
 * assert.deepStrictEqual(Timestamp.parse("2026-02-30T00:00:00Z"), undefined)
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (text: string): number | undefined => {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return undefined
  if (!text.startsWith(today.date)) return parseAnyDay(text)
  const [hours, minutes, seconds] = [Number(text.slice(11, 13)), Number(text.slice(14, 16)), Number(text.slice(17, 19))]
  return hours < 24 && minutes < 60 && seconds < 60
    ? today.day * dayMillis + ((hours * 60 + minutes) * 60 + seconds) * 1000
    : undefined
}

const parseAnyDay = (text: string): number | undefined => {
  const millis = Date.parse(text)
  // `Date.parse` lets 30 February roll over into March, and 24:00 into the next day.
  return Number.isNaN(millis) || format(millis) !== text ? undefined : millis
}
