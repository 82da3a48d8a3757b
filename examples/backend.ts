/**
 * The backend that the examples talk to: the AuthAPI, and two routes behind it that tell their caller who it is. It
 * listens on a loopback port of its own choice, keeps everything in memory, and prints a line for each request.
 */
import { UrlDerivation } from "@agent-identity/core"
import {
  AgentAssertionVerifier,
  AgentAuthentication,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers
} from "@agent-identity/server"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpLayerRouter,
  HttpMiddleware,
  HttpServer,
  HttpServerRequest
} from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import { createServer } from "node:http"

const Caller = Schema.Struct({ agent: Schema.String, task: Schema.String })

export class ProviderApi extends HttpApi.make("ProviderApi").add(
  HttpApiGroup.make("provider")
    .add(HttpApiEndpoint.get("models", "/models").addSuccess(Caller))
    .add(
      HttpApiEndpoint.post("responses", "/responses")
        .setPayload(Schema.Struct({ input: Schema.String }))
        .addSuccess(Caller)
    )
    .middleware(AgentAuthentication.AgentAuthentication)
    .prefix("/backend-api/codex")
) {}

const caller = Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId, taskId }) => ({
  agent: agentRuntimeId,
  task: taskId
}))

const ProviderHandlers = HttpApiBuilder.group(
  ProviderApi,
  "provider",
  (handlers) => handlers.handle("models", () => caller).handle("responses", () => caller)
)

const printRequests = HttpMiddleware.make((app) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const response = yield* app
    yield* Console.log(`  server     ${request.method} ${request.url} -> ${response.status}`)
    return response
  })
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

export const Backend = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(Layer.provide(AuthApiHandlers.layer)),
  HttpLayerRouter.addHttpApi(ProviderApi).pipe(Layer.provide(ProviderHandlers))
).pipe(
  Layer.provide(HttpLayerRouter.middleware(printRequests).layer),
  (routes) => HttpLayerRouter.serve(routes, { disableLogger: true, disableListenLog: true }),
  Layer.provide(AgentAuthentication.layer),
  Layer.provide(AgentAssertionVerifier.layer),
  Layer.provideMerge(AgentDirectory.layerMemory),
  Layer.provideMerge(Urls),
  Layer.provide(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
)
