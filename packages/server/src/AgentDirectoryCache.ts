/**
 * A directory that remembers for some seconds what another one has answered, unknown agents and tasks included.
 *
 * @since 0.1.0
 */
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import type { TaskId } from "@agent-identity/core/TaskId"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as AgentDirectory from "./AgentDirectory.ts"
import { BoundedMap } from "./internal/boundedMap.ts"
import { TokenBucket } from "./internal/tokenBucket.ts"

/**
 * How much is remembered, and for how long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many agents, and as many tasks, are remembered at most; 10,000 by default. */
  readonly capacity?: number | undefined
  /**
   * How long; 10 seconds by default. As long may another process take to see that an agent was removed here, or that its old
   * key is no longer its key. A new agent or key it sees at the first signature.
   */
  readonly timeToLive?: Duration.DurationInput | undefined
  /** How long it is remembered that there is no such agent or task; 1 second by default. */
  readonly unknownTimeToLive?: Duration.DurationInput | undefined
  /**
   * How often a second the directory is asked about an agent that is remembered: before a signature is refused, and for an
   * unknown agent after `unknownTimeToLive`; 100 by default, and as often at once after a second of rest. Beyond that,
   * known and unknown agents are answered from memory alike, so that a flood of bad signatures is no flood of queries. As
   * long as it lasts, a key that was changed elsewhere is seen after `timeToLive`.
   */
  readonly refreshesPerSecond?: number | undefined
}

/**
 * The same directory with a memory. What is changed through it is seen at once.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (directory: AgentDirectory.Service, options: Options = {}): AgentDirectory.Service => {
  const capacity = options.capacity ?? 10_000
  const knownMillis = Duration.toMillis(options.timeToLive ?? "10 seconds")
  const unknownMillis = Duration.toMillis(options.unknownTimeToLive ?? "1 second")
  const refreshes = new TokenBucket(options.refreshesPerSecond ?? 100)
  const agents = new BoundedMap<AgentRuntimeId, Remembered<AgentDirectory.Agent>>(capacity)
  const tasks = new BoundedMap<TaskId, Remembered<AgentDirectory.Task>>(capacity)
  /** Counts the beginnings and ends of changes: an answer that was on its way during one may be older than it. */
  let changes = 0

  const remembering = <Id, A>(
    memory: BoundedMap<Id, Remembered<A>>,
    find: (
      id: Id,
      lookup?: AgentDirectory.Lookup
    ) => Effect.Effect<Option.Option<A>, AgentDirectory.AgentDirectoryError>,
    /** How long it may be answered from memory that there is none, where nobody may ask again. */
    unknownUntilMillis: number
  ) =>
  (id: Id, lookup?: AgentDirectory.Lookup) =>
    Effect.clockWith((clock) => {
      const now = clock.unsafeCurrentTimeMillis()
      const remembered = memory.get(id)
      if (remembered !== undefined && now < remembered.until) {
        const isDue = lookup?.fresh === true || now >= remembered.dueAt
        if (!isDue || !refreshes.take(clock)) {
          lookup?.onRemembered?.()
          return remembered.answer
        }
      }
      const before = changes
      return Effect.tap(find(id, lookup), (found) => {
        if (changes !== before) return Effect.void
        const now = clock.unsafeCurrentTimeMillis()
        const [dueMillis, untilMillis] = Option.isSome(found)
          ? [knownMillis, knownMillis]
          : [unknownMillis, unknownUntilMillis]
        memory.set(id, { found, answer: Effect.succeed(found), dueAt: now + dueMillis, until: now + untilMillis })
        return Effect.void
      })
    })

  const changing = <A>(
    agentRuntimeId: AgentRuntimeId,
    change: Effect.Effect<A, AgentDirectory.AgentDirectoryError>
  ): Effect.Effect<A, AgentDirectory.AgentDirectoryError> => {
    const forget = Effect.sync(() => {
      changes++
      agents.delete(agentRuntimeId)
      tasks.deleteWhere(({ found }) => Option.isSome(found) && found.value.agentRuntimeId === agentRuntimeId)
    })
    return Effect.suspend(() => {
      changes++
      return Effect.ensuring(change, forget)
    })
  }

  return {
    // A task is asked for by agents only, who have signed for it: how long it takes tells no stranger anything.
    findAgent: remembering(agents, directory.findAgent, Math.max(knownMillis, unknownMillis)),
    findTask: remembering(tasks, directory.findTask, unknownMillis),
    check: directory.check,
    issueTask: directory.issueTask,
    putAgent: (agent) => changing(agent.agentRuntimeId, directory.putAgent(agent)),
    removeAgent: (agentRuntimeId) => changing(agentRuntimeId, directory.removeAgent(agentRuntimeId))
  }
}

/**
 * Puts itself in the place of the directory that is provided to it. Give the same one to whatever changes agents.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<AgentDirectory.AgentDirectory, never, AgentDirectory.AgentDirectory> =>
  Layer.effect(
    AgentDirectory.AgentDirectory,
    Effect.map(AgentDirectory.AgentDirectory, (directory) => make(directory, options))
  )

/**
 * `layerWith` with what is said there by default: 10,000 agents and tasks, for 10 seconds.
 *
 * @example
 * import { AgentRuntimeId } from "@agent-identity/core"
 * import { AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
 * import { Effect, Layer, Option } from "effect"
 *
 * const Directory = Layer.provide(AgentDirectoryCache.layer, AgentDirectory.layerMemory)
 * const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-123")
 *
 * const program = Effect.gen(function*() {
 *   const directory = yield* AgentDirectory.AgentDirectory
 *   assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.none())
 *   yield* directory.putAgent({ agentRuntimeId, publicKey: new Uint8Array(32) })
 *   assert.deepStrictEqual(Option.isSome(yield* directory.findAgent(agentRuntimeId)), true)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Directory))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentDirectory.AgentDirectory, never, AgentDirectory.AgentDirectory> = layerWith({})

interface Remembered<A> {
  readonly found: Option.Option<A>
  readonly answer: Effect.Effect<Option.Option<A>>
  /** When it is asked for again, if that may be. */
  readonly dueAt: number
  readonly until: number
}
