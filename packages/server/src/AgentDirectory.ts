/**
 * The port to whatever knows the agents and their tasks.
 *
 * @since 0.1.0
 */
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { TaskId } from "@agent-identity/core/TaskId"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * The directory cannot be asked now.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentDirectoryError extends Schema.TaggedError<AgentDirectoryError>(
  "@agent-identity/server/AgentDirectoryError"
)("AgentDirectoryError", { reason: Schema.Literal("Unavailable"), detail: Schema.String }) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The agent directory is unavailable: ${this.detail}`
  }
}

/**
 * A registered agent and its Ed25519 public key, 32 bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Agent {
  readonly agentRuntimeId: AgentRuntimeId
  readonly publicKey: Uint8Array
  /** Who registered it, and may delete it; undefined for an agent that was put here by other means. */
  readonly owner?: string | undefined
}

/**
 * A task, its owner, and the end of its life in milliseconds since the Unix epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface Task {
  readonly taskId: TaskId
  readonly agentRuntimeId: AgentRuntimeId
  readonly expiresAt: number
}

/**
 * How an agent is looked up in a directory that remembers answers, such as `AgentDirectoryCache`. One that always asks,
 * or that knows nothing of this, ignores it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lookup {
  /** Called where the answer is a remembered one. */
  readonly onRemembered?: (() => void) | undefined
  /** Asks past the memory. A directory may still answer from it, where it is asked for too much; false by default. */
  readonly fresh?: boolean | undefined
}

/**
 * Agents by their runtime ids, and tasks by theirs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Adds an agent, or replaces the one with this runtime id. Its key has passed `Signing.checkPublicKey`. */
  readonly putAgent: (agent: Agent) => Effect.Effect<void, AgentDirectoryError>
  /** The agent with this runtime id; none where there is none. */
  readonly findAgent: (
    agentRuntimeId: AgentRuntimeId,
    lookup?: Lookup
  ) => Effect.Effect<Option.Option<Agent>, AgentDirectoryError>
  /** Removes an agent with all of its tasks; false where there is none. */
  readonly removeAgent: (agentRuntimeId: AgentRuntimeId) => Effect.Effect<boolean, AgentDirectoryError>
  /** A new task with an id of its own, at every call. */
  readonly issueTask: (agentRuntimeId: AgentRuntimeId) => Effect.Effect<Task, AgentDirectoryError>
  /** Expired tasks are found for another lifetime, so that a client can be told what happened to its task. */
  readonly findTask: (taskId: TaskId) => Effect.Effect<Option.Option<Task>, AgentDirectoryError>
  /** Succeeds where the directory can be asked: for `NodeServer`'s `ready`. */
  readonly check: Effect.Effect<void, AgentDirectoryError>
}

/**
 * Who is registered: in memory here, in a file or PostgreSQL by `@agent-identity/sql`. Whoever has agents elsewhere
 * writes a layer of it.
 *
 * A directory keeps the keys that it is given, and a verifier compares no more than their bytes. Call
 * `Signing.checkPublicKey` where a key is registered, before it is put into a directory: the AuthAPI does so. Without it
 * the owner of a key with a part of small order is an agent whose signatures verify at some implementations only.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentDirectory extends Context.Tag("@agent-identity/server/AgentDirectory")<AgentDirectory, Service>() {}

/**
 * How long a task lives where nothing else is said: 24 hours. The protocol leaves it to the server.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultTaskLifetime: Duration.Duration = Duration.hours(24)

/**
 * A directory in this process's memory.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (options?: { readonly taskLifetime?: Duration.DurationInput | undefined }): Service => {
  const lifetime = Duration.toMillis(options?.taskLifetime ?? defaultTaskLifetime)
  const agents = new Map<AgentRuntimeId, Agent>()
  const tasks = new Map<TaskId, Task>()
  return {
    putAgent: (agent) => Effect.sync(() => void agents.set(agent.agentRuntimeId, agent)),
    findAgent: (agentRuntimeId) => Effect.sync(() => Option.fromNullable(agents.get(agentRuntimeId))),
    removeAgent: (agentRuntimeId) =>
      Effect.sync(() => {
        for (const task of tasks.values()) {
          if (task.agentRuntimeId === agentRuntimeId) tasks.delete(task.taskId)
        }
        return agents.delete(agentRuntimeId)
      }),
    issueTask: (agentRuntimeId) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        // All tasks live equally long, so the oldest come first.
        for (const old of tasks.values()) {
          if (old.expiresAt + lifetime > now) break
          tasks.delete(old.taskId)
        }
        const task: Task = {
          taskId: TaskId.make(`task-${globalThis.crypto.randomUUID()}`),
          agentRuntimeId,
          expiresAt: now + lifetime
        }
        tasks.set(task.taskId, task)
        return task
      }),
    findTask: (taskId) => Effect.sync(() => Option.fromNullable(tasks.get(taskId))),
    check: Effect.void
  }
}

/**
 * A directory in memory, with tasks that live 24 hours. It is gone with the process.
 *
 * @example
 * import { AgentRuntimeId } from "@agent-identity/core"
 * import { AgentDirectory } from "@agent-identity/server"
 * import { Effect, Option } from "effect"
 *
 * const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-123")
 *
 * const program = Effect.gen(function*() {
 *   const directory = yield* AgentDirectory.AgentDirectory
 *   yield* directory.putAgent({ agentRuntimeId, publicKey: new Uint8Array(32) })
 *   const task = yield* directory.issueTask(agentRuntimeId)
 *   assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, AgentDirectory.layerMemory))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<AgentDirectory> = Layer.sync(AgentDirectory, () => makeMemory())

/**
 * A directory in memory, with tasks that live this long.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: {
  readonly taskLifetime: Duration.DurationInput
}): Layer.Layer<AgentDirectory> => Layer.sync(AgentDirectory, () => makeMemory(options))
