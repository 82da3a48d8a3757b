/**
 * The backend that the examples talk to: the AuthAPI, an issuer of tokens, a Responses endpoint, and a route behind the
 * middleware of HttpApi, both of which tell their caller who it is. It listens on a loopback port of its own choice and
 * keeps everything in memory.
 */
import { ResponsesHandlers } from "@agent-identity/authapi"
import { AccountId, AgentKey, AgentRuntimeId, type Environment, Signing, UrlDerivation } from "@agent-identity/core"
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
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import * as NodeServer from "@agent-identity/server/NodeServer"
import {
  FileSystem,
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpLayerRouter,
  HttpMiddleware,
  HttpServer,
  HttpServerRequest
} from "@effect/platform"
import { Effect, Encoding, Layer, Redacted, Schema } from "effect"

const Caller = Schema.Struct({ agent: Schema.String, task: Schema.String })

export class ProviderApi extends HttpApi.make("ProviderApi").add(
  HttpApiGroup.make("provider")
    .add(HttpApiEndpoint.get("models", "/models").addSuccess(Caller))
    .middleware(AgentAuthentication.AgentAuthentication)
    .prefix("/backend-api/codex")
) {}

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

/** Where the backend listens, as a deployment of one's own. */
const Urls = Layer.unwrapEffect(HttpServer.addressFormattedWith((origin) =>
  Effect.succeed(UrlDerivation.layerCustom({
    authApi: `${origin}/api/accounts`,
    jwksBase: `${origin}/backend-api`,
    providers: [`${origin}/backend-api/codex`],
    loopbackHttp: true
  }))
))

const PERSONS_TOKEN = "token-of-a-person"

/** A folder with an `auth.json` as the Codex client leaves it after a login with ChatGPT, until the scope closes. */
export const makeLogin = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const claims = {
    email: "person@example.com",
    "https://api.openai.com/auth": {
      chatgpt_account_id: "account-demo",
      chatgpt_user_id: "user-demo",
      chatgpt_plan_type: "pro"
    }
  }
  const login = {
    auth_mode: "chatgpt",
    OPENAI_API_KEY: null,
    tokens: {
      id_token: `e30.${Encoding.encodeBase64Url(JSON.stringify(claims))}.`,
      access_token: PERSONS_TOKEN,
      refresh_token: "refresh-token",
      account_id: "account-demo"
    },
    last_refresh: "2026-04-23T00:00:00Z"
  }
  yield* fs.writeFileString(`${folder}/auth.json`, JSON.stringify(login, null, 2), { mode: 0o600 })
  return folder
})

/** What a client of the backend reads of its environment. */
export const environmentOf = ({ authApi, providers }: Environment.Environment): Record<string, string> => ({
  CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: authApi.href,
  CODEX_AGENT_IDENTITY_JWKS_BASE_URL: new URL("/backend-api", authApi).href,
  CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: providers.map(({ href }) => href).join(",")
})

/** The route where the model answers. */
type Model = Layer.Layer<
  never,
  never,
  | HttpLayerRouter.HttpRouter
  | AgentAssertionVerifier.AgentAssertionVerifier
  | HttpLayerRouter.Request<"Requires", AgentAssertionVerifier.AgentAssertionVerifier>
>

/** A model that greets whoever calls. */
const Greeting = ResponsesHandlers.layerResponses({ answer: ({ agentRuntimeId }) => ["Hello", ", ", agentRuntimeId] })

/** The backend, with a line for each request. */
export const makeBackend = (print: (line: string) => Effect.Effect<void>, model: Model = Greeting) => {
  const printRequests = HttpMiddleware.make((app) =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const response = yield* app
      yield* print(`${request.method} ${request.url} -> ${response.status}`)
      return response
    })
  )
  return Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layer),
      Layer.provide([
        RegistrationBearer.layerTokens({ person: Redacted.make(PERSONS_TOKEN) }),
        RegistrationLimits.layerUnlimited
      ])
    ),
    ServerMiddleware.layerErrors,
    HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(Layer.provide(IssuerApiHandlers.layer)),
    HttpLayerRouter.addHttpApi(ProviderApi).pipe(Layer.provide(ProviderHandlers)),
    model
  ).pipe(
    Layer.provide(HttpLayerRouter.middleware(printRequests).layer),
    (routes) => NodeServer.layer(routes, { port: 0, routerConfig: AuthApi.routerConfig }),
    Layer.provide(AgentAuthentication.layer),
    Layer.provide(AgentAssertionVerifier.layer),
    Layer.provideMerge(Layer.merge(AgentDirectory.layerMemory, AgentIdentityIssuer.layer)),
    (server) => Layer.provideMerge(Urls, server)
  )
}

export const Backend = makeBackend(() => Effect.void)

/** A new agent that the backend knows: its key, and a token of the backend's issuer that holds it. */
export const makeAgent = (id: string) =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const issuer = yield* AgentIdentityIssuer.AgentIdentityIssuer
    const signing = yield* Signing.Signing
    const key = yield* AgentKey.generate()
    const { publicKey } = yield* signing.importPrivateKey(key)
    const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(id)
    yield* directory.putAgent({ agentRuntimeId, publicKey })
    const privateKey = AgentKey.toPkcs8(key)
    const token = yield* issuer.issue({
      agentRuntimeId,
      privateKey,
      accountId: AccountId.AccountId.make("account-demo"),
      chatgptUserId: "user-demo",
      planType: "pro",
      fedramp: false
    })
    return { agentRuntimeId, privateKey, publicKey, token }
  })
