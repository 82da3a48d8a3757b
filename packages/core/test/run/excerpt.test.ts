import { assert, describe, it } from "@effect/vitest"
import * as Excerpt from "../../src/run/excerpt.ts"
import * as Http from "../../src/run/http.ts"
import { utf8 } from "../fixtures.ts"

const excerpt = (body: string, sent: ReadonlyArray<string> = []): string => Excerpt.make(utf8(body), sent)

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

  it("hides what was sent in the escapes of HTML, decimal and hexadecimal", () => {
    const sent = "+a/b=c+d/e=f+g/h=i+j"
    const spelled = (write: (code: number) => string) => sent.replace(/[+/=]/g, (_) => write(_.charCodeAt(0)))
    for (const echoed of [spelled((_) => `&#${_};`), spelled((_) => `&#x${_.toString(16)};`)]) {
      assert.strictEqual(excerpt(`<p>${echoed}</p>`, [sent]), "<p><redacted></p>")
    }
  })

  it("hides a token with short pieces between dots or other signs, whole and from the middle on", () => {
    for (const sign of ".:~!@") {
      const token = Array.from({ length: 12 }, (_, index) => `piece${index}`).join(sign)
      for (const echoed of [token, token.slice(20), token.slice(0, -20)]) {
        assert.strictEqual(excerpt(`your token ${echoed} is bad`, [token]), "your token <redacted> is bad")
      }
    }
  })

  it("hides a short value as a whole, and no word that only looks like a part of it", () => {
    assert.strictEqual(excerpt("token hunter2, hunt", ["hunter2"]), "token <redacted>, hunt")
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
    assert.strictEqual(Excerpt.make(Uint8Array.of(0x61, 0xff, 0x62), []), "a\ufffdb")
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
  it("takes linear time on 64 KiB beside a token of 4,000 characters", { timeout: 1000 }, () => {
    const token = Array.from({ length: 4000 }, (_, index) => "ab"[(index * index) % 7 & 1]).join("")
    for (const page of ["a".repeat(Http.maxBodyBytes), "ab".repeat(Http.maxBodyBytes / 2), token.slice(1).repeat(16)]) {
      assert.isAtMost(excerpt(page, [token]).length, 515)
    }
  })

  for (const unit of hostile) {
    it(`takes linear time on 64 KiB of ${JSON.stringify(unit)}`, { timeout: 1000 }, () => {
      const body = unit.repeat(Math.ceil(Http.maxBodyBytes / unit.length)).slice(0, Http.maxBodyBytes)
      for (const text of [body, `Bearer ${body}`, `${body}"`, `eyJ ${body}!`]) {
        assert.isAtMost(excerpt(text, ["Bearer;", "eyJ-at-"]).length, 515)
      }
    })
  }
})
