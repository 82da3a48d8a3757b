import { AgentAssertion, RunAuth } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"

const current = Effect.flatMap(RunAuth.RunAuth, (_) => _.current)

describe("RunAuth", () => {
  it.effect("sends the run's assertion, with the account of the identity", () =>
    Effect.gen(function*() {
      const credential = yield* current
      if (credential._tag !== "Assertion") return assert.fail(credential._tag)
      assert.strictEqual(credential.agentRuntimeId, "agent-fake")
      assert.strictEqual(credential.taskId, "task-1")
      assert.deepStrictEqual({ ...credential.account }, { id: "acct-9", fedramp: true } as object)
    }).pipe(Effect.provide(RunAuth.layer(Layer.merge(
      AgentAssertion.layer(Layer.merge(
        Layer.provide(Fakes.layerAgentIdentityWith({ accountId: "acct-9", fedramp: true }), Fakes.layerSigning),
        Fakes.layerRunTask
      )),
      Fakes.layerRunTask
    )))))

  it.effect("fails where the assertion fails", () =>
    Effect.gen(function*() {
      const credential = yield* Effect.flip(current)
      assert.strictEqual(credential.reason, "SigningFailed")
    }).pipe(Effect.provide(RunAuth.layer(Layer.merge(Fakes.layerAgentAssertionFails, Fakes.layerRunTask)))))

  it.effect("says why there is nothing", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* current, { _tag: "None", reason: "a local model" })
    }).pipe(Effect.provide(RunAuth.layerNone("a local model"))))
})
