import { AssertionHeader, ProviderAuth, RunAuth, UrlDerivation } from "@agent-identity/core"
import { AgentProvisioning, AgentRegistration, ChatGptLogin, ChatGptRun } from "@agent-identity/login"
import { Fakes } from "@agent-identity/testing"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Layer, Option, Redacted, TestClock } from "effect"
import { driven } from "../../core/test/utils.ts"
import { loggedOut, login, Person, process, World } from "./login.ts"

const unavailable: Scripted.Fault = { _tag: "Status", status: 503 }

const script = (fault: Scripted.Fault, times: number) =>
  Effect.flatMap(ScriptedAuthApi, (server) => server.script(fault, times))
const calls = Effect.map(Effect.flatMap(ScriptedAuthApi, (_) => _.requests), (_) => _.length)
const become = (...[who]: Parameters<Context.Tag.Service<Person>["become"]>) =>
  Effect.flatMap(Person, (_) => _.become(who))

const Login = Layer.merge(
  Layer.service(AgentProvisioning.AgentProvisioning),
  Layer.service(ChatGptLogin.ChatGptLogin)
)

/** A session: another run within a process. */
const session = Effect.map(
  driven(Effect.suspend(() => {
    const auth = ChatGptRun.layerAuth(Login)
    return Layer.build(Layer.merge(ProviderAuth.layer(auth), auth))
  })),
  (context) => ({
    auth: Context.get(context, RunAuth.RunAuth),
    /** The headers that a request below the provider's base is sent with. */
    request: (path: string, answer = () => new Response()) =>
      Effect.gen(function*() {
        const { environment } = yield* UrlDerivation.UrlDerivation
        let headers: Readonly<Record<string, string>> = {}
        const stub = HttpClient.make((request) =>
          Effect.sync(() => {
            headers = { ...request.headers }
            return HttpClientResponse.fromWeb(request, answer())
          })
        )
        yield* Context.get(context, ProviderAuth.ProviderAuth).authorize(stub).get(
          `${environment.providers[0]}${path}`
        )
        return headers
      })
  })
)

const Process = Layer.provideMerge(process(), World)

