import { Jwks, UrlDerivation } from "@agent-identity/core"
import { FileSystem, HttpClient, HttpClientResponse, Path } from "@effect/platform"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Config,
  ConfigProvider,
  Context,
  Deferred,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Option,
  type Scope,
  TestClock
} from "effect"
import * as Clocks from "../clocks.ts"
import { shown } from "../fixtures.ts"
import { driven, transports, turn } from "../utils.ts"
import { json, makeServer, paths, type Respond, type Server, text } from "./issuer.ts"

const undici = NodeHttpClient.layerUndici

const PATH = "/backend-api/wham/agent-identities/jwks"
const MAX_BODY = 64 * 1024

/** A key as an issuer publishes it; its numbers mean nothing here. */
const published = (kid: string, more: object = {}) => ({ kid, kty: "RSA", n: `n-${kid}`, e: "AQAB", ...more })

/** What is found of it. */
const key = (kid: string, n = `n-${kid}`): Jwks.Jwk => ({ kid, kty: "RSA", n, e: "AQAB", alg: "RS256" })

const set = (...kids: ReadonlyArray<string>) => json({ keys: kids.map((kid) => published(kid)) })

/** The remote key set of a server, and what it is asked for. */
const remote: Effect.Effect<
  { readonly server: Server; readonly jwks: Jwks.Service; readonly fetches: () => number },
  never,
  HttpClient.HttpClient | Scope.Scope
> = Effect.gen(function*() {
  const server = yield* makeServer
  const jwks = yield* Jwks.makeRemote(Effect.succeed(new URL(PATH, server.origin)))
  return { server, jwks, fetches: () => server.requests.length }
})

const herd = <A, E>(size: number, make: (index: number) => Effect.Effect<A, E>) =>
  Effect.forEach(Array.from({ length: size }, (_, index) => index), (index) => Effect.either(make(index)), {
    concurrency: "unbounded"
  })

/** Waits, in turns of the event loop, until a server has had so many requests. */
const until = (server: Server, requests: number): Effect.Effect<void> =>
  Effect.repeat(turn, { until: () => server.requests.length >= requests })

