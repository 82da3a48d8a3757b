import { Timestamp } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"

const FIRST = Date.UTC(2000, 0, 1) - 730_485 * 86_400_000
const LAST = Date.UTC(10_000, 0, 1) - 1

const instants: ReadonlyArray<readonly [text: string, millis: number]> = [
  ["1970-01-01T00:00:00Z", 0],
  ["2026-04-23T00:00:00Z", 1_776_902_400_000],
  ["1969-12-31T23:59:59Z", -1000],
  ["2000-02-29T12:34:56Z", Date.UTC(2000, 1, 29, 12, 34, 56)],
  ["0000-01-01T00:00:00Z", FIRST],
  ["0000-02-29T00:00:00Z", FIRST + 59 * 86_400_000],
  ["9999-12-31T23:59:59Z", LAST - 999]
]

describe("Timestamp", () => {
  for (const [text, millis] of instants) {
    it(`${text} is ${millis} ms from the epoch, and its whole second is written so`, () => {
      assert.strictEqual(Timestamp.parse(text), millis)
      for (const fraction of [0, 1, 500, 999]) assert.strictEqual(Timestamp.format(millis + fraction), text)
    })
  }

  it("has no form for a time outside the years 0000 to 9999", () => {
    for (const millis of [FIRST - 1, LAST + 1, -8.64e15, 8.64e15, 8.64e15 + 1, NaN, Infinity, -Infinity]) {
      assert.isUndefined(Timestamp.format(millis), String(millis))
    }
  })

  const refused: ReadonlyArray<readonly [why: string, texts: ReadonlyArray<string>]> = [
    ["fractions", ["2026-04-23T00:00:00.000Z", "2026-04-23T00:00:00.5Z", "2026-04-23T00:00Z", "2026-04-23"]],
    ["another zone", [
      "2026-04-23T00:00:00+00:00",
      "2026-04-23T02:00:00+02:00",
      "2026-04-23T00:00:00",
      "2026-04-23T00:00:00-00:00"
    ]],
    ["other letters", ["2026-04-23t00:00:00Z", "2026-04-23T00:00:00z", "2026-04-23 00:00:00Z"]],
    ["text around it", [
      " 2026-04-23T00:00:00Z",
      "2026-04-23T00:00:00Z\n",
      "2026-04-23T00:00:00Z:",
      "2026-04-23T00:00:00Z".repeat(2),
      ""
    ]],
    ["other years", [
      "+002026-04-23T00:00:00Z",
      "-000001-01-01T00:00:00Z",
      "10000-01-01T00:00:00Z",
      "26-04-23T00:00:00Z"
    ]],
    ["other digits", ["２０２６-04-23T00:00:00Z", "2026-4-23T00:00:00Z"]],
    ["no such day", ["2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z"]],
    ["no such month", ["2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z"]],
    ["no such time", ["2026-04-23T24:00:00Z", "2026-04-23T23:60:00Z", "2026-04-23T23:59:60Z", "2016-12-31T23:59:60Z"]]
  ]
  for (const [why, texts] of refused) {
    it(`is not read with ${why}`, () => {
      for (const text of texts) {
        assert.isUndefined(Timestamp.parse(text), JSON.stringify(text))
        // Nor where the day is the one that was written last.
        Timestamp.format(Date.parse(text.slice(0, 10)))
        assert.isUndefined(Timestamp.parse(text), JSON.stringify(text))
      }
    })
  }

  it.prop(
    "says the second of every instant, in 20 characters",
    [FastCheck.integer({ min: FIRST, max: LAST })],
    ([millis]) => {
      const text = Timestamp.format(millis)!
      assert.strictEqual(text.length, 20)
      assert.strictEqual(Timestamp.parse(text), Math.floor(millis / 1000) * 1000)
    }
  )

  it.prop(
    "reads a date and a time exactly where both exist",
    [FastCheck.tuple(...[9999, 99, 99, 99, 99, 99].map((max) =>
      FastCheck.oneof(
        FastCheck.nat({ max: Math.min(max, 31) }),
        FastCheck.nat({ max })
      )
    ))],
    ([numbers]) => {
      const [year, month, day, hour, minute, second] = numbers as [number, number, number, number, number, number]
      const [y, ...rest] = numbers.map((part, index) => String(part).padStart(index === 0 ? 4 : 2, "0"))
      const text = `${y}-${rest[0]}-${rest[1]}T${rest[2]}:${rest[3]}:${rest[4]}Z`
      const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
      const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
      const exists = month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1]! && hour < 24 && minute < 60 &&
        second < 60
      assert.strictEqual(Timestamp.parse(text) !== undefined, exists, text)
    },
    { fastCheck: { numRuns: 2000 } }
  )
})
