import { Headers, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Http from "../../src/run/http.ts"
import { utf8 } from "../fixtures.ts"

const excerpt = (body: string, sent: ReadonlyArray<string> = []): string => Http.excerpt(utf8(body), sent)

describe("excerpt", () => {
  it("quotes what is harmless as it stands", () => {
    const body = "{\"error\":\"no such agent\",\"at\":\"2026-04-23T00:00:00Z\",\"format\":\"cat-at\"}"
    assert.strictEqual(excerpt(body), body)
    assert.strictEqual(excerpt(""), "")
  })

  const secret = "c2VjcmV0LXNlY3JldA"
  const scrubbed: ReadonlyArray<readonly [name: string, body: string, quoted: string]> = [
    ["a bearer token", `got Bearer ${secret}, refused`, "got Bearer <redacted>, refused"],
    ["a bearer token in JSON", `{"auth":"Bearer ${secret}"}`, "{\"auth\":\"Bearer <redacted>\"}"],
    ["a bearer token in quotes", `Bearer "${secret}"`, "Bearer <redacted>\""],
    ["a bearer token behind an escape", `{"a":"Bearer\\t${secret}"}`, "{\"a\":\"Bearer <redacted>\"}"],
    ["a bearer token in a query", `a=Bearer%20${secret}`, "a=Bearer <redacted>"],
    ["a scheme in other case", `bEARER\t ${secret};`, "bEARER <redacted>;"],
    ["an assertion", `AgentAssertion ${secret}`, "AgentAssertion <redacted>"],
    ["every one of several", `Bearer ${secret} Bearer ${secret}`, "Bearer <redacted> Bearer <redacted>"],
    ["a JWT", `token=eyJ${secret}.eyJ${secret}.${secret}&x`, "token=<redacted>&x"],
    ["a JWT glued to other text", `x-eyJ${secret}.${secret}`, "<redacted>"],
    ["a personal access token", `{"token":"at-${secret}"}`, "{\"token\":\"<redacted>\"}"]
  ]
  for (const [name, body, quoted] of scrubbed) {
    it(`hides ${name}`, () => assert.strictEqual(excerpt(body), quoted))
  }

  it("hides each value that was sent, everywhere, also with the slashes of PHP's JSON", () => {
    const sent = "+GlrOKR/FHxx/kmOhg=="
    assert.strictEqual(
      excerpt(`${sent} ${sent.replaceAll("/", "\\/")} other`, [sent, "other"]),
      "<redacted> <redacted> <redacted>"
    )
  })

  it("hides what was sent in the escapes of JSON", () => {
    const sent = "+GlrOKR/FHxx=="
    const escaped = sent.replace(/[+/=]/g, (_) => `\\u00${_.charCodeAt(0).toString(16).toUpperCase()}`)
    assert.strictEqual(excerpt(`{"echo":"${escaped}"}`, [sent]), "{\"echo\":\"<redacted>\"}")
  })

  it("hides what was sent in another alphabet, without its padding, percent-encoded, or in part", () => {
    const sent = "+GlrOKR/FHxxhkmOhg5hj19+5O7hM2MgxNrgTfRgIX8CYn13AJESv5yXkwwUC9jDd8cvQRMu1f8Pybf6/LBgDw=="
    const url = sent.replaceAll("+", "-").replaceAll("/", "_")
    const spellings = [sent, url, url.slice(0, 86), sent.slice(0, 80), sent.slice(20), encodeURIComponent(sent)]
    for (const echoed of spellings) assert.strictEqual(excerpt(`a ${echoed} b`, [sent]), "a <redacted> b")
  })

  it("quotes no control characters, which a terminal would obey", () => {
    assert.strictEqual(excerpt("a\u001b[31mb\nc\u009b"), "a [31mb c ")
  })

  it("hides before it cuts, so that a cut secret is none", () => {
    const start = "a ".repeat(250)
    for (const secret of [`Bearer ${"x".repeat(60)}`, `eyJ${"x".repeat(60)}`, `at-${"x".repeat(60)}`]) {
      assert.notInclude(excerpt(start + secret), "xx")
    }
    assert.notInclude(excerpt(`${start}sent-value-that-is-long`, ["sent-value-that-is-long"]), "sent")
  })

  it("has at most 512 characters and three dots, and no half of a surrogate pair", () => {
    assert.strictEqual(excerpt("日".repeat(512)), "日".repeat(512))
    assert.strictEqual(excerpt("日".repeat(513)), "日".repeat(512) + "...")
    assert.strictEqual(excerpt("x" + "🛰".repeat(300)), "x" + "🛰".repeat(255) + "...")
  })

  it("quotes bytes that are no UTF-8 with replacement characters", () => {
    assert.strictEqual(Http.excerpt(Uint8Array.of(0x61, 0xff, 0x62), []), "a\ufffdb")
  })

  // A test that blocks for longer than its timeout fails. A quadratic scan of these takes seconds.
  const hostile = [
    "eyJ-",
    "eyJ.",
    "at-",
    "at-eyJ",
    "Bearer",
    "Bearer ",
    "AgentAssertion \t",
    "Bearer\n\"",
    "Bearer ;",
    " ",
    "\\/",
    "~",
    "é"
  ]
  for (const unit of hostile) {
    it(`takes linear time on 64 KiB of ${JSON.stringify(unit)}`, { timeout: 1000 }, () => {
      const body = unit.repeat(Math.ceil(Http.maxBodyBytes / unit.length)).slice(0, Http.maxBodyBytes)
      for (const text of [body, `Bearer ${body}`, `${body}"`, `eyJ ${body}!`]) {
        assert.isAtMost(excerpt(text, ["Bearer;", "eyJ-at-"]).length, 515)
      }
    })
  }
})

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
