import { AgentIdentity, AssertionHeader, Run, RunTask, TaskRegistration, UrlDerivation } from "@agent-identity/core"
import { NodeSigning, ProviderSocket } from "@agent-identity/node"
import { AgentAssertionVerifier } from "@agent-identity/server"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { HttpClient, Socket } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Either, Exit, Fiber, Layer, Queue, Runtime, Scope, TestClock } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import { WebSocketServer } from "ws"

/** What the server saw of a handshake. */
interface Handshake {
  readonly headers: Http.IncomingHttpHeaders
  readonly task: string | undefined
  readonly url: string
}

type Refusal = { readonly status: number; readonly body?: unknown; readonly headers?: Http.OutgoingHttpHeaders }

const taskOf = (authorization: string | undefined) =>
  authorization === undefined
    ? undefined
    : Either.getOrUndefined(Either.map(AssertionHeader.decode(authorization), ({ taskId }) => taskId))

/** A real WebSocket server that greets, echoes, and refuses a handshake when `refuse` says so. */
const serve = (
  refuse: (handshake: Handshake) => Refusal | undefined | Promise<Refusal | undefined> = () => undefined
) =>
  Effect.gen(function*() {
    const handshakes: Array<Handshake> = []
    const closes = yield* Queue.unbounded<number>()
    const sockets = new WebSocketServer({ noServer: true })
    sockets.on("connection", (socket) => {
      socket.on("close", (code) => closes.unsafeOffer(code))
      socket.on("message", (data) => socket.send(`echo ${String(data)}`))
      socket.send("hello")
    })
    const server = yield* Effect.acquireRelease(
      Effect.async<Http.Server>((resume) => {
        const server = Http.createServer()
        server.on("upgrade", async (request, stream, head) => {
          const handshake = {
            headers: request.headers,
            task: taskOf(request.headers.authorization),
            url: request.url!
          }
          handshakes.push(handshake)
          const refusal = await refuse(handshake)
          if (refusal === undefined) {
            sockets.handleUpgrade(request, stream, head, (socket) => sockets.emit("connection", socket, request))
            return
          }
          const body = typeof refusal.body === "string" ? refusal.body : JSON.stringify(refusal.body ?? {})
          const headers = { "content-type": "application/json", "content-length": body.length, ...refusal.headers }
          stream.end(
            `HTTP/1.1 ${refusal.status} Refused\r\n${
              Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("")
            }\r\n${body}`
          )
        })
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          for (const socket of sockets.clients) socket.terminate()
          server.closeAllConnections()
          server.close()
        })
    )
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return { origin, url: `${origin.replace("http", "ws")}/codex/responses`, handshakes, closes, sockets }
  })

const layerRun = (origin: string) => {
  const agent = Layer.provide(Fakes.layerAgentIdentityWith({ accountId: "acct-1" }), Fakes.layerSigning)
  const registration = Layer.service(TaskRegistration.TaskRegistration)
  return Run.layerWith(agent, { registration }).pipe(
    Layer.provideMerge(Fakes.layerTaskRegistration),
    Layer.provide(Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.never))),
    Layer.provideMerge(Fakes.layerUrlDerivationWith({
      authApi: `${origin}/accounts`,
      jwksBase: `${origin}/accounts`,
      providers: [`${origin}/codex`],
      loopbackHttp: true
    }))
  )
}

const renew = Effect.flatMap(RunTask.RunTask, (run) => Effect.flatMap(run.current, run.renew))

const invalidTask = { status: 401, body: { error: { code: "task_not_found" } } }

/** Runs a socket and gives its messages, one by one. */
const listen = (socket: Socket.Socket) =>
  Effect.gen(function*() {
    const messages = yield* Queue.unbounded<string>()
    const fiber = yield* Effect.forkScoped(
      socket.runRaw((message) => Queue.offer(messages, typeof message === "string" ? message : message.toString()))
    )
    return { fiber, next: Queue.take(messages) }
  })

