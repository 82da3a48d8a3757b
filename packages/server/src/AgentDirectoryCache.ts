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

/**
 * How much is remembered, and for how long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many agents, and as many tasks, are remembered at most; 10,000 by default. */
  readonly capacity?: number | undefined
  /** How long; 10 seconds by default. As long may another process take to see that an agent was removed here. */
  readonly timeToLive?: Duration.DurationInput | undefined
  /** How long it is remembered that there is no such agent or task; 1 second by default. */
  readonly unknownTimeToLive?: Duration.DurationInput | undefined
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
  const agents = makeMemory<AgentRuntimeId, AgentDirectory.Agent>(capacity)
  const tasks = makeMemory<TaskId, AgentDirectory.Task>(capacity)
  /** Counts the beginnings and ends of changes: an answer that was on its way during one may be older than it. */
  let changes = 0

  const remembering = <Id, A>(
    { flights, remembered }: Memory<Id, A>,
    find: (id: Id) => Lookup<A>,
    lifeOf: (found: A, now: Moment.Moment) => number
  ) => {
    const ask = (id: Id, now: Moment.Moment): Lookup<A> =>
      Effect.suspend(() => {
        const before = changes
        return Effect.map(find(id), (found) => {
          if (changes !== before) return found
          const life = Option.isNone(found) ? unknownMillis : Math.min(knownMillis, lifeOf(found.value, now))
          remembered.set(id, { found, answer: Effect.succeed(found), since: now, millis: life })
          return found
        })
      })

    return (id: Id): Lookup<A> =>
      Effect.flatMap(Moment.now, (now) => {
        const known = remembered.get(id)
        if (known !== undefined && Moment.isWithin(known.since, known.millis, now)) return known.answer
        return Effect.uninterruptibleMask((restore) => {
          const flight = flights.get(id)
          // One that does not end is not waited for by everybody who comes later.
          if (flight !== undefined && Moment.isWithin(flight.since, longestFlightMillis, now)) {
            return restore(Deferred.await(flight.done))
          }
          if (flights.size >= capacity) return restore(ask(id, now))
          const started = { since: now, done: Deferred.unsafeMake<Option.Option<A>, Failure>(FiberId.none) }
          flights.set(id, started)
          // On a fiber of its own, so that nobody who is interrupted takes the answer from the others.
          return Effect.exit(Effect.interruptible(ask(id, now))).pipe(
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
    // An agent is not known for longer than it lives; a task may be asked for when it has expired.
    findAgent: remembering(agents, directory.findAgent, ({ expiresAt = Infinity }, { wall }) => expiresAt - wall),
    findTask: remembering(tasks, directory.findTask, () => Infinity),
    check: directory.check,
    issueTask: directory.issueTask,
    putAgent: (agent) => changing(agent.agentRuntimeId, directory.putAgent(agent)),
    removeAgent: (agentRuntimeId) => changing(agentRuntimeId, directory.removeAgent(agentRuntimeId))
  }
}

/**
 * Puts itself in the place of the directory that is provided to it. Give the same one to whatever changes agents. A value
 * of this layer is one cache for each directory that it is over, however often it is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<AgentDirectory.AgentDirectory, never, AgentDirectory.AgentDirectory> => {
  // A memoized layer over two directories would be one cache over the first, and `Layer.provideMerge` builds a fresh one
  // twice: a change in one cache would not be seen in the other.
  const caches = new WeakMap<AgentDirectory.Service, AgentDirectory.Service>()
  return Layer.fresh(Layer.effect(
    AgentDirectory.AgentDirectory,
    Effect.map(AgentDirectory.AgentDirectory, (directory) => {
      const cache = caches.get(directory) ?? make(directory, options)
      caches.set(directory, cache)
      return cache
    })
  ))
}

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
  readonly millis: number
}

const makeMemory = <Id, A>(capacity: number): Memory<Id, A> => ({
  remembered: new BoundedMap(capacity),
  flights: new Map()
})
