/**
 * The bytes that an agent signs.
 *
 * An agent runtime id has no `:` and a timestamp has a fixed length, so each of these texts splits in one way only, and
 * no text of one kind is ever a text of another.
 *
 * @since 0.1.0
 */
import type { AgentRuntimeId } from "./AgentRuntimeId.ts"
import type { TaskId } from "./TaskId.ts"
import * as Text from "./text.ts"

/**
 * How an assertion's payload is written. `v1` is `id:task:time`, the only form that OpenAI's service takes; `v2` is the
 * JSON array `["agent-assertion/v2",id,task,time]`, for a backend of one's own. A signer makes one form, a verifier
 * takes one form.
 *
 * @since 0.1.0
 * @category models
 */
export type PayloadForm = "v1" | "v2"

/**
 * What a task registration signs: UTF-8 of `id:time`, the time in the form of the module Timestamp.
 *
 * @since 0.1.0
 * @category constructors
 */
export const taskRegistration = (agentRuntimeId: AgentRuntimeId, timestamp: string): Uint8Array =>
  Text.toUtf8(`${agentRuntimeId}:${timestamp}`)

/**
 * What an assertion signs, in UTF-8; the time is in the form of the module Timestamp.
 *
 * @example
 * import { AgentRuntimeId, SignedPayload, TaskId } from "@agent-identity/core"
 *
 * const id = AgentRuntimeId.AgentRuntimeId.make("agent-123")
 * const task = TaskId.TaskId.make("task-1")
 * const payload = SignedPayload.assertion("v1", id, task, "2026-04-23T00:00:00Z")
 *
 * assert.deepStrictEqual(new TextDecoder().decode(payload), "agent-123:task-1:2026-04-23T00:00:00Z")
 *
 * @since 0.1.0
 * @category constructors
 */
export const assertion = (
  form: PayloadForm,
  agentRuntimeId: AgentRuntimeId,
  taskId: TaskId,
  timestamp: string
): Uint8Array =>
  Text.toUtf8(
    form === "v1"
      ? `${agentRuntimeId}:${taskId}:${timestamp}`
      : JSON.stringify(["agent-assertion/v2", agentRuntimeId, taskId, timestamp])
  )
