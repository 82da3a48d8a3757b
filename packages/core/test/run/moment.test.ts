import { assert, describe, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import * as Moment from "../../src/run/moment.ts"

describe("a span", () => {
  const since = { wall: 1_000_000, monotonic: 50 }
  const after = (wall: number, monotonic: number) =>
    Moment.isWithin(since, 1000, { wall: since.wall + wall, monotonic: since.monotonic + monotonic })

  const cases: ReadonlyArray<readonly [what: string, wall: number, monotonic: number, isWithin: boolean]> = [
    ["has just begun", 0, 0, true],
    ["is a millisecond short of its end", 999, 999, true],
    ["has ended", 1000, 1000, false],
    ["has ended by the wall clock alone, after a suspension", 1000, 1, false],
    ["has ended by the monotonic clock alone, after the wall clock was set back", 0, 1000, false],
    ["has an end that nobody knows, because the wall clock is before its beginning", -1, 1, false]
  ]
  for (const [what, wall, monotonic, isWithin] of cases) {
    it(`is ${isWithin ? "not over" : "over"} when it ${what}`, () =>
      assert.strictEqual(after(wall, monotonic), isWithin))
  }

  it("remains for as long as the clock that is further says", () => {
    const remaining = (wall: number, monotonic: number) =>
      Moment.remaining(since, 1000, { wall: since.wall + wall, monotonic: since.monotonic + monotonic })
    assert.deepStrictEqual(
      [remaining(0, 0), remaining(300, 100), remaining(100, 300), remaining(2000, 1), remaining(-1, 1)],
      [1000, 700, 700, 0, 0]
    )
    assert.deepStrictEqual(Moment.before(since, 50), { wall: since.wall - 50, monotonic: 0 })
  })

  it.effect("is measured by Effect's clock", () =>
    Effect.gen(function*() {
      const since = yield* Moment.now
      yield* TestClock.adjust("999 millis")
      assert.isTrue(Moment.isWithin(since, 1000, yield* Moment.now))
      yield* TestClock.adjust("1 millis")
      assert.isFalse(Moment.isWithin(since, 1000, yield* Moment.now))
    }))
})
