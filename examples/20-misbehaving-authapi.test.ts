/** A real AuthAPI that fails when it is told to: what the app does about it, over real HTTP on loopback. */
import { Run, RunTask } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import * as ScriptedAuthApi from "@agent-identity/testing/ScriptedAuthApi"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"

const Process = RegisteredAgent.layer({ agentRuntimeId: "agent-demo" }).pipe(
  Layer.merge(NodeHttpClient.layerUndici),
  Layer.provideMerge(ScriptedAuthApi.layer),
  Layer.provide(NodeSigning.layer)
)

/** Begins a run. */
const begin = Effect.provide(RunTask.RunTask, Layer.fresh(Run.layer))

it.live("a run begins although the AuthAPI drops a connection and is busy once", () =>
  Effect.gen(function*() {
    const server = yield* ScriptedAuthApi.ScriptedAuthApi
    yield* server.script({ _tag: "Drop" })
    yield* server.script({ _tag: "Status", status: 503 })
    yield* begin
    assert.lengthOf(yield* server.requests, 3)
  }).pipe(Effect.provide(Process)))

it.live("a run does not begin where the AuthAPI refuses, and says what to check", () =>
  Effect.gen(function*() {
    const server = yield* ScriptedAuthApi.ScriptedAuthApi
    yield* server.script({ _tag: "Status", status: 403, body: "not from here" })
    const error = yield* Effect.flip(begin)
    assert.deepInclude(error, { _tag: "TaskRegistrationError", reason: "Status", status: 403, body: "not from here" })
    assert.include(error.message, "check the agent's id, its key")
  }).pipe(Effect.provide(Process)))
