/** The real server side, which counts what it verifies, and can end tasks; and a host that nobody should ever ask. */
import { ResponsesHandlers } from "@agent-identity/authapi"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import { HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Context, Effect, Layer, Option } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import type { JumpingClock } from "./clock.ts"

/** What the backend has seen so far. */
export interface Backend {
  readonly port: number
  readonly directory: AgentDirectory.Service
  /** The ids of all tasks that there ever were. */
  readonly issued: ReadonlySet<string>
  /** Requests whose assertion was good, and the others by reason. */
  readonly verified: () => number
  readonly refused: ReadonlyMap<string, number>
  /** From now on no task that there is now is taken. */
  readonly endTasks: () => void
  readonly isLive: (task: string) => boolean
}

export const makeBackend = (clock: JumpingClock) =>
  Effect.gen(function*() {
    const tasks = new Map<string, number>()
    const refused = new Map<string, number>()
    let verified = 0

    const memory = AgentDirectory.makeMemory()
    const directory: AgentDirectory.Service = {
      ...memory,
      issueTask: (agent) =>
        Effect.tap(memory.issueTask(agent), ({ expiresAt, taskId }) => Effect.sync(() => tasks.set(taskId, expiresAt))),
      findTask: (id) => Effect.map(memory.findTask(id), Option.map((task) => ({ ...task, expiresAt: tasks.get(id)! })))
    }

    const Verifier = Layer.effect(
      AgentAssertionVerifier.AgentAssertionVerifier,
      Effect.map(AgentAssertionVerifier.make(), ({ verify }) => ({
        verify: (authorization: string | undefined) =>
          Effect.tapBoth(verify(authorization), {
            onSuccess: () => Effect.sync(() => verified++),
            onFailure: ({ reason }) => Effect.sync(() => refused.set(reason, (refused.get(reason) ?? 0) + 1))
          })
      }))
    )

    const Server = Layer.mergeAll(
      HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
        Layer.provide(AuthApiHandlers.layer),
        Layer.provide([RegistrationBearer.layerNone, RegistrationLimits.layerUnlimited])
      ),
      ServerMiddleware.layerErrors,
      ResponsesHandlers.layerResponses({})
    ).pipe(
      (routes) =>
        HttpLayerRouter.serve(routes, {
          disableLogger: true,
          disableListenLog: true,
          routerConfig: AuthApi.routerConfig
        }),
      Layer.provide(Verifier),
      Layer.provide([Layer.succeed(AgentDirectory.AgentDirectory, directory), NodeSigning.layer]),
      Layer.provideMerge(
        NodeHttpServer.layer(() => Http.createServer({ keepAliveTimeout: 0 }), { port: 0, host: "127.0.0.1" })
      )
    )
    const { address } = Context.get(
      yield* Effect.withClock(Layer.build(Server), clock.clock),
      HttpServer.HttpServer
    )
    const backend: Backend = {
      port: (address as HttpServer.TcpAddress).port,
      directory,
      get issued() {
        return new Set(tasks.keys())
      },
      verified: () => verified,
      refused,
      endTasks: () => tasks.forEach((_, id) => tasks.set(id, -Infinity)),
      isLive: (task) => tasks.get(task)! > clock.now()
    }
    return backend
  })

/** A host that hostile answers name. */
export const makeDecoy = Effect.acquireRelease(
  Effect.promise(async () => {
    const requests: Array<string> = []
    const server = Http.createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`)
      response.end("{}")
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return { server, requests, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }),
  ({ server }) =>
    Effect.sync(() => {
      server.closeAllConnections()
      server.close()
    })
)
