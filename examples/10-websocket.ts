/** A WebSocket whose handshake is signed: it closes once the run's task is replaced, and the app dials again. */
import { AgentIdentity, Run, RunTask, UrlDerivation } from "@agent-identity/core"
import { NodeSigning, ProviderSocket } from "@agent-identity/node"
import { AgentAssertionVerifier } from "@agent-identity/server"
import { Socket } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Queue, Runtime } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { WebSocketServer } from "ws"
import { Backend, makeAgent } from "./backend.ts"

/** As the other endpoints refuse, so that a client can recover. */
const refusal = (code: string) =>
  `HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n\r\n${JSON.stringify({ error: { code } })}`

/** A server that takes WebSockets of verified agents, in the place of the backend's provider. */
const Server = Layer.scoped(
  UrlDerivation.UrlDerivation,
  Effect.gen(function*() {
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const { environment } = yield* UrlDerivation.UrlDerivation
    const runFork = Runtime.runFork(yield* Effect.runtime())
    const sockets = new WebSocketServer({ noServer: true })
    const server = createServer().on("upgrade", (request, socket, head) => {
      const accept = () => sockets.handleUpgrade(request, socket, head, (client) => client.send("hello"))
      runFork(Effect.matchEffect(verify(request.headers.authorization), {
        onFailure: (error) =>
          Effect.sync(() => socket.end(refusal(error._tag === "AssertionRefused" ? error.code : error.reason))),
        onSuccess: ({ agentRuntimeId, taskId }) =>
          Effect.zipRight(Console.log(`  server     ${agentRuntimeId} dialed with ${taskId}`), Effect.sync(accept))
      }))
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () => Effect.sync(() => server.close())
    )
    const { port } = server.address() as AddressInfo
    return UrlDerivation.make({ ...environment, providers: [new URL(`http://127.0.0.1:${port}/codex`)] })
  })
)

const ModelSocket = Layer.unwrapEffect(Effect.map(
  UrlDerivation.UrlDerivation,
  ({ environment }) => ProviderSocket.layer(`${environment.providers[0]}/responses`.replace(/^http/, "ws"))
))

const program = Effect.gen(function*() {
  const run = yield* RunTask.RunTask
  const socket = yield* Socket.Socket
  const messages = yield* Queue.unbounded<string>()

  /** Dials, and dials again for each new task. */
  const listen = socket.runRaw((message) => Queue.offer(messages, String(message))).pipe(
    Effect.tapError((error) => Console.log(`  app        ${error.message}`)),
    Effect.retry({ while: (error) => error.reason === "Close" && error.code === ProviderSocket.taskReplaced })
  )
  const work = Effect.gen(function*() {
    yield* Console.log(`  app        received ${yield* Queue.take(messages)}`)
    yield* run.renew(yield* run.current)
    yield* Console.log(`  app        received ${yield* Queue.take(messages)}`)
  })
  yield* Effect.raceFirst(listen, work)
})

const Identity = Layer.unwrapEffect(Effect.map(makeAgent("agent-demo"), AgentIdentity.layer))

const Process = Layer.merge(Server, NodeHttpClient.layerUndici).pipe(
  Layer.provide(AgentAssertionVerifier.layer),
  Layer.provideMerge(Backend),
  Layer.provideMerge(NodeSigning.layer)
)

const App = ModelSocket.pipe(Layer.provideMerge(Run.layer(Identity)), Layer.provide(Process))

program.pipe(Effect.provide(App), NodeRuntime.runMain())
