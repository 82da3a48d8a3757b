/** A new agent, registered over the wire with a person's bearer token. Its key is kept first. */
import { AgentKey, Signing, UrlDerivation } from "@agent-identity/core"
import { AgentRegistration } from "@agent-identity/login"
import { NodeSigning } from "@agent-identity/node"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Redacted } from "effect"
import { Backend } from "../../examples/backend.ts"

const program = Effect.gen(function*() {
  const key = yield* AgentKey.generate()
  const { publicKey } = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
  yield* Console.log("to keep   ", AgentKey.toPkcs8(key))

  const { register } = yield* AgentRegistration.AgentRegistration
  const agentRuntimeId = yield* register({
    token: Redacted.make("token-of-a-person"),
    publicKey,
    billOfMaterials: AgentRegistration.billOfMaterials({
      agentVersion: "1.0.0",
      sessionSource: "cli",
      platform: process.platform
    }),
    fedramp: false
  })
  yield* Console.log("registered", agentRuntimeId)
})

const Process = AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation)).pipe(
  Layer.provide(NodeHttpClient.layerUndici),
  Layer.provide(Backend),
  Layer.provideMerge(NodeSigning.layer)
)

program.pipe(Effect.provide(Process), NodeRuntime.runMain())
