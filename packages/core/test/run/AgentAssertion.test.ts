import {
  AgentAssertion,
  AgentIdentity,
  AgentKey,
  AgentRuntimeId,
  AssertionHeader,
  RunTask,
  SealedBox,
  SignedPayload,
  Signing,
  TaskId
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Effect, Either, Exit, Fiber, Layer, Redacted, Scope, TestClock } from "effect"
import * as Clocks from "../clocks.ts"

/** This agent and its task. */
const runOf = (agent: Layer.Layer<AgentIdentity.AgentIdentity, unknown>) =>
  Layer.merge(agent, RunTask.layer(Layer.merge(agent, Fakes.layerTaskRegistration)))

const FakeRun = Layer.merge(Fakes.layerAgentIdentity, Fakes.layerRunTask)
const Run = Layer.merge(AgentAssertion.layer(FakeRun), FakeRun)

const current = Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)

describe("AgentAssertion", () => {
  it.effect("names the agent, the task and the present second, beside the header and in it", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_776_902_400_999)
      const assertion = yield* current
      assert.strictEqual(assertion.agentRuntimeId, "agent-fake")
      assert.strictEqual(assertion.taskId, "task-1")
      const decoded = Either.getOrThrow(AssertionHeader.decode(Redacted.value(assertion.header)))
      assert.strictEqual(decoded.agentRuntimeId, "agent-fake")
      assert.strictEqual(decoded.taskId, "task-1")
      assert.strictEqual(decoded.timestamp, "2026-04-23T00:00:00Z")
    }).pipe(Effect.provide(Run)))

  it.effect("is signed once a second and task, and reused until either changes", () =>
    Effect.gen(function*() {
      const first = yield* current
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* current, first)
      yield* TestClock.adjust("1 millis")
      const second = yield* current
      assert.notStrictEqual(Redacted.value(second.header), Redacted.value(first.header))
      yield* (yield* RunTask.RunTask).renew(second.taskId)
      const third = yield* current
      assert.strictEqual(third.taskId, "task-2")
      assert.notStrictEqual(Redacted.value(third.header), Redacted.value(second.header))
      assert.strictEqual(yield* current, third)
    }).pipe(Effect.provide(Run)))

  for (const [what, change] of Object.entries(Clocks.changes)) {
    it.effect(`has the time of the wall clock where ${what}`, () => {
      const { change: set, clock } = Clocks.make()
      const time = Effect.map(
        current,
        ({ header }) => Date.parse(Either.getOrThrow(AssertionHeader.decode(Redacted.value(header))).timestamp)
      )
      return Effect.gen(function*() {
        const before = yield* time
        yield* set(change)
        const { wall = 0 }: Clocks.Change = change
        assert.strictEqual(yield* time, before + wall)
      }).pipe(Effect.provide(Run), Effect.withClock(clock))
    })
  }

  it.effect("fails with Closed after the end of the run, even where the second's header was signed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Run, scope)
      const assertion = Context.get(context, AgentAssertion.AgentAssertion)
      yield* assertion.current
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(assertion.current)).reason, "Closed")
    }))

  it.effect("fails with SigningFailed where the key does not sign", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(current)
      assert.strictEqual(error.reason, "SigningFailed")
      assert.include(error.message, "The signing implementation failed")
    }).pipe(Effect.provide(Fakes.layerAgentAssertionFails)))

  it.effect("fails with SigningFailed where the clock is past the year 9999", () =>
    Effect.gen(function*() {
      const clock = { ...(yield* Clock.clockWith(Effect.succeed)), unsafeCurrentTimeMillis: () => 253_402_300_800_000 }
      const error = yield* Effect.flip(Effect.withClock(current, clock))
      assert.strictEqual(error.reason, "SigningFailed")
      assert.include(error.message, "9999")
    }).pipe(Effect.provide(Run)))

  it.effect("sends nothing that was signed while the run ended, and signs again for a task that came meanwhile", () =>
    Effect.gen(function*() {
      const gates = [yield* Deferred.make<void>(), yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      let signed = 0
      const slow = Layer.succeed(AgentIdentity.AgentIdentity, {
        agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-slow"),
        account: undefined,
        expiresAt: undefined,
        signer: {
          publicKey: new Uint8Array(32),
          sign: () => Effect.as(Deferred.await(gates[signed++]!), new Uint8Array(64)),
          openSealed: () => new SealedBox.SealedBoxError({ reason: "CannotOpen" })
        }
      })
      const SlowRun = runOf(slow)
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        Layer.provideMerge(AgentAssertion.layer(SlowRun), SlowRun),
        scope
      )
      const assertion = Context.get(context, AgentAssertion.AgentAssertion)
      const waiter = yield* Effect.fork(assertion.current)
      yield* Effect.yieldNow()
      yield* Context.get(context, RunTask.RunTask).renew(TaskId.TaskId.make("task-1"))
      yield* Deferred.succeed(gates[0]!, undefined)
      yield* Deferred.succeed(gates[1]!, undefined)
      assert.strictEqual((yield* Fiber.join(waiter)).taskId, "task-2")

      yield* TestClock.adjust("1 second")
      const last = yield* Effect.fork(Effect.flip(assertion.current))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      // The signer never answers.
      assert.strictEqual((yield* Fiber.join(last)).reason, "Closed")
      assert.strictEqual(signed, 3)
    }))

  describe("over a signer that takes 20 ms", () => {
    const slow = Effect.gen(function*() {
      let signed = 0
      const agent = Layer.succeed(AgentIdentity.AgentIdentity, {
        agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-slow"),
        account: undefined,
        expiresAt: undefined,
        signer: {
          publicKey: new Uint8Array(32),
          sign: () => Effect.delay(Effect.sync(() => (signed++, new Uint8Array(64))), "20 millis"),
          openSealed: () => new SealedBox.SealedBoxError({ reason: "CannotOpen" })
        }
      })
      const assertion = yield* Layer.build(AgentAssertion.layer(runOf(agent)))
      return { current: Context.get(assertion, AgentAssertion.AgentAssertion).current, signed: () => signed }
    })

    it.scoped("1,000 requests make one signature a second", () =>
      Effect.gen(function*() {
        const { current, signed } = yield* slow
        for (let second = 1; second <= 3; second++) {
          const all = yield* Effect.fork(Effect.all(Array.from({ length: 1000 }, () => current), {
            concurrency: "unbounded"
          }))
          yield* TestClock.adjust("20 millis")
          assert.strictEqual(new Set(yield* Fiber.join(all)).size, 1)
          assert.strictEqual(signed(), second)
          yield* TestClock.adjust("980 millis")
        }
      }))

    it.scoped("interrupting the request that started it fails no other", () =>
      Effect.gen(function*() {
        const { current, signed } = yield* slow
        const first = yield* Effect.fork(current)
        yield* Effect.yieldNow()
        const others = yield* Effect.forEach([1, 2, 3], () => Effect.fork(current))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        yield* TestClock.adjust("20 millis")
        assert.strictEqual(new Set(yield* Effect.forEach(others, Fiber.join)).size, 1)
        assert.strictEqual(signed(), 1)
      }))
  })

  it.scoped("signs again after a failure, in the same second", () =>
    Effect.gen(function*() {
      let fails = true
      const agent = Layer.map(Fakes.layerAgentIdentity, (context) => {
        const identity = Context.get(context, AgentIdentity.AgentIdentity)
        const sign: Signing.Signer["sign"] = (payload) =>
          fails ? new Signing.SigningError({ reason: "SigningFailed" }) : identity.signer.sign(payload)
        return Context.make(AgentIdentity.AgentIdentity, { ...identity, signer: { ...identity.signer, sign } })
      })
      const context = yield* Layer.build(AgentAssertion.layer(runOf(agent)))
      const { current } = Context.get(context, AgentAssertion.AgentAssertion)
      assert.strictEqual((yield* Effect.flip(current)).reason, "SigningFailed")
      fails = false
      assert.strictEqual((yield* current).taskId, "task-1")
    }))

  for (const form of ["v1", "v2"] as const) {
    for (const [name, signing] of [["portable", Signing.layer], ["native", NodeSigning.layer]] as const) {
      it.effect(`signs the payload form ${form} and no other, with the ${name} layer`, () => {
        const agent = Layer.unwrapEffect(
          Effect.map(
            AgentKey.generate(),
            (key) => AgentIdentity.layer({ agentRuntimeId: "agent-1", privateKey: AgentKey.toPkcs8(key) })
          )
        ).pipe(
          Layer.provideMerge(signing)
        )
        const run = runOf(agent)
        return Effect.gen(function*() {
          const { signer } = yield* AgentIdentity.AgentIdentity
          const { agentRuntimeId, header, taskId } = yield* current
          const { signature, timestamp } = Either.getOrThrow(AssertionHeader.decode(Redacted.value(header)))
          const verifier = yield* Effect.flatMap(Signing.Signing, (_) => _.importPublicKey(signer.publicKey))
          for (const other of ["v1", "v2"] as const) {
            const payload = SignedPayload.assertion(other, agentRuntimeId, taskId, timestamp)
            assert.strictEqual(yield* verifier.verify(payload, signature), other === form)
          }
        }).pipe(Effect.provide(Layer.mergeAll(AgentAssertion.layerWith(run, { form }), run, agent)))
      })
    }
  }
})
