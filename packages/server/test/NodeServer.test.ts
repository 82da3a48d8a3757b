import * as NodeServer from "@agent-identity/server/NodeServer"
import { HttpLayerRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, FiberId, Layer, Logger, Scope, TestContext } from "effect"
import * as Http from "node:http"
import * as Net from "node:net"
import { afterEach } from "vitest"

interface Answer {
  readonly status: number
  readonly connection: string | undefined
  readonly body: string
}

const get = (port: number, path: string, agent: Http.Agent | false = false) =>
  new Promise<Answer>((resolve, reject) => {
    Http.get({ host: "127.0.0.1", port, path, agent }, (response) => {
      let body = ""
      response.on("data", (chunk) => body += String(chunk))
      response.on("error", reject)
      response.on("end", () => resolve({ status: response.statusCode!, connection: response.headers.connection, body }))
    }).on("error", reject)
  })

const later = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

const isOpen = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = Net.connect(port, "127.0.0.1", () => socket.end(() => resolve(true)))
    socket.on("error", () => resolve(false))
  })

/** A connection over which this has been sent, and what came back over it. */
const connect = async (port: number, text: string) => {
  const socket = Net.connect(port, "127.0.0.1")
  let received = ""
  socket.on("data", (chunk) => received += String(chunk))
  socket.on("error", () => undefined)
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()))
  await new Promise<void>((resolve) => socket.write(text, () => resolve()))
  await later(50)
  return { socket, closed, received: () => received }
}

const ends: Array<() => Promise<void>> = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

type Routes = Layer.Layer<never, never, HttpLayerRouter.HttpRouter>

/** A server, `/slow` of which answers when the test says so. What it logs is not shown. */
const start = async (options: Partial<NodeServer.Options> = {}, more: Routes = Layer.empty) => {
  const [begun, answer] = [Deferred.unsafeMake<void>(FiberId.none), Deferred.unsafeMake<void>(FiberId.none)]
  const Slow = HttpLayerRouter.add(
    "GET",
    "/slow",
    Deferred.succeed(begun, undefined).pipe(
      Effect.zipRight(Deferred.await(answer)),
      Effect.as(HttpServerResponse.text("answered"))
    )
  )
  const Fast = HttpLayerRouter.add("GET", "/fast", HttpServerResponse.text("fast"))
  const scope = Effect.runSync(Scope.make())
  const Server = NodeServer.layer(Layer.mergeAll(Slow, Fast, more), { port: 0, ...options })
  const { address } = await Effect.runPromise(
    Effect.map(Layer.buildWithScope(Server, scope), Context.get(HttpServer.HttpServer)).pipe(
      Effect.provide(Logger.remove(Logger.defaultLogger))
    )
  )
  let closing: Promise<void> | undefined
  const close = () => closing ??= Effect.runPromise(Scope.close(scope, Exit.void))
  ends.push(async () => {
    await Effect.runPromise(Deferred.succeed(answer, undefined))
    await close()
  })
  return {
    port: address._tag === "TcpAddress" ? address.port : 0,
    close,
    begun: () => Effect.runPromise(Deferred.await(begun)),
    answer: () => Effect.runPromise(Deferred.succeed(answer, undefined))
  }
}

describe("at its start", () => {
  it("it refuses connections until its routes are built, and answers every request that it takes", async () => {
    const { port } = await start()
    await ends.splice(0)[0]!()
    const SlowToBuild = Layer.scopedDiscard(Effect.sleep(300))
    const starting = start({ port }, SlowToBuild as Routes)
    const asked: Array<Promise<number | string>> = []
    let more = Infinity
    void starting.then(() => more = 40)
    while (more-- > 0) {
      asked.push(get(port, "/fast").then(({ status }) => status, (error: NodeJS.ErrnoException) => error.code!))
      await later(5)
    }
    const answers = await Promise.all(asked)
    assert.deepStrictEqual([...new Set(answers)], ["ECONNREFUSED", 200])
  })

  it("two of them in one composition have their own routes, also where these are one constant", async () => {
    const Named = HttpLayerRouter.add("GET", "/named", HttpServerResponse.text("named"))
    const server = (port: number) => NodeServer.layer(Named, { port })
    const [first, second] = await Effect.runPromise(Effect.all([NodeServer.freePort, NodeServer.freePort]))
    const Both = Layer.merge(server(first), server(second))
    await Effect.runPromise(Effect.scoped(Effect.zipRight(
      Layer.build(Both),
      Effect.promise(async () => {
        for (const port of [first, second]) {
          assert.deepInclude(await get(port, "/named"), { status: 200, body: "named" })
        }
      })
    )))
  })

  it("a port that is taken is a ServeError", async () => {
    const { port } = await start()
    const Taken = NodeServer.layer(Layer.empty, { port })
    const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(Taken))))
    assert.strictEqual(error._tag, "ServeError")
  })
})

