import * as Core from "@agent-identity/core"
import {
  AgentAssertion,
  AgentIdentity,
  AgentIdentityJwt,
  AgentKey,
  AgentRuntimeId,
  AssertionHeader,
  ProviderAuth,
  Run,
  RunAuth,
  RunTask,
  SignedPayload,
  Signing,
  TaskId,
  TaskRegistration,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Either, Layer, Option, Redacted, TestClock } from "effect"

type Services =
  | Signing.Signing
  | AgentIdentity.AgentIdentity
  | UrlDerivation.UrlDerivation
  | TaskRegistration.TaskRegistration
  | RunTask.RunTask
  | AgentAssertion.AgentAssertion
  | RunAuth.RunAuth
  | ProviderAuth.ProviderAuth

/** The services as an app has them, over the native signing layer and a server. */
const real = (server: typeof SocketlessAuthApi.layer) =>
  Run.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-real" })).pipe(
    Layer.provideMerge(server),
    Layer.provideMerge(NodeSigning.layer)
  )

const layers: ReadonlyArray<readonly [name: string, layer: Layer.Layer<Services, unknown>]> = [
  ["the fakes", Fakes.layer],
  ["the real services without a socket", real(SocketlessAuthApi.layer)],
  [
    "the real services over loopback",
    real(Layer.merge(Layer.orDie(Scripted.layer), NodeHttpClient.layerUndici))
  ]
]

for (const [name, layer] of layers) {
  describe(`a run with ${name}`, () => {
    it.effect("has one task, until it is renewed", () =>
      Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const first = yield* run.current
        assert.deepStrictEqual(yield* run.current, first)
        const second = yield* run.renew(first)
        assert.notStrictEqual(second, first)
        assert.strictEqual(yield* run.renew(first), second)
        assert.deepStrictEqual(yield* run.current, second)
      }).pipe(Effect.provide(layer)))

    it.effect("registers a task of its own at every call", () =>
      Effect.gen(function*() {
        const { register } = yield* TaskRegistration.TaskRegistration
        const tasks = yield* Effect.all([register(Option.none()), register(Option.some(TaskId.TaskId.make("old")))])
        assert.notStrictEqual(tasks[0].taskId, tasks[1].taskId)
      }).pipe(Effect.provide(layer)))

    it.effect("asserts its agent and task, with a signature that verifies", () =>
      Effect.gen(function*() {
        const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
        const { current } = yield* AgentAssertion.AgentAssertion
        const assertion = yield* current
        assert.strictEqual(assertion.agentRuntimeId, agentRuntimeId)
        assert.strictEqual(assertion.taskId, yield* (yield* RunTask.RunTask).current)
        const { signature, taskId, timestamp } = Either.getOrThrow(
          AssertionHeader.decode(Redacted.value(assertion.header))
        )
        const verifier = yield* Effect.flatMap(Signing.Signing, (_) => _.importPublicKey(signer.publicKey))
        const payload = SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp)
        assert.isTrue(yield* verifier.verify(payload, signature))
        assert.isFalse(yield* verifier.verify(payload, signature.map((byte) => byte ^ 1)))
        assert.isFalse(yield* verifier.verify(payload.slice(1), signature))
        assert.strictEqual(yield* current, assertion)
        yield* TestClock.adjust("1 second")
        assert.notStrictEqual(Redacted.value((yield* current).header), Redacted.value(assertion.header))
      }).pipe(Effect.provide(layer)))

    it.effect("sends its assertion to its provider, and nothing elsewhere", () =>
      Effect.gen(function*() {
        const sent: Array<string | undefined> = []
        const stub = HttpClient.make((request) =>
          Effect.sync(() => {
            sent.push(request.headers.authorization)
            return HttpClientResponse.fromWeb(request, new Response())
          })
        )
        const { authorize } = yield* ProviderAuth.ProviderAuth
        const { environment } = yield* UrlDerivation.UrlDerivation
        const { header } = yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
        yield* authorize(stub).get(`${environment.providers[0]}/responses`)
        yield* authorize(stub).get("https://elsewhere.test/responses")
        assert.deepStrictEqual(sent, [Redacted.value(header), undefined])
        const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
        assert.strictEqual(credential._tag, "Assertion")
      }).pipe(Effect.provide(layer)))

    it.effect("is over when its scope closes", () =>
      Effect.gen(function*() {
        const context = yield* Effect.scoped(Layer.build(layer))
        const error = yield* Effect.flip(Context.get(context, AgentAssertion.AgentAssertion).current)
        assert.strictEqual(error.reason, "Closed")
      }))
  })
}

