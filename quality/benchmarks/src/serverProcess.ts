/**
 * An HTTP server in a process of its own, started by the group server: `/plain` for everybody, `/protected` for agents, and
 * `/cpu`, which answers the microseconds of processor time that this process has used. It ends with its standard input.
 */
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as AgentAssertionVerifier from "@agent-identity/server/AgentAssertionVerifier"
import * as AgentAuthentication from "@agent-identity/server/AgentAuthentication"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import process from "node:process"
import * as Agent from "./agent.ts"
import * as Verifying from "./verifying.ts"

const answer = HttpServerResponse.unsafeJson({})

const router = HttpRouter.empty.pipe(
  HttpRouter.get("/plain", answer),
  HttpRouter.concat(HttpRouter.empty.pipe(
    HttpRouter.get("/protected", answer),
    HttpRouter.use(AgentAuthentication.middleware)
  )),
  HttpRouter.get(
    "/cpu",
    Effect.sync(() => {
      const { system, user } = process.cpuUsage()
      return HttpServerResponse.unsafeJson(system + user)
    })
  )
)

/** It knows the agent, and any task of it: the headers are made by the process that sends them. */
const Directory = Layer.succeed(AgentDirectory.AgentDirectory, {
  ...AgentDirectory.makeMemory(),
  findAgent: () =>
    Effect.succeedSome({ agentRuntimeId: Agent.agentRuntimeId, publicKey: Verifying.rawKey(Agent.publicKey) }),
  findTask: (taskId) => Effect.succeedSome({ taskId, agentRuntimeId: Agent.agentRuntimeId, expiresAt: Infinity })
})

process.stdin.resume().on("end", () => process.exit())

const program = HttpServer.serve(router).pipe(
  Layer.merge(Layer.effectDiscard(
    HttpServer.addressFormattedWith((address) => Effect.sync(() => process.stdout.write(`${address}\n`)))
  )),
  Layer.provide(AgentAssertionVerifier.layer),
  Layer.provide([NodeSigning.layer, Directory]),
  Layer.provide(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" })),
  Layer.launch
)

await Effect.runPromise(program)
