import { HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Caller from "../../src/run/caller.ts"

describe("who is calling", () => {
  it("has the version of the packages", () => {
    const { version } = JSON.parse(Fs.readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
    assert.strictEqual(Caller.version, version)
  })

  /** The headers of a request of ours, sent inside of a span. */
  const sent = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.gen(function*() {
      let headers: Readonly<Record<string, string>> = {}
      const stub = HttpClient.make((request) =>
        Effect.sync(() => {
          headers = request.headers
          return HttpClientResponse.fromWeb(request, new Response())
        })
      )
      yield* Effect.withSpan((yield* Caller.client(stub)).execute(request), "a span")
      return headers
    })
  const request = HttpClientRequest.get("https://authapi.test/")

  it.effect("is said in requests of our own, and no id of a trace is", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual({ ...yield* sent(request) }, {
        "user-agent": `agent-identity/${Caller.version}`,
        originator: "agent_identity"
      })
    }))

  it.effect("is not said over what a request says already", () =>
    Effect.gen(function*() {
      const own = HttpClientRequest.setHeaders(request, { "user-agent": "an-app/1", originator: "an-app" })
      assert.deepStrictEqual({ ...yield* sent(own) }, { "user-agent": "an-app/1", originator: "an-app" })
    }))

  it.effect("may be another, with the ids of traces", () =>
    Effect.gen(function*() {
      const caller: Caller.Caller = {
        userAgent: "an-app/1 agent-identity/1",
        originator: "an-app",
        residency: "us",
        isSaidOfSigned: true,
        sendsTraces: true
      }
      const headers = yield* Effect.provideService(sent(request), Caller.CallerReference, caller)
      assert.strictEqual(headers["user-agent"], "an-app/1 agent-identity/1")
      assert.match(headers.traceparent!, /^00-/)
      assert.strictEqual(headers["x-openai-internal-codex-residency"], "us")
      const own = HttpClientRequest.setHeader(request, "x-openai-internal-codex-residency", "eu")
      const kept = yield* Effect.provideService(sent(own), Caller.CallerReference, caller)
      assert.strictEqual(kept["x-openai-internal-codex-residency"], "eu")
    }))
})
