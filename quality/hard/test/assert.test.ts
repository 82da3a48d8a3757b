import { assert, describe, it } from "@effect/vitest"
import { Either, Option } from "effect"

describe("assert.deepStrictEqual, as quality/assert.ts makes it", () => {
  it("tells none from some, which chai's own does not", () => {
    for (
      const [left, right] of [[Option.none(), Option.some("x")], [Option.some("x"), Option.none()], [
        { inside: Option.none() },
        { inside: Option.some("x") }
      ]]
    ) {
      assert.throws(() => assert.deepStrictEqual<unknown>(left, right))
      assert.throws(() => assert.deepEqual<unknown>(left, right))
      assert.notDeepEqual<unknown>(left, right)
    }
  })

  it("takes equal values for equal", () => {
    assert.deepStrictEqual(Option.some({ a: [1] }), Option.some({ a: [1] }))
    assert.deepStrictEqual(Option.none(), Option.none())
    assert.deepStrictEqual(Either.right(1), Either.right(1))
  })
})
