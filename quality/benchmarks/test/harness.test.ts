import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Harness from "../src/harness.ts"

const FORM: Harness.Form = { rounds: 15, sliceMillis: 3, short: true }

let sink = 1

const burn = (times: number) => () => {
  for (let left = times; left > 0; left--) sink = Math.imul(sink, 48271) + left | 0
  return sink
}

describe("harness", () => {
  it.live("finds a doubled cost", () =>
    Effect.gen(function*() {
      const [single, double] = yield* Harness.measure([
        { name: "single", loop: Harness.plain(burn(2_000)) },
        { name: "double", loop: Harness.plain(burn(4_000)) }
      ], FORM)
      assert.strictEqual(single!.ratio, 1)
      if (!(double!.ratio! > 1.7 && double!.ratio! < 2.3)) return yield* Effect.fail(`found ${double!.ratio}`)
    }).pipe(Effect.retry({ times: 9 })))

  it.live("runs every kind of operation as often as it says", () =>
    Effect.gen(function*() {
      let ran = 0
      yield* Harness.plain(() => ran++)(5)
      yield* Harness.promised(() => Promise.resolve(ran++))(5)
      yield* Harness.inFiber(() => Effect.sync(() => ran++))(5)
      assert.strictEqual(ran, 15)
    }))

  it("makes each round's ratio before it takes the median", () => {
    // The machine was four times slower from the second round on: both sides of the ratio were.
    const row = Harness.row({ name: "", unit: "ns", values: [20, 80, 80], baseline: [10, 40, 40] })
    assert.strictEqual(row.ratio, 2)
    assert.deepStrictEqual([row.p10, row.median, row.p90], [32, 80, 80])
  })

  it("fails what is over its target, with slack or without a ratio too", () => {
    const row = (ratio: number | undefined, target?: number) => ({
      ...Harness.row({ name: "", unit: "ns", values: [1], target }),
      ...(ratio === undefined ? undefined : { ratio })
    })
    const rows = [row(1, 1), row(1.5, 1), row(2.5, 1), row(Number.NaN, 1), row(undefined, 1), row(99)]
    assert.deepStrictEqual(Harness.count(rows, 1), { passed: 1, failed: 4 })
    assert.deepStrictEqual(Harness.count(rows, 2), { passed: 2, failed: 3 })
  })
})
