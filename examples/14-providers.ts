/** A table of providers: which gets the run's identity, which a token of its own, and which gets nothing. */
import { AgentIdentity, Provider, ProviderAuth, Run, UrlDerivation } from "@agent-identity/core"
import { AuthCommand, NodeAgentIdentity } from "@agent-identity/node"
import * as NodeServer from "@agent-identity/server/NodeServer"
import { HttpClient, HttpLayerRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Option, Redacted } from "effect"

/** Stands in for all providers but the first: answers with the scheme of the Authorization that it was sent. */
const Gateway = NodeServer.layer(
  HttpLayerRouter.add(
    "*",
    "/*",
    Effect.map(
      HttpServerRequest.HttpServerRequest,
      ({ headers }) => HttpServerResponse.text(headers.authorization?.split(" ")[0] ?? "nothing")
    )
  ),
  { port: 0 }
)

const makeProviders = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const gateway = yield* HttpServer.addressFormattedWith(Effect.succeed)
  const authCommand = yield* AuthCommand.make({
    command: process.execPath,
    args: ["-e", "console.log('token-of-a-command')"]
  })
  const providers: ReadonlyArray<Provider.Provider> = [
    { name: "first party", baseUrl: environment.providers[0]!.href, requiresFirstPartyAuth: true },
    { name: "key of the environment", baseUrl: `${gateway}/key`, environmentKey: "GATEWAY_API_KEY" },
    { name: "bearer token", baseUrl: `${gateway}/token`, bearerToken: Redacted.make("token-of-the-app") },
    { name: "auth command", baseUrl: `${gateway}/command`, authCommand },
    { name: "cloud", baseUrl: "https://bedrock-runtime.us-east-1.amazonaws.com", cloudSigner: "aws" },
    { name: "local", baseUrl: `${gateway}/v1` },
    { name: "asks without right", baseUrl: `${gateway}/other`, requiresFirstPartyAuth: true }
  ]
  return providers
})

const show = (value: object) => Object.values(value).join(", ")

/** What a provider gets is decided here, so this takes the client that signs nothing by itself. */
const makeRequests = (plain: HttpClient.HttpClient) =>
  Effect.gen(function*() {
    const { environment } = yield* UrlDerivation.UrlDerivation
    const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
    for (const provider of yield* makeProviders) {
      yield* Console.log(provider.name)
      yield* Console.log(`  resolved   ${show(Provider.resolve(provider, environment))}`)
      if (!provider.baseUrl.startsWith("http://127.0.0.1:")) continue
      const client = yield* authorizeProvider(plain, provider)
      const response = yield* client.get(`${provider.baseUrl}/models`)
      yield* Console.log(`  sent with  ${show(Option.getOrThrow(ProviderAuth.authorizationOf(response)))}`)
      yield* Console.log(`  answer     ${yield* response.text}`)
    }
  })

const main = Effect.gen(function*() {
  const plain = yield* HttpClient.HttpClient
  const identity = yield* AgentIdentity.AgentIdentity
  yield* Effect.provide(makeRequests(plain), Run.layer(Layer.succeed(AgentIdentity.AgentIdentity, identity)))
})

main.pipe(Effect.provide(Layer.merge(NodeAgentIdentity.layerProcessConfig, Gateway)), NodeRuntime.runMain())
