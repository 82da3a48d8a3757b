import { assert, describe, it } from "@effect/vitest"
import * as Backoff from "../../src/run/backoff.ts"
import * as Clocks from "../clocks.ts"

const now = { wall: Date.UTC(2026, 0, 1), monotonic: 5000 }

/** What is left of a pause in seconds, if any. */
const left = (backoff: Backoff.Backoff, wall: number, monotonic = wall) => {
  const pause = backoff.pause({ wall: now.wall + wall * 1000, monotonic: now.monotonic + monotonic * 1000 })
  return pause === undefined ? undefined : pause.millis / 1000
}

const begun = {
  registration: (backoff: Backoff.Backoff) => backoff.succeeded(now.wall, now),
  failure: (backoff: Backoff.Backoff) => backoff.failed(now)
}

describe("backoff", () => {
  it("has no pause before anything has happened", () => assert.isUndefined(left(Backoff.make(), 0)))

  for (const [after, begin] of Object.entries(begun)) {
    it(`pauses for 30 seconds after a ${after}`, () => {
      const backoff = Backoff.make()
      begin(backoff)
      assert.strictEqual(backoff.pause(now)!.after, after)
      assert.deepStrictEqual([left(backoff, 0), left(backoff, 29), left(backoff, 30)], [30, 1, undefined])
      assert.deepStrictEqual([left(backoff, 0, 29), left(backoff, 29, 0)], [1, 1])
    })

    for (const [what, change] of Object.entries(Clocks.changes)) {
      it(`ends the pause after a ${after} where ${what}`, () => {
        const backoff = Backoff.make()
        begin(backoff)
        const { monotonic = 0, wall = 0 }: Clocks.Change = change
        assert.isUndefined(left(backoff, wall / 1000, monotonic / 1000))
      })
    }
  }

  it("doubles the pause with each further failure up to 10 minutes, and begins again after a success", () => {
    const backoff = Backoff.make()
    const pauses = Array.from({ length: 7 }, () => {
      backoff.failed(now)
      return left(backoff, 0)
    })
    assert.deepStrictEqual(pauses, [30, 60, 120, 240, 480, 600, 600])
    backoff.succeeded(now.wall, now)
    backoff.failed(now)
    assert.strictEqual(left(backoff, 0), 30)
  })

  it("takes the age of a task from the wall clock of the process that registered it, on both clocks", () => {
    const backoff = Backoff.make()
    backoff.succeeded(now.wall - 20_000, now)
    assert.deepStrictEqual([left(backoff, 0), left(backoff, 0, 9), left(backoff, 0, 10)], [10, 1, undefined])
  })

  it("pauses no longer where that process's clock is ahead", () => {
    const backoff = Backoff.make()
    backoff.succeeded(now.wall + 3_600_000, now)
    assert.deepStrictEqual([left(backoff, 0), left(backoff, 30)], [30, undefined])
  })

  it("names one pause by one moment", () => {
    const backoff = Backoff.make()
    backoff.failed(now)
    const later = { wall: now.wall + 1, monotonic: now.monotonic + 1 }
    assert.strictEqual(backoff.pause(now)!.since, backoff.pause(later)!.since)
  })
})
