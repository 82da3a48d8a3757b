import { Fetch, ProviderAuth } from "@agent-identity/core"
import { FetchHttpClient, HttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope, TestClock } from "effect"
import { inspect } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { transports } from "../utils.ts"
import { json, layerRun, serve, serveTasks } from "./server.ts"

const COMPANIONS = ["authorization", "chatgpt-account-id"]

/** The fetch of a run of the fake agent, over the transport of the context. */
const fetchOf = Effect.flatMap(
  ProviderAuth.ProviderAuth,
  ({ authorize }) => Effect.flatMap(HttpClient.HttpClient, (client) => Fetch.toFetch(authorize(client)))
)

type Provider = Effect.Effect.Success<ReturnType<typeof serve>>

const withFetch = (
  provider: Effect.Effect<Provider, never, Scope.Scope>,
  test: (fetch: typeof globalThis.fetch, provider: Provider) => Promise<void>,
  before: Effect.Effect<void> = Effect.void
) =>
  Effect.gen(function*() {
    const served = yield* provider
    const fetch = yield* Effect.provide(fetchOf, yield* Layer.build(layerRun(served.origin)))
    yield* before
    yield* Effect.promise(() => test(fetch, served))
  })

const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  return assert.fail("it did not reject")
}

const echo = serve((seen, response) => {
  response.setHeader("set-cookie", ["a=1; Path=/", "b=2"])
  response.setHeader("x-method", seen.url)
  json(response, 200, { task: seen.task, type: seen.headers["content-type"], body: seen.body.toString() })
})