describe("a remote key set", () => {
  it.scoped("is fetched once for all its keys", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a", "b", "c"))
      assert.strictEqual(fetches(), 0)
      for (const kid of ["a", "b", "c", "a"]) assert.deepStrictEqual(yield* jwks.find(kid), [key(kid)])
      assert.deepStrictEqual(server.requests, [`GET ${PATH}`])
    }).pipe(Effect.provide(undici)))

  it.scoped("is used for 10 minutes, and then fetched again", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a"))
      yield* jwks.find("a")
      yield* server.answer(set("b"))
      yield* TestClock.adjust("599999 millis")
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 1)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* jwks.find("a"), [])
      assert.deepStrictEqual(yield* jwks.find("b"), [key("b")])
      assert.strictEqual(fetches(), 2)
      yield* TestClock.adjust("599999 millis")
      assert.deepStrictEqual(yield* jwks.find("b"), [key("b")])
      assert.strictEqual(fetches(), 2)
    }).pipe(Effect.provide(undici)))

  it.scoped("is fetched again for unknown keys, at most once in 30 seconds", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a"))
      for (const [wait, expected] of [[0, 1], [29_999, 1], [1, 2], [0, 2], [29_999, 2], [1, 3], [90_000, 4]] as const) {
        yield* TestClock.adjust(wait)
        for (const kid of ["x", "y", "z"]) assert.deepStrictEqual(yield* jwks.find(kid), [])
        assert.strictEqual(fetches(), expected)
      }
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 4)
    }).pipe(Effect.provide(undici)))

  it.scoped("is not asked for unknown keys within 30 seconds of a fetch that failed either", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a"))
      yield* jwks.find("a")
      yield* TestClock.adjust("30 seconds")
      yield* server.answer(text(500))
      assert.strictEqual((yield* Effect.flip(jwks.find("x"))).status, 500)
      assert.strictEqual(fetches(), 2)
      yield* server.answer(set("a", "x"))
      yield* TestClock.adjust("29999 millis")
      assert.deepStrictEqual(yield* jwks.find("x"), [])
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 2)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* jwks.find("x"), [key("x")])
      assert.strictEqual(fetches(), 3)
    }).pipe(Effect.provide(undici)))

  it.scoped("is not asked again where whoever asked for an unknown key is gone before the fetch fails", () =>
    Effect.gen(function*() {
      const server = yield* makeServer
      yield* server.answer(set("a"))
      const gate = yield* Deferred.make<URL, Jwks.JwksError>()
      let fetches = 0
      const jwks = yield* Jwks.makeRemote(
        Effect.suspend(() => ++fetches === 1 ? Effect.succeed(new URL(server.origin)) : Deferred.await(gate))
      )
      yield* jwks.find("a")
      yield* TestClock.adjust("30 seconds")
      const gone = yield* Effect.fork(jwks.find("x"))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => fetches === 2 })
      yield* Fiber.interrupt(gone)
      yield* Deferred.fail(gate, new Jwks.JwksError({ reason: "Transport", source: "here", detail: "down" }))
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      assert.deepStrictEqual(yield* jwks.find("x"), [])
      assert.strictEqual(fetches, 2)
    }).pipe(Effect.provide(undici)))

  it.scoped("with a new key is found by one fetch, and keeps the old one until it is left out", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("old"))
      yield* jwks.find("old")
      yield* server.answer(set("old", "new"))
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* jwks.find("new"), [key("new")])
      assert.deepStrictEqual(yield* jwks.find("old"), [key("old")])
      assert.strictEqual(fetches(), 2)
      yield* server.answer(set("new"))
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* jwks.find("new"), [key("new")])
      assert.deepStrictEqual(yield* jwks.find("old"), [])
      assert.strictEqual(fetches(), 3)
    }).pipe(Effect.provide(undici)))

  it.scoped("costs 1,000 who ask for a new key during a rotation one fetch", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("old"))
      yield* jwks.find("old")
      yield* TestClock.adjust("30 seconds")
      yield* server.answer(set("old", "new"))
      const found = yield* herd(1000, (index) => jwks.find(index % 2 === 0 ? "new" : "old"))
      found.forEach((got, index) => {
        assert.deepStrictEqual(got, Either.right([key(index % 2 === 0 ? "new" : "old")]))
      })
      assert.strictEqual(fetches(), 2)
    }).pipe(Effect.provide(undici)))

  it.scoped("costs 1,000 who are the first to ask one fetch", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a"))
      for (const got of yield* herd(1000, () => jwks.find("a"))) assert.deepStrictEqual(got, Either.right([key("a")]))
      assert.strictEqual(fetches(), 1)
    }).pipe(Effect.provide(undici)))

  it.scoped("that fails costs 1,000 one fetch, is not kept, and is fetched by the next", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(text(503))
      for (const got of yield* herd(1000, () => jwks.find("a"))) {
        assert.strictEqual(Either.getOrThrow(Either.flip(got)).status, 503)
      }
      assert.strictEqual(fetches(), 1)
      assert.strictEqual((yield* Effect.flip(jwks.find("a"))).status, 503)
      assert.strictEqual(fetches(), 2)
      yield* server.answer(set("a"))
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 3)
    }).pipe(Effect.provide(undici)))

  it.scoped("that fails during a rotation costs 1,000 one fetch, and those who ask for known keys nothing", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("old"))
      yield* jwks.find("old")
      yield* TestClock.adjust("30 seconds")
      yield* server.answer(text(503))
      const found = yield* herd(1000, (index) => jwks.find(index % 2 === 0 ? "new" : "old"))
      found.forEach((got, index) => {
        if (index % 2 === 1) assert.deepStrictEqual(got, Either.right([key("old")]))
        else assert.strictEqual(Either.getOrThrow(Either.flip(got)).reason, "Status")
      })
      assert.strictEqual(fetches(), 2)
    }).pipe(Effect.provide(undici)))

  it.scoped("that cannot be had after 10 minutes is used no longer, and fetched by whoever asks next", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.answer(set("a"))
      yield* jwks.find("a")
      yield* TestClock.adjust("10 minutes")
      yield* server.answer(text(500))
      assert.strictEqual((yield* Effect.flip(jwks.find("a"))).reason, "Status")
      assert.strictEqual((yield* Effect.flip(jwks.find("a"))).reason, "Status")
      yield* server.answer(set("a"))
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 4)
    }).pipe(Effect.provide(undici)))

  it.scoped("comes to all who wait for it, though the first of them is interrupted", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.hold
      const first = yield* Effect.fork(jwks.find("a"))
      yield* until(server, 1)
      const others = yield* Effect.fork(herd(10, () => jwks.find("a")))
      yield* turn
      const exit = yield* Fiber.interrupt(first)
      assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      yield* server.release(set("a"))
      for (const got of yield* Fiber.join(others)) assert.deepStrictEqual(got, Either.right([key("a")]))
      assert.strictEqual(fetches(), 1)
    }).pipe(Effect.provide(undici)))

  it.scoped("is kept though nobody waits for it any more", () =>
    Effect.gen(function*() {
      const { fetches, jwks, server } = yield* remote
      yield* server.hold
      const only = yield* Effect.fork(jwks.find("a"))
      yield* until(server, 1)
      yield* Fiber.interrupt(only)
      yield* server.release(set("a"))
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(fetches(), 1)
    }).pipe(Effect.provide(undici)))

  it.scoped("is asked for as JSON, and with nothing else of ours", () =>
    Effect.gen(function*() {
      const { jwks, server } = yield* remote
      yield* server.answer(set("a"))
      yield* jwks.find("secret-kid")
      assert.strictEqual(server.headers[0]!.accept, "application/json")
      assert.notProperty(server.headers[0]!, "authorization")
      assert.notInclude(shown([server.requests, server.headers]), "secret-kid")
    }).pipe(Effect.provide(undici)))
})

