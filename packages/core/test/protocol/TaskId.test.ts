import { TaskId } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Schema } from "effect"

const decode = Schema.decodeUnknownEither(TaskId.TaskId)

/** The rules again, in other words. */
const allowed = (id: string): boolean =>
  id.length >= 1 && id.length <= 1024 && id.trim() !== "" &&
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(id)) === id

const refused: ReadonlyArray<readonly [rule: string, ids: ReadonlyArray<string>]> = [
  ["has 1 to 1024 characters", ["", "x".repeat(1025), "🛰".repeat(512) + "x"]],
  ["is not blank", [" ", "\t\r\n", "\u00a0\u3000"]],
  ["is well-formed text", ["\ud83d", "\udef0", "task-\ud83d", "\udef0\ud83d"]]
]

describe("TaskId", () => {
  for (const [rule, ids] of refused) {
    it(`${rule}: whatever breaks this rule is refused in these words`, () => {
      for (const id of ids) {
        const result = decode(id)
        assert.isTrue(Either.isLeft(result), JSON.stringify(id))
        if (Either.isLeft(result)) assert.include(result.left.message, `a task id ${rule}`)
      }
    })
  }

  it("is a string", () => {
    for (const value of [undefined, null, 123, {}, ["task-123"]]) assert.isTrue(Either.isLeft(decode(value)))
  })

  it("is opaque otherwise: colons, control characters and white space around it stay", () => {
    const ids = ["x", "x".repeat(1024), "🛰".repeat(512), ":", "a:b", "a\u0000b", "\u007f", " a\n", ".", "..", "a/b?c"]
    for (const id of ids) assert.deepStrictEqual(decode(id), Either.right(id as TaskId.TaskId))
  })

  it.prop(
    "accepts what keeps the rules and nothing else",
    [FastCheck.array(FastCheck.constantFrom("a", " ", ":", "\n", "\u0085", "é", "🛰", "\ud83d", "\udef0"), {
      maxLength: 5
    })],
    ([parts]) => assert.strictEqual(Either.isRight(decode(parts.join(""))), allowed(parts.join(""))),
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop("generates allowed ids", [TaskId.TaskId], ([id]) => assert.isTrue(allowed(id)))
})
