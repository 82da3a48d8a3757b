import { NodeSigning } from "@agent-identity/node"
import { RegistrationLimits, ServerMiddleware } from "@agent-identity/server"
import {
  HttpClient,
  HttpLayerRouter,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerResponse
} from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, HashMap, Layer, Logger, LogLevel, Option } from "effect"
import { request as rawRequest } from "node:http"
import * as Net from "node:net"
import {
  agentPath,
  codeOf,
  layerServerWith,
  origin,
  REGISTER_AGENT,
  registerTaskPath,
  request,
  type ServerOptions,
  tokens
} from "./utils.ts"

const Server = (options: ServerOptions = {}) => layerServerWith(options).pipe(Layer.provideMerge(NodeSigning.layer))

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const idOf = (headers: Readonly<Record<string, string>>) => headers["x-request-id"] ?? "none"

const withId = (id: string) => request("GET", "/api/accounts/health", { headers: { "x-request-id": id } })

describe("the id of a request", () => {
  it.effect("is new for each request that brings none", () =>
    Effect.gen(function*() {
      const answers = yield* Effect.replicateEffect(request("GET", "/api/accounts/health"), 20)
      const ids = answers.map((_) => idOf(_.headers))
      for (const id of ids) assert.match(id, UUID)
      assert.strictEqual(new Set(ids).size, 20)
    }).pipe(Effect.provide(Server())))

  for (
    const [what, id] of [
      ["of one character", "x"],
      ["of 128 characters", "x".repeat(128)],
      ["of every visible character", String.fromCharCode(...Array.from({ length: 94 }, (_, index) => 0x21 + index))],
      ["that is a trace", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
    ] as const
  ) {
    it.effect(`is the one it came with: one ${what}`, () =>
      Effect.gen(function*() {
        const answer = yield* withId(id)
        assert.strictEqual(idOf(answer.headers), id)
      }).pipe(Effect.provide(Server())))
  }

  for (
    const [what, id] of [
      ["is empty", ""],
      ["has 129 characters", "x".repeat(129)],
      ["has 8 KiB", "x".repeat(8 * 1024)],
      ["has a space", "a b"],
      ["has a tab", "a\tb"],
      ["has a character that is not ASCII", "caf\u00e9"],
      ["has bytes of UTF-8", Buffer.from("日本").toString("latin1")],
      ["forges a line of a log", "x level=ERROR message=\"all is lost\""]
    ] as const
  ) {
    it.effect(`is a new one where the one that it came with ${what}`, () =>
      Effect.gen(function*() {
        const answer = yield* withId(id)
        assert.strictEqual(answer.status, 200)
        assert.match(idOf(answer.headers), UUID)
      }).pipe(Effect.provide(Server())))
  }

  it.effect("is a new one where a request brings two", () =>
    Effect.gen(function*() {
      const url = yield* origin
      const id = yield* Effect.async<unknown>((resume) => {
        rawRequest(`${url}/api/accounts/health`, { headers: { "x-request-id": ["one", "two"] } }, (response) => {
          response.resume()
          resume(Effect.succeed(response.headers["x-request-id"]))
        }).end()
      })
      assert.match(String(id), UUID)
    }).pipe(Effect.provide(Server())))

  it.effect("is on every answer, whatever its status", () =>
    Effect.gen(function*() {
      const body = { timestamp: "1970-01-01T00:00:00Z", signature: "x" }
      const answers = yield* Effect.all([
        request("GET", "/nothing/here"),
        request("GET", "/whoami"),
        request("GET", "/dies"),
        request("POST", REGISTER_AGENT, { text: "{", token: tokens.alice }),
        request("DELETE", agentPath("agent-1"), { token: tokens.alice }),
        request("POST", registerTaskPath("agent-1"), { body }),
        request("POST", registerTaskPath("agent-1"), { body })
      ])
      assert.deepStrictEqual(answers.map((_) => _.status), [404, 401, 500, 400, 404, 401, 429])
      for (const { headers } of answers) assert.match(idOf(headers), UUID)
    }).pipe(Effect.provide(Server({
      limits: RegistrationLimits.layerMemory({ perAddress: 3 }),
      routes: HttpLayerRouter.add("GET", "/dies", Effect.die("a defect"))
    }))))

  it.effect("is on every line of the log that its request writes, and on no other's", () => {
    const lines: Array<{ readonly message: unknown; readonly id: unknown }> = []
    const logger = Logger.make(({ annotations, message }) => {
      lines.push({ message: String(message), id: Option.getOrUndefined(HashMap.get(annotations, "requestId")) })
    })
    return Effect.gen(function*() {
      for (const id of ["one", "two"]) {
        yield* request("POST", registerTaskPath("agent-1"), { body: {}, headers: { "x-request-id": id } })
      }
      yield* Effect.logInfo("of the test")
      const refused = lines.filter((_) => String(_.message).startsWith("Registration refused"))
      assert.deepStrictEqual(refused.map((_) => _.id), ["one", "two"])
      assert.deepStrictEqual(lines.filter((_) => _.message === "of the test").map((_) => _.id), [undefined])
    }).pipe(
      Effect.provide(Server()),
      Effect.provide(Layer.merge(Logger.replace(Logger.defaultLogger, logger), Logger.minimumLogLevel(LogLevel.Debug)))
    )
  })

  const positions = {
    "a router of one's own": HttpRouter.empty.pipe(
      HttpRouter.get("/api/accounts/health", HttpServerResponse.empty()),
      HttpRouter.use(ServerMiddleware.requestId),
      HttpServer.serve()
    ),
    "all routes of an HttpLayerRouter": Layer.mergeAll(
      HttpLayerRouter.add("GET", "/api/accounts/health", HttpServerResponse.empty()),
      HttpLayerRouter.middleware(ServerMiddleware.requestId, { global: true })
    ).pipe((routes) => HttpLayerRouter.serve(routes, { disableLogger: true, disableListenLog: true }))
  }
  for (const [what, server] of Object.entries(positions)) {
    it.effect(`is there around ${what} too`, () =>
      Effect.gen(function*() {
        assert.strictEqual(idOf((yield* withId("one")).headers), "one")
      }).pipe(Effect.provide(Layer.provideMerge(server, NodeHttpServer.layerTest))))
  }
})

describe("a request for which there is no route", () => {
  for (
    const [what, method, path] of [
      ["an unknown path", "GET", "/"],
      ["an unknown path below a known one", "GET", "/api/accounts/health/x"],
      ["a known path in other case", "GET", "/API/accounts/health"],
      ["another method of a known path", "POST", "/api/accounts/health"],
      ["another method of a path with an id", "GET", "/api/accounts/v1/agent/agent-1"],
      ["an id with a slash", "POST", "/api/accounts/v1/agent/a/b/task/register"],
      ["an id that is empty", "POST", "/api/accounts/v1/agent//task/register"],
      ["an id that is no percent-encoding", "DELETE", "/api/accounts/v1/agent/%ZZ"],
      ["an id that is no UTF-8", "DELETE", "/api/accounts/v1/agent/%FF%FE"],
      ["an id that is longer than any", "DELETE", `/api/accounts/v1/agent/${"a".repeat(256 * 9 + 1)}`],
      ["a path of 8 KiB", "GET", `/${"a".repeat(8 * 1024)}`]
    ] as const
  ) {
    it.effect(`is answered with 404 in the form of every error: ${what}`, () =>
      Effect.gen(function*() {
        const answer = yield* request(method, path, { token: tokens.alice })
        assert.strictEqual(answer.status, 404)
        assert.strictEqual(answer.headers["content-type"], "application/json")
        assert.strictEqual(codeOf(answer), "not_found")
      }).pipe(Effect.provide(Server())))
  }

  it.effect("is not one for the head of a path that can be got", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* request("HEAD", "/api/accounts/health")).status, 200)
      assert.strictEqual((yield* request("HEAD", "/nothing/here")).status, 404)
    }).pipe(Effect.provide(Server())))
})

