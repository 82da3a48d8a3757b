/** Your own HttpApi, that only verified agents reach: three lines, marked here, and whoever called is at hand. */
import { AgentIdentity, Run, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentAuthentication, ServerMiddleware } from "@agent-identity/server"
import * as NodeServer from "@agent-identity/server/NodeServer"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpClient,
  HttpLayerRouter,
  HttpServer
} from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schema } from "effect"
import { Backend, makeAgent } from "./backend.ts"

// ---- The server. ----

class NotesApi extends HttpApi.make("NotesApi").add(
  HttpApiGroup.make("notes")
    .add(HttpApiEndpoint.get("mine", "/notes/mine").addSuccess(Schema.String))
    .middleware(AgentAuthentication.AgentAuthentication) // 1: whatever is in this group wants an assertion
) {}

const Notes = HttpApiBuilder.group(
  NotesApi,
  "notes",
  (handlers) =>
    handlers.handle(
      "mine",
      () => Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId }) => `the notes of ${agentRuntimeId}`)
    )
)

const Routes = Layer.merge(
  Layer.provide(HttpLayerRouter.addHttpApi(NotesApi), Notes),
  ServerMiddleware.layerErrors
)

const Server = NodeServer.layer(Routes, { port: 0 }).pipe(
  Layer.provide(AgentAuthentication.layer), // 2
  Layer.provide(AgentAssertionVerifier.layer), // 3
  Layer.provide(NodeSigning.layer)
)

// ---- An agent that asks it, and somebody who is none. ----

const program = Effect.gen(function*() {
  const plain = yield* HttpClient.HttpClient
  const notes = `${yield* HttpServer.addressFormattedWith(Effect.succeed)}/notes/mine`
  const { environment } = yield* UrlDerivation.UrlDerivation
  const { agentRuntimeId, privateKey } = yield* makeAgent("agent-demo")

  const stranger = yield* plain.get(notes)
  yield* Console.log(`a stranger: ${stranger.status}, ${stranger.headers["www-authenticate"]}`)

  const agent = yield* Effect.provide(
    Effect.flatMap(HttpClient.HttpClient, (client) => client.get(notes)),
    Run.layer(AgentIdentity.layer({ agentRuntimeId, privateKey })).pipe(
      Layer.provide(Layer.succeed(
        UrlDerivation.UrlDerivation,
        UrlDerivation.make({ ...environment, providers: [new URL("/notes", notes)] })
      ))
    )
  )
  yield* Console.log(`the agent: ${agent.status}, ${yield* agent.text}`)
})

const Process = Server.pipe(
  Layer.provideMerge(Layer.merge(Backend, NodeHttpClient.layerUndici)),
  Layer.provideMerge(NodeSigning.layer)
)

program.pipe(Effect.provide(Process), NodeRuntime.runMain())
