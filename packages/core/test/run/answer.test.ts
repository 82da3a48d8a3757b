import { Headers } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import * as Answer from "../../src/run/answer.ts"
import { utf8 } from "../fixtures.ts"

describe("explain", () => {
  const explain = (headers: Record<string, string>, body: string | Uint8Array) =>
    Answer.explain(
      {
        status: 403,
        headers: Headers.fromInput(headers),
        body: typeof body === "string" ? utf8(body) : body,
        complete: true
      },
      { secrets: ["sent-value"], advice: "advice of the service" }
    )
  const page = "<!DOCTYPE html><title>Just a moment...</title>"

  it("says of JSON what it says, and the ids that support asks for", () => {
    const { advice, body, from, isReadable } = explain(
      { "content-type": "text/html", "cf-ray": "8f2c-FRA", "x-request-id": "req_1" },
      "{\"error\":\"sent-value\"}"
    )
    assert.deepStrictEqual([advice, body, from, isReadable], [
      "advice of the service",
      "{\"error\":\"<redacted>\"}",
      " (cf-ray 8f2c-FRA, x-request-id req_1)",
      true
    ])
  })

  const pages: ReadonlyArray<readonly [what: string, headers: Record<string, string>, body: string, server: string]> = [
    ["of its type", { "content-type": "text/html; charset=utf-8", server: "cloudflare" }, "blocked", "cloudflare"],
    ["of its beginning", { server: "nginx/1.27" }, `\n ${page}`, "nginx"],
    ["behind a byte order mark", { server: "nginx" }, `\uFEFF${page}`, "nginx"],
    ["of nobody", { "content-type": "text/html" }, page, "something in between"],
    ["a challenge", { "cf-mitigated": "challenge", server: "cloudflare" }, "", "cloudflare"]
  ]
  for (const [what, headers, body, server] of pages) {
    it(`says who answered with a page instead of the service: ${what}`, () => {
      const { advice, from, isReadable } = explain(headers, body)
      assert.strictEqual(from, `, a page by ${server} instead of the service`)
      assert.match(advice, /network/)
      assert.isFalse(isReadable)
    })
  }

  it("names an encoding that cannot be read, and shows nothing of it", () => {
    const { body, from, isReadable } = explain({ "content-encoding": "BR" }, Uint8Array.of(0x8b, 0xff))
    assert.strictEqual(from, ", in the encoding br, which cannot be read here")
    assert.isFalse(isReadable)
    assert.isUndefined(body)
  })

  // `fetch` decodes, and leaves the header in place.
  it("names no encoding where the body can be read", () =>
    assert.strictEqual(explain({ "content-encoding": "br" }, "{}").from, ""))

  it("shows no header that a terminal would obey", () =>
    assert.strictEqual(
      explain({ "cf-ray": "a\u001b[31m", server: "x\u0007" }, page).from,
      ", a page by something in between instead of the service"
    ))
})

describe("retryAfter", () => {
  const now = Date.UTC(2026, 3, 23)
  const cases: ReadonlyArray<readonly [value: string, millis: number]> = [
    ["0", 0],
    ["5", 5000],
    [" 120 ", 120_000],
    ["Thu, 23 Apr 2026 00:00:05 GMT", 5000],
    ["Thursday, 23-Apr-26 00:00:05 GMT", 5000],
    ["Wed, 22 Apr 2026 00:00:00 GMT", 0],
    ["Thu Apr 23 00:00:05 2026", 5000],
    ["1.5", 1500],
    ["0.0001", 1],
    ["2.000", 2000],
    ["2, 2", 2000],
    ["1,3, 2", 3000],
    ["soon, 3", 3000],
    ["9".repeat(30), Number.MAX_SAFE_INTEGER],
    // What cannot be read makes nobody faster.
    ["", 1000],
    ["soon", 1000],
    ["soon 5", 1000],
    ["-5", 1000],
    ["1.2.3", 1000],
    ["1e3", 1000],
    ["0x10", 1000],
    ["5 seconds", 1000],
    ["Thursday", 1000],
    ["2026-04-23T00:00:05Z", 1000],
    ["Thu, 99 Foo 2026 00:00:05 GMT", 1000]
  ]
  for (const [value, millis] of cases) {
    it(`reads ${JSON.stringify(value)} as ${millis} ms`, () => {
      assert.strictEqual(Answer.retryAfter(Headers.fromInput({ "Retry-After": value }), now), millis)
    })
  }

  it("reads nothing where nothing is asked", () => assert.isUndefined(Answer.retryAfter(Headers.empty, now)))

  it("reads milliseconds, and takes the longer where both are said", () => {
    const read = (headers: Record<string, string>) => Answer.retryAfter(Headers.fromInput(headers), now)
    assert.strictEqual(read({ "retry-after-ms": "1700" }), 1700)
    assert.strictEqual(read({ "retry-after-ms": "1700.2" }), 1701)
    assert.strictEqual(read({ "retry-after-ms": "1700", "retry-after": "2" }), 2000)
    assert.strictEqual(read({ "retry-after-ms": "1700", "retry-after": "soon" }), 1700)
    assert.strictEqual(read({ "retry-after-ms": "-1" }), 1000)
  })
})
