import { ResponsesApi, ResponsesHandlers } from "@agent-identity/authapi"
import { AgentAssertion, AgentIdentity, RunTask, TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { HttpBody, HttpClient, HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Encoding, Fiber, FiberStatus, Layer, Redacted, Stream, TestClock } from "effect"
import { request as nodeRequest } from "node:http"
import { setTimeout } from "node:timers/promises"

const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-1" })

/** A run whose task comes straight from the server's directory. */
const Registration = Layer.effect(
  TaskRegistration.TaskRegistration,
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
    const register = Effect.map(directory.issueTask(agentRuntimeId), ({ taskId }) => ({
      taskId,
      registeredAt: undefined
    }))
    return { register: () => Effect.orDie(register) }
  })
).pipe(Layer.provide(Agent))

const Assertion = AgentAssertion.layer(Layer.merge(Agent, RunTask.layer(Layer.merge(Agent, Registration))))

const over = (options: ResponsesHandlers.Options = {}) =>
  Assertion.pipe(
    Layer.provideMerge(
      Layer.merge(ResponsesHandlers.layerResponses(options), ResponsesHandlers.layerModels).pipe(
        (routes) => HttpLayerRouter.serve(routes, { disableLogger: true, disableListenLog: true }),
        Layer.provide(AgentAssertionVerifier.layer),
        Layer.provideMerge(AgentDirectory.layerMemory),
        Layer.provideMerge(NodeHttpServer.layerTest)
      )
    ),
    Layer.provide(NodeSigning.layer)
  )

const assertion = Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)

const post = (body: HttpBody.HttpBody, encoding?: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const authorization = Redacted.value((yield* assertion).header)
    const response = yield* client.post(ResponsesApi.responsesPath, {
      headers: encoding === undefined ? { authorization } : { authorization, "content-encoding": encoding },
      body
    })
    const json = (yield* response.json) as {
      readonly agent: string
      readonly task: string
      readonly output: ReadonlyArray<{ readonly content: ReadonlyArray<{ readonly text: string }> }>
      readonly error: { readonly code: string; readonly message: string } | null
    }
    return { status: response.status, headers: response.headers, json, text: json.output?.[0]?.content[0]?.text }
  })

const bytes = (body: Uint8Array) => HttpBody.uint8Array(body, "application/json")
const chunked = (body: Uint8Array) =>
  HttpBody.stream(
    Stream.fromIterable(
      Array.from({ length: Math.ceil(body.length / 65_536) }, (_, i) => body.subarray(i * 65_536, (i + 1) * 65_536))
    ),
    "application/json"
  )
const utf8 = (text: string) => new TextEncoder().encode(text)
const decodeBase64 = (text: string) => Either.getOrThrow(Encoding.decodeBase64(text))

/** Written by zstd 1.5.4: `-3` of a stream, as Codex sends it, and `-19 --check` of a file, in a single segment. */
const frames = {
  streamed:
    "KLUv/QRYDQQAQogZGoBJHeQ7IvI+K0lXwzL9F4yFaCtrIMwEMcJG7WhHs6GZP7hwkIA1147mwki+rELxgNHnTXwJzJdRg8/rSvOII0Y/dfl8" +
    "BTH2ZPSVs34G6G0Us/jOEiXohL6W+azpCGCVYnQe0eQnCAAlo0CKWBcwExuMrbWUpBImwhXYPJQZBTbg5w==",
  checked:
    "KLUv/WQnAO0DAGJIGReAbQ4ggEL7oL97lBTxhGqNojYmGwbz0tGIRrTgGHuT0QC1CBhlNKIBYbkDIcAHq9M7fY/n+7jEaejPsUtXrD5zkNNn" +
    "FoRvVv9R66pQb/Qex3nI1qJu69BCp127EuxjrGZXXHMVBwBHb1PATGwwttZSkkowEYbAJqfMBTbg5w=="
}
const streamed = decodeBase64(frames.streamed)
const checked = decodeBase64(frames.checked)

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]
const RAW = 0
const RLE = 1
const COMPRESSED = 2
const block = (type: number, size: number, content: ArrayLike<number>, isLast = true) => {
  const header = (isLast ? 1 : 0) | (type << 1) | (size << 3)
  return [header & 255, (header >> 8) & 255, header >> 16, ...Array.from(content)]
}
/** A frame with a window of 1 MiB and no size of its content. */
const frame = (...blocks: ReadonlyArray<ReadonlyArray<number>>) =>
  Uint8Array.from([...MAGIC, 0, 10 << 3, ...blocks.flat()])

