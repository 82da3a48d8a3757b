/** What no HTTP client sends by itself: bytes on a socket, against a real server. */
import { AgentRuntimeId, AssertionHeader } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory } from "@agent-identity/server"
import { HttpServer } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Layer, Option, type Scope, TestClock } from "effect"
import * as Net from "node:net"
import {
  agentPath,
  agentRegistration,
  codeOf,
  layerServer,
  newKey,
  realTime,
  REGISTER_AGENT,
  registerAgent,
  registerTask,
  registerTaskPath,
  request,
  signedHeader,
  signedTask,
  taskOf,
  tokens,
  whoami
} from "./utils.ts"

const Server = layerServer().pipe(Layer.provideMerge(NodeSigning.layer))

/** Ends all connections before the server, which waits for them. */
const onServer = <A, E>(self: Effect.Effect<A, E, Layer.Layer.Success<typeof Server> | Scope.Scope>) =>
  Effect.provide(Effect.scoped(self), Server)

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
}

/** The answers that are whole, and how many bytes are left over. */
const parse = (bytes: Buffer, isHead: boolean): { readonly answers: ReadonlyArray<Answer>; readonly rest: number } => {
  const answers: Array<Answer> = []
  for (let at = 0;;) {
    const end = bytes.indexOf("\r\n\r\n", at)
    if (end < 0) return { answers, rest: bytes.length - at }
    const [first, ...lines] = bytes.toString("latin1", at, end).split("\r\n")
    const headers = Object.fromEntries(lines.map((line) => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }))
    const length = isHead ? 0 : Number(headers["content-length"] ?? 0)
    if (end + 4 + length > bytes.length) return { answers, rest: bytes.length - at }
    at = end + 4 + length
    const text = bytes.toString("utf8", end + 4, at)
    answers.push({
      status: Number(first!.split(" ")[1]),
      headers,
      body: text === "" ? undefined : JSON.parse(text)
    })
  }
}

/** A connection that sends bytes and keeps what comes back. */
const connect = Effect.gen(function*() {
  const port = yield* HttpServer.addressWith((address) =>
    Effect.succeed(address._tag === "TcpAddress" ? address.port : 0)
  )
  const socket = yield* Effect.acquireRelease(
    Effect.sync(() => Net.connect(port, "127.0.0.1")),
    (socket) => Effect.sync(() => socket.destroy())
  )
  let received = Buffer.alloc(0)
  let closed = false
  socket.on("data", (bytes) => {
    received = Buffer.concat([received, bytes])
  })
  socket.on("close", () => {
    closed = true
  })
  // A reset is an end like any other.
  socket.on("error", () => undefined)
  const until = (isSo: () => boolean) =>
    Effect.gen(function*() {
      while (!isSo()) yield* realTime(2)
    })
  return {
    isClosed: Effect.sync(() => closed),
    /** True when the kernel has taken it, false when the connection is gone. */
    send: (bytes: string | Uint8Array) =>
      Effect.async<boolean>((resume) => {
        socket.write(bytes, (error) => resume(Effect.succeed(error === undefined || error === null)))
      }),
    answers: (count: number) =>
      Effect.zipRight(
        until(() => closed || parse(received, false).answers.length >= count),
        Effect.sync(() => parse(received, false).answers)
      ),
    /** All that came, when the connection is gone. */
    closed: (options?: { readonly isHead: boolean }) =>
      Effect.zipRight(
        until(() => closed),
        Effect.sync(() => parse(received, options?.isHead === true))
      )
  }
})

/** The bytes of a request. Its length is that of its body unless a header says otherwise. */
const bytesOf = (
  method: string,
  path: string,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly body?: string; readonly last?: boolean } = {}
) => {
  const headers: Record<string, string> = { Host: "127.0.0.1", ...options.headers }
  if (options.body !== undefined && headers["Transfer-Encoding"] === undefined) {
    headers["Content-Length"] ??= String(Buffer.byteLength(options.body))
  }
  if (options.last === true) headers.Connection = "close"
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n${options.body ?? ""}`
}

/** One request on a connection of its own. */
const exchange = (bytes: string) =>
  Effect.gen(function*() {
    const connection = yield* connect
    yield* connection.send(bytes)
    const { answers, rest } = yield* connection.closed()
    assert.deepStrictEqual([answers.length, rest], [1, 0])
    return answers[0]!
  })

const HEALTH = "/api/accounts/health"
const health = bytesOf("GET", HEALTH)
const asAlice = { Authorization: `Bearer ${tokens.alice}` }

const isAlive = Effect.gen(function*() {
  const answer = yield* exchange(bytesOf("GET", HEALTH, { last: true }))
  assert.deepStrictEqual([answer.status, answer.body], [200, { status: "ok" }])
})

/** Runs until the server has begun to wait for a body. */
const whileItReads = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const waiting = Effect.map(TestClock.sleeps(), Chunk.size)
    const before = yield* waiting
    const result = yield* self
    while ((yield* waiting) === before) yield* realTime(2)
    return result
  })

const bodies = [
  ["an agent's registration", REGISTER_AGENT, asAlice, 16 * 1024],
  ["a task's registration", registerTaskPath("agent-1"), {}, 1024]
] as const

describe("a body on the wire", () => {
  for (const [what, path, headers] of bodies) {
    it.effect(`that comes by drops is waited for 10 seconds and no longer: ${what}`, () =>
      Effect.gen(function*() {
        const connection = yield* connect
        const start = bytesOf("POST", path, { headers: { ...headers, "Content-Length": "200" }, body: "{" })
        yield* whileItReads(connection.send(start))
        for (let second = 0; second < 9; second++) {
          yield* TestClock.adjust("1 second")
          assert.isTrue(yield* connection.send(" "))
        }
        yield* TestClock.adjust("999 millis")
        yield* realTime(20)
        assert.isFalse(yield* connection.isClosed)
        yield* TestClock.adjust("1 millis")
        const { answers } = yield* connection.closed()
        for (const { status } of answers) assert.strictEqual(status, 400)
        yield* isAlive
      }).pipe(onServer))
  }

  for (const [what, path, headers] of bodies) {
    it.effect(`that comes in two pieces is read whole: ${what}`, () =>
      Effect.gen(function*() {
        const { line } = yield* newKey
        const body = JSON.stringify(agentRegistration({ agent_public_key: line, timestamp: "x", signature: "x" }))
        const connection = yield* connect
        const bytes = bytesOf("POST", path, { headers, body, last: true })
        yield* whileItReads(connection.send(bytes.slice(0, -10)))
        yield* TestClock.adjust("9 seconds")
        yield* connection.send(bytes.slice(-10))
        const { answers } = yield* connection.closed()
        assert.deepStrictEqual(answers.map((_) => _.status), [path === REGISTER_AGENT ? 200 : 401])
      }).pipe(onServer))
  }

  for (const [what, path, headers, limit] of bodies) {
    it.effect(`that is announced as too large is refused with 400 before it comes: ${what}`, () =>
      Effect.gen(function*() {
        for (const length of [limit + 1, 1e9, "9".repeat(30)]) {
          const connection = yield* connect
          yield* connection.send(bytesOf("POST", path, { headers: { ...headers, "Content-Length": String(length) } }))
          const { answers } = yield* connection.closed()
          // A length that no number can be is refused by Node itself, or is as large as any.
          assert.deepStrictEqual(answers.map((_) => _.status), [400], String(length))
          if (typeof length === "number") assert.strictEqual(codeOf(answers[0]!), "invalid_request")
        }
      }).pipe(onServer))
  }

  for (const [what, path, headers] of bodies) {
    it.effect(`that comes in chunks and never ends is cut off: ${what}`, () =>
      Effect.gen(function*() {
        const connection = yield* connect
        yield* connection.send(bytesOf("POST", path, { headers: { ...headers, "Transfer-Encoding": "chunked" } }))
        const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`
        let sent = 0
        while (sent < 64 * 1024 * 1024 && (yield* connection.send(chunk))) sent += chunk.length
        // Much of it is in the buffers of the kernel.
        assert.isBelow(sent, 16 * 1024 * 1024)
        const { answers } = yield* connection.closed()
        for (const { status } of answers) assert.strictEqual(status, 400)
        yield* isAlive
      }).pipe(onServer))
  }

  it.effect("that comes in chunks and is small enough is taken", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      const body = JSON.stringify(agentRegistration({ agent_public_key: line }))
      const chunks = [...body].map((character) => `1\r\n${character}\r\n`).join("")
      const headers = { ...asAlice, "Transfer-Encoding": "chunked" }
      const answer = yield* exchange(
        bytesOf("POST", REGISTER_AGENT, { headers, body: `${chunks}0\r\n\r\n`, last: true })
      )
      assert.strictEqual(answer.status, 200)
    }).pipe(onServer))

  it.effect("whose sender hangs up halfway registers nothing and harms nobody", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const agent = yield* registerAgent()
      const body = JSON.stringify(yield* signedTask(agent))
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* connect
        const bytes = bytesOf("POST", registerTaskPath(agent.agentRuntimeId), { body })
        yield* whileItReads(connection.send(bytes.slice(0, -1)))
      }))
      yield* isAlive
      assert.strictEqual((yield* registerTask(agent)).status, 200)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agent.agentRuntimeId)))
    }).pipe(onServer))
})

describe("headers on the wire", () => {
  it.effect("beyond what Node takes are refused with 431", () =>
    Effect.gen(function*() {
      const answer = yield* exchange(bytesOf("GET", HEALTH, { headers: { "X-Large": "x".repeat(17 * 1024) } }))
      assert.strictEqual(answer.status, 431)
      yield* isAlive
    }).pipe(onServer))

  for (
    const [what, length] of [
      ["one character more than an assertion may have", AssertionHeader.maxTokenLength + 1],
      ["15 KiB", 15 * 1024]
    ] as const
  ) {
    it.effect(`with an assertion of ${what} are refused with 401`, () =>
      Effect.gen(function*() {
        const answer = yield* exchange(bytesOf("GET", "/whoami", {
          headers: { Authorization: `AgentAssertion ${"a".repeat(length)}` },
          last: true
        }))
        assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_assertion"])
        assert.strictEqual(answer.headers["www-authenticate"], "AgentAssertion error=\"invalid_assertion\"")
      }).pipe(onServer))
  }

  it.effect("that disagree on the length of a body are refused with 400", () =>
    Effect.gen(function*() {
      for (
        const lengths of ["Content-Length: 2\r\nTransfer-Encoding: chunked", "Content-Length: 2\r\nContent-Length: 3"]
      ) {
        const answer = yield* exchange(`POST ${REGISTER_AGENT} HTTP/1.1\r\nHost: x\r\n${lengths}\r\n\r\n{}`)
        assert.strictEqual(answer.status, 400, lengths)
      }
    }).pipe(onServer))

  it.effect("that ask for a WebSocket are answered as if they did not", () =>
    Effect.gen(function*() {
      const headers = { Connection: "Upgrade", Upgrade: "websocket" }
      assert.strictEqual((yield* exchange(bytesOf("GET", HEALTH, { headers }))).status, 200)
      const refused = yield* exchange(bytesOf("GET", "/whoami", { headers }))
      assert.deepStrictEqual([refused.status, codeOf(refused)], [401, "missing_assertion"])
    }).pipe(onServer))
})

describe("requests on one connection", () => {
  it.effect("are answered in their order", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const { line } = yield* newKey
      const connection = yield* connect
      yield* connection.send([
        bytesOf("POST", REGISTER_AGENT, {
          headers: asAlice,
          body: JSON.stringify(agentRegistration({ agent_public_key: line }))
        }),
        health,
        bytesOf("POST", registerTaskPath(agent.agentRuntimeId), { body: JSON.stringify(yield* signedTask(agent)) }),
        bytesOf("GET", "/nothing/here"),
        bytesOf("GET", "/whoami"),
        bytesOf("DELETE", agentPath(agent.agentRuntimeId), { headers: asAlice, last: true })
      ].join(""))
      const { answers, rest } = yield* connection.closed()
      assert.deepStrictEqual(answers.map((_) => _.status), [200, 200, 200, 404, 401, 204])
      assert.strictEqual(rest, 0)
      assert.property(answers[0]!.body, "agent_runtime_id")
      assert.property(answers[2]!.body, "task_id")
      assert.strictEqual(new Set(answers.map((_) => _.headers["x-request-id"])).size, 6)
    }).pipe(onServer))

  for (const garbage of ["\0\xff garbage\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02"]) {
    it.effect(`end with one that is none, and others go on: ${JSON.stringify(garbage)}`, () =>
      Effect.gen(function*() {
        const [bad, other] = [yield* connect, yield* connect]
        yield* other.send(health)
        assert.strictEqual((yield* other.answers(1)).length, 1)
        yield* bad.send(Buffer.from(health + garbage, "latin1"))
        const { answers } = yield* bad.closed()
        assert.strictEqual(answers[0]?.status ?? 200, 200)
        for (const { status } of answers.slice(1)) assert.strictEqual(status, 400)
        assert.isFalse(yield* other.isClosed)
        yield* other.send(health)
        assert.deepStrictEqual((yield* other.answers(2)).map((_) => _.status), [200, 200])
      }).pipe(onServer))
  }

  it.effect("go on after one that was refused unread", () =>
    Effect.gen(function*() {
      const connection = yield* connect
      yield* connection.send(
        bytesOf("POST", REGISTER_AGENT, { body: "x".repeat(1000) }) + bytesOf("GET", HEALTH, { last: true })
      )
      const { answers } = yield* connection.closed()
      assert.deepStrictEqual(answers.map((_) => _.status), [401, 200])
    }).pipe(onServer))
})

describe("a method on the wire", () => {
  it.effect("is HEAD for whatever can be got, without a body", () =>
    Effect.gen(function*() {
      const connection = yield* connect
      yield* connection.send(bytesOf("HEAD", HEALTH, { last: true }))
      const { answers, rest } = yield* connection.closed({ isHead: true })
      assert.deepStrictEqual([answers.map((_) => _.status), rest], [[200], 0])
      assert.strictEqual(answers[0]!.headers["content-length"], "15")
    }).pipe(onServer))

  for (const method of ["OPTIONS", "PUT", "PATCH", "TRACE", "PROPFIND"]) {
    it.effect(`is answered with 404 where it is ${method}`, () =>
      Effect.gen(function*() {
        for (const path of [HEALTH, REGISTER_AGENT]) {
          const answer = yield* exchange(bytesOf(method, path, { last: true }))
          assert.deepStrictEqual([answer.status, codeOf(answer)], [404, "not_found"])
        }
      }).pipe(onServer))
  }

  it.effect("is refused with 400 where HTTP has none of that name", () =>
    Effect.gen(function*() {
      for (const method of ["BREW", "get", "GET\t"]) {
        assert.strictEqual((yield* exchange(bytesOf(method, HEALTH, { last: true }))).status, 400)
      }
    }).pipe(onServer))

  it.effect("ends the connection where it is CONNECT", () =>
    Effect.gen(function*() {
      const connection = yield* connect
      yield* connection.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
      assert.deepStrictEqual((yield* connection.closed()).answers, [])
      yield* isAlive
    }).pipe(onServer))
})

describe("the clock of a client", () => {
  const skews = [
    ["299 s behind", -299, true],
    ["300 s behind", -300, true],
    ["301 s behind", -301, false],
    ["299 s ahead", 299, true],
    ["300 s ahead", 300, true],
    ["301 s ahead", 301, false]
  ] as const
  for (const [what, seconds, isTaken] of skews) {
    it.effect(`may be ${isTaken ? "" : "no more than 300 s off: "}${what}`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(new Date("2026-04-23T00:00:00Z"))
        const signedAt = new Date("2026-04-23T00:00:00Z").getTime() + seconds * 1000
        const agent = yield* registerAgent()
        const taskId = taskOf(yield* registerTask(agent))
        const task = yield* request("POST", registerTaskPath(agent.agentRuntimeId), {
          body: yield* signedTask(agent, signedAt)
        })
        const call = yield* whoami(yield* signedHeader(agent, taskId, signedAt))
        assert.deepStrictEqual([task.status, call.status], isTaken ? [200, 200] : [401, 401])
        if (!isTaken) {
          assert.deepStrictEqual([codeOf(task), codeOf(call)], ["stale_registration", "stale_assertion"])
        }
      }).pipe(onServer))
  }
})

describe("200 registrations at once", () => {
  it.effect("of tasks get 200 tasks, and of one key 1 agent", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const agent = yield* registerAgent()
      const taskBody = JSON.stringify(yield* signedTask(agent))
      const { line } = yield* newKey
      const agentBody = JSON.stringify(agentRegistration({ agent_public_key: line }))
      const registerAtOnce = (bytes: string) =>
        Effect.all(Array.from({ length: 200 }, () => Effect.scoped(exchange(bytes))), { concurrency: "unbounded" })

      const tasks = yield* registerAtOnce(
        bytesOf("POST", registerTaskPath(agent.agentRuntimeId), { body: taskBody, last: true })
      )
      assert.deepStrictEqual(new Set(tasks.map((_) => _.status)), new Set([200]))
      const taskIds = new Set(tasks.map((_) => taskOf(_ as never)))
      assert.strictEqual(taskIds.size, 200)
      for (const taskId of taskIds) {
        assert.strictEqual(Option.getOrThrow(yield* directory.findTask(taskId)).agentRuntimeId, agent.agentRuntimeId)
      }

      const agents = yield* registerAtOnce(
        bytesOf("POST", REGISTER_AGENT, { headers: asAlice, body: agentBody, last: true })
      )
      const agentIds = new Set(agents.map((_) => (_.body as { readonly agent_runtime_id: string }).agent_runtime_id))
      assert.strictEqual(agentIds.size, 1)
      for (const id of agentIds) {
        assert.isTrue(Option.isSome(yield* directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(id))))
      }
    }).pipe(onServer))
})