describe("ChatGptRun.layerAuth", () => {
  it.scoped("sends the assertion of the login's agent, with the account", () =>
    Effect.gen(function*() {
      yield* become({ ...login(), fedramp: true })
      const { auth, request } = yield* session
      const sent = yield* request("/responses")
      assert.match(sent.authorization!, /^AgentAssertion [\w-]+$/)
      assert.strictEqual(sent["chatgpt-account-id"], "acct-1")
      assert.strictEqual(sent["x-openai-fedramp"], "true")
      const credential = yield* auth.current
      const { identity } = yield* Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent)
      assert.deepInclude(credential, { _tag: "Assertion", agentRuntimeId: identity.agentRuntimeId })
      assert.strictEqual(yield* calls, 2)
    }).pipe(Effect.provide(Process)))

  it.scoped("renews its task as every run does, and keeps the new one", () =>
    Effect.gen(function*() {
      const { auth } = yield* session
      const first = yield* auth.current
      if (first._tag !== "Assertion") return assert.fail(first._tag)
      yield* TestClock.adjust("31 seconds")
      const next = Option.getOrThrow(yield* driven(auth.recover(first.taskId)))
      assert.notStrictEqual(next, first.taskId)
      const { tasks } = yield* Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent)
      assert.strictEqual((yield* tasks.register(Option.none())).taskId, next)
    }).pipe(Effect.provide(Process)))

  it.scoped("falls back on the login's bearer token where the agent's registration is unavailable", () =>
    Effect.gen(function*() {
      yield* become({ ...login(), fedramp: true })
      yield* script(unavailable, 3)
      const { auth, request } = yield* session
      assert.strictEqual(yield* calls, 3)
      const sent = yield* request("/responses")
      assert.strictEqual(sent.authorization, `Bearer ${Scripted.bearerToken}`)
      assert.strictEqual(sent["chatgpt-account-id"], "acct-1")
      assert.strictEqual(sent["x-openai-fedramp"], "true")
      // Compaction is a request like others, and realtime too.
      assert.strictEqual((yield* request("/responses/compact")).authorization, sent.authorization)
      const credential = yield* auth.current
      assert.strictEqual(credential._tag, "Bearer")
      assert.include((credential as RunAuth.Bearer).reason, "status 503")
    }).pipe(Effect.provide(Process)))

  it.scoped("falls back where the task's registration is unavailable", () =>
    Effect.gen(function*() {
      yield* Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent)
      yield* script(unavailable, 3)
      const { auth } = yield* session
      assert.strictEqual((yield* auth.current)._tag, "Bearer")
      assert.strictEqual(yield* calls, 4)
    }).pipe(Effect.provide(Process)))

  it.scoped("stays with what it fell back on for the whole run", () =>
    Effect.gen(function*() {
      yield* script(unavailable, 3)
      const { auth } = yield* session
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* auth.current)._tag, "Bearer")
      assert.strictEqual(yield* calls, 3)
    }).pipe(Effect.provide(Process)))

  it.scoped("shares the cooldown with the other runs of the process, for an hour", () =>
    Effect.gen(function*() {
      yield* script(unavailable, 3)
      yield* session
      assert.strictEqual((yield* (yield* session).auth.current)._tag, "Bearer")
      assert.strictEqual(yield* calls, 3)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* (yield* session).auth.current)._tag, "Assertion")
      assert.strictEqual(yield* calls, 5)
    }).pipe(Effect.provide(Process)))

  it.scoped("follows refreshes of the token, and fails requests after a logout or a switch of the account", () =>
    Effect.gen(function*() {
      yield* script(unavailable, 3)
      const { auth, request } = yield* session
      yield* become(login("acct-1", "user-1", "refreshed"))
      assert.strictEqual((yield* request("/responses")).authorization, "Bearer refreshed")
      for (const change of [login("acct-2"), login("acct-1", "user-2"), loggedOut]) {
        yield* become(change)
        const error = yield* Effect.flip(request("/responses"))
        assert.propertyVal(error, "reason", "NoCredential")
        assert.strictEqual((yield* Effect.flip(auth.current)).reason, change === loggedOut ? "NoLogin" : "StaleAuth")
      }
      yield* become(login())
      assert.strictEqual((yield* auth.current)._tag, "Bearer")
    }).pipe(Effect.provide(Process)))

  it.scoped("sends the bearer token under JwtOnly, and registers nothing", () =>
    Effect.gen(function*() {
      const { auth } = yield* session
      const credential = yield* auth.current
      if (credential._tag !== "Bearer") return assert.fail(credential._tag)
      assert.strictEqual(Redacted.value(credential.token), Scripted.bearerToken)
      assert.include(credential.reason, "JwtOnly")
      assert.strictEqual(yield* calls, 0)
    }).pipe(Effect.provide(Layer.provideMerge(process({ policy: "JwtOnly" }), World))))

  it.scoped("is an error where the registration is refused, and no bearer is sent", () =>
    Effect.gen(function*() {
      yield* script({ _tag: "Status", status: 403 }, 1)
      const error = yield* Effect.flip(session)
      assert.deepInclude(error, { _tag: "AgentProvisioningError", reason: "Refused" })
      assert.strictEqual(yield* calls, 1)
    }).pipe(Effect.provide(Process)))

  it.scoped("is an error where the task is refused", () =>
    Effect.gen(function*() {
      yield* Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent)
      yield* script({ _tag: "Status", status: 403 }, 1)
      const error = yield* Effect.flip(session)
      assert.deepInclude(error, { _tag: "TaskRegistrationError", status: 403 })
      assert.deepInclude(yield* Effect.flip(session), { _tag: "AgentProvisioningError", reason: "Refused" })
      assert.strictEqual(yield* calls, 2)
    }).pipe(Effect.provide(Process)))

  for (const reason of ["NoLogin", "StaleAuth", "Store", "KeyFailed", "Refused"] as const) {
    it.scoped(`is an error at ${reason}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Layer.build(ChatGptRun.layerAuth(Login)))
        assert.deepInclude(error, { _tag: "AgentProvisioningError", reason })
      }).pipe(Effect.provide([Fakes.layerAgentProvisioningFails(reason), Fakes.layerChatGptLogin])))
  }

  it.scoped("needs a login", () =>
    Effect.gen(function*() {
      yield* become(loggedOut)
      assert.deepInclude(yield* Effect.flip(session), { _tag: "AgentProvisioningError", reason: "NoLogin" })
    }).pipe(Effect.provide(Process)))

  it.scoped("makes room for a new agent where the provider says that this one is deleted", () =>
    Effect.gen(function*() {
      const { request } = yield* session
      const gone = {
        error: { code: "biscuit_baker_service_agent_error_status", message: "Agent runtime has been deleted." }
      }
      const error = yield* Effect.flip(request("/responses", () => Response.json(gone, { status: 403 })))
      assert.deepInclude(error, { _tag: "ProviderAuthError", reason: "AgentDeleted" })
      yield* session
      assert.strictEqual(yield* calls, 4)
    }).pipe(Effect.provide(Process)))

  it.effect("is over when its scope closes", () =>
    Effect.gen(function*() {
      const { auth } = yield* Effect.scoped(session)
      assert.strictEqual((yield* Effect.flip(auth.current)).reason, "Closed")
    }).pipe(Effect.provide(Process)))

  it.scoped("takes fakes", () =>
    Effect.gen(function*() {
      const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
      assert.strictEqual(
        credential._tag === "Assertion" ? String(credential.agentRuntimeId) : credential._tag,
        Fakes.agentRuntimeId
      )
    }).pipe(Effect.provide(
      ChatGptRun.layerAuth(Layer.merge(Fakes.layerAgentProvisioning, Fakes.layerChatGptLogin))
    )))

  it.scoped("provisions an agent over fakes", () =>
    Effect.gen(function*() {
      const { agent } = yield* AgentProvisioning.AgentProvisioning
      assert.strictEqual((yield* agent).identity.agentRuntimeId, Fakes.agentRuntimeId)
    }).pipe(Effect.provide(
      AgentProvisioning.layer({
        policy: "ChatGptAuth",
        billOfMaterials: AgentRegistration.billOfMaterials({
          agentVersion: "1",
          sessionSource: "cli",
          platform: "linux"
        })
      }).pipe(
        Layer.provide([Fakes.layerAgentRegistration, Fakes.layerCredentialStore, Fakes.layerChatGptLogin]),
        Layer.provide([Fakes.layerSigning, Fakes.layerUrlDerivation]),
        Layer.provide(Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.never)))
      )
    )))
})

describe("two logins in one build", () => {
  class One extends Context.Tag("test/One")<One, HttpClient.HttpClient>() {}
  class Two extends Context.Tag("test/Two")<Two, HttpClient.HttpClient>() {}

  /** A run of this login, all of its own. */
  const runOf = (who: ChatGptLogin.Login) => {
    const theirs = Layer.succeed(ChatGptLogin.ChatGptLogin, { current: Effect.succeed(who) })
    return ChatGptRun.layer(Layer.merge(Layer.provide(process(), theirs), theirs))
  }

  it.scoped("each send the assertion of their own agent", () =>
    Effect.gen(function*() {
      const { environment } = yield* UrlDerivation.UrlDerivation
      const server = yield* ScriptedAuthApi
      const clients = yield* Layer.build(Layer.merge(
        Layer.provide(Layer.effect(One, HttpClient.HttpClient), runOf(login("acct-1", "user-1"))),
        Layer.provide(Layer.effect(Two, HttpClient.HttpClient), runOf(login("acct-2", "user-2")))
      ))
      const url = `${environment.providers[0]}/responses`
      yield* Context.get(clients, One).get(url)
      yield* Context.get(clients, Two).get(url)
      const [one, two] = (yield* server.requests).slice(-2).map(({ headers }) => ({
        agent: Either.getOrThrow(AssertionHeader.decode(headers.authorization ?? "")).agentRuntimeId,
        account: headers["chatgpt-account-id"]
      }))
      assert.notStrictEqual(one?.agent, two?.agent)
      assert.deepStrictEqual([one?.account, two?.account], ["acct-1", "acct-2"])
    }).pipe(Effect.provide(World)))
})
