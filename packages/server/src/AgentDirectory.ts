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
import type * as Scope from "effect/Scope"
import * as Maintenance from "./maintenance.ts"

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
  /**
   * The end of its life in milliseconds since the Unix epoch: from then on the directory does not know it, nor the tasks
   * that it had. Undefined for an agent that lives until it is removed.
   */
  readonly expiresAt?: number | undefined
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
  /**
   * Adds an agent, or replaces the one with this runtime id, whose tasks it keeps. Its key has passed
   * `Signing.checkPublicKey`. The tasks of an agent that was removed or has expired do not come back with it.
   */
  readonly putAgent: (agent: Agent) => Effect.Effect<void, AgentDirectoryError>
  /** The agent with this runtime id; none where there is none, or where it has expired. */
  readonly findAgent: (
    agentRuntimeId: AgentRuntimeId,
    lookup?: Lookup
  ) => Effect.Effect<Option.Option<Agent>, AgentDirectoryError>
  /** Removes an agent with all of its tasks, which nobody finds from then on; false where there is none. */
  readonly removeAgent: (agentRuntimeId: AgentRuntimeId) => Effect.Effect<boolean, AgentDirectoryError>
  /** A new task with an id of its own, at every call. */
  readonly issueTask: (agentRuntimeId: AgentRuntimeId) => Effect.Effect<Task, AgentDirectoryError>
  /** Expired tasks are found for another lifetime, so that a client can be told what happened to its task. */
  readonly findTask: (taskId: TaskId) => Effect.Effect<Option.Option<Task>, AgentDirectoryError>
  /** Succeeds where the directory can be asked, and fails within 2 seconds where not: for `NodeServer`'s `ready`. */
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
 * Makes a directory in this process's memory, for tests. It keeps what has expired; the layers remove that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (options?: { readonly taskLifetime?: Duration.DurationInput | undefined }): Service =>
  memory(options?.taskLifetime ?? defaultTaskLifetime).directory

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
export const layerMemory: Layer.Layer<AgentDirectory> = Layer.scoped(
  AgentDirectory,
  Effect.suspend(() => cleaned(defaultTaskLifetime))
)

/**
 * A directory in memory, with tasks that live this long.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemoryWith = (options: {
  readonly taskLifetime: Duration.DurationInput
}): Layer.Layer<AgentDirectory> => Layer.scoped(AgentDirectory, Effect.suspend(() => cleaned(options.taskLifetime)))

const cleaned = (taskLifetime: Duration.DurationInput): Effect.Effect<Service, never, Scope.Scope> => {
  const { directory, pass } = memory(taskLifetime)
  return Effect.as(Maintenance.forkPasses(taskLifetime, pass), directory)
}

/** How many entries are looked at before the event loop turns: about a millisecond's work. */
const slice = 5000

/** A runtime id from its registration to its removal. Its tasks point here, so that they end with it at once. */
interface Registration {
  agent: Agent | undefined
  tasks: number
  isOver: boolean
}

/**
 * A directory in memory, what removes from it that nobody can find any more, and how many agents and tasks it holds.
 *
 * @internal
 */
export const memory = (taskLifetime: Duration.DurationInput) => {
  const lifetime = Duration.toMillis(taskLifetime)
  const registrations = new Map<AgentRuntimeId, Registration>()
  const tasks = new Map<TaskId, { readonly task: Task; readonly of: Registration }>()

  const end = (agentRuntimeId: AgentRuntimeId, registration: Registration) => {
    registration.isOver = true
    registrations.delete(agentRuntimeId)
  }
  const endIfExpired = (agentRuntimeId: AgentRuntimeId, registration: Registration, now: number) => {
    const { expiresAt } = registration.agent ?? {}
    if (!registration.isOver && expiresAt !== undefined && expiresAt <= now) end(agentRuntimeId, registration)
    return registration.isOver
  }
  /** The one that is not over. */
  const find = (agentRuntimeId: AgentRuntimeId, now: number): Registration | undefined => {
    const registration = registrations.get(agentRuntimeId)
    return registration === undefined || endIfExpired(agentRuntimeId, registration, now) ? undefined : registration
  }
  const findOrMake = (agentRuntimeId: AgentRuntimeId, now: number): Registration => {
    const found = find(agentRuntimeId, now)
    if (found !== undefined) return found
    const made: Registration = { agent: undefined, tasks: 0, isOver: false }
    registrations.set(agentRuntimeId, made)
    return made
  }

  const directory: Service = {
    putAgent: (agent) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        findOrMake(agent.agentRuntimeId, now).agent = agent
      }),
    findAgent: (agentRuntimeId) =>
      Effect.map(Clock.currentTimeMillis, (now) => Option.fromNullable(find(agentRuntimeId, now)?.agent)),
    removeAgent: (agentRuntimeId) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const registration = find(agentRuntimeId, now)
        if (registration === undefined) return false
        end(agentRuntimeId, registration)
        return registration.agent !== undefined
      }),
    issueTask: (agentRuntimeId) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const task: Task = {
          taskId: TaskId.make(`task-${globalThis.crypto.randomUUID()}`),
          agentRuntimeId,
          expiresAt: now + lifetime
        }
        const registration = findOrMake(agentRuntimeId, now)
        registration.tasks++
        tasks.set(task.taskId, { task, of: registration })
        return task
      }),
    findTask: (taskId) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const kept = tasks.get(taskId)
        if (kept === undefined || kept.task.expiresAt + lifetime <= now) return Option.none()
        return endIfExpired(kept.task.agentRuntimeId, kept.of, now) ? Option.none() : Option.some(kept.task)
      }),
    check: Effect.void
  }

  /** Removes what nobody can find any more. */
  const pass = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    let seen = 0
    for (const [agentRuntimeId, registration] of registrations) {
      endIfExpired(agentRuntimeId, registration, now)
      if (++seen % slice === 0) yield* Maintenance.turn
    }
    for (const { of, task } of tasks.values()) {
      if (of.isOver || task.expiresAt + lifetime <= now) {
        tasks.delete(task.taskId)
        of.tasks--
        // Of an agent that was never put in, nothing else is left.
        if (of.tasks === 0 && of.agent === undefined && !of.isOver) end(task.agentRuntimeId, of)
      }
      if (++seen % slice === 0) yield* Maintenance.turn
    }
  })

  return { directory, pass, sizes: () => [registrations.size, tasks.size] as const }
}
