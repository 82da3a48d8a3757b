import { Fetch, ProviderAuth } from "@agent-identity/core"
import { FetchHttpClient, HttpClient } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, type Scope, TestClock } from "effect"
import { inspect } from "node:util"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { transports } from "../utils.ts"
import { json, layerRun, listen, serve, serveTasks } from "./server.ts"

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
          [new TextEncoder().encode("bytes"), /^undefined$/, /^bytes$/],
          [form, /^multipart\/form-data; boundary=/, /name="a"/]
        ]
        for (const [body, type, text] of bodies) {
          const response = await fetch(url, { method: "POST", body: body! })
          const answer = await response.json()
          assert.match(String(answer.type), type)
          assert.match(answer.body, text)
        }
        const stream = new Blob(["stream"]).stream()
        const init = { method: "POST", body: stream, duplex: "half" } as RequestInit
        assert.deepStrictEqual(await (await fetch(url, init)).json(), { task: "task-1", body: "stream" })
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

    it.scoped("sends the body of a Request once more when the task is renewed, where it is a value", () =>
      withFetch(
        serveTasks("task-2"),
        async (fetch, { requests, url }) => {
          const request = new Request(url, { method: "POST", body: "text" })
          assert.strictEqual((await fetch(request)).status, 200)
          assert.deepStrictEqual(requests.map(({ body, task }) => [task, body.toString()]), [
            ["task-1", "text"],
            ["task-2", "text"]
          ])
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

    it.scoped("closes the connection on an abort between the head of an answer and its body", () => {
      let closed: () => void
      const gone = new Promise<void>((resolve) => closed = resolve)
      return withFetch(
        serve((_, response) => {
          response.on("close", () => closed())
          response.writeHead(200)
          response.write("start")
        }),
        async (fetch, { url }) => {
          const controller = new AbortController()
          const response = await fetch(url, { signal: controller.signal })
          const reason = new Error("changed my mind")
          controller.abort(reason)
          await gone
          assert.strictEqual(await rejection(response.text()), reason)
        }
      ).pipe(Effect.provide(transport))
    })

    it.scoped("streams the body of a Request that is a stream, and ends it by the Request's signal", () => {
      const chunks: Array<string> = []
      const ends: Array<string> = []
      return Effect.gen(function*() {
        const origin = yield* listen((request) => {
          request.setEncoding("utf8").on("data", (chunk) => chunks.push(chunk))
          for (const end of ["end", "close"]) request.on(end, () => ends.push(end))
        })
        const fetch = yield* Effect.provide(fetchOf, yield* Layer.build(layerRun(origin)))
        yield* Effect.promise(async () => {
          const until = async (condition: () => boolean) => {
            while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1))
          }
          const text = new TransformStream<string, Uint8Array>({
            transform: (chunk, controller) => controller.enqueue(new TextEncoder().encode(chunk))
          })
          const writer = text.writable.getWriter()
          const controller = new AbortController()
          const request = new Request(`${origin}/codex`, {
            method: "POST",
            body: text.readable,
            duplex: "half",
            signal: controller.signal
          } as RequestInit)
          const pending = rejection(fetch(request))
          await writer.write("one")
          await until(() => chunks.join("") === "one")
          await writer.write(", two")
          await until(() => chunks.join("") === "one, two")
          const reason = new Error("changed my mind")
          controller.abort(reason)
          assert.strictEqual(await pending, reason)
          await until(() => ends.length > 0)
          assert.deepStrictEqual(ends, ["close"])
        })
      }).pipe(Effect.provide(transport))
    })

    it.scoped("lets a signal be aborted after an answer that broke off, or that was read to its end", () =>
      withFetch(
        serve((seen, response) => {
          response.writeHead(200)
          response.write("start")
          setTimeout(() => seen.url.endsWith("/whole") ? response.end() : response.destroy(), 5)
        }),
        async (fetch, { url }) => {
          const rejections: Array<unknown> = []
          const note = (error: unknown) => void rejections.push(error)
          process.on("unhandledRejection", note)
          for (const path of ["", "/whole"]) {
            const controller = new AbortController()
            const response = await fetch(url + path, { signal: controller.signal })
            await response.text().catch(() => "")
            controller.abort()
          }
          await new Promise((resolve) => setTimeout(resolve, 20))
          process.off("unhandledRejection", note)
          assert.deepStrictEqual(rejections, [])
        }
      ).pipe(Effect.provide(transport)))

    it.scoped("streams the body of a Request whose pieces come fast, and has no end", () =>
      Effect.gen(function*() {
        let first: () => void
        const seen = new Promise<void>((resolve) => first = resolve)
        const origin = yield* listen((request) => void request.once("data", () => first()))
        const fetch = yield* Effect.provide(fetchOf, yield* Layer.build(layerRun(origin)))
        yield* Effect.promise(async () => {
          const body = new ReadableStream({
            pull: async (controller) => {
              await new Promise((resolve) => setTimeout(resolve, 2))
              controller.enqueue(new Uint8Array(8))
            }
          })
          const controller = new AbortController()
          const request = { method: "POST", body, duplex: "half", signal: controller.signal } as RequestInit
          const pending = rejection(fetch(new Request(`${origin}/codex`, request)))
          await seen
          controller.abort("enough")
          assert.strictEqual(await pending, "enough")
        })
      }).pipe(Effect.provide(transport)))

    it.scoped("leaves a Request's own signal aside where another one is given, and with null every one", () =>
      withFetch(echo, async (fetch, { url }) => {
        const aborted = new Request(url, { signal: AbortSignal.abort("no") })
        assert.strictEqual(await rejection(fetch(aborted)), "no")
        assert.strictEqual((await fetch(aborted, { signal: null })).status, 200)
        assert.strictEqual((await fetch(aborted, { signal: new AbortController().signal })).status, 200)
        assert.strictEqual((await fetch(url, { signal: null })).status, 200)
      }).pipe(Effect.provide(transport)))

    it.scoped("says a status in words too", () =>
      withFetch(
        serve((seen, response) => json(response, Number(seen.url.slice(-3)), {})),
        async (fetch, { url }) => {
          const texts = new Map([[200, "OK"], [404, "Not Found"], [429, "Too Many Requests"], [599, ""]])
          for (const [status, text] of texts) {
            assert.strictEqual((await fetch(`${url}/${status}`)).statusText, text)
          }
        }
      ).pipe(Effect.provide(transport)))

    it.scoped("hands every cookie on, also one without a `=`", () => {
      let cookies = ["flag"]
      return withFetch(
        serve((_, response) => {
          response.setHeader("set-cookie", cookies)
          json(response, 200, {})
        }),
        async (fetch, { url }) => {
          const got = async () => (await fetch(url)).headers.getSetCookie()
          assert.deepStrictEqual(await got(), cookies)
          cookies = ["a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT", "flag; Secure"]
          assert.deepStrictEqual(await got(), cookies)
        }
      ).pipe(Effect.provide(transport))
    })

    it.scoped("signs in the place of a key that stands for none, in whatever header an SDK sends it", () =>
      withFetch(echo, async (fetch, { origin, requests, url }) => {
        const { placeholderKey } = Fetch
        const headers: ReadonlyArray<HeadersInit> = [
          { Authorization: `Bearer ${placeholderKey}` },
          { authorization: `Bearer ${placeholderKey}` },
          { AUTHORIZATION: placeholderKey },
          [["Authorization", `bearer ${placeholderKey}`]],
          new Headers({ authorization: `Bearer ${placeholderKey}`, "api-key": placeholderKey }),
          { "x-api-key": `${placeholderKey}, ${placeholderKey}` },
          { authorization: `Basic  ${placeholderKey}` }
        ]
        for (const given of headers) {
          const { task } = await (await fetch(url, { headers: given })).json() as { task: string }
          assert.strictEqual(task, "task-1")
          await fetch(`${origin}/elsewhere`, { headers: given })
        }
        assert.notInclude(JSON.stringify(requests.map((request) => request.headers)), placeholderKey)
      }).pipe(Effect.provide(transport)))

    it.scoped("rejects with a TypeError whose cause says why, without a secret", () =>
      withFetch(echo, async (fetch, { url }) => {
        const own = await rejection(fetch(url, { headers: { authorization: "Bearer own-secret" } }))
        assert.instanceOf(own, TypeError)
        assert.propertyVal((own as TypeError).cause, "reason", "AuthorizationPresent")
        assert.match(
          (own as TypeError).message,
          /^fetch failed: GET .* was not sent: the request already has an Authorization header/
        )
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
          const controller = new AbortController()
          for (let times = 0; times < 5; times++) await fetch(url, { signal: controller.signal })
          for (let turns = 0; turns < 300 && open > 0; turns++) {
            collectGarbage()
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
          assert.strictEqual(open, 0)
          // A signal that lives on keeps no answer.
          controller.abort()
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
