import { AgentAssertion, ProviderAuth, RunAuth } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Option, Redacted, Stream, TestClock } from "effect"
import { transports } from "../utils.ts"
import { json, layerRun, serve, serveTasks, taskOf, tracing } from "./server.ts"

const authorized = Effect.flatMap(
  ProviderAuth.ProviderAuth,
  ({ authorize }) => Effect.map(HttpClient.HttpClient, authorize)
)

describe("what a request was sent with", () => {
  const ok = Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, Response.json({}))))
  )
  const sent = (url: string) =>
    Effect.map(
      Effect.flatMap(authorized, (client) => client.get(url)),
      (response) => Option.getOrThrow(ProviderAuth.authorizationOf(response))
    ).pipe(Effect.provide(ok))
  const over = (auth: Layer.Layer<RunAuth.RunAuth>) =>
    Effect.provide(Layer.provide(ProviderAuth.layer(auth), Fakes.layerUrlDerivation))

  it.effect("is the agent and the task that its assertion names", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        JSON.stringify(yield* sent(Fakes.providerBase)),
        JSON.stringify({ _tag: "Assertion", agentRuntimeId: "agent-fake", taskId: "task-1" })
      )
    }).pipe(over(Fakes.layerRunAuth)))

  it.effect("or a bearer with the reason for it, never the token", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* sent(Fakes.providerBase), { _tag: "Bearer", reason: "a fake" })
    }).pipe(over(Fakes.layerRunAuthBearer("token-1"))))

  it.effect("or nothing with the reason for that", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* sent(Fakes.providerBase), { _tag: "None", reason: "a local model" })
      assert.deepStrictEqual(yield* sent("https://elsewhere.test/"), {
        _tag: "None",
        reason: "the URL is not the provider's"
      })
    }).pipe(over(RunAuth.layerNone("a local model"))))

  it.effect("is nothing for an endpoint that takes no assertions, which a bearer still reaches", () =>
    Effect.gen(function*() {
      const endpoints = [
        "/analytics-events",
        "/analytics-events/events",
        "/Analytics-Events;x=1/events",
        "/%61nalytics-events"
      ]
      for (const endpoint of endpoints) {
        assert.deepStrictEqual(
          yield* sent(`${Fakes.providerBase}${endpoint}`).pipe(over(Fakes.layerRunAuth)),
          { _tag: "None", reason: "the endpoint takes no assertions" },
          endpoint
        )
        const bearer = yield* sent(`${Fakes.providerBase}${endpoint}`).pipe(over(Fakes.layerRunAuthBearer("t")))
        assert.strictEqual(bearer._tag, "Bearer")
      }
      for (const endpoint of ["/analytics", "/analytics-eventss", "/responses/analytics-events"]) {
        const other = yield* sent(`${Fakes.providerBase}${endpoint}`).pipe(over(Fakes.layerRunAuth))
        assert.strictEqual(other._tag, "Assertion", endpoint)
      }
    }))

  it.effect("is not known of a response of another client", () =>
    Effect.gen(function*() {
      const response = HttpClientResponse.fromWeb(HttpClientRequest.get("https://elsewhere.test/"), new Response())
      assert.deepStrictEqual(ProviderAuth.authorizationOf(response), Option.none())
    }))

  it.scoped("stands on the span of each request, as it was resolved, a recovery included", () => {
    const { spans, trace } = tracing()
    return Effect.gen(function*() {
      const { origin, url } = yield* serveTasks("task-2")
      yield* Effect.gen(function*() {
        const client = yield* authorized
        yield* TestClock.adjust("30 seconds")
        yield* client.get(url)
        yield* client.get(`${origin}/codex/analytics-events/events`)
        yield* client.get(`${origin}/elsewhere`)
      }).pipe(Effect.provide(layerRun(origin)), trace)
      const ours = spans.filter(({ name }) => name === "http.client GET").map(({ attributes }) =>
        Object.fromEntries(Array.from(attributes).filter(([name]) => name.startsWith("agent_identity.")))
      )
      assert.deepStrictEqual(ours, [
        {
          "agent_identity.scheme": "Assertion",
          "agent_identity.agent_runtime_id": "agent-fake",
          "agent_identity.task_id": "task-1"
        },
        {
          "agent_identity.scheme": "Assertion",
          "agent_identity.agent_runtime_id": "agent-fake",
          "agent_identity.task_id": "task-2"
        },
        { "agent_identity.scheme": "None", "agent_identity.reason": "the endpoint takes no assertions" },
        { "agent_identity.scheme": "None", "agent_identity.reason": "the URL is not the provider's" }
      ])
      const shown = JSON.stringify(spans.map(({ attributes }) => Array.from(attributes)))
      assert.notInclude(shown, "AgentAssertion ey")
    }).pipe(Effect.provide(NodeHttpClient.layerUndici))
  })
})

