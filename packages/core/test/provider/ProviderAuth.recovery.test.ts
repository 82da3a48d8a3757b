import { ProviderAuth, RunTask, TaskRegistration } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { FetchHttpClient, HttpBody, HttpClient, type HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Layer, Option, Scope, Stream, TestClock } from "effect"
import { driven, transports, turn } from "../utils.ts"
import { invalidTask, json, layerRun, serve, serveTasks } from "./server.ts"

const failure = new TaskRegistration.TaskRegistrationError({
  reason: "Status",
  agentRuntimeId: Fakes.agentRuntimeId,
  url: "https://authapi.test/",
  detail: "status 503",
  status: 503,
  attempts: 3
})

/** The signing client over the transport of the context. */
const authorized = Effect.flatMap(
  ProviderAuth.ProviderAuth,
  ({ authorize }) => Effect.map(HttpClient.HttpClient, authorize)
)

const registrations = Effect.flatMap(Fakes.Registrations, ({ calls }) => Effect.map(calls, (_) => _.length))

/** A renewal that nothing bounds. */
const renewNow = Effect.flatMap(
  RunTask.RunTask,
  (run) => Effect.flatMap(run.current, run.renew)
)

/** No task is renewed within 30 s of its registration. */
const laterThanYoung = TestClock.adjust("30 seconds")