describe("while it runs", () => {
  it("it is alive, and ready", async () => {
    const { port } = await start()
    assert.deepInclude(await get(port, "/healthz"), { status: 200, body: "{\"status\":\"ok\"}" })
    assert.deepInclude(await get(port, "/readyz"), { status: 200, body: "{\"status\":\"ok\"}" })
  })

  it("it is not ready where a dependency fails or hangs, and is asked once a second at most", async () => {
    let asked = 0
    let ready: Effect.Effect<void, string> = Effect.fail("the secret of the database")
    const { port } = await start({ ready: Effect.suspend(() => (asked++, ready)) as never })
    for (let i = 0; i < 5; i++) {
      assert.deepInclude(await get(port, "/readyz"), { status: 503, body: "{\"status\":\"unavailable\"}" })
    }
    assert.strictEqual(asked, 1)
    assert.strictEqual((await get(port, "/healthz")).status, 200)
    ready = Effect.void
    await later(1100)
    assert.strictEqual((await get(port, "/readyz")).status, 200)
    ready = Effect.never
    await later(1100)
    assert.strictEqual((await get(port, "/readyz")).status, 503)
  })

  it("it closes a connection that is too many", async () => {
    const { port } = await start({ maxConnections: 1 })
    const first = await connect(port, "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n")
    const second = await connect(port, "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n")
    await second.closed
    assert.strictEqual(second.received(), "")
    assert.match(first.received(), /^HTTP\/1\.1 200 /)
    first.socket.destroy()
  })

  it("it reads no more of a body than it is told to", async () => {
    let refused = 0
    const Length = HttpLayerRouter.add(
      "POST",
      "/length",
      Effect.gen(function*() {
        const text = yield* (yield* HttpServerRequest.HttpServerRequest).text
        return HttpServerResponse.text(String(text.length))
      }).pipe(Effect.orElseSucceed(() => (refused++, HttpServerResponse.empty({ status: 413 }))))
    )
    const { port } = await start({ maxBodyBytes: 10 }, Length)
    const post = (body: string) => fetch(`http://127.0.0.1:${port}/length`, { method: "POST", body })
    assert.strictEqual(await (await post("x".repeat(10))).text(), "10")
    await post("x".repeat(11)).catch(() => undefined)
    assert.strictEqual(refused, 1)
  })

  it("it gives a request its time, and closes the connection of one that takes longer", async () => {
    const { port } = await start({ requestTimeout: "1 second" })
    const slow = await connect(port, "POST /fast HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf")
    const since = performance.now()
    await slow.closed
    // By default Node would look after 30 seconds.
    assert.isBelow(performance.now() - since, 15_000)
    assert.strictEqual((await get(port, "/fast")).status, 200)
  })

  it("it keeps an idle connection for longer than a balancer does", async () => {
    const { port } = await start()
    const { received, socket } = await connect(port, "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n")
    assert.match(received(), /Keep-Alive: timeout=75/i)
    socket.destroy()
  })
})

