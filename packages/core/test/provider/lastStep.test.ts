/** What an app does to its own client stands before the signature; what still stands behind it is noticed. */
import { Jwks, ProviderAuth, TaskRegistration } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import {
  FetchHttpClient,
  Headers,
  HttpClient,
  HttpClientError,
  HttpClientRequest,
  HttpClientResponse
} from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  FiberRef,
  HashMap,
  Layer,
  Option,
  Ref,
  Scope,
  TestClock
} from "effect"
import { inspect } from "node:util"
import { transports } from "../utils.ts"
import { json, layerRun, serve, tracing } from "./server.ts"

const COMPANIONS = ["authorization", "chatgpt-account-id"]

const authorize = <E, R>(client: HttpClient.HttpClient.With<E, R>) =>
  Effect.map(ProviderAuth.ProviderAuth, (auth) => auth.authorize(client))

const ok = serve((_, response) => json(response, 200, {}))

const ours = (headers: object) => COMPANIONS.filter((name) => name in headers)

for (const [name, transport] of transports) {
  describe(`over ${name}, an app's own hooks below the signing client`, () => {
    it.scoped("run once for each request, and see it before it is signed", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* ok
        yield* Effect.gen(function*() {
          const seen: Array<string> = []
          const hook = (what: string) => (request: HttpClientRequest.HttpClientRequest) =>
            Effect.sync(() => void seen.push([what, request.url, ...ours(request.headers)].join(" ")))
          const client = yield* authorize((yield* HttpClient.HttpClient).pipe(
            HttpClient.tapRequest(hook("tap")),
            HttpClient.mapRequestEffect((request) =>
              Effect.as(hook("map")(request), HttpClientRequest.setHeader(request, "x-app", "yes"))
            )
          ))
          const response = yield* client.get(url)
          yield* client.get(url)
          assert.deepStrictEqual(seen, [`tap ${url}`, `map ${url}`, `tap ${url}`, `map ${url}`])
          assert.deepStrictEqual(requests.map((_) => [_.headers["x-app"], _.task]), [["yes", "task-1"], [
            "yes",
            "task-1"
          ]])
          assert.deepStrictEqual(ours(response.request.headers), [])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may take a permit in one hook and give it back in another", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* ok
        yield* Effect.gen(function*() {
          const permits = yield* Effect.makeSemaphore(1)
          const client = yield* authorize((yield* HttpClient.HttpClient).pipe(
            HttpClient.tapRequest(() => permits.take(1)),
            HttpClient.tap(() => permits.release(1))
          ))
          assert.strictEqual((yield* client.get(url)).status, 200)
          assert.strictEqual((yield* client.get(url)).status, 200)
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)), 5000)

    it.scoped("may refuse one request and let the next one through", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* ok
        yield* Effect.gen(function*() {
          const refusals = yield* Ref.make(1)
          const allow = Effect.flatMap(
            Ref.getAndUpdate(refusals, (left) => left - 1),
            (left) => left > 0 ? Effect.fail("not on the list") : Effect.void
          )
          const client = yield* authorize(HttpClient.tapRequest(yield* HttpClient.HttpClient, () => allow))
          assert.strictEqual(yield* Effect.flip(client.get(url)), "not on the list")
          assert.deepStrictEqual(requests, [])
          assert.strictEqual((yield* client.get(url)).status, 200)
          assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1"])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may complete the URL, also where redirects are followed around the signing client", () =>
      Effect.gen(function*() {
        const { origin, requests } = yield* serve((seen, response) => {
          if (seen.url.endsWith("/there")) return json(response, 200, {})
          response.writeHead(307, { location: "/codex/there" })
          response.end()
        })
        yield* Effect.gen(function*() {
          // Requests of redirects are absolute already.
          const complete = HttpClient.mapRequest((request) =>
            request.url.startsWith("http") ? request : HttpClientRequest.prependUrl(request, `${origin}/codex`)
          )
          const client = HttpClient.followRedirects(yield* authorize(complete(yield* HttpClient.HttpClient)))
          assert.strictEqual((yield* client.get("/responses")).status, 200)
          assert.deepStrictEqual(requests.map(({ task, url }) => [url, task]), [
            ["/codex/responses", "task-1"],
            ["/codex/there", "task-1"]
          ])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may send it to a gateway elsewhere, which then gets nothing of the run", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* ok
        const gateway = yield* ok
        yield* Effect.gen(function*() {
          const rewrite = HttpClient.mapRequest((request) =>
            HttpClientRequest.setUrl(request, request.url.replace(origin, gateway.origin))
          )
          const response = yield* Effect.flatMap(
            authorize(rewrite(yield* HttpClient.HttpClient)),
            (client) => client.get(url)
          )
          assert.propertyVal(Option.getOrThrow(ProviderAuth.authorizationOf(response)), "_tag", "None")
          assert.deepStrictEqual(gateway.requests.map(({ headers }) => ours(headers)), [[]])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may try again, with a header that is made for each attempt, and the task is still renewed", () =>
      Effect.gen(function*() {
        let attempts = 0
        const { origin, requests, url } = yield* serve((seen, response) =>
          ++attempts === 1
            ? json(response, 503, {})
            : seen.task === "task-1"
            ? json(response, 401, { error: { code: "task_expired" } })
            : json(response, 200, {})
        )
        yield* Effect.gen(function*() {
          const client = yield* authorize(HttpClient.retryTransient(yield* HttpClient.HttpClient, { times: 3 }))
          yield* TestClock.adjust("30 seconds")
          assert.strictEqual((yield* client.get(url)).status, 200)
          assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1", "task-1", "task-2"])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may send an attempt elsewhere, and each answer says what its own attempt was sent with", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serve((_, response) => json(response, 503, {}))
        const fallback = yield* ok
        const { spans, trace } = tracing()
        yield* Effect.gen(function*() {
          let attempts = 0
          const client = yield* authorize((yield* HttpClient.HttpClient).pipe(
            HttpClient.mapRequest((request) =>
              ++attempts === 1
                ? request
                : HttpClientRequest.setUrl(request, request.url.replace(origin, fallback.origin))
            ),
            HttpClient.retryTransient({ times: 3 })
          ))
          const response = yield* trace(client.get(url))
          assert.deepStrictEqual(Option.getOrThrow(ProviderAuth.authorizationOf(response)), {
            _tag: "None",
            reason: "the URL is not the provider's"
          })
        }).pipe(Effect.provide(layerRun(origin)))
        assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1"])
        assert.deepStrictEqual(fallback.requests.map(({ headers }) => ours(headers)), [[]])
        const [first, second] = spans.filter((_) => _.name === "http.client GET").map(({ attributes }) => attributes)
        assert.strictEqual(first!.get("agent_identity.task_id"), "task-1")
        assert.strictEqual(second!.get("agent_identity.scheme"), "None")
        assert.isFalse(second!.has("agent_identity.task_id"))
      }).pipe(Effect.provide(transport)))

    it.scoped("may try elsewhere, and the answer and the error name the attempt that they belong to", () =>
      Effect.gen(function*() {
        const { origin } = yield* serve((seen, response) =>
          json(response, seen.url.endsWith("/replica-2") ? 200 : 503, {})
        )
        yield* Effect.gen(function*() {
          for (const good of [true, false]) {
            let attempts = 0
            const client = yield* authorize((yield* HttpClient.HttpClient).pipe(
              HttpClient.mapRequest((request) =>
                HttpClientRequest.setUrl(request, `${origin}/codex/replica-${good ? ++attempts : ++attempts * 10}`)
              ),
              HttpClient.filterStatusOk,
              HttpClient.retryTransient({ times: 1 })
            ))
            const exit = yield* Effect.either(client.get(`${origin}/codex`))
            const request = exit._tag === "Right"
              ? exit.right.request
              : (exit.left as HttpClientError.ResponseError).request
            assert.strictEqual(request.url, `${origin}/codex/replica-${good ? 2 : 20}`)
            assert.deepStrictEqual(ours(request.headers), [])
          }
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may try elsewhere with an Authorization of their own, whose refusal is no matter of the run", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serve((_, response) => json(response, 503, {}))
        const gateway = yield* serve((_, response) => json(response, 401, { error: { code: "task_expired" } }))
        yield* Effect.gen(function*() {
          let attempts = 0
          const client = yield* authorize((yield* HttpClient.HttpClient).pipe(
            HttpClient.mapRequest((request) =>
              ++attempts === 1 ? request : request.pipe(
                HttpClientRequest.setUrl(gateway.url),
                HttpClientRequest.setHeader("authorization", "Bearer of-the-gateway")
              )
            ),
            HttpClient.retryTransient({ times: 1 })
          ))
          yield* TestClock.adjust("30 seconds")
          const response = yield* client.get(url)
          assert.strictEqual(response.status, 401)
          assert.strictEqual(response.request.headers.authorization, "Bearer of-the-gateway")
          assert.propertyVal(Option.getOrThrow(ProviderAuth.authorizationOf(response)), "_tag", "None")
          assert.deepStrictEqual([requests.length, gateway.requests.length], [1, 1])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("may answer from a cache, whose answers show no header of ours either", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* ok
        yield* Effect.gen(function*() {
          let cached: HttpClientResponse.HttpClientResponse | undefined
          const client = yield* authorize(HttpClient.transformResponse(
            yield* HttpClient.HttpClient,
            (answer) => cached === undefined ? Effect.tap(answer, (_) => void (cached = _)) : Effect.succeed(cached)
          ))
          yield* client.get(url)
          yield* TestClock.adjust("2 seconds")
          const response = yield* client.get(url)
          assert.strictEqual(requests.length, 1)
          assert.deepStrictEqual(ours(response.request.headers), [])
          assert.deepStrictEqual(Option.getOrThrow(ProviderAuth.authorizationOf(response)), {
            _tag: "None",
            reason: "the client answered without sending it"
          })
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scopedLive("may bind it to a scope, whose end closes the connection", () =>
      Effect.gen(function*() {
        const closed = yield* Deferred.make<void>()
        const { origin, url } = yield* serve((_, response) => {
          response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
          response.write("one")
        })
        yield* Effect.gen(function*() {
          const rename = HttpClient.mapRequest(HttpClientRequest.setHeader("x-app", "yes"))
          const plain = yield* HttpClient.HttpClient
          for (
            const client of [
              yield* authorize(HttpClient.withScope(rename(plain))),
              HttpClient.withScope(yield* authorize(rename(plain)))
            ]
          ) {
            const scope = yield* Scope.make()
            yield* Effect.provideService(client.get(url), Scope.Scope, scope)
            yield* Scope.close(scope, Exit.void)
            yield* Effect.timeoutFail(Deferred.await(closed), { duration: "3 seconds", onTimeout: () => "still open" })
          }
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("find their fiber as it was before, after an answer, a failure and an interruption", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* serve((seen, response) => {
          if (seen.url.endsWith("/dropped")) response.destroy()
          else if (!seen.url.endsWith("/never")) json(response, 200, {})
        })
        yield* Effect.gen(function*() {
          const names = ["x-mine"]
          const annotations = HashMap.make(["app", "yes"])
          const state = Effect.map(
            Effect.all([
              FiberRef.get(FiberRef.currentContext),
              FiberRef.get(Headers.currentRedactedNames),
              FiberRef.get(FiberRef.currentTracerSpanAnnotations)
            ]),
            (refs) => refs as ReadonlyArray<unknown>
          )
          const same = (before: ReadonlyArray<unknown>) =>
            Effect.map(state, (after) => after.every((value, index) => value === before[index]))
          const client = yield* authorize(yield* HttpClient.HttpClient)
          const { trace } = tracing()
          yield* Effect.gen(function*() {
            const before = yield* state
            yield* client.get(url)
            assert.isTrue(yield* same(before))
            yield* Effect.flip(client.get(`${url}/dropped`))
            assert.isTrue(yield* same(before))
            const interrupted = yield* Effect.fork(Effect.gen(function*() {
              const before = yield* state
              const found = yield* Deferred.make<boolean>()
              yield* Effect.onInterrupt(
                client.get(`${url}/never`),
                () => Effect.flatMap(same(before), (_) => Deferred.succeed(found, _))
              ).pipe(Effect.onExit(() => Effect.void), Effect.timeoutOption("1 second"))
              return yield* Deferred.await(found)
            }))
            yield* Effect.yieldNow()
            yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
            yield* TestClock.adjust("1 second")
            assert.isTrue(yield* Fiber.join(interrupted))
          }).pipe(
            Effect.locally(Headers.currentRedactedNames, names),
            Effect.locally(FiberRef.currentTracerSpanAnnotations, annotations),
            Effect.provideService(FetchHttpClient.RequestInit, { keepalive: false }),
            trace
          )
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("do not have our headers in their spans, whatever names they redact", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* ok
        const { spans, trace } = tracing()
        yield* Effect.gen(function*() {
          const client = yield* authorize(yield* HttpClient.HttpClient)
          yield* client.get(url, { headers: { "x-mine": "1", "x-other": "2" } })
        }).pipe(
          Effect.provide(layerRun(origin)),
          Effect.locally(Headers.currentRedactedNames, ["x-mine"]),
          trace
        )
        const { attributes } = spans.find((_) => _.name === "http.client GET")!
        const header = (name: string) => attributes.get(`http.request.header.${name}`)
        assert.deepStrictEqual(
          ["authorization", "chatgpt-account-id", "x-mine", "x-other"].map(header),
          ["<redacted>", "<redacted>", "<redacted>", "2"]
        )
      }).pipe(Effect.provide(transport)))

    it.scoped("do not have our headers in the span of a failure, where no tracer was set either", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* serve((_, response) => void response.destroy())
        yield* Effect.gen(function*() {
          const client = yield* authorize(yield* HttpClient.HttpClient)
          const cause = yield* Effect.flip(Effect.sandbox(Effect.withSpan(client.get(url), "app")))
          const without = yield* Effect.flip(Effect.sandbox(client.get(url)))
          assert.notInclude(inspect(Cause.prettyErrors(without), { depth: 9 }), "AgentAssertion ey")
          const shown = inspect(Cause.prettyErrors(cause), { depth: 9 })
          assert.include(shown, "http.request.header.authorization")
          assert.notInclude(shown, "AgentAssertion ey")
          assert.notInclude(shown, "acct-1")
        }).pipe(Effect.provide(layerRun(origin)), Effect.locally(Headers.currentRedactedNames, ["x-mine"]))
      }).pipe(Effect.provide(transport)))

    const redirecting = (there: () => string) =>
      serve((seen, response) => {
        if (seen.url.endsWith("/there")) return json(response, 200, {})
        response.writeHead(307, { location: there() })
        response.end()
      })

    it.scoped("that follow redirects below the signature are a typed error, which says that the credential was sent", () =>
      Effect.gen(function*() {
        const back: { url: string } = { url: "" }
        const other = yield* serve((seen, response) => {
          if (!seen.url.endsWith("/back")) return json(response, 200, {})
          response.writeHead(307, { location: back.url })
          response.end()
        })
        const unreachable = "http://127.0.0.1:1/"
        let location = ""
        const { origin, url } = yield* redirecting(() => location)
        back.url = `${origin}/codex/there`
        yield* Effect.gen(function*() {
          const below = HttpClient.followRedirects(yield* HttpClient.HttpClient)
          const client = yield* authorize(below)
          const locations = [`${other.origin}/`, `${origin}/elsewhere/there`, `${other.origin}/back`, unreachable]
          for (location of locations) {
            const error = yield* Effect.flip(client.get(url))
            assert.propertyVal(error, "reason", "Redirected", location)
            assert.include(error.message, "the run's credential was sent", location)
          }
          // It was, which is why it is an error.
          assert.deepStrictEqual(other.requests.map(({ task }) => task), ["task-1", "task-1"])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("that transform the request below the signature are noticed in the same way", () =>
      Effect.gen(function*() {
        const { origin, url } = yield* ok
        const other = yield* ok
        yield* Effect.gen(function*() {
          const plain = yield* HttpClient.HttpClient
          const below = HttpClient.transform(
            plain,
            (_, request) => plain.execute(HttpClientRequest.setUrl(request, request.url.replace(origin, other.origin)))
          )
          const error = yield* Effect.flip(Effect.flatMap(authorize(below), (client) => client.get(url)))
          assert.propertyVal(error, "reason", "Redirected")
          assert.deepStrictEqual(other.requests.map(({ task }) => task), ["task-1"])
          const around = HttpClient.transform(
            yield* authorize(plain),
            (_, request) => plain.execute(HttpClientRequest.setUrl(request, request.url.replace(origin, other.origin)))
          )
          yield* around.get(url)
          assert.deepStrictEqual(ours(other.requests.at(-1)!.headers), [])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("see a refusal of ours as a typed error, also where they turn failures into something else", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* ok
        yield* Effect.gen(function*() {
          const plain = yield* HttpClient.HttpClient
          const own = HttpClientRequest.get(url, { headers: { authorization: "Bearer own" } })
          for (
            const below of [
              HttpClient.transformResponse(plain, Effect.orDie),
              HttpClient.transformResponse(plain, Effect.mapError(() => "another")),
              HttpClient.transformResponse(
                plain,
                Effect.catchAll(() => Effect.succeed(HttpClientResponse.fromWeb(own, new Response("made up"))))
              )
            ]
          ) {
            const error = yield* Effect.flip(Effect.flatMap(authorize(below), (client) => client.execute(own)))
            assert.propertyVal(error, "reason", "AuthorizationPresent")
          }
          assert.deepStrictEqual(requests, [])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))
  })
}

describe("the options of fetch that a client's layer was given", () => {
  const recording = (answer: () => Response) => {
    const seen: Array<readonly [url: string, init: RequestInit | undefined]> = []
    const layer = FetchHttpClient.layer.pipe(
      Layer.provide(Layer.succeed(FetchHttpClient.Fetch, (url, init) => {
        seen.push([String(url), init])
        return Promise.resolve(answer())
      })),
      Layer.provide(
        Layer.succeed(FetchHttpClient.RequestInit, { dispatcher: "a proxy", redirect: "follow" } as RequestInit)
      )
    )
    const options = () =>
      seen.map(([, init]) => [(init as unknown as { dispatcher: unknown }).dispatcher, init?.redirect])
    return { seen, layer, options }
  }

  it.effect("are kept for signed requests, without one that the app did not make, and for the others as they are", () =>
    Effect.gen(function*() {
      const { layer, options, seen } = recording(() => new Response("ok"))
      const client = yield* Effect.flatMap(Effect.provide(HttpClient.HttpClient, layer), authorize)
      yield* client.get(Fakes.providerBase)
      yield* client.get("https://elsewhere.test/")
      yield* Effect.provideService(client.get("https://elsewhere.test/"), FetchHttpClient.RequestInit, {
        redirect: "error"
      })
      assert.deepStrictEqual(options(), [["a proxy", "manual"], ["a proxy", "follow"], ["a proxy", "error"]])
      assert.deepStrictEqual(seen.map(([url]) => url), [
        Fakes.providerBase,
        "https://elsewhere.test/",
        "https://elsewhere.test/"
      ])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("are kept for a registration", () =>
    Effect.gen(function*() {
      const { layer, options, seen } = recording(() => Response.json({ task_id: "task-1" }))
      const context = yield* Layer.build(
        TaskRegistration.layer(Fakes.layerAgentIdentity).pipe(Layer.provide([Fakes.layerUrlDerivation, layer]))
      )
      yield* Context.get(context, TaskRegistration.TaskRegistration).register(Option.none())
      assert.deepStrictEqual(options(), [["a proxy", "manual"]])
      assert.match(seen[0]![0], /task\/register$/)
    }).pipe(Effect.scoped))

  it.effect("are kept for a key set", () =>
    Effect.gen(function*() {
      const { layer, options } = recording(() => Response.json({ keys: [] }))
      const context = yield* Layer.build(Jwks.layer(Fakes.layerUrlDerivation).pipe(Layer.provide(layer)))
      yield* Effect.exit(Context.get(context, Jwks.Jwks).find("kid"))
      assert.deepStrictEqual(options(), [["a proxy", "manual"]])
    }).pipe(Effect.scoped))
})

it.effect("two attempts that run at once each get their own credential, and the answer names the one it was sent with", () =>
  Effect.gen(function*() {
    const seen: Array<string> = []
    const stub = HttpClient.make((request) =>
      Effect.suspend(() => {
        seen.push(request.headers.authorization!)
        return seen.length === 1
          ? Effect.never
          : new HttpClientError.RequestError({ request, reason: "Transport", description: "the second" })
      })
    )
    const hedged = HttpClient.transformResponse(
      stub,
      (attempt) => Effect.raceFirst(attempt, Effect.delay(attempt, "2 seconds"))
    )
    const client = yield* authorize(hedged)
    const failing = yield* Effect.fork(Effect.flip(client.get(Fakes.providerBase)))
    yield* TestClock.adjust("2 seconds")
    const error = yield* Fiber.join(failing)
    assert.strictEqual(new Set(seen).size, 2)
    if (!HttpClientError.isHttpClientError(error)) return assert.fail(String(error))
    assert.deepStrictEqual(ours(error.request.headers), [])
  }).pipe(Effect.provide(Fakes.layerProviderAuth)))
