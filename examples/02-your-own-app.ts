/** An app of your own, against ChatGPT in production: two variables in the environment, one layer, one plain request. */
import { AgentIdentity, Run, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"

// Once a process: whose run it is, where things are, and the plain client.
const Process = Layer.mergeAll(
  AgentIdentity.layerConfig({
    agentRuntimeId: Config.string("AGENT_RUNTIME_ID"),
    privateKey: Config.redacted("AGENT_PRIVATE_KEY") // base64 of PKCS#8
  }),
  UrlDerivation.layer,
  NodeHttpClient.layerUndici
).pipe(Layer.provide(NodeSigning.layer))

// Once a run: one task, registered while the layer builds, and the client that signs.
const AgentRun = Run.layer.pipe(Layer.provide(Process))

// Code that knows nothing of agent identities.
const program = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const response = yield* client.get("https://chatgpt.com/backend-api/codex/models")
  yield* Console.log(response.status, yield* response.text)
})

program.pipe(Effect.provide(AgentRun), NodeRuntime.runMain())