describe("at its end", () => {
  it("it answers what has begun, and says that the connection ends, before it lets go of what routes need", async () => {
    const events: Array<string> = []
    const Database = Layer.scopedDiscard(Effect.addFinalizer(() => Effect.sync(() => events.push("let go"))))
    const { answer, begun, close, port } = await start({}, Database)
    const asked = get(port, "/slow")
    await begun()
    const closed = close()
    await later(400)
    assert.deepStrictEqual(events, [])
    events.push("answers")
    await answer()
    assert.deepStrictEqual(await asked, { status: 200, connection: "close", body: "answered" })
    await closed
    assert.deepStrictEqual(events, ["answers", "let go"])
  })

  it("it takes no new connection at once, and goes on over those that are there", async () => {
    const { begun, close, answer, port } = await start()
    const kept = new Http.Agent({ keepAlive: true, maxSockets: 1 })
    assert.deepInclude(await get(port, "/fast", kept), { status: 200, connection: "keep-alive" })
    const slow = get(port, "/slow")
    await begun()
    const closed = close()
    await later(20)
    assert.isFalse(await isOpen(port))
    assert.deepStrictEqual(await get(port, "/fast", kept), { status: 200, connection: "close", body: "fast" })
    await answer()
    await Promise.all([slow, closed])
    kept.destroy()
  })

  it("it says so to a balancer for the delay, and answers meanwhile", async () => {
    const { close, port } = await start({ drainDelay: "300 millis" })
    const closed = close()
    await later(20)
    assert.deepStrictEqual(await get(port, "/readyz"), {
      status: 503,
      connection: "close",
      body: "{\"status\":\"ending\"}"
    })
    assert.deepInclude(await get(port, "/healthz"), { status: 200, connection: "close" })
    assert.deepInclude(await get(port, "/fast"), { status: 200, connection: "close" })
    await closed
    assert.isFalse(await isOpen(port))
  })

  const idle: Record<string, string> = {
    "nothing": "",
    "half of a head": "GET /fast HTTP/1.1\r\nho",
    "a request, and keeps the connection": "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n"
  }
  for (const [what, text] of Object.entries(idle)) {
    it(`a client that has sent ${what} holds it for a moment`, async () => {
      const { close, port } = await start()
      const { closed } = await connect(port, text)
      const since = performance.now()
      await close()
      await closed
      // Of the 10 seconds that what has begun gets.
      assert.isBelow(performance.now() - since, 5000)
    })
  }

  const stuck: Record<string, string> = {
    "half of a body": "POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf",
    "a request whose answer never comes": "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n",
    "a request, and never reads the answer": "GET /endless HTTP/1.1\r\nhost: a\r\n\r\n"
  }
  const Stuck = Layer.mergeAll(
    HttpLayerRouter.add(
      "POST",
      "/body",
      Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ text }) => Effect.map(text, HttpServerResponse.text))
        .pipe(Effect.orDie)
    ),
    HttpLayerRouter.add("GET", "/endless", HttpServerResponse.uint8Array(new Uint8Array(50_000_000)))
  )
  for (const [what, text] of Object.entries(stuck)) {
    it(`a client that has sent ${what} holds it until the deadline`, async () => {
      const { close, port } = await start({ drainTimeout: "600 millis" }, Stuck)
      const { closed, socket } = await connect(port, text)
      if (text.includes("endless")) socket.pause()
      const since = performance.now()
      await close()
      assert.isAtLeast(performance.now() - since, 590)
      socket.resume()
      await closed
    })
  }

  it("a WebSocket holds it for a moment", async () => {
    const Echo = HttpLayerRouter.add(
      "GET",
      "/socket",
      Effect.gen(function*() {
        const socket = yield* Effect.orDie((yield* HttpServerRequest.HttpServerRequest).upgrade)
        yield* Effect.ignore(socket.runRaw(() => undefined))
        return HttpServerResponse.empty()
      })
    )
    const { close, port } = await start({}, Echo)
    const key = "dGhlIHNhbXBsZSBub25jZQ=="
    const { closed, received } = await connect(
      port,
      `GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`
    )
    assert.match(received(), /^HTTP\/1\.1 101 /)
    const since = performance.now()
    await close()
    await closed
    assert.isBelow(performance.now() - since, 5000)
  })

  it("it ends in real time, whatever clock its program has", async () => {
    const { port } = await start()
    const open = await connect(port, "GET /fast HTTP/1.1\r\nhost: a\r\n\r\n")
    const Server = NodeServer.layer(Layer.empty, { port: 0, drainDelay: "10 millis" })
    await Effect.runPromise(Effect.provide(Effect.scoped(Layer.build(Server)), TestContext.TestContext))
    open.socket.destroy()
  })
})
