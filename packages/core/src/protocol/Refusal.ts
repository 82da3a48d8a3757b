/**
 * What the JSON of a refusal says, by its codes: texts change, and echo what others wrote.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"

/**
 * Whether the JSON of a 401 says that the task is no more: `error.code`, `code` or `error` is `invalid_task_id`,
 * `task_not_found` or `task_expired`.
 *
 * @example
 * import { Refusal } from "@agent-identity/core"
 *
 * assert.deepStrictEqual(Refusal.isTaskInvalid({ error: { code: "task_expired" } }), true)
 * assert.deepStrictEqual(Refusal.isTaskInvalid({ error: { code: "invalid_assertion" } }), false)
 *
 * @since 0.1.0
 * @category guards
 */
export const isTaskInvalid = (json: unknown): boolean =>
  Predicate.isRecord(json) &&
  [member(json.error, "code"), json.code, json.error].some((code) => taskInvalid.some((_) => _ === code))

/** All clients of this protocol that renew tasks look for these three (sub2api, codex2api, Codex-Manager). */
const taskInvalid: ReadonlyArray<string> = ["invalid_task_id", "task_not_found", "task_expired"]

/**
 * Whether the JSON of a 403 says that the agent itself is no more. OpenAI's service has one code for every state of an
 * agent that it refuses, so its text counts too: "Agent runtime has been deleted."
 *
 * @example
 * import { Refusal } from "@agent-identity/core"
 *
 * const code = "biscuit_baker_service_agent_error_status"
 *
 * assert.deepStrictEqual(Refusal.isAgentDeleted({ error: { code, message: "Agent runtime has been deleted." } }), true)
 * assert.deepStrictEqual(Refusal.isAgentDeleted({ error: { code, message: "Agent runtime is suspended." } }), false)
 *
 * @since 0.1.0
 * @category guards
 */
export const isAgentDeleted = (json: unknown): boolean =>
  Predicate.isRecord(json) &&
  member(json.error, "code") === "biscuit_baker_service_agent_error_status" &&
  /\bdeleted\b/i.test(String(member(json.error, "message")))

const member = (value: unknown, name: string): unknown => Predicate.isRecord(value) ? value[name] : undefined