describe("a key set whose surroundings misbehave", () => {
  it.effect("is fetched again when the clock was set back", () =>
    Effect.gen(function*() {
      let fetches = 0
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          fetches++
          return HttpClientResponse.fromWeb(request, Response.json({ keys: [] }))
        })
      )
      const { find } = yield* Effect.provideService(
        Jwks.makeRemote(Effect.succeed(new URL("https://issuer.test/jwks"))),
        HttpClient.HttpClient,
        client
      )
      yield* TestClock.setTime(86_400_000)
      yield* find("a")
      yield* find("a")
      assert.strictEqual(fetches, 1)
      yield* TestClock.setTime(3_600_000)
      yield* find("a")
      assert.strictEqual(fetches, 2)
    }))

  for (const [what, change] of Object.entries(Clocks.changes)) {
    it.effect(`is fetched again where ${what}, and used until then`, () => {
      const { change: set, clock, pass } = Clocks.make()
      let fetches = 0
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          fetches++
          return HttpClientResponse.fromWeb(request, Response.json({ keys: [published("a")] }))
        })
      )
      return Effect.gen(function*() {
        const { find } = yield* Jwks.makeRemote(Effect.succeed(new URL("https://issuer.test/jwks")))
        yield* find("a")
        yield* pass(599_000)
        yield* find("a")
        assert.strictEqual(fetches, 1)
        yield* set(change)
        yield* find("a")
        assert.strictEqual(fetches, 2)
        yield* pass(29_000)
        yield* find("unknown")
        assert.strictEqual(fetches, 2)
        yield* set(change)
        yield* find("unknown")
        assert.strictEqual(fetches, 3)
      }).pipe(Effect.provideService(HttpClient.HttpClient, client), Effect.withClock(clock))
    })
  }

  it.effect("times out also where its layer is built in a region that nothing interrupts", () =>
    Effect.gen(function*() {
      const service = yield* Effect.uninterruptible(Effect.provideService(
        Jwks.makeRemote(Effect.succeed(new URL("https://issuer.test/jwks"))),
        HttpClient.HttpClient,
        HttpClient.make(() => Effect.never)
      ))
      const error = yield* driven(Effect.flip(service.find("a")))
      assert.strictEqual(error.reason, "Timeout")
    }))
})

