/** A transport of your own: a corporate proxy and a private authority of the app's own settings, and a line for each request. */
import { NodeAgentIdentity, NodeTransport } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, ConfigProvider, Console, Context, Effect, Layer } from "effect"

/** `http://proxy.example:3128`, and the path of a PEM file; blank for none. */
const settings = Effect.orDie(Effect.all({
  HTTPS_PROXY: Config.withDefault(Config.string("CORPORATE_PROXY"), ""),
  SSL_CERT_FILE: Config.withDefault(Config.string("CORPORATE_CA"), "")
}))

/** The client of `NodeTransport.layer`, which reads these settings in the place of the environment. */
const corporate = Effect.flatMap(
  settings,
  (settings) =>
    Effect.map(Layer.build(NodeTransport.layer), Context.get(HttpClient.HttpClient)).pipe(
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(settings))))
    )
)

const Transport = Layer.scoped(
  HttpClient.HttpClient,
  Effect.map(corporate, HttpClient.tapRequest(({ method, url }) => Console.log(method, new URL(url).pathname)))
)

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
