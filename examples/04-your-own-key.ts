/** An agent with a key of its own and a backend of your own: every part named, for when no token says it. */
import { AgentIdentity, Run, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"

const provider = Config.string("PROVIDER_BASE_URL")

const Identity = AgentIdentity.layerConfig({
  agentRuntimeId: Config.string("AGENT_RUNTIME_ID"),
  privateKey: Config.redacted("AGENT_PRIVATE_KEY") // base64 of PKCS#8
})

// What runs share: where things are, the plain client, and Ed25519.
const Process = Layer.mergeAll(
  UrlDerivation.layerCustomConfig({
    authApi: Config.string("AUTHAPI_BASE_URL"),
    jwksBase: Config.string("JWKS_BASE_URL"),
    providers: Config.map(provider, (base) => [base]),
    loopbackHttp: Config.succeed(true)
  }),
  NodeHttpClient.layerUndici,
  NodeSigning.layer
)

// A run: one task, registered while the layer builds, and the client that signs.
const AgentRun = Layer.provide(Run.layer(Identity), Process)

const program = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const response = yield* client.get(`${yield* provider}/models`)
  yield* Console.log(response.status, yield* response.text)
})

program.pipe(Effect.provide(AgentRun), NodeRuntime.runMain())