const bomb = frame(
  ...Array.from({ length: 800 }, () => block(RLE, 128 * 1024, [0x20], false)),
  block(RAW, 2, utf8("{}"))
)
/** Literals by a Huffman table whose weights are one symbol of probability 1: fzstd reads them for ever. */
const endless = frame(block(COMPRESSED, 12, [0x82, 0xc0, 0x01, 5, 0xf0, 3, 255, 255, 1, 1, 1, 0]))
/** 98,047 matches of 65,539 bytes, of a block that may have 131,072. */
const costly = frame(block(COMPRESSED, 10, [1 << 3, 0x20, 255, 255, 255, 0x54, 0, 0, 52, 1]))

const declaring = (size: number) => {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, BigInt(size), true)
  return Uint8Array.from([...MAGIC, 0xe0, ...new Uint8Array(view.buffer), ...block(RAW, 2, utf8("{}"))])
}

describe("the Responses endpoint", () => {
  it.effect("answers with JSON that says who called and what was asked", () =>
    Effect.gen(function*() {
      const { json, status, text } = yield* post(HttpBody.unsafeJson({ input: "Say hello." }))
      assert.strictEqual(status, 200)
      assert.strictEqual(text, "Hello, agent-1. You asked: Say hello.")
      assert.deepInclude(json, { agent: "agent-1", task: (yield* assertion).taskId })
      assert.deepNestedInclude(json, { object: "response", status: "completed", model: "model-demo" })
    }).pipe(Effect.provide(over())))

  it.effect("answers with events when it is to stream", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post(ResponsesApi.responsesPath, {
        headers: { authorization: Redacted.value((yield* assertion).header) },
        body: HttpBody.unsafeJson({ model: "gpt-demo", input: "x", stream: true })
      })
      assert.strictEqual(response.headers["content-type"], "text/event-stream")
      const events = (yield* response.text).trimEnd().split("\n\n").map((event) => {
        const [name, data] = event.split("\n")
        const json = JSON.parse(data!.replace("data: ", ""))
        assert.strictEqual(name, `event: ${json.type}`)
        return json
      })
      assert.deepStrictEqual(events.map((_) => _.sequence_number), events.map((_, i) => i))
      assert.strictEqual(events[0].type, "response.created")
      assert.deepStrictEqual(
        events.filter((_) => _.type === "response.output_text.delta").map((_) => _.delta),
        ["Hi ", "agent-1"]
      )
      const completed = events.at(-1)
      assert.deepNestedInclude(completed, { type: "response.completed", "response.model": "gpt-demo" })
      assert.strictEqual(completed.response.id, events[0].response.id)
      assert.strictEqual(completed.response.output[0].content[0].text, "Hi agent-1")
    }).pipe(Effect.provide(over({ answer: ({ agentRuntimeId }) => ["Hi ", agentRuntimeId] }))))

  const asked: ReadonlyArray<readonly [what: string, input: ResponsesApi.ResponsesRequest["input"], asked: string]> = [
    ["a text", "a", "a"],
    ["messages", [{ role: "user", content: "a" }, { role: "user", content: "b" }, { role: "assistant" }], "b"],
    ["parts", [{ role: "user", content: [{ type: "input_text", text: "a" }, { type: "x" }, { text: "b" }] }], "ab"],
    ["no text", [{ role: "user", content: [{ text: 1 }] }, 1, null, { role: "user" }], ""],
    ["nothing", [], ""]
  ]
  for (const [what, input, expected] of asked) {
    it(`knows what was asked by ${what}`, () => assert.strictEqual(ResponsesApi.askedOf({ input }), expected))
  }

  it.effect("lists no models, for verified agents", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const get = (headers: Record<string, string>) =>
        Effect.flatMap(
          client.get(`${ResponsesApi.modelsPath}?client_version=1`, { headers }),
          (response) => Effect.map(response.json, (json) => ({ status: response.status, json }))
        )
      assert.deepStrictEqual(yield* get({ authorization: Redacted.value((yield* assertion).header) }), {
        status: 200,
        json: { models: [] }
      })
      assert.deepNestedInclude(yield* get({}), { status: 401, "json.error.code": "missing_assertion" })
    }).pipe(Effect.provide(over())))

  it.effect("refuses an assertion before it looks at a body", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post(ResponsesApi.responsesPath, {
        headers: { authorization: "AgentAssertion abc", "content-encoding": "br" },
        body: bytes(bomb)
      })
      assert.strictEqual(response.status, 401)
      assert.strictEqual(response.headers["www-authenticate"], "AgentAssertion error=\"invalid_assertion\"")
      assert.deepNestedInclude(yield* response.json, { "error.code": "invalid_assertion" })
    }).pipe(Effect.provide(over())))
})