describe("one run", () => {
  it.scoped("uses one task for inference, compaction, realtime and the handshake of a WebSocket", () =>
    Effect.gen(function*() {
      const { origin, requests } = yield* serve((_, response) => json(response, 200, {}))
      yield* Effect.gen(function*() {
        const client = yield* authorized
        const { headers } = yield* ProviderAuth.ProviderAuth
        for (const path of ["responses", "responses/compact", "realtime/calls", "models"]) {
          yield* client.get(`${origin}/codex/${path}`)
        }
        const handshake = yield* headers(
          HttpClientRequest.get(`${origin.replace("http", "ws")}/codex/responses`)
        )
        const { authorization, ...companions } = Redacted.value(handshake.headers)
        assert.deepStrictEqual(companions, { "chatgpt-account-id": "acct-1" })
        assert.deepStrictEqual(
          [...requests.map(({ task }) => task), taskOf(authorization)],
          Array.from({ length: 5 }, () => "task-1")
        )
        assert.isTrue(requests.every(({ headers }) => headers["chatgpt-account-id"] === "acct-1"))
      }).pipe(Effect.provide(layerRun(origin)))
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))

  it.effect("gives no header to a WebSocket elsewhere, and refuses one that the app has authorized", () =>
    Effect.gen(function*() {
      const { headers } = yield* ProviderAuth.ProviderAuth
      const foreign = [
        "wss://elsewhere.test/backend-api/codex/responses",
        "ws://provider.test/backend-api/codex/responses",
        "wss://provider.test/backend-api/other",
        "not a URL"
      ]
      for (const url of foreign) {
        const { headers: added, authorization: sent } = yield* headers(HttpClientRequest.get(url))
        assert.deepStrictEqual(Redacted.value(added), {}, url)
        assert.strictEqual(sent._tag, "None")
      }
      const own = HttpClientRequest.get("wss://provider.test/backend-api/codex", {
        headers: { authorization: "Bearer own" }
      })
      assert.propertyVal(yield* Effect.flip(headers(own)), "reason", "AuthorizationPresent")
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("counts the assertions that are signed, and those that are reused", () =>
    Effect.gen(function*() {
      const count = Effect.map(Metric.value(AgentAssertion.signatures), ({ occurrences }) => ({
        made: occurrences.get("made") ?? 0,
        reused: occurrences.get("reused") ?? 0
      }))
      const { current } = yield* AgentAssertion.AgentAssertion
      const before = yield* count
      yield* current
      yield* current
      yield* current
      yield* TestClock.adjust("1 second")
      yield* current
      const after = yield* count
      assert.deepStrictEqual([after.made - before.made, after.reused - before.reused], [2, 2])
    }).pipe(Effect.provide(Fakes.layerAgentAssertion)))
})

for (const [name, transport] of transports) {
  describe(`a signed request over ${name}`, () => {
    it.scoped("streams its answer: an event is there before the next one is sent", () =>
      Effect.gen(function*() {
        let next: (() => void) | undefined
        const { origin, url } = yield* serve((_, response) => {
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.write("data: 1\n\n")
          next = () => void response.end("data: 2\n\n")
        })
        yield* Effect.gen(function*() {
          const response = yield* Effect.flatMap(authorized, (client) => client.post(url, {}))
          const events: Array<string> = []
          yield* response.stream.pipe(
            Stream.decodeText(),
            Stream.runForEach((event) =>
              Effect.sync(() => {
                events.push(event)
                next?.()
                next = undefined
              })
            )
          )
          assert.deepStrictEqual(events, ["data: 1\n\n", "data: 2\n\n"])
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("propagates the trace, unless the app says that it must not", () => {
      const { trace } = tracing()
      return Effect.gen(function*() {
        const { origin, requests, url } = yield* serve((_, response) => json(response, 200, {}))
        yield* Effect.gen(function*() {
          const client = yield* authorized
          yield* client.get(url)
          yield* HttpClient.withTracerPropagation(client, false).get(url)
        }).pipe(Effect.provide(layerRun(origin)), trace)
        assert.deepStrictEqual(requests.map(({ headers }) => "traceparent" in headers), [true, false])
        assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1", "task-1"])
      }).pipe(Effect.provide(transport))
    })

    it.scoped("is signed at each attempt of HttpClient.retryTransient", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serve((_, response) =>
          json(response, requests.length < 3 ? 503 : 200, {})
        )
        yield* Effect.gen(function*() {
          const client = HttpClient.retryTransient(yield* authorized, { times: 3 })
          assert.strictEqual((yield* client.get(url)).status, 200)
        }).pipe(Effect.provide(layerRun(origin)))
        assert.deepStrictEqual(requests.map(({ task }) => task), ["task-1", "task-1", "task-1"])
      }).pipe(Effect.provide(transport)))
  })
}