for (const [name, transport] of transports) {
  describe(`toFetch over ${name}`, () => {
    it.scoped("signs a request to the first party, and answers as fetch does", () =>
      withFetch(echo, async (fetch, { url }) => {
        const response = await fetch(url, {
          method: "POST",
          body: JSON.stringify({ a: 1 }),
          headers: { "content-type": "application/json" }
        })
        assert.strictEqual(response.status, 200)
        assert.isTrue(response.ok)
        assert.strictEqual(response.url, url)
        assert.isFalse(response.redirected)
        assert.deepStrictEqual(response.headers.getSetCookie(), ["a=1; Path=/", "b=2"])
        assert.deepStrictEqual(await response.json(), { task: "task-1", type: "application/json", body: "{\"a\":1}" })
      }).pipe(Effect.provide(transport)))

    it.scoped("sends nothing of the run elsewhere", () =>
      withFetch(echo, async (fetch, { origin, requests }) => {
        await fetch(`${origin}/elsewhere`)
        assert.notProperty(requests[0]!.headers, "authorization")
      }).pipe(Effect.provide(transport)))

    it.scoped("takes every kind of body that fetch takes", () =>
      withFetch(echo, async (fetch, { requests, url }) => {
        const form = new FormData()
        form.append("a", "1")
        const bodies: ReadonlyArray<readonly [body: RequestInit["body"], type: RegExp, text: RegExp]> = [
          ["text", /^text\/plain/, /^text$/],
          [new URLSearchParams({ a: "1" }), /^application\/x-www-form-urlencoded/, /^a=1$/],
          [new Blob(["blob"], { type: "text/x-blob" }), /^text\/x-blob$/, /^blob$/],
          [new TextEncoder().encode("bytes"), /./, /^bytes$/],
          [form, /^multipart\/form-data; boundary=/, /name="a"/]
        ]
        for (const [body, type, text] of bodies) {
          const response = await fetch(url, { method: "POST", body: body! })
          const answer = await response.json()
          assert.match(answer.type, type)
          assert.match(answer.body, text)
        }
        const stream = new Blob(["stream"]).stream()
        const init = { method: "POST", body: stream, duplex: "half" } as RequestInit
        assert.strictEqual((await (await fetch(url, init)).json()).body, "stream")
        const request = new Request(url, { method: "PUT", body: "of a request", headers: { "x-own": "yes" } })
        assert.strictEqual((await (await fetch(request)).json()).body, "of a request")
        assert.strictEqual(requests.at(-1)!.headers["x-own"], "yes")
      }).pipe(Effect.provide(transport)))

    it.scoped("sends a body once more when the task is renewed, and a stream not", () =>
      withFetch(
        serveTasks("task-2"),
        async (fetch, { requests, url }) => {
          const stream = { method: "POST", body: new Blob(["stream"]).stream(), duplex: "half" } as RequestInit
          assert.strictEqual((await fetch(url, stream)).status, 401)
          assert.strictEqual((await fetch(url, { method: "POST", body: "text" })).status, 200)
          assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1", "task-2"])
        },
        TestClock.adjust("30 seconds")
      ).pipe(Effect.provide(transport)))

    it.scoped("follows redirects without a header of ours, and without the caller's credentials elsewhere", () =>
      Effect.gen(function*() {
        const other = yield* echo
        yield* withFetch(
          serve((seen, response) => {
            response.writeHead(Number(seen.url.match(/\d+/)![0]), { location: `${other.origin}/codex/there` })
            response.end()
          }),
          async (fetch, { origin, requests }) => {
            for (const status of [301, 302, 303, 307, 308]) {
              const response = await fetch(`${origin}/codex/${status}`, { method: "POST", body: "text" })
              assert.isTrue(response.redirected)
              assert.strictEqual(response.url, `${other.origin}/codex/there`)
              const { body } = await response.json()
              assert.strictEqual(body, status >= 307 ? "text" : "")
            }
            assert.isTrue(requests.every(({ headers }) => COMPANIONS.every((name) => name in headers)))
            assert.isTrue(other.requests.every(({ headers }) => !COMPANIONS.some((name) => name in headers)))
            // Outside of the first party the app's own credentials are the app's business, up to another origin.
            await fetch(`${origin}/307`, { headers: { authorization: "Bearer own", cookie: "a=1" } })
            assert.strictEqual(requests.at(-1)!.headers.authorization, "Bearer own")
            assert.notProperty(other.requests.at(-1)!.headers, "authorization")
            assert.notProperty(other.requests.at(-1)!.headers, "cookie")
          }
        )
      }).pipe(Effect.provide(transport)))

    it.scoped("signs a redirect within the first party again, and does not follow one where told so", () =>
      withFetch(
        serve((seen, response) => {
          if (seen.url.endsWith("/there")) return json(response, 200, {})
          response.writeHead(307, { location: "/codex/there" })
          response.end()
        }),
        async (fetch, { requests, url }) => {
          assert.strictEqual((await fetch(url)).status, 200)
          assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1", "task-1"])
          const manual = await fetch(url, { redirect: "manual" })
          assert.strictEqual(manual.status, 307)
          assert.strictEqual(manual.headers.get("location"), "/codex/there")
          assert.instanceOf(await rejection(fetch(url, { redirect: "error" })), TypeError)
          assert.strictEqual(requests.length, 4)
        }
      ).pipe(Effect.provide(transport)))

    it.scoped("gives up on redirects that never end, lead nowhere, or would need a stream again", () =>
      withFetch(
        serve((seen, response) => {
          response.writeHead(307, { location: seen.url.includes("nowhere") ? "ftp://elsewhere.test/" : seen.url })
          response.end()
        }),
        async (fetch, { origin, requests, url }) => {
          assert.include(inspect(await rejection(fetch(url))), "more than 20 redirects")
          assert.strictEqual(requests.length, 21)
          assert.include(inspect(await rejection(fetch(`${origin}/codex/nowhere`))), "redirects off the web")
          const init = { method: "POST", body: new Blob(["stream"]).stream(), duplex: "half" } as RequestInit
          assert.include(inspect(await rejection(fetch(url, init))), "cannot be sent again")
        }
      ).pipe(Effect.provide(transport)))

    it.scoped("streams its answer, and ends the request when the answer is cancelled", () => {
      let closed: () => void
      const gone = new Promise<void>((resolve) => closed = resolve)
      let next: (() => void) | undefined
      return withFetch(
        serve((_, response) => {
          response.on("close", () => closed())
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write("data: 1\n\n")
          next = () => void response.write("data: 2\n\n")
        }),
        async (fetch, { url }) => {
          const reader = (await fetch(url)).body!.getReader()
          const text = async () => new TextDecoder().decode((await reader.read()).value)
          assert.strictEqual(await text(), "data: 1\n\n")
          next!()
          assert.strictEqual(await text(), "data: 2\n\n")
          await reader.cancel()
          await gone
        }
      ).pipe(Effect.provide(transport))
    })

    it.scoped("rejects with the reason of its signal, before, during and after the answer's start", () => {
      let closed = 0
      return withFetch(
        serve((seen, response) => {
          response.on("close", () => closed++)
          if (seen.url.endsWith("/started")) {
            response.writeHead(200)
            response.write("start")
          }
        }),
        async (fetch, { origin, requests, url }) => {
          const reason = new Error("changed my mind")
          assert.strictEqual(await rejection(fetch(url, { signal: AbortSignal.abort(reason) })), reason)
          assert.strictEqual(requests.length, 0)

          const controller = new AbortController()
          const pending = rejection(fetch(url, { signal: controller.signal }))
          while (requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1))
          controller.abort(reason)
          assert.strictEqual(await pending, reason)

          const later = new AbortController()
          const response = await fetch(`${origin}/codex/started`, { signal: later.signal })
          const text = rejection(response.text())
          later.abort(reason)
          assert.strictEqual(await text, reason)
          while (closed < 2) await new Promise((resolve) => setTimeout(resolve, 1))
        }
      ).pipe(Effect.provide(transport))
    })

    it.scoped("rejects with a TypeError whose cause says why, without a secret", () =>
      withFetch(echo, async (fetch, { url }) => {
        const own = await rejection(fetch(url, { headers: { authorization: "Bearer own-secret" } }))
        assert.instanceOf(own, TypeError)
        assert.propertyVal((own as TypeError).cause, "reason", "AuthorizationPresent")
        assert.notInclude(inspect(own, { depth: 9 }), "own-secret")
        const unreachable = await rejection(fetch("http://127.0.0.1:1/"))
        assert.instanceOf(unreachable, TypeError)
        assert.instanceOf(await rejection(fetch("not a URL")), TypeError)
        assert.instanceOf(await rejection(fetch(url, { method: "GET", body: "no" })), TypeError)
      }).pipe(Effect.provide(transport)))

    // The client over node:http does not do it by itself either.
    it.scopedLive.skipIf(name === "node")("gives the connection of an answer back that nobody reads", () => {
      let open = 0
      return withFetch(
        serve((_, response) => {
          open++
          response.on("close", () => open--)
          response.writeHead(200)
          response.write("x".repeat(100_000))
        }),
        async (fetch, { url }) => {
          setFlagsFromString("--expose-gc")
          const collectGarbage = runInNewContext("gc")
          const { signal } = new AbortController()
          for (let times = 0; times < 5; times++) await fetch(url, { signal })
          for (let turns = 0; turns < 300 && open > 0; turns++) {
            collectGarbage()
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
          assert.strictEqual(open, 0)
        }
      ).pipe(Effect.provide(transport))
    })

    it.scopedLive("is ended by its signal, also where it was made in a region that is not interrupted", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* serve(() => undefined)
        const fetch = yield* Effect.uninterruptible(Effect.provide(fetchOf, yield* Layer.build(layerRun(origin))))
        const error = yield* Effect.promise(() => rejection(fetch(url, { signal: AbortSignal.timeout(100) })))
        assert.propertyVal(error, "name", "TimeoutError")
      }).pipe(Effect.provide(transport)))

    it.scoped("has no body where there is none", () =>
      withFetch(
        serve((_, response) => {
          response.writeHead(204)
          response.end()
        }),
        async (fetch, { url }) => {
          const response = await fetch(url)
          assert.isNull(response.body)
          assert.strictEqual(await response.text(), "")
          assert.isNull((await fetch(url, { method: "HEAD" })).body)
        }
      ).pipe(Effect.provide(transport)))
  })
}

it.effect("toFetch keeps the options of fetch that the client's layer was given, wherever a request goes", () =>
  Effect.gen(function*() {
    const seen: Array<RequestInit | undefined> = []
    const Transport = FetchHttpClient.layer.pipe(
      Layer.provide(Layer.succeed(FetchHttpClient.Fetch, (_, init) => {
        seen.push(init)
        return Promise.resolve(new Response("ok"))
      })),
      Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { keepalive: true, redirect: "follow" }))
    )
    const context = yield* Layer.build(Layer.merge(layerRun("http://127.0.0.1:1"), Transport))
    const fetch = yield* Effect.provide(fetchOf, context)
    yield* Effect.promise(() => fetch("http://127.0.0.1:1/codex/responses"))
    yield* Effect.promise(() => fetch("https://elsewhere.test/"))
    assert.deepStrictEqual(seen.map((init) => [init?.keepalive, init?.redirect]), [[true, "manual"], [true, "manual"]])
  }).pipe(Effect.scoped))
