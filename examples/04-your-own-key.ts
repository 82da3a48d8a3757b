/** An agent with a key of its own, at a backend of your own: one call. */
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"

const provider = Config.string("PROVIDER_BASE_URL")

const AgentRun = Layer.unwrapEffect(Effect.gen(function*() {
  return NodeAgentIdentity.layer({
    agentRuntimeId: yield* Config.string("AGENT_RUNTIME_ID"),
    privateKey: yield* Config.redacted("AGENT_PRIVATE_KEY"), // or keyFile: "key.pem"
    authApi: yield* Config.string("AUTHAPI_BASE_URL"),
    providers: [yield* provider],
    loopbackHttp: true
  })
}))

const program = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const response = yield* client.get(`${yield* provider}/models`)
  yield* Console.log(response.status, yield* response.text)
})

program.pipe(Effect.provide(AgentRun), NodeRuntime.runMain())
