/** One suite of a client against the AuthAPI, over the socketless one and over the one on a loopback port. */
import { AgentIdentity, AgentKey, TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"

const servers: ReadonlyArray<readonly [name: string, layer: typeof SocketlessAuthApi.layer]> = [
  ["SocketlessAuthApi", SocketlessAuthApi.layer],
  ["ScriptedAuthApi", Layer.merge(Layer.orDie(Scripted.layer), NodeHttpClient.layerUndici)]
]

const register = Effect.flatMap(
  TaskRegistration.TaskRegistration,
  (_) => Effect.map(_.register(Option.none()), ({ taskId }) => taskId)
)

for (const [name, server] of servers) {
  const over = <E>(
    identity: Layer.Layer<AgentIdentity.AgentIdentity, E, Layer.Layer.Success<typeof RegisteredServer>>
  ) =>
    Layer.provideMerge(
      TaskRegistration.layer<E, Layer.Layer.Success<typeof RegisteredServer>>(identity),
      RegisteredServer
    )
  const RegisteredServer = Layer.provideMerge(server, NodeSigning.layer)

  describe(name, () => {
    it.effect("gives an agent a task, and another one for the same bytes again", () =>
      Effect.gen(function*() {
        const [first, second] = yield* Effect.all([register, register])
        const directory = yield* AgentDirectory.AgentDirectory
        for (const task of [first, second]) {
          assert.strictEqual(Option.getOrThrow(yield* directory.findTask(task)).agentRuntimeId, "agent/1 ü")
        }
        assert.notStrictEqual(first, second)
      }).pipe(Effect.provide(over(RegisteredAgent.layer({ agentRuntimeId: "agent/1 ü" })))))

    it.effect("refuses an agent that it does not know", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(register)
        assert.strictEqual(error.reason, "Status")
        assert.strictEqual(error.status, 401)
        assert.include(error.body, "invalid_registration")
        assert.strictEqual(error.attempts, 1)
      }).pipe(Effect.provide(over(Layer.unwrapEffect(Effect.map(AgentKey.generate(), (key) =>
        AgentIdentity.layer({ agentRuntimeId: "agent-2", privateKey: AgentKey.toPkcs8(key) })))))))

    it.effect("answers 404 where it serves nothing", () =>
      Effect.gen(function*() {
        const client = yield* HttpClient.HttpClient
        const origin = yield* Effect.serviceOption(ScriptedAuthApi)
        const base = Option.match(origin, { onNone: () => "https://authapi.test", onSome: (_) => _.origin })
        assert.strictEqual((yield* client.get(`${base}/nothing`)).status, 404)
      }).pipe(Effect.provide(RegisteredServer)))
  })
}

describe("ScriptedAuthApi", () => {
  it.effect("records what comes in, and meets faults in the order of the script", () =>
    Effect.gen(function*() {
      const { origin, requests, script } = yield* ScriptedAuthApi
      const client = yield* HttpClient.HttpClient
      yield* script({ _tag: "Status", status: 418 }, 2)
      yield* script({ _tag: "Redirect", location: "/there" })
      const statuses = yield* Effect.forEach([1, 2, 3, 4], (n) =>
        Effect.map(client.get(`${origin}/${n}`, { headers: { "x-number": String(n) } }), (_) => _.status))
      assert.deepStrictEqual(statuses, [418, 418, 307, 404])
      const recorded = yield* requests
      assert.deepStrictEqual(recorded.map((_) => [_.method, _.url, _.headers["x-number"]]), [
        ["GET", "/1", "1"],
        ["GET", "/2", "2"],
        ["GET", "/3", "3"],
        ["GET", "/4", "4"]
      ])
    }).pipe(Effect.provide(Scripted.layer.pipe(
      Layer.provide(NodeSigning.layer),
      Layer.merge(NodeHttpClient.layerUndici)
    ))))
})