describe("the keys of a set", () => {
  /** What is found under `k` in a set of these. */
  const findIn = (keys: ReadonlyArray<unknown>, kid = "k") =>
    Effect.flatMap(Jwks.Jwks, (_) => _.find(kid)).pipe(Effect.provide(Jwks.layerStatic({ keys })))

  const usable: ReadonlyArray<readonly [name: string, key: object]> = [
    ["no alg and no use", {}],
    ["alg RS256", { alg: "RS256" }],
    ["use sig", { use: "sig" }],
    ["key_ops verify", { key_ops: ["verify"] }],
    ["key_ops sign and verify", { key_ops: ["sign", "verify"] }],
    ["members that say nothing here", { x5c: ["…"], x5t: "…", ext: true, "urn:other": 1 }],
    ["a private half, which is left behind", { d: "secret", p: "secret", q: "secret" }]
  ]
  for (const [name, more] of usable) {
    it.effect(`include one with ${name}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* findIn([published("k", more)]), [key("k")])
      }))
  }

  const useless: ReadonlyArray<readonly [name: string, key: unknown]> = [
    ["kty EC", { kid: "k", kty: "EC", crv: "P-256", x: "x", y: "y" }],
    ["kty OKP", { kid: "k", kty: "OKP", crv: "Ed25519", x: "x" }],
    ["kty oct", { kid: "k", kty: "oct", k: "secret" }],
    ["kty rsa", published("k", { kty: "rsa" })],
    ["no kty", published("k", { kty: undefined })],
    ["alg RS512", published("k", { alg: "RS512" })],
    ["alg PS256", published("k", { alg: "PS256" })],
    ["alg RSA-OAEP", published("k", { alg: "RSA-OAEP" })],
    ["alg HS256", published("k", { alg: "HS256" })],
    ["alg null", published("k", { alg: null })],
    ["use enc", published("k", { use: "enc" })],
    ["use null", published("k", { use: null })],
    ["key_ops sign", published("k", { key_ops: ["sign"] })],
    ["no key_ops at all", published("k", { key_ops: [] })],
    ["key_ops that are no array", published("k", { key_ops: "verify" })],
    ["no n", published("k", { n: undefined })],
    ["no e", published("k", { e: undefined })],
    ["e as a number", published("k", { e: 65537 })],
    ["no kid", published("k", { kid: undefined })],
    ["a kid that is a number", published("k", { kid: 7 })],
    ["a kid in an array", published("k", { kid: ["k"] })],
    ["nothing at all", null],
    ["a string for a key", "k"],
    ["an array for a key", [published("k")]],
    ["inherited members", JSON.parse(`{"__proto__":${JSON.stringify(published("k"))}}`)]
  ]
  for (const [name, other] of useless) {
    it.effect(`leave out one with ${name}, and include the good ones on both sides of it`, () =>
      Effect.gen(function*() {
        const keys = [published("k", { n: "1" }), other, published("k", { n: "2" })]
        assert.deepStrictEqual(yield* findIn(keys), [key("k", "1"), key("k", "2")])
        for (const kid of ["7", "undefined", "null", ""]) assert.deepStrictEqual(yield* findIn(keys, kid), [])
      }))
  }

  it.effect("are all found that are named alike, in their order", () =>
    Effect.gen(function*() {
      const keys = [published("k", { n: "2" }), published("j"), published("k", { n: "1" })]
      assert.deepStrictEqual(yield* findIn(keys), [key("k", "2"), key("k", "1")])
    }))

  it.effect("are found by their exact name only", () =>
    Effect.gen(function*() {
      for (const kid of ["K", "k ", "", "k2", "0", "length", "__proto__", "constructor", "toString"]) {
        assert.deepStrictEqual(yield* findIn([published("k")], kid), [])
      }
      for (const kid of ["__proto__", "constructor"]) {
        assert.deepStrictEqual(yield* findIn([published("k"), published(kid)], kid), [key(kid)])
      }
    }))

  it.scoped("of a remote set are found by their exact name only", () =>
    Effect.gen(function*() {
      const { jwks, server } = yield* remote
      yield* server.answer(set("k"))
      for (const kid of ["__proto__", "constructor", "toString", ""]) {
        assert.deepStrictEqual(yield* jwks.find(kid), [])
        yield* TestClock.adjust("1 minute")
      }
      assert.deepStrictEqual(yield* jwks.find("k"), [key("k")])
    }).pipe(Effect.provide(undici)))
})

interface Fault {
  readonly name: string
  readonly respond: Respond
  readonly reason: Jwks.JwksError["reason"]
  readonly status?: number
  readonly says: string
  /** Whether every transport may see it in its own way. */
  readonly everywhere?: boolean
}

const drop: Respond = (response) => response.destroy()
const half: Respond = (response) => {
  response.writeHead(200, { "content-length": "1000" })
  response.write("{\"keys\":", () => response.destroy())
}
const silent: Respond = () => undefined
const stuck: Respond = (response) => {
  response.writeHead(200)
  response.write("{\"keys\":")
}

const status = (status: number, respond = text(status, "{\"keys\":[]}")): Fault => ({
  name: `status ${status}`,
  everywhere: [204, 304, 500].includes(status),
  respond,
  reason: "Status",
  status,
  says: `status ${status} instead of 200`
})
const invalid = (name: string, body: string | Uint8Array): Fault => ({
  name,
  respond: text(200, body),
  reason: "InvalidKeySet",
  says: "it is not a JSON object with an array `keys`"
})

const faults: ReadonlyArray<Fault> = [
  status(201),
  status(202),
  status(204, text(204)),
  status(206),
  status(304, text(304)),
  status(400),
  status(401),
  status(403),
  status(404),
  status(429),
  status(500),
  status(503),
  invalid("garbage", "<html>not JSON</html>"),
  invalid("an empty body", ""),
  invalid("half of the JSON", "{\"keys\":["),
  invalid("null", "null"),
  invalid("a string", "\"keys\""),
  invalid("an array", "[]"),
  invalid("an object without `keys`", "{}"),
  invalid("`keys` that are null", "{\"keys\":null}"),
  invalid("`keys` in an object", "{\"keys\":{}}"),
  invalid("one key outside of a set", JSON.stringify(published("a"))),
  invalid("inherited `keys`", "{\"__proto__\":{\"keys\":[]}}"),
  invalid("bytes that are not UTF-8", Uint8Array.of(0xff, 0xfe)),
  {
    name: "more than 64 KiB",
    everywhere: true,
    respond: text(200, `{"keys":[]${" ".repeat(MAX_BODY - 10)}}`),
    reason: "ResponseTooLarge",
    says: "the answer is larger than 65536 bytes"
  },
  {
    name: "a body without an end",
    everywhere: true,
    respond: (response) => {
      const more = () => void (response.destroyed || response.write(" ".repeat(16 * 1024), more))
      response.writeHead(200)
      more()
    },
    reason: "ResponseTooLarge",
    says: "the answer is larger than 65536 bytes"
  },
  { name: "a dropped connection", everywhere: true, respond: drop, reason: "Transport", says: "not answered" },
  { name: "half a body", everywhere: true, respond: half, reason: "Transport", says: "the answer broke off" },
  { name: "no answer", everywhere: true, respond: silent, reason: "Timeout", says: "no answer within 10 seconds" },
  {
    name: "an answer that gets stuck",
    everywhere: true,
    respond: stuck,
    reason: "Timeout",
    says: "no answer within 10 seconds"
  }
]

for (const [transport, layer] of transports) {
  describe(`a remote key set over ${transport}`, () => {
    for (const { name, reason, respond, says, status } of faults.filter((_) => layer === undici || _.everywhere)) {
      it.scoped(`fails as ${reason} on ${name}, and works again at the next call`, () =>
        Effect.gen(function*() {
          const { fetches, jwks, server } = yield* remote
          yield* server.answer(respond)
          const start = yield* Clock.currentTimeMillis
          const error = yield* Effect.flip(driven(jwks.find("a")))
          const took = (yield* Clock.currentTimeMillis) - start

          assert.instanceOf(error, Jwks.JwksError)
          assert.strictEqual(error.reason, reason)
          assert.strictEqual(error.status, status)
          assert.strictEqual(error.source, `${server.origin}${PATH}`)
          assert.isTrue(error.message.startsWith(`No key set from ${server.origin}${PATH}: `), error.message)
          assert.include(error.message, says)
          if (reason === "Timeout") assert.isTrue(took >= 10_000 && took <= 11_000, `took ${took} ms`)
          // A broken connection is tried once more.
          const tries = reason === "Transport" ? 2 : 1
          assert.strictEqual(fetches(), tries)

          yield* server.answer(set("a"))
          assert.deepStrictEqual(yield* driven(jwks.find("a")), [key("a")])
          assert.strictEqual(fetches(), tries + 1)
        }).pipe(Effect.provide(layer)))
    }

    it.scoped("fails as Transport where nobody listens", () =>
      Effect.gen(function*() {
        const { jwks, server } = yield* remote
        yield* server.close
        const error = yield* Effect.flip(driven(jwks.find("a")))
        assert.strictEqual(error.reason, "Transport")
        assert.include(error.message, "ECONNREFUSED")
      }).pipe(Effect.provide(layer)))

    for (const redirect of [301, 302, 303, 307, 308]) {
      it.scoped(`follows no redirect of status ${redirect}, neither to another server nor on its own`, () =>
        Effect.gen(function*() {
          const { fetches, jwks, server } = yield* remote
          const target = yield* makeServer
          yield* target.answer(set("a"))
          for (const location of [`${target.origin}${PATH}`, "/elsewhere"]) {
            const before = fetches()
            yield* server.answer(paths({ [PATH]: text(redirect, "", { location }), "/elsewhere": set("a") }))
            const error = yield* Effect.flip(driven(jwks.find("a")))
            assert.strictEqual(error.reason, "Status")
            assert.strictEqual(error.status, redirect)
            assert.strictEqual(fetches(), before + 1)
          }
          assert.deepStrictEqual(target.requests, [])
        }).pipe(Effect.provide(layer)))
    }

    const good: ReadonlyArray<readonly [name: string, respond: Respond, found: ReadonlyArray<Jwks.Jwk>]> = [
      ["an empty set", set(), []],
      ["a set of 64 KiB", text(200, JSON.stringify({ keys: [published("a")] }).padEnd(MAX_BODY)), [key("a")]],
      ["any content type", text(200, JSON.stringify({ keys: [published("a")] }), { "content-type": "text/html" }), [
        key("a")
      ]],
      ["members beside `keys`", json({ issuer: "x", keys: [published("a")], error: "none" }), [key("a")]],
      ["duplicate names", json({ keys: [published("a"), published("a", { n: "2" })] }), [key("a"), key("a", "2")]],
      ["keys of other types", json({ keys: [null, { kid: "a", kty: "EC" }, published("a")] }), [key("a")]]
    ]
    for (const [name, respond, found] of good) {
      it.scoped(`takes ${name}`, () =>
        Effect.gen(function*() {
          const { fetches, jwks, server } = yield* remote
          yield* server.answer(respond)
          assert.deepStrictEqual(yield* driven(jwks.find("a")), found)
          assert.deepStrictEqual(yield* driven(jwks.find("a")), found)
          assert.strictEqual(fetches(), 1)
        }).pipe(Effect.provide(layer)))
    }

    it.scoped("waits for an answer that takes 9 seconds", () =>
      Effect.gen(function*() {
        const { jwks, server } = yield* remote
        yield* server.hold
        const waiter = yield* Effect.fork(jwks.find("a"))
        yield* until(server, 1)
        yield* TestClock.adjust("9 seconds")
        yield* turn
        assert.isTrue(Option.isNone(yield* waiter.poll))
        yield* server.release(set("a"))
        assert.deepStrictEqual(yield* Fiber.join(waiter), [key("a")])
      }).pipe(Effect.provide(layer)))
  })
}

describe("layer", () => {
  const bases: ReadonlyArray<readonly [base: string, path: string]> = [
    ["/backend-api", "/backend-api/wham/agent-identities/jwks"],
    ["/backend-api/", "/backend-api/wham/agent-identities/jwks"],
    ["/api/codex", "/api/codex/agent-identities/jwks"],
    ["/api/codex/", "/api/codex/agent-identities/jwks"],
    ["", "/agent-identities/jwks"]
  ]
  for (const [base, path] of bases) {
    it.scoped(`asks the issuer with the base ${JSON.stringify(base)} for ${path}, and the AuthAPI for nothing`, () =>
      Effect.gen(function*() {
        const [issuer, authApi] = [yield* makeServer, yield* makeServer]
        yield* issuer.answer(set("a"))
        const Urls = UrlDerivation.layerCustom({
          authApi: `${authApi.origin}/api/accounts`,
          jwksBase: `${issuer.origin}${base}`,
          providers: ["https://provider.test"],
          loopbackHttp: true
        })
        yield* Effect.gen(function*() {
          const [jwks, urls] = [yield* Jwks.Jwks, yield* UrlDerivation.UrlDerivation]
          assert.deepStrictEqual(issuer.requests, [])
          assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
          assert.strictEqual(urls.jwks?.href, `${issuer.origin}${path}`)
        }).pipe(Effect.provide(Layer.merge(Jwks.layer(Urls), Urls).pipe(Layer.provide(undici))))
        assert.deepStrictEqual(issuer.requests, [`GET ${path}`])
        assert.deepStrictEqual(authApi.requests, [])
      }))
  }

  it.scoped("asks each issuer for its own keys, where there are two in one build", () =>
    Effect.gen(function*() {
      class One extends Context.Tag("test/One")<One, Jwks.Service>() {}
      class Two extends Context.Tag("test/Two")<Two, Jwks.Service>() {}
      const issuerOf = (kid: string) =>
        Effect.gen(function*() {
          const server = yield* makeServer
          yield* server.answer(set(kid))
          const Urls = UrlDerivation.layerCustom({
            authApi: server.origin,
            jwksBase: server.origin,
            providers: ["https://provider.test"],
            loopbackHttp: true
          })
          return { server, Keys: Jwks.layer(Urls) }
        })
      const [a, b] = [yield* issuerOf("a"), yield* issuerOf("b")]
      const Both = Layer.merge(
        Layer.provide(Layer.effect(One, Jwks.Jwks), a.Keys),
        Layer.provide(Layer.effect(Two, Jwks.Jwks), b.Keys)
      )
      const found = yield* Effect.all([
        Effect.flatMap(One, (_) => _.find("a")),
        Effect.flatMap(Two, (_) => _.find("b"))
      ]).pipe(Effect.provide(Layer.provide(Both, undici)))
      assert.deepStrictEqual(found, [[key("a")], [key("b")]])
      assert.deepStrictEqual([a.server.requests.length, b.server.requests.length], [1, 1])
    }))

  it.effect("says which option to give where the backend names no JWKS base", () =>
    Effect.gen(function*() {
      const Urls = UrlDerivation.layerCustom({ authApi: "https://auth.test", providers: ["https://provider.test"] })
      const KeySet = Layer.provide(Jwks.layer(Urls), undici)
      const error = yield* Effect.flip(Effect.provide(Jwks.Jwks, KeySet))
      assert.deepStrictEqual([error._tag, error.reason], ["JwksError", "NotConfigured"])
      assert.match(error.message, /^No key set from jwksBase: it is not set/)
    }))

  it.effect("builds, and fails only when it is asked, where the issuer cannot be reached", () =>
    Effect.gen(function*() {
      const jwks = yield* Jwks.Jwks
      assert.strictEqual((yield* Effect.flip(jwks.find("a"))).reason, "Transport")
    }).pipe(Effect.provide(
      Jwks.layer(UrlDerivation.layerCustom({
        authApi: "http://127.0.0.1:1",
        jwksBase: "http://127.0.0.1:1",
        providers: ["https://provider.test"],
        loopbackHttp: true
      })).pipe(Layer.provide(undici))
    )))
})

/** Texts that are no key set, wherever they come from. */
const badTexts = ["", "garbage", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":\"secret\"}", "[secret"]

const find = (kid: string) => Effect.flatMap(Jwks.Jwks, (_) => _.find(kid))

describe("layerStatic", () => {
  it.effect("finds the keys of the given set, without a network", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* find("a"), [key("a")])
      assert.deepStrictEqual(yield* find("b"), [key("b")])
      assert.deepStrictEqual(yield* find("c"), [])
    }).pipe(Effect.provide(Jwks.layerStatic({ keys: [published("a"), published("b")] }))))

  it.effect("does not follow changes of the value", () =>
    Effect.gen(function*() {
      const keys = [published("a")]
      const jwks = yield* Effect.provide(Jwks.Jwks, Jwks.layerStatic({ keys }))
      keys[0]!.n = "other"
      keys.push(published("b"))
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.deepStrictEqual(yield* jwks.find("b"), [])
    }))

  for (const value of [undefined, null, 7, "{\"keys\":[]}", [], {}, { keys: "secret" }, { keys: { 0: "secret" } }]) {
    it.effect(`refuses ${JSON.stringify(value)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.provide(find("a"), Jwks.layerStatic(value)))
        assert.strictEqual(error.reason, "InvalidKeySet")
        assert.strictEqual(
          error.message,
          "No key set from the given value: it is not a JSON object with an array `keys`"
        )
        assert.notInclude(shown(error), "secret")
      }))
  }
})

