/**
 * Many agents in one process, each with its own run: a hundred agents over one connection pool register a hundred
 * tasks, eviction ends a run, and an agent whose run could not begin recovers at once.
 */
import { AgentAssertion, AgentIdentity, Run } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Context, Effect, Layer, LayerMap, Logger, LogLevel, Option, Redacted } from "effect"
import { Backend, makeAgent } from "./backend.ts"

/** The agents that are configured. */
class Agents extends Context.Tag("Agents")<Agents, Map<string, AgentIdentity.Options>>() {}

/** A key that the backend does not know yet. */
const unregistered = (agentRuntimeId: string): AgentIdentity.Options => ({
  agentRuntimeId,
  privateKey: Redacted.make("MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH")
})

const identityOf = (agent: string) =>
  Layer.unwrapEffect(Effect.map(Agents, (agents) => AgentIdentity.layer(agents.get(agent) ?? unregistered(agent))))

/** The runs that are going on, by agent. One that nobody uses for a minute is evicted. */
class Runs extends LayerMap.Service<Runs>()("Runs", {
  lookup: (agent: string) => Run.layer(identityOf(agent)),
  idleTimeToLive: "1 minute"
}) {}

/** A build that failed stays in the map: drop it, so that the next request of this agent starts over. */
const asAgent = <A, E, R>(agent: string, effect: Effect.Effect<A, E, R>) =>
  Runs.runtime(agent).pipe(
    Effect.tapErrorCause(() => Runs.invalidate(agent)),
    Effect.flatMap((runtime) => Effect.provide(effect, runtime)),
    Effect.scoped
  )

const task = Effect.flatMap(AgentAssertion.AgentAssertion, (_) => Effect.map(_.current, ({ taskId }) => taskId))

const program = Effect.gen(function*() {
  const agents = yield* Agents
  const names = Array.from({ length: 100 }, (_, index) => `agent-${index}`)
  for (const name of names) agents.set(name, yield* makeAgent(name))

  const tasks = yield* Effect.forEach([...names, ...names], (name) => asAgent(name, task), { concurrency: "unbounded" })
  yield* Console.log(`200 requests of 100 agents: ${new Set(tasks).size} tasks`)

  const first = yield* asAgent("agent-0", AgentAssertion.AgentAssertion)
  const firstTask = (yield* first.current).taskId
  yield* Runs.invalidate("agent-0")
  yield* Console.log(`evicted: ${(yield* Effect.flip(first.current)).message}`)
  const secondTask = yield* asAgent("agent-0", task)
  yield* Console.log(`used again: ${firstTask === secondTask ? "the same run" : "another run, with a task of its own"}`)

  const before = yield* asAgent("agent-1", task)
  yield* Effect.ignore(asAgent("agent-1", Effect.fail("the app's own error")))
  yield* Console.log(
    `an error of the app: ${before === (yield* asAgent("agent-1", task)) ? "the same run" : "another run"}`
  )

  const unknown = yield* Effect.flip(asAgent("agent-new", task))
  yield* Console.log(
    `before it is registered: ${unknown._tag === "TaskRegistrationError" ? unknown.detail : unknown._tag}`
  )
  agents.set("agent-new", yield* makeAgent("agent-new"))
  const recovered = yield* Effect.option(asAgent("agent-new", task))
  yield* Console.log(`at once after it: ${Option.isSome(recovered) ? "a task" : "no task"}`)
})

const Process = Runs.Default.pipe(
  Layer.provideMerge(Layer.sync(Agents, () => new Map())),
  Layer.provideMerge(NodeHttpClient.layerUndici),
  Layer.provideMerge(Backend),
  Layer.provideMerge(NodeSigning.layer)
)

program.pipe(Effect.provide(Process), Logger.withMinimumLogLevel(LogLevel.Warning), NodeRuntime.runMain())
