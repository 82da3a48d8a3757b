/**
 * What the JSON of a refusal says, by its codes: texts change, and echo what others wrote.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Base64 from "./base64.ts"
import * as Text from "./text.ts"

/**
 * Whether an answer may be one of these refusals, so that it is worth a look into its body. An app may well get a 400 for
 * reasons of its own: that one only where its content is JSON, text or HTML. Names of headers are in lower case.
 *
 * @internal
 */
export const isPossible = (
  { headers, status }: { readonly status: number; readonly headers: Readonly<Record<string, string | undefined>> }
): boolean =>
  status === 401 || status === 403 ||
  (status === 400 && /^(?:text\/|application\/(?:[\w.+-]+\+)?json *(?:;|$))/i.test(headers["content-type"] ?? ""))

/**
 * Returns the JSON documents of an answer that may hold a refusal: its body with any content type; the header `x-error-json`, which is
 * base64 of the same JSON; and the code in `x-openai-ide-error-code`. Header names are in lower case.
 *
 * @internal
 */
export const documents = (
  headers: Readonly<Record<string, string | undefined>>,
  body: Uint8Array | undefined
): ReadonlyArray<unknown> => {
  const { "x-error-json": errorJson, "x-openai-ide-error-code": code } = headers
  const decoded = errorJson === undefined ? undefined : decodeHeader(errorJson.trim())
  return [
    ...(body === undefined ? [] : [Text.readJson(body)]),
    ...(decoded === undefined ? [] : [Text.readJson(decoded)]),
    ...(code === undefined ? [] : [{ code: code.trim() }])
  ].filter((document) => document !== undefined)
}

/** In either alphabet, with padding or without. */
const decodeHeader = (text: string): Uint8Array | undefined =>
  Base64.decodeUrl(text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""))

/**
 * Returns true if the JSON of a 401, or of an error event in a stream, refuses the task: `error.code`, `code` or `error` is `invalid_task_id`,
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

/**
 * The same of an event of a stream, of SSE or of a WebSocket, as JSON or as its text: `error` and `response.failed` say it
 * in themselves or in their response.
 *
 * @internal
 */
export const isTaskInvalidEvent = (event: unknown): boolean => {
  // Nearly all events are text of the model: those are not read.
  if (typeof event === "string") {
    return /"(?:error|response\.failed)"/.test(event) && isTaskInvalidEvent(Text.parseJson(event))
  }
  return Predicate.isRecord(event) && (event.type === "error" || event.type === "response.failed") &&
    (isTaskInvalid(event) || isTaskInvalid(event.response))
}

/** All clients of this protocol that renew tasks look for these three (sub2api, codex2api, Codex-Manager). */
const taskInvalid: ReadonlyArray<string> = ["invalid_task_id", "task_not_found", "task_expired"]

/**
 * Returns true if the JSON of a 403 or a 400 says that the agent was deleted. OpenAI's service has one code for every state of an
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
