/** The start of a run: so many fibers need it at once, and its task is registered once. */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as Run from "@agent-identity/core/Run"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"

const DEPENDENTS = [1, 100, 1_000, 10_000]

/** Time per fiber at 10,000 against that at 1,000: 1 is linear, and the collector has more to do with more fibers. */
const LINEAR = 1.5

const make = Effect.gen(function*() {
  let registered = 0
  /** Answers a turn of the event loop later, as no real AuthAPI is quicker, so that every fiber comes to wait. */
  const authApi = HttpClient.make((request) =>
    Effect.async<HttpClientResponse.HttpClientResponse>((resume) => {
      registered++
      setImmediate(() =>
        resume(Effect.succeed(HttpClientResponse.fromWeb(request, Response.json({ task_id: Agent.taskId }))))
      )
    })
  )
  const identity = yield* Layer.build(Agent.layerIdentity(NodeSigning.layer))
  const AgentRun = Run.layer(Layer.succeedContext(identity)).pipe(
    Layer.provide(Layer.mergeAll(
      UrlDerivation.layer,
      Layer.succeed(HttpClient.HttpClient, authApi)
    )),
    Layer.orDie
  )

  const start = (dependents: number) =>
    Effect.scoped(Effect.gen(function*() {
      const before = registered
      const memoMap = yield* Layer.makeMemoMap
      const scope = yield* Effect.scope
      const dependent = Effect.flatMap(
        Layer.buildWithMemoMap(AgentRun, memoMap, scope),
        (context) => Context.get(context, AgentAssertion.AgentAssertion).current
      )
      yield* Effect.replicateEffect(dependent, dependents, { concurrency: "unbounded", discard: true })
      if (registered !== before + 1) {
        return yield* Effect.dieMessage(`${dependents} dependents have registered ${registered - before} tasks`)
      }
    })).pipe(Logger.withMinimumLogLevel(LogLevel.None))

  return DEPENDENTS.map((dependents) => ({
    name: `a run with ${dependents.toLocaleString("en")} ${dependents === 1 ? "dependent" : "dependents"}`,
    loop: Harness.inFiber(() => start(dependents))
  }))
})

export const runStart: Harness.Group = {
  name: "runStart",
  title: "The start and the end of a run with one registration, against that with one dependent",
  rows: (form) =>
    Effect.scoped(Effect.gen(function*() {
      const cases = yield* make
      const samples = yield* Harness.sample(cases, {
        ...form,
        // A slice of 10,000 dependents takes a second.
        rounds: Math.ceil(form.rounds / 12)
      })
      const perFiber = (at: number) => samples[at]!.map((nanos) => nanos / DEPENDENTS[at]!)
      return [
        ...cases.map(({ name }, index) =>
          Harness.row({ name, unit: "ns", values: samples[index]!, baseline: samples[0]! })
        ),
        Harness.row({
          name: "each of 10,000, against each of 1,000",
          unit: "ns",
          values: perFiber(3),
          baseline: perFiber(2),
          target: LINEAR
        })
      ]
    }))
}
