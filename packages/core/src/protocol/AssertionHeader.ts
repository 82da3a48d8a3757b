/**
 * The value of the `Authorization` header: `AgentAssertion`, one space, and a token.
 *
 * The token is base64url without padding of compact JSON with exactly four string members: `agent_runtime_id`,
 * `signature`, `task_id`, `timestamp`. The signature inside is standard base64 with padding.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as AgentRuntimeId from "./AgentRuntimeId.ts"
import * as Base64 from "./base64.ts"
import * as TaskId from "./TaskId.ts"
import * as Text from "./text.ts"
import * as Timestamp from "./Timestamp.ts"

/**
 * The longest token that is looked at, in characters: 12 KiB. The longest ids that are allowed fit, escaped as JSON
 * does it.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxTokenLength = 12 * 1024

/**
 * Why a header is none of ours. It names the part that is wrong and never quotes it.
 *
 * @since 0.1.0
 * @category errors
 */
export class AssertionHeaderError extends Schema.TaggedError<AssertionHeaderError>(
  "@agent-identity/core/AssertionHeaderError"
)("AssertionHeaderError", {
  reason: Schema.Literal("Scheme", "Length", "Base64", "Json", "Members", "Id", "Signature", "Timestamp")
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The Authorization header is no agent assertion: ${explanations[this.reason]}`
  }
}

/**
 * What a header says. `signature` has 64 bytes, `timestamp` is in the form of the module Timestamp.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assertion {
  readonly agentRuntimeId: AgentRuntimeId.AgentRuntimeId
  readonly taskId: TaskId.TaskId
  readonly timestamp: string
  readonly signature: Uint8Array
}

/**
 * The whole header value. What it is given is not checked.
 *
 * @example
 * import { AgentRuntimeId, AssertionHeader, TaskId } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const assertion = {
 *   agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-123"),
 *   taskId: TaskId.TaskId.make("task-1"),
 *   timestamp: "2026-04-23T00:00:00Z",
 *   signature: new Uint8Array(64)
 * }
 * const header = AssertionHeader.encode(assertion)
 *
 * assert.match(header, /^AgentAssertion eyJ[\w-]+$/)
 * assert.deepStrictEqual(AssertionHeader.decode(header), Either.right(assertion))
 *
 * @since 0.1.0
 * @category encoding
 */
export const encode = (assertion: Assertion): string => {
  const [id, task, time] = [assertion.agentRuntimeId, assertion.taskId, assertion.timestamp].map((_) =>
    JSON.stringify(_)
  )
  const signature = Base64.encode(assertion.signature)
  // `JSON.stringify` of the whole takes twice as long.
  return `AgentAssertion ${
    Base64.encodeUrlText(`{"agent_runtime_id":${id},"signature":"${signature}","task_id":${task},"timestamp":${time}}`)
  }`
}

/**
 * Reads a whole header value. The scheme is taken in any case, the token in one spelling only: canonical base64,
 * compact JSON, no member twice, none unknown.
 *
 * @example
 * import { AssertionHeader } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const refused = Either.flip(AssertionHeader.decode("Bearer eyJhbGciOiJSUzI1NiJ9"))
 *
 * assert.deepStrictEqual(Either.getOrThrow(refused).reason, "Scheme")
 *
 * @since 0.1.0
 * @category decoding
 */
export const decode = (header: string): Either.Either<Assertion, AssertionHeaderError> => {
  const [scheme, token] = [header.slice(0, 15), header.slice(15)]
  if (scheme.toLowerCase() !== "agentassertion ") return refuse("Scheme")
  if (token.length === 0 || token.length > maxTokenLength) return refuse("Length")
  const bytes = Base64.decodeUrl(token)
  if (bytes === undefined) return refuse("Base64")
  const json = Text.fromUtf8(bytes)
  if (json === undefined) return refuse("Json")
  const members = Text.parseJson(json)
  if (!Predicate.isRecord(members)) return refuse("Json")
  const { agent_runtime_id: agentRuntimeId, signature: signatureText, task_id: taskId, timestamp } = members
  // Before anything recurses into them.
  if (
    Object.keys(members).length !== 4 || typeof agentRuntimeId !== "string" || typeof signatureText !== "string" ||
    typeof taskId !== "string" || typeof timestamp !== "string"
  ) return refuse("Members")
  // Writing it again finds white space, other escapes and repeated members.
  if (JSON.stringify(members) !== json) return refuse("Json")
  if (AgentRuntimeId.brokenRule(agentRuntimeId) !== undefined || TaskId.brokenRule(taskId) !== undefined) {
    return refuse("Id")
  }
  const signature = Base64.decode(signatureText)
  if (signature?.length !== 64) return refuse("Signature")
  if (Timestamp.parse(timestamp) === undefined) return refuse("Timestamp")
  return Either.right({
    agentRuntimeId: agentRuntimeId as AgentRuntimeId.AgentRuntimeId,
    taskId: taskId as TaskId.TaskId,
    timestamp,
    signature
  })
}

const explanations: Record<AssertionHeaderError["reason"], string> = {
  Scheme: "its scheme is not AgentAssertion followed by one space",
  Length: `its token is empty or longer than ${maxTokenLength} characters`,
  Base64: "its token is not base64url without padding",
  Json: "its token does not hold compact JSON with an object in it",
  Members: "its JSON does not have exactly the texts agent_runtime_id, signature, task_id and timestamp",
  Id: "its agent_runtime_id or task_id is not allowed",
  Signature: "its signature is not standard base64 of 64 bytes",
  Timestamp: "its timestamp is not UTC in whole seconds, such as 2026-04-23T00:00:00Z"
}

const refuse = (reason: AssertionHeaderError["reason"]) => Either.left(new AssertionHeaderError({ reason }))
