/** Your own tests, one layer deeper: a real AuthAPI that misbehaves when told to, and one without a socket. */
import { Run, RunTask } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import * as ScriptedAuthApi from "@agent-identity/testing/ScriptedAuthApi"
import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"

const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-test" })

const task = Effect.flatMap(RunTask.RunTask, (run) => run.current)

const AgentRun = Run.layer(Agent)

const Misbehaving = Layer.merge(ScriptedAuthApi.layer, NodeHttpClient.layerUndici).pipe(
  Layer.provideMerge(NodeSigning.layer)
)

it.live("a run begins though the AuthAPI drops its first connection", () =>
  Effect.gen(function*() {
    const authApi = yield* ScriptedAuthApi.ScriptedAuthApi
    yield* authApi.script({ _tag: "Drop" })
    assert.match(yield* Effect.provide(task, AgentRun), /^task-/)
    assert.strictEqual((yield* authApi.requests).length, 2)

    yield* authApi.script({ _tag: "Status", status: 403, body: "not now" })
    const error = yield* Effect.flip(Effect.provide(task, AgentRun))
    assert.include(error.message, "not now")
  }).pipe(Effect.provide(Misbehaving)))

const Socketless = Layer.provideMerge(SocketlessAuthApi.layer, NodeSigning.layer)

it.effect("two runs have a task each", () =>
  Effect.gen(function*() {
    assert.notStrictEqual(yield* Effect.provide(task, AgentRun), yield* Effect.provide(task, AgentRun))
  }).pipe(Effect.provide(Socketless)))

/** Answers with the headers that it was sent. */
const Echo = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, Response.json(request.headers))))
)

const FedrampRun = Run.layerWith(Fakes.layerAgentIdentityWith({ accountId: "account-test", fedramp: true }), {
  registration: Fakes.layerTaskRegistration
}).pipe(
  Layer.provide([Echo, Fakes.layerSigning]),
  Layer.provide(Fakes.layerUrlDerivationWith({ providers: ["https://models.test/v1"] }))
)

it.effect("an agent of a FedRAMP account says so, at the provider that is named and nowhere else", () =>
  Effect.gen(function*() {
    const named = yield* Effect.flatMap(HttpClient.get("https://models.test/v1/models"), (response) => response.json)
    assert.deepInclude(named, { "chatgpt-account-id": "account-test", "x-openai-fedramp": "true" })
    const other = yield* Effect.flatMap(HttpClient.get(`${Fakes.providerBase}/models`), (response) => response.json)
    assert.doesNotHaveAnyKeys(other, ["authorization", "chatgpt-account-id", "x-openai-fedramp"])
  }).pipe(Effect.provide(FedrampRun)))
