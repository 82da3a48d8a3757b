import { HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Http from "../../src/run/http.ts"

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

describe("connectionFailure", () => {
  const explain = (cause: unknown) => Http.connectionFailure(cause, (code) => `no connection${code}`)

  for (const code of ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_GET_ISSUER_CERT"]) {
    it(`says of ${code} how to trust an authority`, () => {
      const { detail, reason } = explain({ code })
      assert.strictEqual(reason, "Certificate")
      assert.match(detail, new RegExp(`not trusted \\(${code}\\); .* SSL_CERT_FILE`))
    })
  }

  it("says of an expired certificate, and of one for another name, what to check", () => {
    assert.match(explain({ code: "CERT_HAS_EXPIRED" }).detail, /clock/)
    assert.match(explain({ code: "ERR_TLS_CERT_ALTNAME_INVALID" }).detail, /base URL/)
  })

  it("says of any other error its code, and of a proxy's its message", () => {
    assert.deepStrictEqual(explain({ code: "ECONNRESET" }), {
      reason: "Transport",
      detail: "no connection (ECONNRESET)"
    })
    assert.deepStrictEqual(explain(new Error("secret")), { reason: "Transport", detail: "no connection" })
    const proxy = Object.assign(new Error("the proxy says no"), { _tag: "ProxyError" })
    assert.deepStrictEqual(explain(proxy), { reason: "Transport", detail: "the proxy says no" })
  })
})
