/** What the JSON of a refusal says, by its codes alone: texts change, and echo what others wrote. */
import * as Predicate from "effect/Predicate"

/**
 * Whether a 401 says that the task is no more: `error.code`, `code` or `error` is one of three codes. That is what the
 * clients of this protocol that recover at all agree on (sub2api, codex2api, Codex-Manager).
 * @internal
 */
export const isTaskInvalid = (json: unknown): boolean =>
  Predicate.isRecord(json) &&
  [member(json.error, "code"), json.code, json.error].some((code) => TASK_INVALID.includes(code))

/**
 * Whether a 403 says that the agent itself is no more. OpenAI's service has one code for every state of an agent that it
 * refuses, so here its text counts too: "Agent runtime has been deleted."
 * @internal
 */
export const isAgentDeleted = (json: unknown): boolean =>
  Predicate.isRecord(json) &&
  (member(json.error, "code") ?? json.code) === "biscuit_baker_service_agent_error_status" &&
  /\bdeleted\b/i.test(String(member(json.error, "message") ?? json.message))

const TASK_INVALID: ReadonlyArray<unknown> = ["invalid_task_id", "task_not_found", "task_expired"]

const member = (value: unknown, name: string): unknown => Predicate.isRecord(value) ? value[name] : undefined
