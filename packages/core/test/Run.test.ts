/** Every way in which an app may compose runs: each request carries the agent that its composition names. */
import {
  AgentAssertion,
  AgentIdentity,
  AgentKey,
  AssertionHeader,
  ProviderAuth,
  Run,
  RunAuth,
  RunTask,
  SignedPayload,
  Signing,
  TaskId,
  TaskRegistration,
  type UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, LayerMap, ManagedRuntime, Option, Redacted } from "effect"

/** An AuthAPI and a provider in one: gives out numbered tasks, and answers with the agent and the task of the request. */
class Backend extends Context.Tag("test/Backend")<Backend, { registrations: number; refuses: boolean }>() {}

const Plain = Layer.merge(
  Layer.effect(
    HttpClient.HttpClient,
    Effect.map(Backend, (backend) =>
      HttpClient.make((request, url) =>
        Effect.sync(() => {
          const answer = () => {
            if (!url.pathname.endsWith("/task/register")) return whoIs(request.headers.authorization)
            if (backend.refuses) return new Response(null, { status: 403 })
            return Response.json({ task_id: `task-${++backend.registrations}` })
          }
          return HttpClientResponse.fromWeb(request, answer())
        })
      ))
  ),
  Fakes.layerUrlDerivation
)

const whoIs = (authorization: string | undefined) => {
  const header = Option.getRight(AssertionHeader.decode(authorization ?? ""))
  return new Response(Option.match(header, {
    onNone: () => "nobody",
    onSome: ({ agentRuntimeId, taskId }) => `${agentRuntimeId} ${taskId}`
  }))
}

const Shared = Layer.provideMerge(Plain, Layer.sync(Backend, () => ({ registrations: 0, refuses: false })))

/** An agent with a new key. */
const agent = (agentRuntimeId: string) =>
  Layer.unwrapEffect(
    Effect.map(AgentKey.generate(), (key) => AgentIdentity.layer({ agentRuntimeId, privateKey: AgentKey.toPkcs8(key) }))
  ).pipe(Layer.provide(NodeSigning.layer))

interface Caller {
  readonly call: Effect.Effect<string, unknown>
}
class One extends Context.Tag("test/One")<One, Caller>() {}
class Two extends Context.Tag("test/Two")<Two, Caller>() {}
class Three extends Context.Tag("test/Three")<Three, Caller>() {}

const caller = Effect.map(HttpClient.HttpClient, (client): Caller => ({
  call: Effect.flatMap(client.get(`${Fakes.providerBase}/models`), (response) => response.text)
}))
const LayerOne = Layer.effect(One, caller)
const LayerTwo = Layer.effect(Two, caller)
const LayerThree = Layer.effect(Three, caller)

const calls = <Tags extends ReadonlyArray<typeof One | typeof Two | typeof Three>>(...tags: Tags) =>
  Effect.flatMap(
    Effect.context<Context.Tag.Identifier<Tags[number]>>(),
    (context) => Effect.forEach(tags, (tag) => Context.unsafeGet(context, tag as typeof One).call)
  )

const agentsOf = (answers: ReadonlyArray<string>) => answers.map((answer) => answer.split(" ")[0])

type Client = Layer.Layer<HttpClient.HttpClient, unknown, HttpClient.HttpClient | UrlDerivation.UrlDerivation>

/** The stages one by one, each over the values that it needs. */
const byHand = (identity: ReturnType<typeof agent>): Client => {
  const registration = TaskRegistration.layer(identity)
  const task = RunTask.layer(Layer.merge(identity, registration))
  const assertion = AgentAssertion.layer(Layer.merge(identity, task))
  const auth = RunAuth.layer(Layer.merge(assertion, task))
  return ProviderAuth.layerHttpClient(ProviderAuth.layer(auth))
}

const ways: ReadonlyArray<readonly [how: string, run: (identity: ReturnType<typeof agent>) => Client]> = [
  ["by Run.layer", (identity) => Run.layer(identity)],
  ["by Run.layerWith", (identity) => Run.layerWith(identity, { form: "v2" })],
  ["stage by stage", byHand]
]