/** Sends headers that an HttpClient keeps to itself, and waits until the server has hung up. */
const upgrade = (headers: Record<string, string>) =>
  Effect.gen(function*() {
    const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
    const port = new URL(origin).port
    return yield* Effect.async<{ status: number; upgrade: unknown; body: unknown }, Error>((resume) => {
      const request = nodeRequest({ host: "127.0.0.1", port, path: ResponsesApi.responsesPath, headers })
      request.on("error", (error) => resume(Effect.fail(error))).on("response", (response) => {
        let body = ""
        response.setEncoding("utf8").on("data", (chunk) => body += chunk)
        response.socket.on("close", () =>
          resume(Effect.sync(() => ({
            status: response.statusCode!,
            upgrade: [response.headers.upgrade, response.headers.connection],
            body: JSON.parse(body)
          }))))
      }).end()
    })
  })

const webSocket = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="
}

describe("a request for a WebSocket", () => {
  it.effect("is answered with 426, and the connection ends", () =>
    Effect.gen(function*() {
      const answer = yield* upgrade({ ...webSocket, authorization: Redacted.value((yield* assertion).header) })
      assert.strictEqual(answer.status, 426)
      assert.deepStrictEqual(answer.upgrade, ["HTTP/1.1", "upgrade"])
      assert.deepNestedInclude(answer.body, { "error.code": "websocket_unsupported" })
    }).pipe(Effect.provide(over())))

  it.effect("is refused with 401 without an assertion", () =>
    Effect.gen(function*() {
      const answer = yield* upgrade(webSocket)
      assert.deepNestedInclude(answer, { status: 401, "body.error.code": "missing_assertion" })
    }).pipe(Effect.provide(over())))

  it.effect("is none without the header, and answered with 405", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.get(ResponsesApi.responsesPath, {
        headers: { authorization: Redacted.value((yield* assertion).header) }
      })
      assert.strictEqual(response.status, 405)
      assert.strictEqual(response.headers.allow, "POST")
      assert.deepNestedInclude(yield* response.json, { "error.code": "method_not_allowed" })
    }).pipe(Effect.provide(over())))
})

describe("a body in zstd", () => {
  const good: ReadonlyArray<readonly [what: string, body: Uint8Array, asked: string]> = [
    ["as Codex streams it", streamed, "Say hello."],
    ["in a single segment, with a checksum", checked, "Say hello."],
    ["of raw blocks", frame(block(RAW, 10, utf8("{\"input\":\""), false), block(RAW, 3, utf8("a\"}"))), "a"],
    [
      "of as many bytes as may be",
      frame(block(RLE, 1011, [0x20], false), block(RAW, 13, utf8("{\"input\":\"a\"}"))),
      "a"
    ]
  ]
  for (const [what, body, expected] of good) {
    it.effect(`is read: ${what}`, () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* post(bytes(body), "ZSTD")).text, `Hello, agent-1. You asked: ${expected}`)
        assert.strictEqual((yield* post(chunked(body), "zstd")).status, 200)
      }).pipe(Effect.provide(over({ maxDecodedBytes: 1024 }))))
  }

  const bad: ReadonlyArray<readonly [what: string, body: Uint8Array, status: number, code: string]> = [
    ["a bomb of 100 MiB in 3 KiB", bomb, 413, "body_too_large"],
    [
      "a byte more than may be",
      frame(block(RLE, 128 * 1024, [0x20], false), block(RAW, 2, utf8("{}"))),
      413,
      "body_too_large"
    ],
    ["a header that says 2 GiB of content", declaring(2 ** 31), 413, "body_too_large"],
    ["a header that says 2^63 bytes of content", declaring(2 ** 63), 413, "body_too_large"],
    ["a window of 16 MiB", Uint8Array.from([...MAGIC, 0, 14 << 3, ...block(RAW, 0, [])]), 413, "body_too_large"],
    ["a window of 3.75 TiB", Uint8Array.from([...MAGIC, 0, 255, ...block(RAW, 0, [])]), 413, "body_too_large"],
    ["garbage", utf8("no frame at all, but a text"), 400, "invalid_encoding"],
    ["nothing", new Uint8Array(0), 400, "invalid_encoding"],
    ["JSON as it is", utf8("{\"input\":\"a\"}"), 400, "invalid_encoding"],
    ["a truncated checksum", checked.subarray(0, -1), 400, "invalid_encoding"],
    ["a byte after its end", Uint8Array.from([...checked, 0]), 400, "invalid_encoding"],
    ["two frames", Uint8Array.from([...checked, ...checked]), 400, "invalid_encoding"],
    ["a frame to skip", Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0]), 400, "invalid_encoding"],
    ["a block of a reserved type", frame(block(3, 0, [])), 400, "invalid_encoding"],
    ["a block larger than a block may be", frame(block(RLE, 2 ** 21 - 1, [0])), 400, "invalid_encoding"],
    ["a dictionary", Uint8Array.from([...MAGIC, 1, 10 << 3, 1, ...block(RAW, 0, [])]), 400, "invalid_encoding"],
    ["a reserved bit", Uint8Array.from([...MAGIC, 8, 10 << 3, ...block(RAW, 0, [])]), 400, "invalid_encoding"],
    ["compressed garbage", frame(block(COMPRESSED, 9, utf8("garbage!!"))), 400, "invalid_encoding"],
    ["an empty content", frame(block(RAW, 0, [])), 400, "invalid_request"],
    ["a content that is no JSON", frame(block(RAW, 1, utf8("{"))), 400, "invalid_request"]
  ]
  for (const [what, body, status, code] of bad) {
    it.effect(`is refused with ${status} ${code}: ${what}`, () =>
      Effect.gen(function*() {
        const before = process.memoryUsage().rss
        const answer = yield* post(bytes(body), "zstd")
        assert.strictEqual(answer.status, status)
        assert.strictEqual(answer.json.error?.code, code)
        assert.isString(answer.json.error?.message)
        assert.isBelow(process.memoryUsage().rss - before, 64 * 1024 * 1024)
        assert.strictEqual((yield* post(bytes(streamed), "zstd")).status, 200)
      }).pipe(Effect.provide(over({ maxDecodedBytes: 128 * 1024 }))))
  }

  it.effect("is refused wherever it was cut", () =>
    Effect.forEach(
      streamed,
      (_, length) =>
        Effect.map(post(bytes(streamed.subarray(0, length)), "zstd"), ({ json, status }) => {
          assert.strictEqual(status, 400)
          assert.strictEqual(json.error?.code, "invalid_encoding")
        }),
      { concurrency: 8 }
    ).pipe(Effect.provide(over())))

  it.live("is answered whatever single byte of it was changed", () =>
    Effect.forEach(streamed, (byte, at) => {
      const changed = Uint8Array.from(streamed)
      changed[at] = byte ^ (1 << (at % 8))
      return Effect.map(post(bytes(changed), "zstd"), ({ status }) => assert.include([200, 400, 413], status))
    }, { concurrency: 8 }).pipe(Effect.provide(over({ decodeTimeout: "1 second" }))))

  for (const [what, body] of [["would be decoded for ever", endless], ["costs too much", costly]] as const) {
    it.live(`is refused when it ${what}, and others are read`, () =>
      Effect.gen(function*() {
        const answers = yield* Effect.all(Array.from({ length: 3 }, () => post(bytes(body), "zstd")), {
          concurrency: "unbounded"
        })
        for (const { json, status } of answers) {
          assert.strictEqual(status, 400)
          assert.strictEqual(json.error?.code, "invalid_encoding")
        }
        assert.strictEqual((yield* post(bytes(streamed), "zstd")).status, 200)
      }).pipe(Effect.provide(over({ decodeTimeout: "4 seconds" }))))
  }
})

