import {
  AgentAssertionVerifier,
  AgentAuthentication,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits
} from "@agent-identity/server"
import { HttpApi, HttpApiBuilder, HttpApiEndpoint, HttpApiGroup, HttpLayerRouter } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"

/** A protected route that says who called. */
export class WhoAmIApi extends HttpApi.make("WhoAmIApi").add(
  HttpApiGroup.make("whoami").add(
    HttpApiEndpoint.get("whoami", "/whoami")
      .addSuccess(Schema.Struct({ agent: Schema.String, task: Schema.String, timestamp: Schema.String }))
      .middleware(AgentAuthentication.AgentAuthentication)
  )
) {}

const WhoAmIHandlers = HttpApiBuilder.group(
  WhoAmIApi,
  "whoami",
  (handlers) =>
    handlers.handle(
      "whoami",
      () =>
        Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId, taskId, timestamp }) => ({
          agent: agentRuntimeId,
          task: taskId,
          timestamp
        }))
    )
)

/** The AuthAPI and the protected route on a loopback port, with a client that knows its base URL. */
export const layerServer = (directory: Layer.Layer<AgentDirectory.AgentDirectory> = AgentDirectory.layerMemory) =>
  Layer.merge(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layer),
      Layer.provide([RegistrationBearer.layerNone, RegistrationLimits.layerUnlimited])
    ),
    HttpLayerRouter.addHttpApi(WhoAmIApi).pipe(Layer.provide(WhoAmIHandlers))
  ).pipe(
    (routes) =>
      HttpLayerRouter.serve(routes, {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: AuthApi.ROUTER_CONFIG
      }),
    Layer.provide(AgentAuthentication.layer),
    Layer.provide(AgentAssertionVerifier.layer),
    Layer.provideMerge(directory),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )
