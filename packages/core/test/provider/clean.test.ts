import { ProviderAuth } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Option } from "effect"
import { shown } from "../leaks.ts"

class Wrapped extends Data.TaggedError("Wrapped")<{ readonly of: unknown }> {}

class Frozen {
  readonly value: unknown
  readonly self = this
  constructor(value: unknown) {
    this.value = value
    Object.freeze(this)
  }
}

/** The error of a signed request over a client that fails with what is made of the signed request and its response. */
const failWith = <E>(
  make: (request: HttpClientRequest.HttpClientRequest, response: HttpClientResponse.HttpClientResponse) => E
) =>
  Effect.gen(function*() {
    const { authorize } = yield* ProviderAuth.ProviderAuth
    const failing = HttpClient.makeWith<E, never, E, never>(
      Effect.flatMap((request) => Effect.fail(make(request, HttpClientResponse.fromWeb(request, new Response("no"))))),
      Effect.succeed
    )
    return yield* Effect.flip(authorize(failing).get(Fakes.providerBase))
  })

describe("an error of the client below shows no header of ours", () => {
  const cases: ReadonlyArray<readonly [what: string, make: Parameters<typeof failWith>[0]]> = [
    ["the request of another type of error", (request) => new Wrapped({ of: request })],
    ["the response of another type of error", (_, response) => new Wrapped({ of: response })],
    ["the headers of the request", (request) => new Wrapped({ of: { headers: request.headers } })],
    ["an array", (request, response) => new Wrapped({ of: [request, { response }] })],
    ["four levels", (request) => new Wrapped({ of: { two: { three: { four: request } } } })],
    ["an error of HttpClient below two others", (request) =>
      new Error("outer", {
        cause: new Error("inner", { cause: new HttpClientError.RequestError({ request, reason: "Transport" }) })
      })],
    [
      "a Map and a Set",
      (request, response) => new Wrapped({ of: [new Map([["a", { request }]]), new Set([response])] })
    ],
    ["web headers and a web request", (request) => {
      const headers = new Headers(request.headers)
      return new Wrapped({ of: { headers, request: new Request(request.url, { headers }) } })
    }],
    [
      "a copy of the headers as a plain object, and as a list",
      (request) => new Wrapped({ of: { headers: { ...request.headers }, raw: Object.entries(request.headers) } })
    ],
    ["its message", (request) => new Error(`failed to send ${request.url} with ${request.headers.authorization}`)],
    ["a frozen object", (request) => new Wrapped({ of: Object.freeze({ request }) })],
    ["a frozen argument of a Data.Error", (request) => new Wrapped(Object.freeze({ of: request }))],
    ["a frozen array", (request) => new Wrapped({ of: Object.freeze([request]) })],
    ["a cycle", (request) => {
      const one: Record<string, unknown> = { request }
      one["two"] = { one, request }
      return new Wrapped({ of: one })
    }],
    ["a frozen cycle", (request) => new Wrapped({ of: new Frozen(request) })],
    ["a property that is met deep first, and then less deep", (request) => {
      const shared = { a: { b: request } }
      return new Wrapped({ of: { deep: { deeper: shared }, shared } })
    }],
    [
      "a property that cannot be enumerated",
      (request) => Object.defineProperty(new Error("hidden"), "request", { value: request, configurable: true })
    ]
  ]
  for (const [what, make] of cases) {
    it.effect(`where it stands in ${what}`, () =>
      Effect.gen(function*() {
        const error = yield* failWith(make)
        assert.notInclude(shown(error), "AgentAssertion ey")
        if (!what.includes("headers")) assert.include(shown(error), Fakes.providerBase)
      }).pipe(Effect.provide(Fakes.layerProviderAuth)))
  }

  it.effect("and what others hold beside it stays as it is", () =>
    Effect.gen(function*() {
      const queue: Array<{ request: HttpClientRequest.HttpClientRequest }> = []
      const error = yield* failWith((request) => {
        queue.push({ request })
        return new Error("the queue is full", { cause: { queue } })
      })
      assert.notInclude(shown(error), "AgentAssertion ey")
      assert.match(queue[0]!.request.headers.authorization!, /^AgentAssertion /)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("and a large one, or a proxy that was revoked, takes little time and does no harm", () =>
    Effect.gen(function*() {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      const rows = Array.from({ length: 100_000 }, (_, index) => ({ index, more: { index } }))
      const error = yield* failWith((request) => new Wrapped({ of: { request, proxy, rows } }))
      if (!(error instanceof Wrapped)) return assert.fail("it has another prototype")
      assert.notProperty(
        (error.of as { request: HttpClientRequest.HttpClientRequest }).request.headers,
        "authorization"
      )
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("and stays the error that it was", () =>
    Effect.gen(function*() {
      let made: unknown
      const error = yield* failWith((request) => made = new Wrapped({ of: request }))
      assert.isTrue(error === made)
      const frozen = yield* failWith((request) => new Frozen(request))
      // Assertions about a cycle would print it.
      if (!(frozen instanceof Frozen)) return assert.fail("it has another prototype")
      assert.isTrue(frozen.self === frozen)
      assert.deepStrictEqual(Object.keys((frozen.value as HttpClientRequest.HttpClientRequest).headers), [])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)), 5000)

  it.effect("and an object without one is left as it is, and no getter of it runs", () =>
    Effect.gen(function*() {
      const untouched = Object.freeze({ a: Object.freeze([1]) })
      const child: { parent?: unknown } = {}
      const parent = Object.freeze({ child, b: 1 })
      child.parent = parent
      const error = yield* failWith(() => ({
        untouched,
        again: untouched,
        child,
        get request() {
          return assert.fail("a getter ran")
        }
      }))
      assert.propertyVal(error, "untouched", untouched)
      assert.propertyVal(error, "again", untouched)
      assert.propertyVal(child.parent, "b", 1)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("and has the response that a caller can read, which names what it was sent with", () =>
    Effect.gen(function*() {
      const error = yield* failWith((_, response) => new Wrapped({ of: response }))
      if (!(error instanceof Wrapped)) return assert.fail(String(error))
      const response = error.of as HttpClientResponse.HttpClientResponse
      assert.strictEqual(yield* response.text, "no")
      assert.propertyVal(Option.getOrThrow(ProviderAuth.authorizationOf(response)), "_tag", "Assertion")
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))
})