describe("any other body", () => {
  for (const encoding of ["gzip", "br", "deflate", "zstd, zstd", "identity, zstd", "x", "__proto__", ""]) {
    it.effect(`with the content encoding ${JSON.stringify(encoding)} is refused with 415`, () =>
      Effect.gen(function*() {
        const answer = yield* post(bytes(utf8("{\"input\":\"a\"}")), encoding)
        assert.strictEqual(answer.status, 415)
        assert.strictEqual(answer.json.error?.code, "unsupported_encoding")
        assert.strictEqual(answer.headers["accept-encoding"], "zstd")
      }).pipe(Effect.provide(over())))
  }

  const bad: ReadonlyArray<readonly [what: string, body: Uint8Array]> = [
    ["nothing", new Uint8Array(0)],
    ["no JSON", utf8("input")],
    ["a deep one", utf8("[".repeat(100_000))],
    ["no UTF-8", Uint8Array.from([...utf8("{\"input\":\""), 0xff, ...utf8("\"}")])],
    ["no object", utf8("null")],
    ["no input", utf8("{}")],
    ["an input of another type", utf8("{\"input\":{}}")],
    ["a model of another type", utf8("{\"input\":\"a\",\"model\":1}")],
    ["a stream of another type", utf8("{\"input\":\"a\",\"stream\":\"true\"}")]
  ]
  for (const [what, body] of bad) {
    it.effect(`is refused with 400 invalid_request: ${what}`, () =>
      Effect.gen(function*() {
        const answer = yield* post(bytes(body))
        assert.strictEqual(answer.status, 400)
        assert.strictEqual(answer.json.error?.code, "invalid_request")
      }).pipe(Effect.provide(over())))
  }

  const large = (size: number) => utf8(`{"input":"${"a".repeat(size - 12)}"}`)
  const caps: ReadonlyArray<readonly [what: string, body: HttpBody.HttpBody, status: number]> = [
    ["as large as it may be", bytes(large(1024 * 1024)), 200],
    ["as large as it may be, in chunks", chunked(large(1024 * 1024)), 200],
    ["a byte larger", bytes(large(1024 * 1024 + 1)), 413],
    ["a byte larger, in chunks", chunked(large(1024 * 1024 + 1)), 413],
    ["8 MiB in chunks", chunked(large(8 * 1024 * 1024)), 413]
  ]
  for (const [what, body, status] of caps) {
    it.effect(`is answered with ${status} when it is ${what}`, () =>
      Effect.gen(function*() {
        const answer = yield* post(body)
        assert.strictEqual(answer.status, status)
        assert.strictEqual(answer.json.error?.code, status === 200 ? undefined : "body_too_large")
      }).pipe(Effect.provide(over({ answer: () => [] }))))
  }

  for (const [what, send] of [["at once", bytes], ["in chunks", chunked]] as const) {
    it.effect(`of 50 MiB ${what} is not read into memory`, () =>
      Effect.gen(function*() {
        const body = send(large(50 * 1024 * 1024))
        const before = process.memoryUsage().rss
        // The server may hang up on a client that goes on sending.
        const outcome = yield* Effect.either(post(body))
        if (Either.isRight(outcome)) assert.strictEqual(outcome.right.status, 413)
        assert.isBelow(process.memoryUsage().rss - before, 64 * 1024 * 1024)
        assert.strictEqual((yield* post(HttpBody.unsafeJson({ input: "a" }))).status, 200)
      }).pipe(Effect.provide(over())))
  }

  it.effect("that does not come is not waited for", () =>
    Effect.gen(function*() {
      const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
      const authorization = Redacted.value((yield* assertion).header)
      const ended = yield* Effect.fork(Effect.async<number | undefined>((resume) => {
        const headers = { authorization, "content-length": 20 }
        const options = { host: "127.0.0.1", port: new URL(origin).port, path: ResponsesApi.responsesPath, headers }
        const request = nodeRequest({ ...options, method: "POST" })
        request.on("error", (error) => resume(Effect.die(error)))
        request.on("response", ({ statusCode }) => resume(Effect.succeed(statusCode))).write("{\"input\":")
      }))
      const pass = Effect.zipRight(Effect.promise(() => setTimeout(200)), TestClock.adjust("31 seconds"))
      yield* Effect.repeat(pass, { until: () => Effect.map(ended.status, FiberStatus.isDone) })
      assert.strictEqual(yield* Fiber.join(ended), 408)
    }).pipe(Effect.provide(over())))
})