describe("the fakes", () => {
  it.effect("stand in for every service that core exports", () =>
    Effect.gen(function*() {
      const context = yield* Layer.build(Fakes.layer)
      const tags = Object.values(Core).flatMap((module) => Object.values(module)).filter(Context.isTag)
      assert.isAtLeast(tags.length, 8)
      for (const tag of tags) assert.isTrue(context.unsafeMap.has(tag.key), `no fake for ${tag.key}`)
    }).pipe(Effect.scoped))

  it.effect("stay fakes beside the real layers that they are made of", () =>
    Effect.gen(function*() {
      const { current } = yield* RunAuth.RunAuth
      assert.deepStrictEqual(RunAuth.authorizationOf(yield* current), {
        _tag: "Assertion",
        agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(Fakes.agentRuntimeId),
        taskId: TaskId.TaskId.make("task-1")
      })
    }).pipe(
      Effect.provide(Layer.provideMerge(Fakes.layerRunAuth, real(SocketlessAuthApi.layer)))
    ))

  it.effect("answer the same every time", () =>
    Effect.gen(function*() {
      const header = Effect.flatMap(AgentAssertion.AgentAssertion, (_) =>
        Effect.map(_.current, ({ header }) => Redacted.value(header)))
      const headers = yield* Effect.all([
        Effect.provide(header, Fakes.layerAgentAssertion),
        Effect.provide(header, Fakes.layer)
      ])
      assert.strictEqual(headers[0], headers[1])
    }))

  it.effect("record the calls of a registration, and fail when told to", () =>
    Effect.gen(function*() {
      const { calls, fail } = yield* Fakes.Registrations
      const { register } = yield* TaskRegistration.TaskRegistration
      const error = new TaskRegistration.TaskRegistrationError({
        reason: "Throttled",
        agentRuntimeId: Fakes.agentRuntimeId,
        url: "https://authapi.test/",
        detail: "try again in 60 s",
        retryAfterMillis: 60_000,
        attempts: 1
      })
      yield* fail(error)
      assert.strictEqual(yield* Effect.flip(register(Option.none())), error)
      assert.strictEqual((yield* register(Option.none())).taskId, "task-1")
      assert.deepStrictEqual(yield* calls, [Option.none(), Option.none()])
    }).pipe(Effect.provide(Fakes.layerTaskRegistration)))

  it.effect("registers no task for the reason that is asked for, at the start of a run and at a renewal", () =>
    Effect.gen(function*() {
      for (const reason of ["Throttled", "AgentDeleted"] as const) {
        const { register } = yield* Effect.provide(
          TaskRegistration.TaskRegistration,
          Fakes.layerTaskRegistrationFails(reason)
        )
        for (const stale of [Option.none(), Option.some(TaskId.TaskId.make("task-1"))]) {
          const error = yield* Effect.flip(register(stale))
          assert.deepStrictEqual([error._tag, error.reason], ["TaskRegistrationError", reason])
          assert.strictEqual(error.retryable, reason === "Throttled")
          assert.strictEqual(error.message, "No task for agent \"agent-fake\": a fake")
        }
      }
    }))

  it.effect("fail where they are made to: no signature, a closed run, another bearer", () =>
    Effect.gen(function*() {
      const current = Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
      assert.strictEqual(
        (yield* Effect.flip(Effect.provide(current, Fakes.layerAgentAssertionFails))).reason,
        "SigningFailed"
      )
      const closed = yield* Effect.provide(RunTask.RunTask, Fakes.layerRunTaskClosed)
      assert.strictEqual((yield* Effect.flip(closed.current)).reason, "Closed")
      const credential = yield* Effect.provide(
        Effect.flatMap(RunAuth.RunAuth, (_) => _.current),
        Fakes.layerRunAuthBearer("token-1")
      )
      assert.deepInclude(credential, { _tag: "Bearer", reason: "a fake" })
    }))

  it.effect("take every token for the fake agent's, or none", () =>
    Effect.gen(function*() {
      const token = Redacted.make("any")
      const Identity = AgentIdentityJwt.layerIdentity(token).pipe(Layer.provide(Fakes.layerSigning))
      const identity = yield* Effect.provide(
        AgentIdentity.AgentIdentity,
        Layer.provide(Identity, Fakes.layerAgentIdentityJwt)
      )
      assert.strictEqual(identity.agentRuntimeId, "agent-fake")
      assert.strictEqual(identity.account?.id, "account-fake")
      const refused = Layer.provide(Identity, Fakes.layerAgentIdentityJwtFails("Expired"))
      assert.propertyVal(yield* Effect.flip(Effect.provide(AgentIdentity.AgentIdentity, refused)), "reason", "Expired")
      const unknown = Layer.provide(Identity, AgentIdentityJwt.layer(Fakes.layerJwks))
      assert.propertyVal(
        yield* Effect.flip(Effect.provide(AgentIdentity.AgentIdentity, unknown)),
        "reason",
        "Malformed"
      )
    }))

  it.effect("import keys as the real layers do: a key of its own, and no other", () =>
    Effect.gen(function*() {
      const signing = yield* Signing.Signing
      const key = yield* AgentKey.generate()
      const { publicKey } = yield* signing.importPrivateKey(key)
      yield* signing.importPrivateKey({ ...key, publicKey })
      const mismatch = yield* Effect.flip(signing.importPrivateKey({ ...key, publicKey: new Uint8Array(32) }))
      assert.strictEqual(mismatch.reason, "PublicKeyMismatch")
      const invalid = yield* Effect.flip(signing.importPublicKey(publicKey.slice(1)))
      assert.strictEqual(invalid.reason, "InvalidPublicKey")
    }).pipe(Effect.provide(Fakes.layerSigning)))
})
