/**
 * A directory that remembers for some seconds what another one has answered, unknown agents and tasks included.
 *
 * @since 0.1.0
 */
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as Moment from "@agent-identity/core/run/moment"
import type { TaskId } from "@agent-identity/core/TaskId"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
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
 * Makes the same directory with a memory. What is changed through it is seen at once. Look-ups of one id at the same time
 * are one query.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (directory: AgentDirectory.Service, options: Options = {}): AgentDirectory.Service => {
  const capacity = options.capacity ?? 10_000
  const knownMillis = Duration.toMillis(options.timeToLive ?? "10 seconds")
  const unknownMillis = Duration.toMillis(options.unknownTimeToLive ?? "1 second")
  const refreshes = new TokenBucket(options.refreshesPerSecond ?? 100)
  const agents = makeMemory<AgentRuntimeId, AgentDirectory.Agent>(capacity)
  const tasks = makeMemory<TaskId, AgentDirectory.Task>(capacity)
  /** Counts the beginnings and ends of changes: an answer that was on its way during one may be older than it. */
  let changes = 0

  const remembering = <Id, A>(
    { flights, remembered }: Memory<Id, A>,
    find: (id: Id, lookup?: AgentDirectory.Lookup) => Lookup<A>,
    lifeOf: (found: A, now: Moment.Moment) => number,
    /** How long it may be answered from memory that there is none, where nobody may ask again. */
    longestUnknownMillis: number
  ) => {
    const ask = (id: Id, now: Moment.Moment, fresh: boolean): Lookup<A> =>
      Effect.suspend(() => {
        const before = changes
        return Effect.map(find(id, fresh ? { fresh } : undefined), (found) => {
          if (changes !== before) return found
          const life = Option.match(found, {
            onNone: () => ({ dueMillis: unknownMillis, millis: longestUnknownMillis }),
            onSome: (value) => {
              const millis = Math.min(knownMillis, lifeOf(value, now))
              return { dueMillis: millis, millis }
            }
          })
          remembered.set(id, { found, answer: Effect.succeed(found), since: now, ...life })
          return found
        })
      })

    return (id: Id, lookup?: AgentDirectory.Lookup): Lookup<A> =>
      Effect.flatMap(Moment.now, (now) => {
        const known = remembered.get(id)
        if (known !== undefined && Moment.isWithin(known.since, known.millis, now)) {
          const isDue = lookup?.fresh === true || !Moment.isWithin(known.since, known.dueMillis, now)
          if (!isDue || !refreshes.take(now.monotonic)) {
            lookup?.onRemembered?.()
            return known.answer
          }
        }
        return Effect.uninterruptibleMask((restore) => {
          const flight = flights.get(id)
          // Not for a fresh look-up: the query may be older than what it is to see. And one that does not end is not waited for
          // by everybody who comes later.
          const isShared = flight !== undefined && lookup?.fresh !== true &&
            Moment.isWithin(flight.since, longestFlightMillis, now)
          if (isShared) {
            return restore(Deferred.await(flight.done))
          }
          if (flights.size >= capacity) return restore(ask(id, now, lookup?.fresh === true))
          const started = { since: now, done: Deferred.unsafeMake<Option.Option<A>, Failure>(FiberId.none) }
          flights.set(id, started)
          // On a fiber of its own, so that nobody who is interrupted takes the answer from the others.
          return Effect.exit(Effect.interruptible(ask(id, now, lookup?.fresh === true))).pipe(
            Effect.flatMap((exit) => {
              if (flights.get(id) === started) flights.delete(id)
              return Deferred.done(started.done, exit)
            }),
            Effect.forkDaemon,
            Effect.zipRight(restore(Deferred.await(started.done)))
          )
        })
      })
  }

  const changing = <A>(
    agentRuntimeId: AgentRuntimeId,
    change: Effect.Effect<A, Failure>
  ): Effect.Effect<A, Failure> => {
    const forget = Effect.sync(() => {
      changes++
      agents.flights.delete(agentRuntimeId)
      tasks.flights.clear()
      agents.remembered.delete(agentRuntimeId)
      tasks.remembered.deleteWhere(({ found }) => Option.isSome(found) && found.value.agentRuntimeId === agentRuntimeId)
    })
    return Effect.suspend(() => {
      changes++
      return Effect.ensuring(change, forget)
    })
  }

  return {
    // An agent is not known for longer than it lives; a task may be asked for when it has expired. Tasks are asked for by
    // agents only, who have signed for them: how long that takes tells no stranger anything.
    findAgent: remembering(
      agents,
      directory.findAgent,
      ({ expiresAt = Infinity }, { wall }) => expiresAt - wall,
      Math.max(knownMillis, unknownMillis)
    ),
    findTask: remembering(tasks, directory.findTask, () => Infinity, unknownMillis),
    check: directory.check,
    issueTask: directory.issueTask,
    putAgent: (agent) => changing(agent.agentRuntimeId, directory.putAgent(agent)),
    removeAgent: (agentRuntimeId) => changing(agentRuntimeId, directory.removeAgent(agentRuntimeId))
  }
}

/**
 * Builds this directory with a memory. One value is one cache: give it to whatever looks agents up and to whatever
 * changes them.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E, R>(
  directory: Layer.Layer<AgentDirectory.AgentDirectory, E, R>,
  options: Options
): Layer.Layer<AgentDirectory.AgentDirectory, E, R> =>
  Layer.provide(
    Layer.effect(
      AgentDirectory.AgentDirectory,
      Effect.map(AgentDirectory.AgentDirectory, (directory) => make(directory, options))
    ),
    directory
  )

/**
 * `layerWith` with what is said there by default: 10,000 agents and tasks, for 10 seconds.
 *
 * @example
 * import { AgentRuntimeId } from "@agent-identity/core"
 * import { AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
 * import { Effect, Option } from "effect"
 *
 * const Directory = AgentDirectoryCache.layer(AgentDirectory.layerMemory)
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
export const layer = <E, R>(
  directory: Layer.Layer<AgentDirectory.AgentDirectory, E, R>
): Layer.Layer<AgentDirectory.AgentDirectory, E, R> => layerWith(directory, {})

/** As long as `SqlAgentDirectory` waits for its database by default. */
const longestFlightMillis = 10_000

type Failure = AgentDirectory.AgentDirectoryError

type Lookup<A> = Effect.Effect<Option.Option<A>, Failure>

interface Memory<Id, A> {
  readonly remembered: BoundedMap<Id, Remembered<A>>
  readonly flights: Map<
    Id,
    { readonly since: Moment.Moment; readonly done: Deferred.Deferred<Option.Option<A>, Failure> }
  >
}

interface Remembered<A> {
  readonly found: Option.Option<A>
  readonly answer: Effect.Effect<Option.Option<A>>
  /** When it was asked for. */
  readonly since: Moment.Moment
  /** After that the directory is asked again, unless it is asked for too much. */
  readonly dueMillis: number
  /** For so long it may be answered. */
  readonly millis: number
}

const makeMemory = <Id, A>(capacity: number): Memory<Id, A> => ({
  remembered: new BoundedMap(capacity),
  flights: new Map()
})