for (const [name, transport] of transports) {
  describe(`recovery from an invalid task, over ${name}`, () => {
    it.scoped("costs a herd of 500 requests one renewal, and all of them succeed", () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serveTasks("task-2")
        yield* Effect.gen(function*() {
          const client = yield* authorized
          yield* laterThanYoung
          const statuses = yield* Effect.forEach(
            Array.from({ length: 500 }),
            () => Effect.flatMap(client.get(url), (response) => Effect.as(response.text, response.status)),
            { concurrency: "unbounded" }
          )
          assert.deepStrictEqual(statuses, Array.from({ length: 500 }, () => 200))
          assert.strictEqual(yield* registrations, 2)
          assert.isAtMost(requests.length, 1000)
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    for (const length of [undefined, String(10 * 1024 * 1024)]) {
      it.scoped(`gives back the connection of a refusal that does not end, ${length ?? "no"} content-length`, () =>
        Effect.gen(function*() {
          const closed = yield* Deferred.make<void>()
          const { origin, url } = yield* serve((seen, response) => {
            if (seen.task === "task-2") return json(response, 200, {})
            response.on("close", () => Deferred.unsafeDone(closed, Effect.void))
            response.writeHead(401, {
              "x-openai-ide-error-code": "task_expired",
              ...(length === undefined ? undefined : { "content-length": length })
            })
            response.write("x".repeat(100 * 1024))
          })
          yield* Effect.gen(function*() {
            const client = yield* authorized
            yield* laterThanYoung
            assert.strictEqual((yield* client.get(url)).status, 200)
            yield* Deferred.await(closed)
          }).pipe(Effect.provide(layerRun(origin)))
        }).pipe(Effect.provide(transport)))
    }

    it.scoped("hands a 401 of 10 MiB on, whole, without looking into it", () =>
      Effect.gen(function*() {
        const body = JSON.stringify({ error: { code: "task_expired" }, padding: "x".repeat(10 * 1024 * 1024) })
        const { origin, requests, url } = yield* serve((_, response) => {
          response.writeHead(401, { "content-type": "application/json", "x-answer": "yes" })
          response.end(body)
        })
        yield* Effect.gen(function*() {
          yield* laterThanYoung
          const response = yield* Effect.flatMap(authorized, (client) => client.get(url))
          assert.strictEqual(response.status, 401)
          assert.strictEqual(response.headers["x-answer"], "yes")
          const text = yield* response.text
          assert.strictEqual(text.length, body.length)
          assert.isTrue(text === body)
          assert.strictEqual(requests.length, 1)
          assert.strictEqual(yield* registrations, 1)
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    it.scoped("waits 5 seconds for a 401 that never ends, and then hands it on with all that came and comes", () =>
      Effect.gen(function*() {
        let finish = () => {}
        const { origin, url } = yield* serve((_, response) => {
          response.writeHead(401, { "content-type": "application/json" })
          response.write("{\"error\":")
          finish = () => void response.end("{\"code\":\"task_expired\"}}")
        })
        yield* Effect.gen(function*() {
          const client = yield* authorized
          yield* laterThanYoung
          const response = yield* driven(client.get(url))
          assert.strictEqual(response.status, 401)
          const text = yield* Effect.fork(response.text)
          yield* turn
          finish()
          assert.strictEqual(yield* Fiber.join(text), "{\"error\":{\"code\":\"task_expired\"}}")
          assert.strictEqual(yield* registrations, 1)
        }).pipe(Effect.provide(layerRun(origin)))
      }).pipe(Effect.provide(transport)))

    const others: ReadonlyArray<readonly [what: string, type: string, body: string]> = [
      ["with another code", "application/json", "{\"error\":{\"code\":\"invalid_assertion\"}}"],
      ["with the code in its text only", "application/json", "{\"error\":{\"message\":\"task_expired\"}}"],
      ["that is not JSON", "text/plain", "task_expired"],
      ["that is broken JSON", "application/json", "{\"error\":{\"code\":\"task_expired\"}"],
      ["that is empty", "application/json", ""]
    ]
    for (const [what, type, body] of others) {
      it.scoped(`hands on a 401 ${what}, as text, JSON, bytes and stream`, () =>
        Effect.gen(function*() {
          const { origin, requests, url } = yield* serve((_, response) => {
            response.writeHead(401, { "content-type": type, "set-cookie": "a=1" })
            response.end(body)
          })
          yield* Effect.gen(function*() {
            yield* laterThanYoung
            const client = yield* authorized
            const response = yield* client.get(url)
            assert.strictEqual(yield* response.text, body)
            assert.deepStrictEqual(Object.keys(response.cookies.cookies), ["a"])
            const asJson = yield* Effect.exit(Effect.flatMap(client.get(url), (_) => _.json))
            assert.strictEqual(Exit.isSuccess(asJson), !["that is not JSON", "that is broken JSON"].includes(what))
            const bytes = yield* Effect.flatMap(client.get(url), (_) => _.arrayBuffer)
            assert.strictEqual(Buffer.from(bytes).toString(), body)
            const streamed = yield* Effect.flatMap(client.get(url), (_) =>
              _.stream.pipe(
                Stream.decodeText(),
                Stream.mkString,
                Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.succeed(""))
              ))
            assert.strictEqual(streamed, body)
            assert.strictEqual(requests.length, 4)
            assert.strictEqual(yield* registrations, 1)
          }).pipe(Effect.provide(layerRun(origin)))
        }).pipe(Effect.provide(transport)))
    }
  })
}

/** A transport in memory: answers with 401 for every task but these. */
const stub = (...tasks: ReadonlyArray<string>) => {
  const seen: Array<HttpClientRequest.HttpClientRequest> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      seen.push(request)
      const valid = tasks.some((task) => {
        const token = request.headers.authorization?.slice("AgentAssertion ".length) ?? ""
        return Buffer.from(token, "base64url").toString().includes(`"task_id":"${task}"`)
      })
      return HttpClientResponse.fromWeb(
        request,
        valid ? Response.json({ ok: true }) : Response.json(invalidTask, { status: 401 })
      )
    })
  )
  return { seen, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const Run = Layer.orDie(layerRun("http://127.0.0.1:1"))

const URL = "http://127.0.0.1:1/codex/responses"

/** A clock that only a test moves. TestClock looks at every fiber there ever was, which here are tens of thousands. */
let now = 0
const systemClock = Clock.make()
const clock: Clock.Clock = Object.assign(Object.create(systemClock), {
  unsafeCurrentTimeMillis: () => now,
  currentTimeMillis: Effect.sync(() => now)
})

describe("recovery from an invalid task", () => {
  it.effect("is tried once for a request: a second 401 is the answer", () =>
    Effect.gen(function*() {
      const { layer, seen } = stub()
      const client = yield* Effect.provide(authorized, layer)
      yield* laterThanYoung
      const response = yield* client.get(URL)
      assert.strictEqual(response.status, 401)
      assert.deepStrictEqual(yield* response.json, invalidTask)
      assert.strictEqual(seen.length, 2)
      assert.strictEqual(yield* registrations, 2)
    }).pipe(Effect.provide(Run)))

  it.effect("is not tried for a task younger than 30 seconds", () =>
    Effect.gen(function*() {
      const { layer, seen } = stub("task-2")
      const client = yield* Effect.provide(authorized, layer)
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual((yield* client.get(URL)).status, 401)
      assert.strictEqual(yield* registrations, 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* client.get(URL)).status, 200)
      assert.strictEqual(yield* registrations, 2)
      assert.strictEqual(seen.length, 3)
    }).pipe(Effect.provide(Run)))

  it.effect("gives the request of an old task the current one without a registration", () =>
    Effect.gen(function*() {
      const { layer } = stub("task-2")
      const slow = yield* Deferred.make<void>()
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const plain = yield* Effect.provide(HttpClient.HttpClient, layer)
      const client = authorize(HttpClient.tap(plain, () => Deferred.await(slow)))
      const waiting = yield* Effect.fork(client.get(URL))
      yield* Effect.yieldNow()
      yield* renewNow
      yield* Deferred.succeed(slow, undefined)
      assert.strictEqual((yield* Fiber.join(waiting)).status, 200)
      assert.strictEqual(yield* registrations, 2)
    }).pipe(Effect.provide(Run)))

  it.effect("hands the 401 on where the renewal fails, then waits 30 s, 60 s, and so on up to 10 min", () =>
    Effect.gen(function*() {
      const { layer } = stub("task-2")
      const client = yield* Effect.provide(authorized, layer)
      const { fail } = yield* Fakes.Registrations
      yield* laterThanYoung
      let expected = 1
      for (const pause of [30, 60, 120, 240, 480, 600, 600]) {
        yield* fail(failure)
        const response = yield* client.get(URL)
        assert.strictEqual(response.status, 401)
        assert.deepStrictEqual(yield* response.json, invalidTask)
        expected += 1
        assert.strictEqual(yield* registrations, expected, `the renewal before the pause of ${pause} s`)
        yield* TestClock.adjust(`${pause - 1} seconds`)
        assert.strictEqual((yield* client.get(URL)).status, 401)
        assert.strictEqual(yield* registrations, expected, `within the pause of ${pause} s`)
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual((yield* client.get(URL)).status, 200)
    }).pipe(Effect.provide(Run)))

  it.live(
    "of a server that answers task-invalid for ever: 10,000 requests in a minute, at most 3 registrations",
    () =>
      Effect.gen(function*() {
        const { layer, seen } = stub()
        const client = yield* Effect.provide(authorized, layer)
        for (; now < 60_000; now += 100) {
          const statuses = yield* Effect.forEach(
            Array.from({ length: 17 }),
            () => Effect.map(client.get(URL), (_) => _.status),
            { concurrency: "unbounded" }
          )
          assert.isTrue(statuses.every((status) => status === 401))
        }
        assert.isAtLeast(seen.length, 10_000)
        assert.isAtMost(yield* registrations, 3)
      }).pipe(Effect.provide(Run), Effect.withClock(clock))
  )

  /** A registration that answers renewals when the gate opens. */
  const gated = Effect.gen(function*() {
    const gate = yield* Deferred.make<void>()
    const started = yield* Deferred.make<void>()
    const Registration = Layer.effect(
      TaskRegistration.TaskRegistration,
      Effect.map(TaskRegistration.TaskRegistration, ({ register }): TaskRegistration.Service => ({
        register: (stale) =>
          Option.isNone(stale) ? register(stale) : Deferred.succeed(started, undefined).pipe(
            Effect.zipRight(Deferred.await(gate)),
            Effect.zipRight(register(stale))
          )
      }))
    ).pipe(Layer.provideMerge(Fakes.layerTaskRegistration))
    return { gate, started: Deferred.await(started), Registration }
  })

  it.effect("goes on for the others when requests are cancelled in the middle of a renewal", () =>
    Effect.gen(function*() {
      const { Registration, gate, started } = yield* gated
      const { layer, seen } = stub("task-2")
      yield* Effect.gen(function*() {
        const client = yield* Effect.provide(authorized, layer)
        yield* laterThanYoung
        const [first, second, third] = yield* Effect.all([
          Effect.fork(client.get(URL)),
          Effect.fork(client.get(URL)),
          Effect.fork(client.get(URL))
        ])
        yield* started
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(second)).status, 200)
        assert.strictEqual((yield* Fiber.join(third)).status, 200)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.await(first)))
        assert.strictEqual(yield* registrations, 2)
        assert.strictEqual(seen.length, 5)
      }).pipe(Effect.provide(layerRun("http://127.0.0.1:1", Registration)))
    }))

  it.effect("fails the waiting requests with the end of the run, where it ends in the middle of a renewal", () =>
    Effect.gen(function*() {
      const { Registration, started } = yield* gated
      const { layer, seen } = stub("task-2")
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layerRun("http://127.0.0.1:1", Registration), scope)
      const client = yield* Effect.provide(authorized, layer).pipe(Effect.provide(context))
      yield* laterThanYoung
      const waiting = yield* Effect.fork(Effect.flip(client.get(URL)))
      yield* started
      yield* Scope.close(scope, Exit.void)
      const error = yield* Fiber.join(waiting)
      assert.propertyVal(error, "reason", "NoCredential")
      assert.include(error.message, "its scope is closed")
      assert.strictEqual(seen.length, 1)
    }))

  it.effect("recovers at every hop of a redirect", () =>
    Effect.gen(function*() {
      const hops: Array<string> = []
      const inner = stub("task-2")
      const redirecting = HttpClient.make((request) =>
        Effect.suspend(() => {
          hops.push(request.url)
          return request.url.endsWith("/elsewhere")
            ? Effect.flatMap(HttpClient.HttpClient, (client) => client.execute(request)).pipe(
              Effect.provide(inner.layer)
            )
            : Effect.succeed(
              HttpClientResponse.fromWeb(
                request,
                new Response(null, { status: 307, headers: { location: "/codex/elsewhere" } })
              )
            )
        })
      )
      const { authorize } = yield* ProviderAuth.ProviderAuth
      yield* laterThanYoung
      const response = yield* HttpClient.followRedirects(authorize(redirecting)).get(URL)
      assert.strictEqual(response.status, 200)
      assert.strictEqual(hops.length, 3)
    }).pipe(Effect.provide(Run)))

  it.effect("works over a client that was made to fail on the status", () =>
    Effect.gen(function*() {
      const { layer } = stub("task-2")
      const { authorize } = yield* ProviderAuth.ProviderAuth
      const client = authorize(HttpClient.filterStatusOk(yield* Effect.provide(HttpClient.HttpClient, layer)))
      yield* laterThanYoung
      assert.strictEqual((yield* client.get(URL)).status, 200)
      yield* renewNow
      const error = yield* Effect.flip(client.get(URL))
      if (error._tag !== "ResponseError") return assert.fail(error._tag)
      assert.strictEqual(error.reason, "StatusCode")
      assert.deepStrictEqual(yield* error.response.json, invalidTask)
      assert.notProperty(error.request.headers, "authorization")
      assert.isTrue(Option.isSome(ProviderAuth.authorizationOf(error.response)))
    }).pipe(Effect.provide(Run)))

  it.effect("is for assertions: a bearer's 401 is the answer", () =>
    Effect.gen(function*() {
      const { layer, seen } = stub()
      const client = yield* Effect.provide(authorized, layer)
      assert.strictEqual((yield* client.get(`${Fakes.providerBase}/responses`)).status, 401)
      assert.strictEqual(seen.length, 1)
    }).pipe(Effect.provide(Layer.provide(
      ProviderAuth.layer(Fakes.layerRunAuthBearer("token-1")),
      Fakes.layerUrlDerivation
    ))))
})

describe("an agent that has been deleted", () => {
  const answering = (status: number, body: unknown) =>
    Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, Response.json(body, { status }))))
    )
  const deleted = {
    error: { message: "Agent runtime has been deleted.", code: "biscuit_baker_service_agent_error_status" },
    status: 403
  }

  it.effect.each([403, 400])("is a typed error that says what to do, with %i", (status) =>
    Effect.gen(function*() {
      const client = yield* Effect.provide(authorized, answering(status, deleted))
      const error = yield* Effect.flip(client.get(URL))
      assert.propertyVal(error, "reason", "AgentDeleted")
      assert.strictEqual(
        error.message,
        `GET ${URL} failed: the agent has been deleted; make a new agent, and a new run for it`
      )
    }).pipe(Effect.provide(Run)))

  const others: ReadonlyArray<readonly [what: string, status: number, body: { readonly error: object }]> = [
    ["a 403 of another kind", 403, { error: { code: "forbidden", message: "Agent runtime has been deleted." } }],
    ["a 403 of another state", 403, { error: { ...deleted.error, message: "Agent runtime is suspended." } }],
    ["another status", 404, deleted]
  ]
  for (const [what, status, body] of others) {
    it.effect(`is not what ${what} says, which is handed on whole`, () =>
      Effect.gen(function*() {
        const client = yield* Effect.provide(authorized, answering(status, body))
        const response = yield* client.get(URL)
        assert.strictEqual(response.status, status)
        assert.deepStrictEqual(yield* response.json, body)
      }).pipe(Effect.provide(Run)))
  }
})

