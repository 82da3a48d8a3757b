import { AgentRuntimeId } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Schema } from "effect"

const decode = Schema.decodeUnknownEither(AgentRuntimeId.AgentRuntimeId)

/** The rules again, in other words. */
const allowed = (id: string): boolean =>
  id.length >= 1 && id.length <= 256 && id !== "." && id !== ".." && id.trim() !== "" &&
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(id)) === id &&
  !Array.from(id).some((char) => char === ":" || char < " " || (char >= "\u007f" && char <= "\u009f"))

const controls = [...Array(0x20).keys(), ...Array.from({ length: 0x21 }, (_, index) => 0x7f + index)]

const refused: ReadonlyArray<readonly [rule: string, ids: ReadonlyArray<string>]> = [
  ["has 1 to 256 characters", ["", "x".repeat(257), "🛰".repeat(128) + "x"]],
  ["is not blank", [" ", "   ", "\t", "\u00a0\u3000", "\ufeff"]],
  ["has no colon", [":", "agent:123", "agent-123:"]],
  ["has no control characters", controls.map((code) => `a${String.fromCharCode(code)}b`)],
  ["is not a dot segment", [".", ".."]],
  ["is well-formed text", ["\ud83d", "\udef0", "a\ud83d", "\udef0a", "\udef0\ud83d"]]
]

describe("AgentRuntimeId", () => {
  for (const [rule, ids] of refused) {
    it(`${rule}: whatever breaks this rule is refused in these words`, () => {
      for (const id of ids) {
        const result = decode(id)
        assert.isTrue(Either.isLeft(result), JSON.stringify(id))
        if (Either.isLeft(result)) assert.include(result.left.message, `an agent runtime id ${rule}`)
      }
    })
  }

  it("is a string", () => {
    for (const value of [undefined, null, 1, {}, ["agent-123"]]) assert.isTrue(Either.isLeft(decode(value)))
  })

  it("counts UTF-16 code units, and takes what a URL path has to escape", () => {
    const ids = ["x", "x".repeat(256), "🛰".repeat(128), " a ", "...", ".a", "%2e%2e", "a/../b", "a?b#c\\d", "é", "日本"]
    for (const id of ids) assert.deepStrictEqual(decode(id), Either.right(id as AgentRuntimeId.AgentRuntimeId))
  })

  it.prop(
    "accepts what keeps the rules and nothing else",
    [FastCheck.array(FastCheck.constantFrom("a", ".", " ", ":", "\n", "\u0085", "é", "🛰", "\ud83d", "\udef0"), {
      maxLength: 5
    })],
    ([parts]) => assert.strictEqual(Either.isRight(decode(parts.join(""))), allowed(parts.join(""))),
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop("generates allowed ids", [AgentRuntimeId.AgentRuntimeId], ([id]) => assert.isTrue(allowed(id)))
})
