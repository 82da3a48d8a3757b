import { Headers, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Http from "../../src/run/http.ts"

describe("retryAfter", () => {
  const now = Date.UTC(2026, 3, 23)
  const cases: ReadonlyArray<readonly [value: string, millis: number | undefined]> = [
    ["0", 0],
    ["5", 5000],
    [" 120 ", 120_000],
    ["Thu, 23 Apr 2026 00:00:05 GMT", 5000],
    ["Thursday, 23-Apr-26 00:00:05 GMT", 5000],
    ["Wed, 22 Apr 2026 00:00:00 GMT", 0],
    ["", undefined],
    ["soon", undefined],
    ["soon 5", undefined],
    ["-5", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
    ["0x10", undefined],
    ["5 seconds", undefined],
    ["Thursday", undefined],
    ["Thu, 99 Foo 2026 00:00:05 GMT", undefined]
  ]
  for (const [value, millis] of cases) {
    it(`reads ${JSON.stringify(value)} as ${millis === undefined ? "nothing" : `${millis} ms`}`, () => {
      assert.strictEqual(Http.retryAfter(Headers.fromInput({ "Retry-After": value }), now), millis)
    })
  }

  it("reads nothing where there is no such header", () => assert.isUndefined(Http.retryAfter(Headers.empty, now)))
})

describe("send", () => {
  const answer = (chunks: ReadonlyArray<number>) => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        chunks.forEach((length, index) => controller.enqueue(new Uint8Array(length).fill(index + 1)))
        controller.close()
      }
    })
    const client = HttpClient.make((request) =>
      Effect.succeed(HttpClientResponse.fromWeb(request, new Response(body, { status: 418, headers: { "x-a": "b" } })))
    )
    return Http.send(client, HttpClientRequest.get("https://example.com"))
  }
  const KIB = 1024

  for (
    const [chunks, length, complete] of [
      [[], 0, true],
      [[3], 3, true],
      [[60 * KIB, 4 * KIB], 64 * KIB, true],
      [[60 * KIB, 4 * KIB, 1], 64 * KIB, false],
      [[60 * KIB, 60 * KIB], 64 * KIB, false],
      [[200 * KIB, 1], 64 * KIB, false]
    ] as const
  ) {
    it.effect(`reads ${length} bytes of an answer in chunks of [${chunks.join(", ")}]`, () =>
      Effect.gen(function*() {
        const { body, headers, status, ...rest } = yield* answer(chunks)
        assert.deepStrictEqual([status, headers["x-a"], rest.complete], [418, "b", complete])
        const whole = chunks.flatMap((length, index) => Array<number>(length).fill(index + 1)).slice(0, length)
        assert.strictEqual(Buffer.compare(body, Uint8Array.from(whole)), 0)
      }))
  }
})
