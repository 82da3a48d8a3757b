/** An agent's ids as logs and spans show them. A backend may make task ids of any characters: they are shown escaped. */
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import type { TaskId } from "../protocol/TaskId.ts"
import * as Text from "../protocol/text.ts"

interface Ids {
  readonly agentRuntimeId: AgentRuntimeId
  readonly taskId?: TaskId
}

/** Of a span. @internal */
export const attributes = ({ agentRuntimeId, taskId }: Ids): Record<string, unknown> => ({
  "agent_identity.agent_runtime_id": Text.printable(agentRuntimeId),
  ...(taskId === undefined ? undefined : { "agent_identity.task_id": Text.printable(taskId) })
})

/** Of a log line. @internal */
export const annotations = ({ agentRuntimeId, taskId }: Ids): Record<string, unknown> => ({
  agentRuntimeId: Text.printable(agentRuntimeId),
  ...(taskId === undefined ? undefined : { taskId: Text.printable(taskId) })
})