const compositions: ReadonlyArray<
  readonly [
    how: string,
    compose: (
      a: Client,
      b: Client
    ) => Layer.Layer<One | Two, unknown, HttpClient.HttpClient | UrlDerivation.UrlDerivation>
  ]
> = [
  ["merged", (a, b) => Layer.merge(Layer.provide(LayerOne, a), Layer.provide(LayerTwo, b))],
  ["in one array", (a, b) => Layer.mergeAll(LayerOne.pipe(Layer.provide([a])), LayerTwo.pipe(Layer.provide([b])))],
  [
    "one beside the other's dependent",
    (a, b) => Layer.merge(Layer.provideMerge(LayerOne, a), Layer.provide(LayerTwo, b))
  ],
  ["by provideMerge", (a, b) => Layer.merge(Layer.provideMerge(LayerOne, a), Layer.provideMerge(LayerTwo, b))]
]

describe("two agents in one build", () => {
  for (const [way, run] of ways) {
    for (const [how, compose] of compositions) {
      it.effect(`sign each as itself, built ${way} and ${how}`, () =>
        Effect.gen(function*() {
          const answers = yield* Effect.provide(
            calls(One, Two),
            compose(run(agent("agent-a")), run(agent("agent-b")))
          )
          assert.deepStrictEqual(agentsOf(answers), ["agent-a", "agent-b"])
          assert.strictEqual((yield* Backend).registrations, 2)
        }).pipe(Effect.provide(Shared)))
    }
  }

  it.effect("sign each as itself, one run provided inside of the other's", () =>
    Effect.gen(function*() {
      const Inner = Layer.provide(LayerOne, Layer.provide(Run.layer(agent("agent-a")), Shared))
      const Outer = Layer.provide(LayerTwo, Run.layer(agent("agent-b")))
      const answers = yield* calls(One, Two).pipe(Effect.provide(Inner), Effect.provide(Outer))
      assert.deepStrictEqual(agentsOf(answers), ["agent-a", "agent-b"])
    }).pipe(Effect.provide(Shared)))

  it.scoped("sign each as itself in a LayerMap", () =>
    Effect.gen(function*() {
      class Agents extends LayerMap.Service<Agents>()("test/Agents", {
        lookup: (id: string) => Layer.orDie(Run.layer(agent(id))),
        idleTimeToLive: "1 minute"
      }) {}
      const call = (id: string) => Effect.provide(Effect.flatMap(caller, (_) => _.call), Agents.get(id))
      const answers = yield* Effect.all([call("agent-a"), call("agent-b"), call("agent-a")]).pipe(
        Effect.provide(Agents.Default)
      )
      assert.deepStrictEqual(answers, ["agent-a task-1", "agent-b task-2", "agent-a task-1"])
    }).pipe(Effect.provide(Shared)))

  it.scoped("sign each as itself in two runtimes with one memo map", () =>
    Effect.gen(function*() {
      const memo = yield* Layer.makeMemoMap
      const runtimes = ["agent-a", "agent-b"].map((id) =>
        ManagedRuntime.make(Layer.provide(Run.layer(agent(id)), Shared), memo)
      )
      const call = Effect.flatMap(caller, (_) => _.call)
      const answers = yield* Effect.promise(() => Promise.all(runtimes.map((runtime) => runtime.runPromise(call))))
      assert.deepStrictEqual(agentsOf(answers), ["agent-a", "agent-b"])
      yield* Effect.forEach(runtimes, (runtime) => runtime.disposeEffect)
    }))
})

