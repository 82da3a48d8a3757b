import { HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import type { FiberRefs } from "effect"
import { Effect, Exit, Fiber, FiberRef, Queue, Stream, TestClock } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { deflateSync, gzipSync } from "node:zlib"
import * as CallerResponse from "../../src/provider/callerResponse.ts"
import * as Inspect from "../../src/provider/inspect.ts"
import { transports, turn } from "../utils.ts"
import { serve } from "./server.ts"

const request = HttpClientRequest.get("https://provider.test/")

const respond = (body: BodyInit | null, type = "application/json", headers: Record<string, string> = {}) =>
  HttpClientResponse.fromWeb(
    request,
    new Response(body, { status: 401, headers: { "content-type": type, ...headers } })
  )

/** The JSON of its body, and the answer as it is handed on. */
const look = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.map(
    Inspect.refusal(response),
    ([[json], body]) =>
      [json, CallerResponse.make(request, response, { _tag: "None", reason: "a test" }, body)] as const
  )

const text = (response: HttpClientResponse.HttpClientResponse) => response.text

/** The chunks come when the test says so. */
const controlled = () => {
  let controller: ReadableStreamDefaultController<Uint8Array>
  let cancelled = false
  const stream = new ReadableStream<Uint8Array>({
    start: (_) => void (controller = _),
    cancel: () => void (cancelled = true)
  })
  return {
    stream,
    send: (chunk: string) => controller.enqueue(new TextEncoder().encode(chunk)),
    close: () => controller.close(),
    fail: (error: Error) => controller.error(error),
    isCancelled: () => cancelled
  }
}

describe("a look at an answer", () => {
  for (const type of ["application/json", "text/plain", "text/html", "application/octet-stream", ""]) {
    it.effect(`reads JSON in ${type === "" ? "no type" : type}, and leaves it whole`, () =>
      Effect.gen(function*() {
        const [json, whole] = yield* look(respond("{\"a\":1}", type))
        assert.deepStrictEqual(json, { a: 1 })
        assert.strictEqual(yield* text(whole), "{\"a\":1}")
      }))
  }

  for (const [encoding, compress] of [["gzip", gzipSync], ["deflate", deflateSync]] as const) {
    it.effect(`reads ${encoding}, and leaves it as it came`, () =>
      Effect.gen(function*() {
        const bytes = compress("{\"a\":1}")
        const [json, whole] = yield* look(respond(bytes))
        assert.deepStrictEqual(json, { a: 1 })
        assert.deepStrictEqual(Buffer.from(yield* whole.arrayBuffer), bytes)
        const bomb = yield* look(respond(compress(`"${"a".repeat(10_000_000)}"`)))
        assert.isUndefined(bomb[0])
      }))
  }

  it.effect("does not read what is announced as too large", () =>
    Effect.gen(function*() {
      const response = respond("{}", "application/json", { "x-openai-ide-error-code": "a", "content-length": "65537" })
      assert.deepStrictEqual(yield* Inspect.refusal(response), [[{ code: "a" }], undefined])
    }))

  it.effect("reads 64 KiB and no more", () =>
    Effect.gen(function*() {
      const exact = `"${"x".repeat(65534)}"`
      const [json, whole] = yield* look(respond(exact))
      assert.strictEqual(json, exact.slice(1, -1))
      assert.strictEqual(yield* text(whole), exact)
      const larger = `"${"x".repeat(65535)}"`
      const [nothing, all] = yield* look(respond(larger))
      assert.isUndefined(nothing)
      assert.strictEqual(yield* text(all), larger)
    }))

  it.effect("loses nothing of an answer whose chunks come slowly", () =>
    Effect.gen(function*() {
      const { close, send, stream } = controlled()
      const looking = yield* Effect.fork(look(respond(stream)))
      send("[1,")
      yield* turn
      yield* TestClock.adjust("5 seconds")
      const [json, whole] = yield* Fiber.join(looking)
      assert.isUndefined(json)
      const reading = yield* Effect.fork(text(whole))
      for (const chunk of ["2,", "3", "]"]) {
        yield* turn
        send(chunk)
      }
      close()
      assert.strictEqual(yield* Fiber.join(reading), "[1,2,3]")
    }))

  it.effect("hands on an answer that breaks off, with what came and its error", () =>
    Effect.gen(function*() {
      const { fail, send, stream } = controlled()
      const looking = yield* Effect.fork(look(respond(stream)))
      send("{\"a\":")
      yield* turn
      fail(new Error("broken"))
      const [json, whole] = yield* Fiber.join(looking)
      assert.isUndefined(json)
      const chunks: Array<string> = []
      const exit = yield* Effect.exit(
        Stream.runForEach(Stream.decodeText(whole.stream), (chunk) => Effect.sync(() => chunks.push(chunk)))
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(chunks.join(""), "{\"a\":")
    }))

  it.effect("has no body where there is none", () =>
    Effect.gen(function*() {
      const [json, whole] = yield* look(respond(null))
      assert.isUndefined(json)
      assert.strictEqual(yield* text(whole), "")
    }))

  it.effect("stops reading when it is interrupted", () =>
    Effect.gen(function*() {
      const { isCancelled, send, stream } = controlled()
      const looking = yield* Effect.fork(look(respond(stream)))
      send("[")
      yield* turn
      yield* Fiber.interrupt(looking)
      yield* turn
      assert.isTrue(isCancelled())
    }))

  it.effect("stops reading when whoever reads on stops", () =>
    Effect.gen(function*() {
      const { isCancelled, send, stream } = controlled()
      const looking = yield* Effect.fork(look(respond(stream)))
      send("[")
      yield* turn
      yield* TestClock.adjust("5 seconds")
      const [, whole] = yield* Fiber.join(looking)
      yield* Stream.runDrain(Stream.take(whole.stream, 1))
      yield* turn
      assert.isTrue(isCancelled())
    }))

  it.effect("loses no chunk that comes while the look ends, at whichever step of either fiber", () =>
    Effect.gen(function*() {
      const bytes = (text: string) => new TextEncoder().encode(text)
      for (let steps = 0; steps < 60; steps++) {
        const chunks = yield* Queue.unbounded<Uint8Array>()
        const response = Object.defineProperty(respond("ignored"), "stream", { value: Stream.fromQueue(chunks) })
        const [, whole] = yield* Effect.gen(function*() {
          const looking = yield* Effect.fork(look(response))
          yield* Queue.offer(chunks, bytes("[1"))
          yield* turn
          const sending = yield* Effect.fork(Effect.zipRight(
            Effect.forEach(Array.from({ length: steps }), () => Effect.yieldNow()),
            Queue.offer(chunks, bytes(",2"))
          ))
          yield* TestClock.adjust("5 seconds")
          yield* Fiber.join(sending)
          return yield* Fiber.join(looking)
        })
        const reading = yield* Effect.fork(text(whole))
        yield* Queue.offer(chunks, bytes(",3]"))
        yield* turn
        yield* Queue.shutdown(chunks)
        assert.strictEqual(yield* Fiber.join(reading), "[1,2,3]", `after ${steps} steps`)
      }
    }))

  it.effect("is read once as a stream, and again and again as a value", () =>
    Effect.gen(function*() {
      const [, streamed] = yield* look(respond("{\"a\":1}"))
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(streamed.stream)), "{\"a\":1}")
      const error = yield* Effect.flip(text(streamed))
      assert.strictEqual(error.reason, "Decode")
      assert.match(error.message, /read already/)
      const [, valued] = yield* look(respond("{\"a\":1}"))
      assert.strictEqual(yield* text(valued), "{\"a\":1}")
      assert.strictEqual(yield* Stream.mkString(Stream.decodeText(valued.stream)), "{\"a\":1}")
    }))

  it.effect("closes the connection when whoever reads its text is interrupted", () =>
    Effect.gen(function*() {
      const { isCancelled, send, stream } = controlled()
      const looking = yield* Effect.fork(look(respond(stream)))
      send("[")
      yield* turn
      yield* TestClock.adjust("5 seconds")
      const [, whole] = yield* Fiber.join(looking)
      const reading = yield* Effect.fork(text(whole))
      yield* turn
      yield* Fiber.interrupt(reading)
      yield* turn
      assert.isTrue(isCancelled())
    }))

  it.effect("leaves the fiber that looks as it was, however often it does", () =>
    Effect.gen(function*() {
      const depth = Effect.map(Effect.getFiberRefs, (refs) => {
        const stack = (refs as FiberRefs.FiberRefs & { readonly locals: Map<unknown, ReadonlyArray<unknown>> }).locals
          .get(FiberRef.currentContext)
        return stack?.length ?? 0
      })
      yield* look(respond("{}"))
      const before = yield* depth
      for (let index = 0; index < 100; index++) yield* look(respond("{}"))
      assert.strictEqual(yield* depth, before)
    }))

  for (const [name, transport] of transports) {
    it.scopedLive(`gives the connection of an answer back that is forgotten before its end, over ${name}`, () =>
      Effect.gen(function*() {
        setFlagsFromString("--expose-gc")
        const collectGarbage = runInNewContext("gc")
        let closed = false
        const { url } = yield* serve((_, response) => {
          response.on("close", () => closed = true)
          response.writeHead(401, { "content-type": "application/json" })
          response.write(`"${"x".repeat(70_000)}`)
        })
        const client = yield* HttpClient.HttpClient
        yield* Effect.asVoid(Effect.flatMap(client.get(url), look))
        for (let index = 0; index < 200 && !closed; index++) {
          collectGarbage()
          yield* turn
        }
        assert.isTrue(closed)
      }).pipe(Effect.provide(transport)))
  }
})