describe("a body of a request whose task is renewed", () => {
  const form = new FormData()
  form.append("part", new Blob(["bytes"]), "file.txt")

  const sentAgain: ReadonlyArray<readonly [what: string, body: HttpBody.HttpBody, text: RegExp]> = [
    ["nothing", HttpBody.empty, /^$/],
    ["text", HttpBody.text("text"), /^text$/],
    ["JSON", HttpBody.unsafeJson({ a: 1 }), /^\{"a":1\}$/],
    ["bytes", HttpBody.uint8Array(new Uint8Array([1, 2, 3])), /^\x01\x02\x03$/],
    ["URL parameters", HttpBody.urlParams([["a", "1"]]), /^a=1$/],
    ["a form", HttpBody.formData(form), /filename="file.txt"[^]*bytes/],
    ["a raw text", HttpBody.raw("raw"), /^raw$/],
    ["a raw blob", HttpBody.raw(new Blob(["blob"])), /^blob$/],
    ["a raw buffer", HttpBody.raw(Buffer.from("buffer")), /^buffer$/]
  ]
  for (const [what, body, text] of sentAgain) {
    it.scoped(`is sent once more if it is ${what}`, () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serveTasks("task-2")
        yield* Effect.gen(function*() {
          const client = yield* authorized
          yield* laterThanYoung
          assert.strictEqual((yield* client.post(url, { body })).status, 200)
        }).pipe(Effect.provide(layerRun(origin)))
        assert.deepStrictEqual(requests.map((_) => _.task), ["task-1", "task-2"])
        for (const seen of requests) assert.match(seen.body.toString("latin1"), text)
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  }

  const bytes = () => new TextEncoder().encode("streamed")
  const sentOnce: ReadonlyArray<readonly [what: string, body: Effect.Effect<HttpBody.HttpBody>]> = [
    ["a stream", Effect.sync(() => HttpBody.stream(Stream.make(bytes())))],
    ["a file", Effect.provide(Effect.orDie(HttpBody.file("package.json")), NodeContext.layer)],
    ["a web file", Effect.sync(() => HttpBody.fileWeb(new File([bytes()], "file.txt")))],
    [
      "a raw iterator",
      Effect.sync(() =>
        HttpBody.raw((async function*() {
          yield bytes()
        })())
      )
    ]
  ]
  for (const [what, makeBody] of sentOnce) {
    it.scoped(`is not sent once more if it is ${what}: its 401 is the answer, and the next request has a new task`, () =>
      Effect.gen(function*() {
        const { origin, requests, url } = yield* serveTasks("task-2")
        yield* Effect.gen(function*() {
          const client = yield* authorized
          yield* laterThanYoung
          const response = yield* client.post(url, { body: yield* makeBody })
          assert.strictEqual(response.status, 401)
          assert.deepStrictEqual(yield* response.json, invalidTask)
          assert.strictEqual((yield* client.get(url)).status, 200)
          assert.strictEqual(yield* registrations, 2)
        }).pipe(Effect.provide(layerRun(origin)))
        assert.deepStrictEqual(requests.map((_) => _.task), ["task-1", "task-2"])
      }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
  }
})