describe("ProviderSocket", () => {
  it.scopedLive("carries the run's assertion and account on its handshake, and messages both ways", () =>
    Effect.gen(function*() {
      const { closes, handshakes, origin, url } = yield* serve()
      yield* Effect.gen(function*() {
        const socket = yield* ProviderSocket.make(url, { headers: { "OpenAI-Beta": "x" }, protocols: [] })
        const { fiber, next } = yield* listen(socket)
        assert.strictEqual(yield* next, "hello")
        const write = yield* socket.writer
        yield* write("ping")
        assert.strictEqual(yield* next, "echo ping")
        yield* write(new Socket.CloseEvent(1000))
        yield* Fiber.join(fiber)
        assert.strictEqual(yield* Queue.take(closes), 1000)
      }).pipe(Effect.provide(layerRun(origin)))
      assert.strictEqual(handshakes.length, 1)
      assert.strictEqual(handshakes[0]!.task, "task-1")
      assert.strictEqual(handshakes[0]!.headers["chatgpt-account-id"], "acct-1")
      assert.strictEqual(handshakes[0]!.headers["openai-beta"], "x")
    }))

  it.scopedLive("signs every dial anew", () =>
    Effect.gen(function*() {
      const { handshakes, origin, sockets, url } = yield* serve()
      yield* Effect.gen(function*() {
        const socket = yield* ProviderSocket.make(url)
        for (let dial = 0; dial < 3; dial++) {
          const { fiber, next } = yield* listen(socket)
          assert.strictEqual(yield* next, "hello")
          if (dial === 1) yield* Effect.sleep("1100 millis")
          for (const client of sockets.clients) client.close(1000)
          yield* Fiber.join(fiber)
        }
      }).pipe(Effect.provide(layerRun(origin)))
      assert.strictEqual(handshakes.length, 3)
      assert.deepStrictEqual(handshakes.map(({ task }) => task), ["task-1", "task-1", "task-1"])
      // Within one second the bytes are the same: that is the protocol.
      assert.isAtLeast(new Set(handshakes.map(({ headers }) => headers.authorization)).size, 2)
    }))

  it.scopedLive("closes when the task is replaced, and dials again for the new one", () =>
    Effect.gen(function*() {
      const { closes, handshakes, origin, url } = yield* serve()
      yield* Effect.gen(function*() {
        const socket = yield* ProviderSocket.make(url)
        const first = yield* listen(socket)
        assert.strictEqual(yield* first.next, "hello")
        yield* renew
        const error = yield* Effect.flip(Fiber.join(first.fiber))
        assert.isTrue(Socket.SocketCloseError.is(error) && error.code === ProviderSocket.taskReplaced)
        assert.strictEqual(yield* Queue.take(closes), ProviderSocket.taskReplaced)
        const second = yield* listen(socket)
        assert.strictEqual(yield* second.next, "hello")
      }).pipe(Effect.provide(layerRun(origin)))
      assert.deepStrictEqual(handshakes.map(({ task }) => task), ["task-1", "task-2"])
    }))

  it.scopedLive("closes when the run ends, and does not dial again", () =>
    Effect.gen(function*() {
      const { closes, handshakes, origin, url } = yield* serve()
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerRun(origin), scope)
      const socket = yield* Effect.provide(ProviderSocket.make(url), context)
      const { fiber, next } = yield* listen(socket)
      assert.strictEqual(yield* next, "hello")
      yield* Scope.close(scope, Exit.void)
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.isTrue(Socket.SocketCloseError.is(error) && error.code === ProviderSocket.runEnded)
      assert.strictEqual(yield* Queue.take(closes), ProviderSocket.runEnded)
      const again = yield* Effect.flip(socket.runRaw(() => undefined))
      assert.strictEqual(again.reason, "Open")
      assert.propertyVal((again as Socket.SocketGenericError).cause, "reason", "NoCredential")
      assert.strictEqual(handshakes.length, 1)
    }))

  it.scopedLive("closes although the server never answers the close", () =>
    Effect.gen(function*() {
      const { origin, sockets, url } = yield* serve()
      yield* Effect.gen(function*() {
        const { fiber, next } = yield* listen(yield* ProviderSocket.make(url))
        assert.strictEqual(yield* next, "hello")
        for (const client of sockets.clients) client.pause()
        yield* renew
        const error = yield* Effect.flip(
          Effect.timeoutFail(Fiber.join(fiber), { duration: "5 seconds", onTimeout: () => new Error("still open") })
        )
        assert.isTrue(Socket.SocketCloseError.is(error) && error.code === ProviderSocket.taskReplaced)
      }).pipe(Effect.provide(layerRun(origin)))
    }))

  it.scoped("renews a task that the handshake is refused for, once for all sockets, and dials once more", () =>
    Effect.gen(function*() {
      const { handshakes, origin, url } = yield* serve(({ task }) => task === "task-2" ? undefined : invalidTask)
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("30 seconds")
        const sockets = yield* Effect.forEach([1, 2, 3, 4, 5], () => ProviderSocket.make(url))
        const listening = yield* Effect.forEach(sockets, listen)
        for (const { next } of listening) assert.strictEqual(yield* next, "hello")
        assert.strictEqual((yield* (yield* Fakes.Registrations).calls).length, 2)
      }).pipe(Effect.provide(layerRun(origin)))
      assert.isAtMost(handshakes.length, 10)
    }))

  it.scoped("does not renew for a 401 of another kind, nor twice for one dial", () =>
    Effect.gen(function*() {
      let refusal: Refusal = { status: 401, body: { error: { code: "invalid_assertion" } } }
      const { handshakes, origin, url } = yield* serve(() => refusal)
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("30 seconds")
        const socket = yield* ProviderSocket.make(url)
        const others: ReadonlyArray<Refusal> = [
          refusal,
          { status: 401, body: "{\"error\":{\"code\":\"task_expired\"}" },
          { status: 401, body: "task_expired", headers: { "content-type": "text/plain" } },
          { ...invalidTask, status: 403 },
          { ...invalidTask, body: JSON.stringify({ ...invalidTask.body, padding: "x".repeat(65536) }) }
        ]
        for (const other of others) {
          refusal = other
          const error = yield* Effect.flip(socket.runRaw(() => undefined))
          assert.propertyVal((error as Socket.SocketGenericError).cause, "status", other.status)
        }
        const { calls } = yield* Fakes.Registrations
        assert.strictEqual((yield* calls).length, 1)
        assert.strictEqual(handshakes.length, others.length)
        refusal = invalidTask
        const error = yield* Effect.flip(socket.runRaw(() => undefined))
        assert.propertyVal((error as Socket.SocketGenericError).cause, "reason", "Refused")
        assert.strictEqual((yield* calls).length, 2)
        assert.strictEqual(handshakes.length, others.length + 2)
      }).pipe(Effect.provide(layerRun(origin)))
    }))

  it.scopedLive("says with which status it was refused, that the agent is deleted, or that nobody is there", () =>
    Effect.gen(function*() {
      const refusals: Array<Refusal> = [
        { status: 426 },
        { status: 307, headers: { location: "/codex/elsewhere" } },
        {
          status: 403,
          body: {
            error: { code: "biscuit_baker_service_agent_error_status", message: "Agent runtime has been deleted." }
          }
        }
      ]
      const { handshakes, origin, url } = yield* serve(() => refusals.shift())
      yield* Effect.gen(function*() {
        const failure = (url: string) =>
          Effect.gen(function*() {
            const error = yield* Effect.flip((yield* ProviderSocket.make(url)).run(() => undefined))
            assert.strictEqual(error.reason, "Open")
            assert.notInclude(inspect(error, { depth: Infinity, showHidden: true }), "AgentAssertion ey")
            return (error as Socket.SocketGenericError).cause as ProviderSocket.ProviderSocketError
          })
        const upgrade = yield* failure(`${url}?secret=1`)
        assert.strictEqual(upgrade.status, 426)
        assert.strictEqual(upgrade.message, `No WebSocket to ${url}: the server answered the handshake with status 426`)
        assert.strictEqual((yield* failure(url)).status, 307)
        assert.strictEqual((yield* failure(url)).reason, "AgentDeleted")
        assert.strictEqual(handshakes.length, 3)
        const nobody = yield* failure("ws://127.0.0.1:1/")
        assert.strictEqual(
          nobody.message,
          "No WebSocket to ws://127.0.0.1:1/: the connection failed (ECONNREFUSED); check the network and the URL"
        )
        assert.strictEqual((yield* failure("http://[")).reason, "Transport")
        for (
          const hidden of [
            "ws://user:SECRET@127.0.0.1:1/x",
            "ws:user:SECRET@127.0.0.1:1/x",
            "ws:\\\\user:SECRET@127.0.0.1:1/x"
          ]
        ) {
          assert.strictEqual((yield* failure(hidden)).url, "ws://127.0.0.1:1/x")
        }
      }).pipe(Effect.provide(layerRun(origin)))
    }))

  it.scopedLive("sends nothing of the run to another origin or path", () =>
    Effect.gen(function*() {
      const first = yield* serve()
      const other = yield* serve()
      yield* Effect.gen(function*() {
        for (const url of [other.url, first.url.replace("/codex/", "/elsewhere/")]) {
          const { next } = yield* listen(yield* ProviderSocket.make(url))
          assert.strictEqual(yield* next, "hello")
        }
      }).pipe(Effect.provide(layerRun(first.origin)))
      for (const { headers } of [...first.handshakes, ...other.handshakes]) {
        assert.notProperty(headers, "authorization")
        assert.notProperty(headers, "chatgpt-account-id")
      }
    }))

  it.scopedLive("keeps the error of its handler as it is, and closes when it is interrupted", () =>
    Effect.gen(function*() {
      const { closes, origin, url } = yield* serve()
      yield* Effect.gen(function*() {
        const socket = yield* ProviderSocket.make(url)
        assert.strictEqual(yield* Effect.flip(socket.runRaw(() => Effect.fail("the app's own"))), "the app's own")
        assert.strictEqual(yield* Queue.take(closes), 1000)
        const { fiber, next } = yield* listen(socket)
        yield* next
        const own = new Socket.SocketGenericError({ reason: "Write", cause: "the app's own" })
        assert.strictEqual(yield* Effect.flip((yield* ProviderSocket.make(url)).runRaw(() => Effect.fail(own))), own)
        assert.strictEqual(yield* Queue.take(closes), 1000)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* Queue.take(closes), 1000)
      }).pipe(Effect.provide(layerRun(origin)))
    }))

  it.scopedLive("is accepted by the real verifier, for a task of the real AuthAPI", () =>
    Effect.gen(function*() {
      const verified = yield* Deferred.make<AgentAssertionVerifier.Verified>()
      const runtime = yield* Effect.runtime<AgentAssertionVerifier.AgentAssertionVerifier>()
      const verify = (authorization: string | undefined) =>
        Effect.flatMap(AgentAssertionVerifier.AgentAssertionVerifier, (_) => _.verify(authorization)).pipe(
          Effect.tap((agent) => Deferred.succeed(verified, agent)),
          Effect.match({
            onFailure: (error): Refusal => ({ status: 401, body: { error: { code: error.reason } } }),
            onSuccess: () => undefined
          }),
          Runtime.runPromise(runtime)
        )
      const { origin, url } = yield* serve(({ headers }) => verify(headers.authorization))
      const agent = Layer.succeed(AgentIdentity.AgentIdentity, yield* AgentIdentity.AgentIdentity)
      const registration = Layer.provide(
        Layer.effect(TaskRegistration.TaskRegistration, TaskRegistration.make),
        Layer.succeed(UrlDerivation.UrlDerivation, yield* UrlDerivation.UrlDerivation)
      )
      const AgentRun = Run.layerWith(agent, { registration }).pipe(
        Layer.provide(Fakes.layerUrlDerivationWith({ providers: [`${origin}/codex`], loopbackHttp: true })),
        Layer.provide(NodeHttpClient.layerUndici)
      )
      yield* Effect.gen(function*() {
        const { next } = yield* listen(yield* ProviderSocket.make(url))
        assert.strictEqual(yield* next, "hello")
        const run = yield* RunTask.RunTask
        assert.strictEqual((yield* Deferred.await(verified)).taskId, yield* run.current)
      }).pipe(Effect.provide(AgentRun))
    }).pipe(
      Effect.provide(
        AgentAssertionVerifier.layer.pipe(
          Layer.provideMerge(RegisteredAgent.layer({ agentRuntimeId: "agent-1" })),
          Layer.provideMerge(Scripted.layer),
          Layer.provideMerge(NodeSigning.layer)
        )
      )
    ))
})
