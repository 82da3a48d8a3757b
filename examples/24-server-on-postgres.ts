/**
 * A server as it would run in production: an AuthAPI with limits and a protected endpoint, over a directory in PostgreSQL
 * that as many of it share as you like, with what was looked up remembered for a while. `DATABASE_URL` names the database.
 */
import { ResponsesHandlers } from "@agent-identity/authapi"
import { Run, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AgentDirectoryCache,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import * as NodeServer from "@agent-identity/server/NodeServer"
import { Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { HttpBody, HttpClient, HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"

// ---- The server. ----

const Directory = AgentDirectoryCache.layer(SqlAgentDirectory.layer).pipe(
  Layer.provide(Postgres.layerConfig({ url: Config.redacted("DATABASE_URL"), maxConnections: Config.succeed(5) }))
)

const Routes = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
    Layer.provide(AuthApiHandlers.layer),
    Layer.provide([RegistrationBearer.layerNone, RegistrationLimits.layerMemory({ perAgent: 10 })])
  ),
  ResponsesHandlers.layer,
  ServerMiddleware.layerErrors
)

const Server = NodeServer.layer(Routes, {
  port: 0,
  ready: Effect.flatMap(AgentDirectory.AgentDirectory, ({ check }) => check),
  routerConfig: AuthApi.routerConfig
}).pipe(
  Layer.provide(AgentAssertionVerifier.layer),
  Layer.provideMerge(Directory),
  Layer.provideMerge(NodeSigning.layer)
)

// ---- An agent of it. ----

const AgentRun = Run.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-demo" })).pipe(
  Layer.provideMerge(
    Layer.unwrapEffect(HttpServer.addressFormattedWith((origin) =>
      Effect.succeed(UrlDerivation.layerCustom({
        authApi: `${origin}/api/accounts`,
        jwksBase: origin,
        providers: [`${origin}/backend-api/codex`],
        loopbackHttp: true
      }))
    ))
  ),
  Layer.provide(NodeHttpClient.layerUndici)
)

const ask = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.post(`${environment.providers[0]}/responses`, {
    body: HttpBody.unsafeJson({ input: "hello" })
  })
  const { agent, task } = (yield* response.json) as { readonly agent: string; readonly task: string }
  yield* Console.log(`${response.status} for ${agent} with ${task}`)
})

ask.pipe(Effect.provide(Layer.provide(AgentRun, Server)), NodeRuntime.runMain())
