/** The names that spans carry an agent's ids under. */
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import type { TaskId } from "../protocol/TaskId.ts"

/** @internal */
export const attributes = (ids: {
  readonly agentRuntimeId: AgentRuntimeId
  readonly taskId?: TaskId
}): Record<string, unknown> => ({
  "agent_identity.agent_runtime_id": ids.agentRuntimeId,
  ...(ids.taskId === undefined ? undefined : { "agent_identity.task_id": ids.taskId })
})
