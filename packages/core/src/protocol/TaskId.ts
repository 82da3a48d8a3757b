/**
 * The id of one run's task. The backend owns it; to us it is opaque.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Text from "./text.ts"

/**
 * The rule that a task id breaks.
 * A plain function: to decode by the schema takes longer than all else that is read of a header.
 * @internal
 */
export const brokenRule = (id: string): string | undefined => {
  if (id.length === 0 || id.length > 1024) return "a task id has 1 to 1024 characters"
  if (Text.isBlank(id)) return "a task id is not blank"
  if (!Text.isWellFormed(id)) return "a task id is well-formed text"
  return undefined
}

/**
 * 1 to 1024 UTF-16 code units of well-formed text, not blank. Colons and control characters are fine: it travels in
 * JSON, and it can be told from its neighbours in a signed payload because they have no colon and a fixed length.
 *
 * @example
 * import { TaskId } from "@agent-identity/core"
 * import { Schema } from "effect"
 *
 * const isTaskId = Schema.is(TaskId.TaskId)
 *
 * assert.deepStrictEqual(isTaskId("task:1"), true)
 * assert.deepStrictEqual(isTaskId(" "), false)
 *
 * @since 0.1.0
 * @category schemas
 */
export const TaskId = Schema.String.pipe(
  Schema.filter((id) => brokenRule(id)),
  Schema.brand("@agent-identity/core/TaskId"),
  Schema.annotations({
    identifier: "TaskId",
    arbitrary: () => (fc) =>
      fc.oneof(
        fc.string({ unit: "binary", minLength: 1, maxLength: 64 }),
        fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 1024 }),
        fc.constantFrom("a:b", ":", "task:2026-04-23T00:00:00Z", "\"quoted\\task\"", "tab\tline\n", "emoji-🛰")
      ).filter((id) => brokenRule(id) === undefined) as never
  })
)

/**
 * A task id that was checked.
 *
 * @since 0.1.0
 * @category models
 */
export type TaskId = typeof TaskId.Type