describe("layerFile", () => {
  const withFile = (content: string) =>
    Effect.gen(function*() {
      const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
      const folder = yield* fs.makeTempDirectoryScoped()
      const file = path.join(folder, "jwks.json")
      yield* fs.writeFileString(file, content)
      return { fs, folder, file }
    })

  it.scoped("finds the keys of the file, which it reads once", () =>
    Effect.gen(function*() {
      const { file, fs } = yield* withFile(JSON.stringify({ keys: [published("a")] }, null, 2) + "\n")
      const jwks = yield* Effect.provide(Jwks.Jwks, Jwks.layerFile(file))
      yield* fs.writeFileString(file, JSON.stringify({ keys: [published("b")] }))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.deepStrictEqual(yield* jwks.find("b"), [])
    }).pipe(Effect.provide(NodeContext.layer)))

  for (const content of badTexts) {
    it.scoped(`refuses a file with ${JSON.stringify(content)}`, () =>
      Effect.gen(function*() {
        const { file } = yield* withFile(content)
        const error = yield* Effect.flip(Effect.provide(find("a"), Jwks.layerFile(file)))
        assert.strictEqual(error.reason, "InvalidKeySet")
        assert.strictEqual(error.source, `the file ${file}`)
        assert.include(error.message, file)
        assert.notInclude(shown(error), "secret")
      }).pipe(Effect.provide(NodeContext.layer)))
  }

  it.scoped("is Unreadable where there is no file, or a folder", () =>
    Effect.gen(function*() {
      const { file, folder } = yield* withFile("")
      for (const path of [`${file}.missing`, folder]) {
        const error = yield* Effect.flip(Effect.provide(find("a"), Jwks.layerFile(path)))
        assert.strictEqual(error.reason, "Unreadable")
        assert.include(error.message, path)
      }
    }).pipe(Effect.provide(NodeContext.layer)))
})

