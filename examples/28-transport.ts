/** A transport of your own: this process's, with its proxies and certificate authorities, and a line for each request. */
import { NodeAgentIdentity, NodeTransport } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"

const Transport = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(
    HttpClient.HttpClient,
    HttpClient.tapRequest(({ method, url }) => Console.log(method, new URL(url).pathname))
  )
).pipe(Layer.provide(NodeTransport.layer))

const provider = Config.string("PROVIDER_BASE_URL")

const AgentRun = Layer.unwrapEffect(Effect.gen(function*() {
  return NodeAgentIdentity.layer({
    agentRuntimeId: yield* Config.string("AGENT_RUNTIME_ID"),
    privateKey: yield* Config.redacted("AGENT_PRIVATE_KEY"),
    authApi: yield* Config.string("AUTHAPI_BASE_URL"),
    providers: [yield* provider],
    loopbackHttp: true,
    transport: Transport
  })
}))

const program = Effect.gen(function*() {
  const response = yield* HttpClient.get(`${yield* provider}/models`)
  yield* Console.log(response.status)
})

program.pipe(Effect.provide(AgentRun), NodeRuntime.runMain())
