/**
 * The id that the backend gave to one registered agent.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Text from "./text.ts"

/**
 * The rule that an agent runtime id breaks.
 * A plain function: to decode by the schema takes longer than all else that is read of a header.
 * @internal
 */
export const brokenRule = (id: string): string | undefined => {
  if (id.length === 0 || id.length > 256) return "an agent runtime id has 1 to 256 characters"
  if (Text.isBlank(id)) return "an agent runtime id is not blank"
  if (id.includes(":")) return "an agent runtime id has no colon"
  if (/\p{Cc}/u.test(id)) return "an agent runtime id has no control characters"
  if (id === "." || id === "..") return "an agent runtime id is not a dot segment"
  if (!Text.isWellFormed(id)) return "an agent runtime id is well-formed text"
  return undefined
}

/**
 * 1 to 256 UTF-16 code units of well-formed text, not blank, without `:` and control characters, and neither `.` nor
 * `..`. It stands in signed payloads, where `:` separates, and in a URL path, where dots climb.
 *
 * @example
 * import { AgentRuntimeId } from "@agent-identity/core"
 * import { Either, Schema } from "effect"
 *
 * const decode = Schema.decodeUnknownEither(AgentRuntimeId.AgentRuntimeId)
 *
 * assert.deepStrictEqual(Either.isRight(decode("agent-123")), true)
 * assert.deepStrictEqual(Either.isLeft(decode("agent:123")), true)
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentRuntimeId = Schema.String.pipe(
  Schema.filter((id) => brokenRule(id)),
  Schema.brand("@agent-identity/core/AgentRuntimeId"),
  Schema.annotations({
    identifier: "AgentRuntimeId",
    arbitrary: () => (fc) =>
      fc.oneof(
        fc.string({ unit: "binary", minLength: 1, maxLength: 32 }),
        fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 256 }),
        fc.constantFrom("a/b", "a?b", "a#b", "a\\b", "%2e%2e", "...", "a b", "日本語", "🛰")
      ).filter((id) => brokenRule(id) === undefined) as never
  })
)

/**
 * An agent runtime id that was checked.
 *
 * @since 0.1.0
 * @category models
 */
export type AgentRuntimeId = typeof AgentRuntimeId.Type
