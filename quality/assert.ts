/**
 * Node's deep equality in the place of chai's, which takes `Option.none()` for `Option.some(x)` and so would let such tests
 * say nothing. A test in `quality/hard` shows it.
 */
import * as Assert from "node:assert"
import { assert } from "vitest"

assert.deepStrictEqual = (actual, expected, message) => Assert.deepStrictEqual(actual, expected, message)
assert.deepEqual = assert.deepStrictEqual
assert.notDeepEqual = (actual, expected, message) => Assert.notDeepStrictEqual(actual, expected, message)