describe("layerConfig", () => {
  const configured = (environment: Record<string, string>) =>
    find("a").pipe(
      Effect.provide(Jwks.layerConfig(Config.string("JWKS"))),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment))))
    )

  it.effect("finds the keys of the configured JSON", () =>
    Effect.gen(function*() {
      const JWKS = JSON.stringify({ keys: [published("a")] })
      assert.deepStrictEqual(yield* configured({ JWKS }), [key("a")])
      assert.deepStrictEqual(yield* configured({ JWKS: "{\"keys\":[]}" }), [])
    }))

  it.effect("fails as the configuration does where nothing is configured", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(configured({}))
      assert.notInstanceOf(error, Jwks.JwksError)
      assert.include(String(error), "JWKS")
    }))

  for (const JWKS of badTexts) {
    it.effect(`refuses ${JSON.stringify(JWKS)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(configured({ JWKS }))
        assert.instanceOf(error, Jwks.JwksError)
        assert.strictEqual((error as Jwks.JwksError).reason, "InvalidKeySet")
        assert.strictEqual((error as Jwks.JwksError).source, "the configuration")
        assert.notInclude(shown(error), "secret")
      }))
  }
})

describe("layerDiscovery", () => {
  const WELL_KNOWN = "/.well-known/openid-configuration"

  /** A server with a document and a key set, and the keys that an issuer on it names. */
  const discovered = (
    path: string,
    options: Omit<Jwks.DiscoveryOptions, "issuer"> & {
      readonly document?: (server: Server, issuer: string) => unknown
    } = {}
  ) =>
    Effect.gen(function*() {
      const { document, ...rest } = options
      const server = yield* makeServer
      const issuer = server.origin + path
      const answers: Record<string, Respond> = {
        [`${path.replace(/\/$/, "")}${WELL_KNOWN}`]: json(
          document === undefined ? { issuer, jwks_uri: `${server.origin}/keys` } : document(server, issuer)
        ),
        "/keys": set("a")
      }
      yield* server.answer((response, path) => paths(answers)(response, path))
      const jwks = yield* Effect.map(
        Layer.build(Jwks.layerDiscovery({ issuer, loopbackHttp: true, ...rest })),
        Context.get(Jwks.Jwks)
      )
      return { server, issuer, answers, jwks }
    })

  for (const path of ["", "/", "/issuer", "/issuer/", "/a/b"]) {
    it.scoped(`reads the document of an issuer whose path is ${JSON.stringify(path)}, and then the keys`, () =>
      Effect.gen(function*() {
        const { jwks, server } = yield* discovered(path)
        assert.deepStrictEqual(server.requests, [])
        assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
        assert.deepStrictEqual(server.requests, [`GET ${path.replace(/\/$/, "")}${WELL_KNOWN}`, "GET /keys"])
      }).pipe(Effect.provide(undici)))
  }

  it.scoped("keeps document and keys together, and asks for both again", () =>
    Effect.gen(function*() {
      const { answers, issuer, jwks, server } = yield* discovered("/issuer")
      const [document, keys] = [`GET /issuer${WELL_KNOWN}`, "GET /keys"]
      yield* jwks.find("a")
      yield* jwks.find("a")
      yield* jwks.find("b")
      assert.deepStrictEqual(server.requests, [document, keys])
      yield* TestClock.adjust("30 seconds")
      yield* jwks.find("b")
      assert.deepStrictEqual(server.requests, [document, keys, document, keys])
      // The issuer's keys move.
      answers[`/issuer${WELL_KNOWN}`] = json({ issuer, jwks_uri: `${server.origin}/moved` })
      answers["/moved"] = set("b")
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* jwks.find("b"), [key("b")])
      assert.deepStrictEqual(server.requests.slice(4), [document, "GET /moved"])
    }).pipe(Effect.provide(undici)))

  it.scoped("costs 1,000 who ask at the same time one document and one set", () =>
    Effect.gen(function*() {
      const { jwks, server } = yield* discovered("/issuer")
      for (const got of yield* herd(1000, () => jwks.find("a"))) assert.deepStrictEqual(got, Either.right([key("a")]))
      assert.strictEqual(server.requests.length, 2)
    }).pipe(Effect.provide(undici)))

  it.scoped("keeps no failure, neither of the document nor of the keys", () =>
    Effect.gen(function*() {
      const { answers, issuer, jwks, server } = yield* discovered("/issuer", { document: () => "garbage" })
      assert.strictEqual((yield* Effect.flip(jwks.find("a"))).reason, "InvalidDiscovery")
      answers[`/issuer${WELL_KNOWN}`] = json({ issuer, jwks_uri: `${server.origin}/keys` })
      answers["/keys"] = text(500)
      const error = yield* Effect.flip(jwks.find("a"))
      assert.strictEqual(error.reason, "Status")
      assert.strictEqual(error.source, `${server.origin}/keys`)
      answers["/keys"] = set("a")
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.strictEqual(server.requests.length, 5)
    }).pipe(Effect.provide(undici)))

  const documents: ReadonlyArray<
    readonly [name: string, document: (server: Server, issuer: string) => unknown, says: string]
  > = [
    [
      "of another issuer",
      ({ origin }) => ({ issuer: "https://other.test", jwks_uri: `${origin}/keys` }),
      "another issuer"
    ],
    [
      "of the issuer with a slash",
      ({ origin }, issuer) => ({ issuer: `${issuer}/`, jwks_uri: `${origin}/keys` }),
      "another issuer"
    ],
    [
      "of the issuer in other case",
      ({ origin }, issuer) => ({ issuer: issuer.replace("issuer", "Issuer"), jwks_uri: `${origin}/keys` }),
      "another issuer"
    ],
    ["without an issuer", ({ origin }) => ({ jwks_uri: `${origin}/keys` }), "does not hold"],
    ["with two issuers", ({ origin }, issuer) => ({ issuer: [issuer], jwks_uri: `${origin}/keys` }), "does not hold"],
    ["without a jwks_uri", (_, issuer) => ({ issuer }), "does not hold"],
    ["with a jwks_uri that is a number", (_, issuer) => ({ issuer, jwks_uri: 7 }), "does not hold"],
    ["that is garbage", () => "<html>", "does not hold"],
    ["that is null", () => null, "does not hold"],
    ["that is an array", () => [], "does not hold"],
    ["with a relative jwks_uri", (_, issuer) => ({ issuer, jwks_uri: "/keys" }), "no https URL"],
    [
      "with a jwks_uri over plain http",
      (_, issuer) => ({ issuer, jwks_uri: "http://issuer.test/keys" }),
      "no https URL"
    ],
    ["with a jwks_uri of another scheme", (_, issuer) => ({ issuer, jwks_uri: "file:///keys" }), "no https URL"],
    [
      "with a query in the jwks_uri",
      ({ origin }, issuer) => ({ issuer, jwks_uri: `${origin}/keys?x=1` }),
      "no https URL without a query"
    ],
    [
      "with user information in the jwks_uri",
      ({ origin }, issuer) => ({ issuer, jwks_uri: `${origin.replace("//", "//user:secret@")}/keys` }),
      "no https URL"
    ],
    [
      "with a jwks_uri on another host",
      (_, issuer) => ({ issuer, jwks_uri: "https://other.test/keys" }),
      "on another origin, https://other.test, and is not allowed"
    ],
    [
      "with a jwks_uri on another port",
      (_, issuer) => ({ issuer, jwks_uri: "http://127.0.0.1:1/keys" }),
      "on another origin, http://127.0.0.1:1, and is not allowed"
    ],
    [
      "with a jwks_uri on another name of the host",
      ({ origin }, issuer) => ({ issuer, jwks_uri: `${origin.replace("127.0.0.1", "localhost")}/keys` }),
      "on another origin"
    ]
  ]
  for (const [name, document, says] of documents) {
    it.scoped(`refuses a document ${name}, and asks for no keys`, () =>
      Effect.gen(function*() {
        const { issuer, jwks, server } = yield* discovered("/issuer", { document })
        const error = yield* Effect.flip(jwks.find("a"))
        assert.strictEqual(error.reason, "InvalidDiscovery")
        assert.strictEqual(error.source, issuer)
        assert.include(error.message, says)
        assert.notInclude(shown(error), "secret")
        assert.deepStrictEqual(server.requests, [`GET /issuer${WELL_KNOWN}`])
      }).pipe(Effect.provide(undici)))
  }

  it.scoped("takes keys from another origin where that very URL is allowed", () =>
    Effect.gen(function*() {
      const elsewhere = yield* makeServer
      yield* elsewhere.answer(set("a"))
      const document = (_: Server, issuer: string) => ({ issuer, jwks_uri: `${elsewhere.origin}/keys` })
      for (const other of ["/keys/", "/other", "", "/keys?x"]) {
        const { jwks } = yield* discovered("", { document, allowedJwksUris: [elsewhere.origin + other] })
        assert.strictEqual((yield* Effect.flip(jwks.find("a"))).reason, "InvalidDiscovery")
      }
      assert.deepStrictEqual(elsewhere.requests, [])
      const { jwks } = yield* discovered("", {
        document,
        allowedJwksUris: ["https://other.test/keys", `${elsewhere.origin}/keys`]
      })
      assert.deepStrictEqual(yield* jwks.find("a"), [key("a")])
      assert.deepStrictEqual(elsewhere.requests, ["GET /keys"])
    }).pipe(Effect.provide(undici)))

  const documentFaults: ReadonlyArray<readonly [name: string, respond: Respond, reason: Jwks.JwksError["reason"]]> = [
    ["is missing", text(404), "Status"],
    ["is somewhere else", text(307, "", { location: "/keys" }), "Status"],
    ["is larger than 64 KiB", text(200, " ".repeat(MAX_BODY + 1)), "ResponseTooLarge"],
    ["does not come", silent, "Timeout"],
    ["breaks off", half, "Transport"]
  ]
  for (const [name, respond, reason] of documentFaults) {
    it.scoped(`fails as ${reason} where the document ${name}, and asks for no keys`, () =>
      Effect.gen(function*() {
        const { answers, jwks, server } = yield* discovered("")
        answers[WELL_KNOWN] = respond
        const error = yield* Effect.flip(driven(jwks.find("a")))
        assert.strictEqual(error.reason, reason)
        assert.strictEqual(error.source, server.origin + WELL_KNOWN)
        const tries = reason === "Transport" ? 2 : 1
        assert.deepStrictEqual(server.requests, Array(tries).fill(`GET ${WELL_KNOWN}`))
      }).pipe(Effect.provide(undici)))
  }

  const issuers: ReadonlyArray<readonly [issuer: string, loopbackHttp: boolean | undefined]> = [
    ["http://127.0.0.1:1", undefined],
    ["http://127.0.0.1:1", false],
    ["http://issuer.test", true],
    ["https://issuer.test/?x=secret", true],
    ["https://issuer.test?", true],
    ["https://issuer.test/#secret", true],
    ["https://user:secret@issuer.test", true],
    ["https://issuer.test\\b", true],
    ["issuer.test", true],
    ["file:///issuer", true],
    ["", true]
  ]
  for (const [issuer, loopbackHttp] of issuers) {
    it.scoped(`does not build for ${JSON.stringify(issuer)}${loopbackHttp === true ? "" : ", loopback or not"}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Layer.build(Jwks.layerDiscovery({ issuer, loopbackHttp })))
        assert.strictEqual(error.reason, "InvalidDiscovery")
        assert.notInclude(shown(error), "secret")
      }).pipe(Effect.provide(undici)))
  }

  it.scoped("builds for https without asking for anything", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const client = HttpClient.make(({ url }) =>
        Effect.sync(() => asked.push(url)).pipe(Effect.zipRight(Effect.never))
      )
      yield* Effect.provideService(
        Layer.build(Jwks.layerDiscovery({ issuer: "https://issuer.test/a" })),
        HttpClient.HttpClient,
        client
      )
      assert.deepStrictEqual(asked, [])
    }))
})
