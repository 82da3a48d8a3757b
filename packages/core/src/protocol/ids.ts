/** The rules of ids as plain functions: to decode by a schema takes longer than all else that is read of a header. */
import * as Text from "./text.ts"

/** The rule that an agent runtime id breaks. @internal */
export const brokenAgentRuntimeId = (id: string): string | undefined => {
  if (id.length === 0 || id.length > 256) return "an agent runtime id has 1 to 256 characters"
  if (Text.isBlank(id)) return "an agent runtime id is not blank"
  if (id.includes(":")) return "an agent runtime id has no colon"
  if (/\p{Cc}/u.test(id)) return "an agent runtime id has no control characters"
  if (id === "." || id === "..") return "an agent runtime id is not a dot segment"
  if (!Text.isWellFormed(id)) return "an agent runtime id is well-formed text"
  return undefined
}

/** The rule that a task id breaks. @internal */
export const brokenTaskId = (id: string): string | undefined => {
  if (id.length === 0 || id.length > 1024) return "a task id has 1 to 1024 characters"
  if (Text.isBlank(id)) return "a task id is not blank"
  if (!Text.isWellFormed(id)) return "a task id is well-formed text"
  return undefined
}