describe("a handler that has a defect", () => {
  it.effect("is answered like every other error, and the defect is in the log only", () => {
    const lines: Array<string> = []
    return Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.get("/defect")
      assert.strictEqual(response.status, 500)
      const text = yield* response.text
      assert.strictEqual(JSON.parse(text).error.code, "internal_error")
      assert.notInclude(text, "a secret")
      assert.isTrue(lines.some((line) => line.includes("a secret")))
    }).pipe(Effect.provide(
      HttpLayerRouter.serve(
        Layer.merge(
          ServerMiddleware.layerErrors,
          HttpLayerRouter.add("GET", "/defect", Effect.die(new Error("a secret")))
        ),
        { disableLogger: true, disableListenLog: true }
      ).pipe(
        Layer.provideMerge(NodeHttpServer.layerTest),
        Layer.provide(Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ message }) =>
            lines.push(Array.isArray(message) ? message.map(String).join(" ") : String(message))
          )
        ))
      )
    ))
  })
})

describe("a connection that asks for an upgrade and breaks", () => {
  const reset = (port: number) =>
    Effect.async<void>((resume) => {
      const socket = Net.connect(port, "127.0.0.1", () => {
        socket.write("GET /any HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", () => {
          socket.resetAndDestroy()
          resume(Effect.void)
        })
      })
      socket.on("error", () => undefined)
    })
  const portOf = HttpServer.addressWith((address) => Effect.succeed(address._tag === "TcpAddress" ? address.port : 0))
  const alive = (path: string) =>
    Effect.gen(function*() {
      const port = yield* portOf
      for (let times = 0; times < 30; times++) yield* reset(port)
      const client = yield* HttpClient.HttpClient
      assert.isNumber((yield* client.get(path)).status)
    })

  it.live("does not end the process, behind an HttpLayerRouter", () =>
    alive("/").pipe(Effect.provide(
      HttpLayerRouter.serve(ServerMiddleware.layerErrors, { disableLogger: true, disableListenLog: true }).pipe(
        Layer.provideMerge(NodeHttpServer.layerTest)
      )
    )))

  it.live("does not end the process, around an HttpRouter", () =>
    alive("/").pipe(Effect.provide(
      HttpServer.serve(HttpRouter.empty, ServerMiddleware.guardUpgrade).pipe(
        Layer.provideMerge(NodeHttpServer.layerTest)
      )
    )))

  it.live("is listened to once, however many of its requests have the header", () => {
    const counts: Array<number> = []
    const app = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ source }) => {
      counts.push((source as unknown as { readonly socket: Net.Socket }).socket.listenerCount("error"))
      return HttpServerResponse.empty()
    })
    return Effect.gen(function*() {
      const port = yield* portOf
      yield* Effect.async<void>((resume) => {
        // Without `Connection: Upgrade` it is an ordinary request.
        const socket = Net.connect(port, "127.0.0.1", () => {
          socket.write("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n".repeat(20))
        })
        let answers = 0
        socket.on("data", (chunk) => {
          answers += String(chunk).split("HTTP/1.1 204").length - 1
          if (answers === 20) resume(Effect.void)
        })
        socket.on("close", () => resume(Effect.void))
        return Effect.sync(() => socket.destroy())
      })
      assert.strictEqual(counts.length, 20)
      assert.strictEqual(counts.at(-1), counts[0])
    }).pipe(Effect.provide(
      HttpServer.serve(ServerMiddleware.guardUpgrade(app)).pipe(Layer.provideMerge(NodeHttpServer.layerTest))
    ))
  })
})
