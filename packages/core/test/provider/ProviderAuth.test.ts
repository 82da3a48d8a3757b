import { AgentAssertion, ProviderAuth, RunAuth } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { FetchHttpClient, HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Layer, Logger, Redacted, Schedule, Scope, TestClock } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { inspect } from "node:util"
import { transports } from "../utils.ts"
import { providerAuthOf } from "./server.ts"

const COMPANIONS = ["authorization", "chatgpt-account-id", "x-openai-fedramp"]

/** A transport that answers 200 and keeps what it was given. */
const makeStub = () => {
  const sent: Array<HttpClientRequest.HttpClientRequest> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      sent.push(request)
      return HttpClientResponse.fromWeb(request, new Response("ok"))
    })
  )
  return { sent, client }
}

const signed = (request: HttpClientRequest.HttpClientRequest | undefined) =>
  COMPANIONS.filter((name) => request !== undefined && name in request.headers)

const withAccount = (fedramp: boolean) =>
  providerAuthOf(
    Layer.provide(Fakes.layerAgentIdentityWith({ accountId: "acct-1", fedramp }), Fakes.layerSigning),
    Fakes.layerTaskRegistration
  ).pipe(Layer.provide(Fakes.layerUrlDerivation))

describe("ProviderAuth.authorize", () => {
  const execute = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.gen(function*() {
      const { client, sent } = makeStub()
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const exit = yield* Effect.exit(authorize(client).execute(request))
      return { sent, exit }
    })

  it.effect("puts the run's assertion and the account on a first-party request", () =>
    Effect.gen(function*() {
      const { sent } = yield* execute(HttpClientRequest.get(`${Fakes.providerBase}/models`))
      assert.match(sent[0]!.headers.authorization!, /^AgentAssertion [\w-]+$/)
      assert.strictEqual(sent[0]!.headers["chatgpt-account-id"], "acct-1")
      assert.notProperty(sent[0]!.headers, "x-openai-fedramp")
    }).pipe(Effect.provide(withAccount(false))))

  it.effect("says so where the account is a FedRAMP account", () =>
    Effect.gen(function*() {
      const { sent } = yield* execute(HttpClientRequest.get(Fakes.providerBase))
      assert.strictEqual(sent[0]!.headers["x-openai-fedramp"], "true")
    }).pipe(Effect.provide(withAccount(true))))

  it.effect("sends no account header where there is no account", () =>
    Effect.gen(function*() {
      const { sent } = yield* execute(HttpClientRequest.get(Fakes.providerBase))
      assert.deepStrictEqual(signed(sent[0]), ["authorization"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  const firstParty = [
    Fakes.providerBase,
    `${Fakes.providerBase}/`,
    `${Fakes.providerBase}/responses`,
    `${Fakes.providerBase}/responses?x=1#y`,
    `${Fakes.providerBase}/a/../responses`,
    `${Fakes.providerBase}/models/org%2Fmodel`,
    "HTTPS://PROVIDER.TEST:443/backend-api/codex/responses",
    // What a URL parser takes for the same goes to the same place.
    " https://provider.test/backend-api/codex/responses",
    "https:/provider.test/backend-api/codex/responses",
    "https:\\\\provider.test\\backend-api\\codex\\responses"
  ]
  for (const url of firstParty) {
    it.effect(`signs ${url}`, () =>
      Effect.gen(function*() {
        const { sent } = yield* execute(HttpClientRequest.get(url))
        assert.deepStrictEqual(signed(sent[0]), ["authorization"])
      }).pipe(Effect.provide(Fakes.layerProviderAuth)))
  }

  const foreign: ReadonlyArray<readonly [what: string, url: string]> = [
    ["another host", "https://elsewhere.test/backend-api/codex/responses"],
    ["a look-alike host", "https://provider.test.evil.test/backend-api/codex/responses"],
    ["a host with the base in its path", "https://evil.test/https://provider.test/backend-api/codex"],
    ["a host behind user information", "https://provider.test@evil.test/backend-api/codex"],
    ["user information", "https://user:password@provider.test/backend-api/codex/responses"],
    ["another port", "https://provider.test:8443/backend-api/codex/responses"],
    ["plain http", "http://provider.test/backend-api/codex/responses"],
    ["another path", "https://provider.test/backend-api/other"],
    ["a path that starts alike", "https://provider.test/backend-api/codexx"],
    ["a path that climbs out", "https://provider.test/backend-api/codex/../other"],
    ["a path that climbs out in escapes", "https://provider.test/backend-api/codex/%2e%2e/other"],
    ["the AuthAPI", "https://authapi.test/api/accounts/v1/agent/agent-fake/task/register"],
    ["the key set", "https://provider.test/backend-api/wham/agent-identities/jwks"]
  ]
  for (const [what, url] of foreign) {
    it.effect(`leaves ${what} alone`, () =>
      Effect.gen(function*() {
        const { exit, sent } = yield* execute(HttpClientRequest.get(url))
        assert.isTrue(Exit.isSuccess(exit))
        assert.deepStrictEqual(signed(sent[0]), [])
      }).pipe(Effect.provide(withAccount(true).pipe(Layer.orDie))))
  }

  for (const path of ["//responses", "/..%2fother", "/..%5cother", "/%", "/a/..;/b"]) {
    it.effect(`sends nothing at all to ${path} below a provider base, which servers may read in two ways`, () =>
      Effect.gen(function*() {
        const { exit, sent } = yield* execute(HttpClientRequest.get(`${Fakes.providerBase}${path}`))
        const error = yield* Effect.flip(exit)
        assert.propertyVal(error, "reason", "AmbiguousUrl")
        assert.deepStrictEqual(sent, [])
      }).pipe(Effect.provide(Fakes.layerProviderAuth)))
  }

  it.effect("says so where a run is built over the client of another run", () =>
    Effect.gen(function*() {
      const { client, sent } = makeStub()
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const error = yield* Effect.flip(authorize(authorize(client)).get(Fakes.providerBase))
      assert.propertyVal(error, "reason", "AuthorizationPresent")
      assert.include(error.message, "another client has signed the request already")
      assert.deepStrictEqual(sent, [])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("refuses a bearer token that is no legal header value, without showing it", () =>
    Effect.gen(function*() {
      const { exit, sent } = yield* execute(HttpClientRequest.get(Fakes.providerBase))
      const error = yield* Effect.flip(exit)
      assert.propertyVal(error, "reason", "NoCredential")
      assert.notInclude(inspect(error, { depth: Infinity }), "sk-secret")
      assert.deepStrictEqual(sent, [])
    }).pipe(Effect.provide(Layer.provide(
      ProviderAuth.layer(Fakes.layerRunAuthBearer("sk-secret\n")),
      Fakes.layerUrlDerivation
    ))))

  it.effect("keeps the options of fetch that the client's layer was given, and those of the call", () =>
    Effect.gen(function*() {
      const seen: Array<RequestInit | undefined> = []
      const Fetch = FetchHttpClient.layer.pipe(
        Layer.provide(Layer.succeed(FetchHttpClient.Fetch, (_, init) => {
          seen.push(init)
          return Promise.resolve(new Response("ok"))
        })),
        Layer.provide(
          Layer.succeed(FetchHttpClient.RequestInit, { credentials: "include", mode: "cors", redirect: "follow" })
        )
      )
      const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* Effect.provide(HttpClient.HttpClient, Fetch))
      yield* client.get(Fakes.providerBase)
      yield* Effect.provideService(client.get(Fakes.providerBase), FetchHttpClient.RequestInit, {
        mode: "same-origin"
      })
      assert.deepStrictEqual(seen.map((init) => [init?.credentials, init?.mode, init?.redirect]), [
        ["include", "cors", "manual"],
        ["include", "same-origin", "manual"]
      ])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("signs a relative URL that the app completes, around the signing client or below it", () =>
    Effect.gen(function*() {
      const { client, sent } = makeStub()
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const prepend = HttpClient.mapRequest(HttpClientRequest.prependUrl(Fakes.providerBase))
      yield* authorize(client).pipe(prepend, (_) => _.get("/responses"))
      yield* authorize(client.pipe(prepend)).get("/responses")
      yield* Effect.exit(authorize(client).get("/responses"))
      assert.deepStrictEqual(sent.map(signed), [["authorization"], ["authorization"]])
      assert.strictEqual(sent[1]!.url, `${Fakes.providerBase}/responses`)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("warns once an origin of a URL that only looks like a provider's, with the bases", () => {
    const warnings: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel.label === "WARN") warnings.push(String(message))
    })
    return Effect.gen(function*() {
      const { client } = makeStub()
      const { authorize, headers } = yield* ProviderAuth.ProviderAuth
      const [one, other] = [authorize(client), authorize(client)]
      yield* one.get("https://provider.test/v1/models?key=secret")
      yield* one.get("https://provider.test/v1/models")
      yield* other.get("https://provider.test/v2")
      yield* headers(HttpClientRequest.get("wss://provider.test:8443/backend-api/codex"))
      yield* one.get("https://elsewhere.test/")
      yield* one.get(Fakes.providerBase)
      assert.deepStrictEqual(warnings, [
        "A request to https://provider.test/v1/models carries nothing of the run, though it has the host of a provider " +
        "base: its path is not below theirs (https://provider.test/backend-api/codex)",
        "A request to https://provider.test:8443/backend-api/codex carries nothing of the run, though it has the host of " +
        "a provider base: its scheme, its host or its port differs from theirs; if it is another service, ignore this (https://provider.test/backend-api/codex)"
      ])
    }).pipe(Effect.provide(Layer.merge(Fakes.layerProviderAuth, Logger.add(logger))))
  })

  it.effect("decides on the URL with its parameters, as it goes on the wire", () =>
    Effect.gen(function*() {
      const request = HttpClientRequest.get(Fakes.providerBase).pipe(HttpClientRequest.setUrlParam("a", "/../.."))
      const { sent } = yield* execute(request)
      assert.deepStrictEqual(signed(sent[0]), ["authorization"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("does not overwrite an Authorization of the app's, and does not send it to a first party either", () =>
    Effect.gen(function*() {
      const own = HttpClientRequest.setHeader("Authorization", "Bearer own")
      const { exit, sent } = yield* execute(HttpClientRequest.get(`${Fakes.providerBase}/models?key=1`).pipe(own))
      const error = yield* Effect.flip(exit)
      assert.strictEqual(error._tag === "ProviderAuthError" && error.reason, "AuthorizationPresent")
      assert.strictEqual(
        error.message,
        "GET https://provider.test/backend-api/codex/models was not sent: " +
          "the request already has an Authorization header. Leave it out; give `Fetch.placeholderKey` to an SDK that " +
          "insists on an API key."
      )
      assert.deepStrictEqual(sent, [])
      const elsewhere = yield* execute(HttpClientRequest.get("https://elsewhere.test/").pipe(own))
      assert.strictEqual(elsewhere.sent[0]!.headers.authorization, "Bearer own")
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("never sends unsigned: a run that is over fails the request", () =>
    Effect.gen(function*() {
      const { exit, sent } = yield* execute(HttpClientRequest.get(Fakes.providerBase))
      const error = yield* Effect.flip(exit)
      assert.strictEqual(error._tag === "ProviderAuthError" && error.reason, "NoCredential")
      assert.strictEqual(error._tag === "ProviderAuthError" && error.cause?.reason, "Closed")
      assert.deepStrictEqual(sent, [])
    }).pipe(Effect.provide(Layer.provide(
      ProviderAuth.layer(RunAuth.layer(Layer.merge(
        AgentAssertion.layer(Layer.merge(Fakes.layerRunTaskClosed, Fakes.layerAgentIdentity)),
        Fakes.layerRunTaskClosed
      ))),
      Fakes.layerUrlDerivation
    ))))

  it.effect("sends a bearer where the run has one, and nothing where it has none", () =>
    Effect.gen(function*() {
      const request = HttpClientRequest.get(Fakes.providerBase)
      const over = (auth: Layer.Layer<RunAuth.RunAuth>) =>
        Effect.provide(execute(request), Layer.provide(ProviderAuth.layer(auth), Fakes.layerUrlDerivation))
      const bearer = yield* over(Fakes.layerRunAuthBearer("token-1"))
      assert.strictEqual(bearer.sent[0]!.headers.authorization, "Bearer token-1")
      const none = yield* over(RunAuth.layerNone("a local model"))
      assert.deepStrictEqual(none.sent.map(signed), [[]])
    }))

  it.effect("signs every retry, and every second anew", () =>
    Effect.gen(function*() {
      const headers: Array<string | undefined> = []
      const client = HttpClient.make((request) =>
        Effect.suspend(() => {
          headers.push(request.headers.authorization)
          return headers.length < 3
            ? new HttpClientError.RequestError({ request, reason: "Transport" })
            : Effect.succeed(HttpClientResponse.fromWeb(request, new Response("ok")))
        })
      )
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const fiber = yield* Effect.fork(
        authorize(client).pipe(
          HttpClient.retry(Schedule.spaced("1 second")),
          (_) => _.get(Fakes.providerBase)
        )
      )
      yield* TestClock.adjust("2 seconds")
      yield* fiber
      assert.strictEqual(new Set(headers).size, 3)
      for (const header of headers) assert.match(header!, /^AgentAssertion /)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))
})

describe("redirects", () => {
  const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-1", accountId: "acct-1", fedramp: true }).pipe(
    Layer.provideMerge(Scripted.layer),
    Layer.provide(NodeSigning.layer)
  )
  const Run = Layer.provideMerge(Layer.provide(providerAuthOf(Agent, Fakes.layerTaskRegistration), Agent), Agent)
  const otherServer = Effect.map(
    Layer.build(Layer.fresh(Scripted.layer).pipe(Layer.provide(NodeSigning.layer))),
    Context.get(ScriptedAuthApi)
  )
  const ours = (requests: ReadonlyArray<Scripted.RecordedRequest>) =>
    requests.map(({ headers }) => COMPANIONS.filter((name) => name in headers))
  const all = COMPANIONS

  for (const [name, transport] of transports) {
    it.scoped(`over ${name} to another origin take no header of ours along`, () =>
      Effect.gen(function*() {
        const first = yield* ScriptedAuthApi
        const other = yield* otherServer
        const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* HttpClient.HttpClient)
        const url = `${first.origin}/backend-api/codex/responses`
        const location = `${other.origin}/backend-api/codex/responses`

        yield* first.script({ _tag: "Redirect", location })
        assert.strictEqual((yield* client.get(url)).status, 307)
        assert.deepStrictEqual(yield* other.requests, [])

        yield* first.script({ _tag: "Redirect", location })
        assert.strictEqual((yield* client.pipe(HttpClient.followRedirects(), (_) => _.get(url))).status, 404)
        assert.deepStrictEqual(ours(yield* first.requests), [all, all])
        assert.deepStrictEqual(ours(yield* other.requests), [[]])
      }).pipe(Effect.provide(Run), Effect.provide(transport)))

    it.scoped(`over ${name} within the first party are signed again`, () =>
      Effect.gen(function*() {
        const first = yield* ScriptedAuthApi
        const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* HttpClient.HttpClient)
        yield* first.script({ _tag: "Redirect", location: "/backend-api/codex/elsewhere" })
        yield* client.pipe(
          HttpClient.followRedirects(),
          (_) => _.get(`${first.origin}/backend-api/codex/responses`)
        )
        assert.deepStrictEqual(ours(yield* first.requests), [all, all])
      }).pipe(Effect.provide(Run), Effect.provide(transport)))

    it.scoped(`over ${name} from elsewhere into the first party are signed there`, () =>
      Effect.gen(function*() {
        const first = yield* ScriptedAuthApi
        const other = yield* otherServer
        const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* HttpClient.HttpClient)
        yield* other.script({ _tag: "Redirect", location: `${first.origin}/backend-api/codex/responses` })
        yield* client.pipe(HttpClient.followRedirects(), (_) => _.get(`${other.origin}/`))
        assert.deepStrictEqual(ours(yield* other.requests), [[]])
        // `fetch` follows by itself a redirect that begins elsewhere, below us: then nothing is signed.
        assert.deepStrictEqual(ours(yield* first.requests), [name === "fetch" ? [] : all])
      }).pipe(Effect.provide(Run), Effect.provide(transport)))
  }

  it.scoped("that the client below follows by itself out of the first party are a typed error", () =>
    Effect.gen(function*() {
      const first = yield* ScriptedAuthApi
      const other = yield* otherServer
      const below = HttpClient.followRedirects(yield* HttpClient.HttpClient)
      const client = (yield* ProviderAuth.ProviderAuth).authorize(below)
      for (const location of [`${other.origin}/`, "/api/accounts/v1/agent/agent-1/task/register"]) {
        yield* first.script({ _tag: "Redirect", location })
        const error = yield* Effect.flip(client.get(`${first.origin}/backend-api/codex/responses`))
        assert.propertyVal(error, "reason", "Redirected")
      }
    }).pipe(Effect.provide(Run), Effect.provide(NodeHttpClient.layerUndici)))
})

/** A server whose answer begins and never ends, and whether its connection is closed. */
const trickling = Effect.gen(function*() {
  const closed = yield* Deferred.make<void>()
  const server = yield* Effect.acquireRelease(
    Effect.async<Http.Server>((resume) => {
      const server = Http.createServer((request, response) => {
        response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
        response.setHeader("x-authorized", String(request.headers.authorization !== undefined))
        response.write("one")
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )
  return { closed: Deferred.await(closed), url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
})

describe("what a signed request hands back", () => {
  const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-1", accountId: "acct-1" }).pipe(
    Layer.provideMerge(Scripted.layer),
    Layer.provide(NodeSigning.layer)
  )
  const Run = Layer.provideMerge(Layer.provide(providerAuthOf(Agent, Fakes.layerTaskRegistration), Agent), Agent)
  const shown = (value: unknown) =>
    inspect(value, { depth: Infinity, showHidden: true }) +
    inspect(value, { depth: 12, showHidden: true, customInspect: false }) +
    JSON.stringify(value) + String(value)

  for (const [name, transport] of transports) {
    it.effect(`over ${name} is the caller's own request, and shows no header of ours`, () =>
      Effect.gen(function*() {
        const server = yield* ScriptedAuthApi
        const { header } = yield* (yield* AgentAssertion.AgentAssertion).current
        const secret = Redacted.value(header).slice("AgentAssertion ".length)
        const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* HttpClient.HttpClient)
        const request = HttpClientRequest.get(`${server.origin}/backend-api/codex/responses`)

        const response = yield* client.execute(request)
        assert.strictEqual(response.request, request)
        assert.notInclude(shown(response), secret)
        yield* response.text

        yield* server.script({ _tag: "Status", status: 200, body: "no JSON" })
        const undecodable = yield* Effect.flip(Effect.flatMap(client.execute(request), (_) => _.json))
        yield* server.script({ _tag: "HalfBody" })
        const broken = yield* Effect.flip(Effect.flatMap(client.execute(request), (_) => _.text))
        yield* server.script({ _tag: "Drop" })
        const dropped = yield* Effect.flip(client.execute(request))
        const notOk = yield* Effect.flip(HttpClient.filterStatusOk(client).execute(request))
        for (const error of [undecodable, broken, dropped, notOk]) {
          assert.isTrue(HttpClientError.isHttpClientError(error))
          if (!HttpClientError.isHttpClientError(error)) continue
          assert.strictEqual(error.request, request)
          assert.notInclude(shown(error), secret)
          assert.notInclude(shown(error), "AgentAssertion ey")
        }
        assert.deepStrictEqual((yield* server.requests).map(({ headers }) => headers.authorization), [
          ...Array.from({ length: 5 }, () => Redacted.value(header))
        ])
      }).pipe(Effect.provide(Run), Effect.provide(transport)))
  }

  for (
    const [what, wrap] of [
      [
        "is the cause of another",
        (error: HttpClientError.HttpClientError) =>
          new HttpClientError.RequestError({ request: error.request, reason: "Transport", cause: error })
      ],
      ["is deep in the cause of another", (error: HttpClientError.HttpClientError) =>
        new HttpClientError.RequestError({
          request: error.request,
          reason: "Transport",
          cause: new Error("outer", { cause: new Error("inner", { cause: error }) })
        })]
    ] as const
  ) {
    it.effect(`shows no header of ours where an error of the client below ${what}, as a failure and as a defect`, () =>
      Effect.gen(function*() {
        const failing = HttpClient.make((request) => new HttpClientError.RequestError({ request, reason: "Transport" }))
        const { authorize } = yield* ProviderAuth.ProviderAuth
        const below = HttpClient.transformResponse(failing, Effect.mapError(wrap))
        const failure = yield* Effect.flip(authorize(below).get(Fakes.providerBase))
        const defect = yield* Effect.exit(
          authorize(HttpClient.transformResponse(below, Effect.orDie)).get(Fakes.providerBase)
        )
        for (const value of [failure, defect]) assert.notInclude(shown(value), "AgentAssertion ey")
      }).pipe(Effect.provide(Fakes.layerProviderAuth)))
  }

  for (const [name, transport] of transports) {
    it.scopedLive(`over ${name} is aborted by HttpClient.withScope when its scope closes`, () =>
      Effect.gen(function*() {
        const { closed, url } = yield* trickling
        const { authorize } = Context.get(
          yield* Layer.build(
            ProviderAuth.layer(Fakes.layerRunAuth).pipe(
              Layer.provide(Fakes.layerUrlDerivationWith({ providers: [url], loopbackHttp: true }))
            )
          ),
          ProviderAuth.ProviderAuth
        )
        const scope = yield* Scope.make()
        const client = HttpClient.withScope(authorize(yield* HttpClient.HttpClient))
        const response = yield* Effect.provideService(client.get(url), Scope.Scope, scope)
        assert.strictEqual(response.headers["x-authorized"], "true")
        yield* Scope.close(scope, Exit.void)
        yield* Effect.timeoutFail(closed, { duration: "3 seconds", onTimeout: () => new Error("still open") })
      }).pipe(Effect.provide(transport)))
  }

  it.effect("has its whole body, as text, JSON, bytes and stream", () =>
    Effect.gen(function*() {
      const server = yield* ScriptedAuthApi
      const client = (yield* ProviderAuth.ProviderAuth).authorize(yield* HttpClient.HttpClient)
      const answer = Effect.zipRight(
        server.script({
          _tag: "Status",
          status: 200,
          body: "{\"a\":1}",
          headers: { "x-answer": "yes", "set-cookie": "c=1" }
        }),
        client.get(`${server.origin}/backend-api/codex/responses`)
      )
      assert.strictEqual(yield* Effect.flatMap(answer, (_) => _.text), "{\"a\":1}")
      assert.deepStrictEqual(yield* Effect.flatMap(answer, (_) => _.json), { a: 1 })
      assert.strictEqual((yield* Effect.flatMap(answer, (_) => _.arrayBuffer)).byteLength, 7)
      const response = yield* answer
      assert.strictEqual(response.headers["x-answer"], "yes")
      assert.strictEqual(response.status, 200)
      assert.deepStrictEqual(Object.keys(response.cookies.cookies), ["c"])
      assert.isTrue(HttpClientResponse.TypeId in response)
      assert.deepStrictEqual(yield* Effect.flatMap(answer, (_) => _.urlParamsBody), [["{\"a\":1}", ""]])
    }).pipe(Effect.provide(Run), Effect.provide(NodeHttpClient.layerUndici)))
})

describe("ProviderAuth.layerHttpClient", () => {
  const Url = `${Fakes.providerBase}/responses`
  /** Code that knows nothing of us. */
  const ask = HttpClient.get(Url)
  const plain = (stub: ReturnType<typeof makeStub>) => Layer.succeed(HttpClient.HttpClient, stub.client)

  it.effect("signs for code that knows nothing of us", () =>
    Effect.gen(function*() {
      const stub = makeStub()
      yield* Effect.provide(
        ask,
        Layer.provide(ProviderAuth.layerHttpClient(Fakes.layerProviderAuth), plain(stub))
      )
      assert.deepStrictEqual(stub.sent.map(signed), [["authorization"]])
    }))

  it.effect("loses to an HttpClient that is merged beside it, after it", () =>
    Effect.gen(function*() {
      const stub = makeStub()
      const Signing = Layer.provide(ProviderAuth.layerHttpClient(Fakes.layerProviderAuth), plain(stub))
      yield* Effect.provide(ask, Layer.merge(Signing, plain(stub)))
      assert.deepStrictEqual(stub.sent.map(signed), [[]])
    }))

  it.effect("loses to an HttpClient that a service provides for itself, inside of it", () =>
    Effect.gen(function*() {
      const stub = makeStub()
      const Signing = Layer.provide(ProviderAuth.layerHttpClient(Fakes.layerProviderAuth), plain(stub))
      yield* ask.pipe(Effect.provide(plain(stub)), Effect.provide(Signing))
      assert.deepStrictEqual(stub.sent.map(signed), [[]])
    }))

  it.effect("carries a ProviderAuthError as the cause of a RequestError that no retry repeats", () =>
    Effect.gen(function*() {
      let attempts = 0
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        ProviderAuth.layerHttpClient(
          Layer.provide(providerAuthOf(Fakes.layerAgentIdentity, Fakes.layerTaskRegistration), Fakes.layerUrlDerivation)
        ).pipe(Layer.provide(plain(makeStub()))),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      const client = Context.get(context, HttpClient.HttpClient).pipe(
        HttpClient.tapRequest(() => Effect.sync(() => attempts++)),
        HttpClient.retryTransient({ times: 5 })
      )
      const error = yield* Effect.flip(client.get(Url))
      assert.strictEqual(error._tag, "RequestError")
      assert.strictEqual(error.reason, "Encode")
      assert.instanceOf(error.cause, ProviderAuth.ProviderAuthError)
      assert.include(error.message, "its scope is closed")
      assert.strictEqual(attempts, 1)
    }))
})