describe("Run.layer", () => {
  for (const [way, run] of ways) {
    it.effect(`is one task for all dependents of one value, built ${way}`, () =>
      Effect.gen(function*() {
        const value = run(agent("agent-a"))
        const answers = yield* Effect.provide(
          calls(One, Two, Three),
          Layer.mergeAll(
            Layer.provide(LayerOne, value),
            Layer.provide(LayerTwo, value),
            Layer.provide(LayerThree, value)
          )
        )
        assert.deepStrictEqual(new Set(answers), new Set(["agent-a task-1"]))
        assert.strictEqual((yield* Backend).registrations, 1)
      }).pipe(Effect.provide(Shared)))

    it.effect(`is another run where it is provided again, built ${way}`, () =>
      Effect.gen(function*() {
        const value = Layer.provide(LayerOne, run(agent("agent-a")))
        const call = Effect.provide(calls(One), value)
        assert.deepStrictEqual([...(yield* call), ...(yield* call)], ["agent-a task-1", "agent-a task-2"])
      }).pipe(Effect.provide(Shared)))

    it.effect(`starts over after a build that failed, built ${way}`, () =>
      Effect.gen(function*() {
        const backend = yield* Backend
        const value = Layer.provide(LayerOne, run(agent("agent-a")))
        const call = Effect.provide(calls(One), value)
        backend.refuses = true
        assert.propertyVal(yield* Effect.flip(call), "reason", "Status")
        backend.refuses = false
        assert.deepStrictEqual(yield* call, ["agent-a task-1"])
      }).pipe(Effect.provide(Shared)))
  }

  it.effect("makes two runs of one agent of two calls", () =>
    Effect.gen(function*() {
      const identity = agent("agent-a")
      const answers = yield* Effect.provide(
        calls(One, Two),
        Layer.merge(Layer.provide(LayerOne, Run.layer(identity)), Layer.provide(LayerTwo, Run.layer(identity)))
      )
      assert.deepStrictEqual(agentsOf(answers), ["agent-a", "agent-a"])
      assert.strictEqual(new Set(answers).size, 2)
    }).pipe(Effect.provide(Shared)))

  it("refuses, by its type, what itself requires an AgentIdentity", () => {
    const open = Layer.service(AgentIdentity.AgentIdentity)
    // @ts-expect-error this layer has to build its AgentIdentity
    Run.layer(open)
    // @ts-expect-error this layer has to build its AgentIdentity
    TaskRegistration.layer(open)
    assert.isTrue(Layer.isLayer(Run.layer(Layer.succeed(AgentIdentity.AgentIdentity, {} as AgentIdentity.Service))))
  })
})

describe("Run.layerWith", () => {
  it.effect("goes on with a task that is known, and registers none", () =>
    Effect.gen(function*() {
      const value = Run.layerWith(agent("agent-a"), { taskId: TaskId.TaskId.make("known") })
      const call = Effect.provide(calls(One), Layer.provide(LayerOne, value))
      assert.deepStrictEqual(yield* call, ["agent-a known"])
      assert.strictEqual((yield* Backend).registrations, 0)
    }).pipe(Effect.provide(Shared)))

  it.effect("takes another registration, which may ask the agent of the run", () =>
    Effect.gen(function*() {
      const registration = Layer.effect(
        TaskRegistration.TaskRegistration,
        Effect.map(AgentIdentity.AgentIdentity, ({ agentRuntimeId }) => ({
          register: () =>
            Effect.succeed({ taskId: TaskId.TaskId.make(`kept-for-${agentRuntimeId}`), registeredAt: undefined })
        }))
      )
      const runOf = (id: string) => Run.layerWith(agent(id), { registration })
      const answers = yield* Effect.provide(
        calls(One, Two),
        Layer.merge(Layer.provide(LayerOne, runOf("agent-a")), Layer.provide(LayerTwo, runOf("agent-b")))
      )
      assert.deepStrictEqual(answers, ["agent-a kept-for-agent-a", "agent-b kept-for-agent-b"])
    }).pipe(Effect.provide(Shared)))

  it.effect("signs the form that it is given", () =>
    Effect.gen(function*() {
      const value = Run.layerWith(agent("agent-a"), { form: "v2" })
      yield* Effect.gen(function*() {
        const { signer } = yield* AgentIdentity.AgentIdentity
        const { agentRuntimeId, header, taskId } = yield* (yield* AgentAssertion.AgentAssertion).current
        const decoded = Option.getOrThrow(Option.getRight(AssertionHeader.decode(Redacted.value(header))))
        const verifier = yield* Effect.flatMap(Signing.Signing, (_) => _.importPublicKey(signer.publicKey))
        const payload = SignedPayload.assertion("v2", agentRuntimeId, taskId, decoded.timestamp)
        assert.isTrue(yield* verifier.verify(payload, decoded.signature))
      }).pipe(Effect.provide(value), Effect.provide(NodeSigning.layer))
    }).pipe(Effect.provide(Shared)))
})
