/** A real issuer, AuthAPI and provider on a loopback port. */
import { AccountId, AgentKey, AgentRuntimeId, Signing, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentAuthentication,
  AgentDirectory,
  AgentIdentityIssuer,
  AuthApi,
  AuthApiHandlers,
  IssuerApi,
  IssuerApiHandlers,
  RegistrationBearer,
  RegistrationLimits
} from "@agent-identity/server"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpClient,
  HttpLayerRouter,
  HttpMiddleware,
  HttpServer,
  HttpServerRequest
} from "@effect/platform"
import { NodeContext, NodeHttpServer } from "@effect/platform-node"
import { ConfigProvider, Context, Effect, Layer, Redacted, Schema } from "effect"
import { createServer } from "node:http"

class ProviderApi extends HttpApi.make("ProviderApi").add(
  HttpApiGroup.make("provider").add(
    HttpApiEndpoint.get("models", "/backend-api/codex/models")
      .addSuccess(Schema.Struct({ agent: Schema.String, task: Schema.String }))
      .middleware(AgentAuthentication.AgentAuthentication)
  )
) {}

export class Requests extends Context.Tag("Requests")<Requests, Array<string>>() {}

const ProviderHandlers = HttpApiBuilder.group(
  ProviderApi,
  "provider",
  (handlers) =>
    handlers.handle("models", () =>
      Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId, taskId }) => ({
        agent: agentRuntimeId,
        task: taskId
      })))
)

const record = HttpLayerRouter.middleware(
  Effect.map(
    Requests,
    (requests) =>
      HttpMiddleware.make((app) =>
        Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
          requests.push(request.url.endsWith("/agent/register") ? "agent" : request.url.replace(/.*\//, ""))
          return app
        })
      )
  )
).layer

/** The ids of all agents that there ever were. */
export class Agents extends Context.Tag("Agents")<Agents, Set<string>>() {}

const layerDirectory = Layer.effectContext(Effect.sync(() => {
  const ids = new Set<string>()
  const directory = AgentDirectory.makeMemory()
  return Context.make(Agents, ids).pipe(Context.add(AgentDirectory.AgentDirectory, {
    ...directory,
    putAgent: (agent) => Effect.zipRight(Effect.sync(() => ids.add(agent.agentRuntimeId)), directory.putAgent(agent))
  }))
}))

/** The bearer token that agents are registered with. */
export const BEARER = "token-of-a-person"

export const serverWith = (limits: Layer.Layer<RegistrationLimits.RegistrationLimits>) =>
  Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layer),
      Layer.provide([RegistrationBearer.layerTokens({ person: Redacted.make(BEARER) }), limits])
    ),
    HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(Layer.provide(IssuerApiHandlers.layer)),
    HttpLayerRouter.addHttpApi(ProviderApi).pipe(Layer.provide(ProviderHandlers))
  ).pipe(
    Layer.provide(record),
    (routes) =>
      HttpLayerRouter.serve(routes, {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: AuthApi.routerConfig
      }),
    Layer.provide(AgentAuthentication.layer),
    Layer.provide(AgentAssertionVerifier.layer),
    Layer.provideMerge(Layer.mergeAll(
      layerDirectory,
      AgentIdentityIssuer.layerWith({ tokenLifetime: "1 hour" }),
      Layer.sync(Requests, () => [])
    )),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
    Layer.provideMerge(NodeSigning.layer),
    Layer.merge(NodeContext.layer)
  )

export const Server = serverWith(RegistrationLimits.layerUnlimited)

/** An agent that the server knows, as a token and as a record. */
export const makeAgent = (id = "agent-1") =>
  Effect.gen(function*() {
    const key = yield* AgentKey.generate()
    const signer = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
    const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(id)
    yield* Effect.flatMap(AgentDirectory.AgentDirectory, (_) =>
      _.putAgent({ agentRuntimeId, publicKey: signer.publicKey }))
    const { issue } = yield* AgentIdentityIssuer.AgentIdentityIssuer
    const privateKey = AgentKey.toPkcs8(key)
    const token = yield* issue({
      agentRuntimeId,
      privateKey,
      accountId: AccountId.AccountId.make("acct-1"),
      chatgptUserId: "user-1",
      planType: "pro",
      fedramp: false
    })
    return { token: Redacted.value(token), privateKey: Redacted.value(privateKey) }
  })

/** The bases of the server, by the names of the environment. */
export const bases = HttpServer.addressFormattedWith((origin) =>
  Effect.succeed({
    CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${origin}/api/accounts`,
    CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api`,
    CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: `${origin}/backend-api/codex`
  })
)

export const withEnvironment = (environment: Record<string, string>) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment))))

export const models = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* client.get(`${environment.providers[0]}/models`)
  return { status: response.status, body: yield* response.json }
})

export const requests = Effect.map(Requests, (all) => all.slice())
