import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { BoundedMap } from "../../src/internal/boundedMap.ts"

describe("BoundedMap", () => {
  it("drops what was not used lately, where reading is using", () => {
    const map = new BoundedMap<string, number>(4)
    for (const key of ["a", "b", "c"]) map.set(key, 1)
    assert.strictEqual(map.get("a"), 1)
    map.set("d", 1)
    assert.deepStrictEqual(["a", "b", "d"].map((key) => map.get(key)), [1, undefined, 1])
  })

  it("replaces and deletes", () => {
    const map = new BoundedMap<string, number>(8)
    map.set("a", 1)
    map.set("a", 2)
    map.set("b", 3)
    assert.deepStrictEqual([map.get("a"), map.size], [2, 2])
    map.delete("a")
    map.deleteWhere((value) => value === 3)
    assert.strictEqual(map.size, 0)
  })

  it("holds nothing without capacity for two", () => {
    for (const capacity of [0, 1]) {
      const map = new BoundedMap<string, number>(capacity)
      map.set("a", 1)
      assert.strictEqual(map.get("a"), undefined)
    }
  })

  it("is never larger than its capacity, and has the half that was used last", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: 2, max: 8 }),
        FastCheck.array(FastCheck.integer({ min: 0, max: 15 }), { minLength: 1 }),
        (capacity, keys) => {
          const map = new BoundedMap<number, number>(capacity)
          for (const key of keys) map.set(key, key)
          assert.isAtMost(map.size, capacity)
          const last = Array.from(new Set([...keys].reverse())).slice(0, Math.floor(capacity / 2))
          for (const key of [...last].reverse()) assert.strictEqual(map.get(key), key)
        }
      )
    )
  })
})
