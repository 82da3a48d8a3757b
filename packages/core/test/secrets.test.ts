/** What a run knows and nobody may see, looked for in everything that it shows. */
import {
  AgentAssertion,
  AgentIdentity,
  AgentKey,
  AssertionHeader,
  ProviderAuth,
  Run,
  RunAuth,
  RunTask,
  Signing,
  TaskRegistration,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory } from "@agent-identity/server"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Option, Redacted } from "effect"
import { assertClean, observer, shown, spellings } from "./leaks.ts"

const accountId = "account-of-a-person"

const makeWorld = Effect.gen(function*() {
  const key = yield* AgentKey.generate()
  const pkcs8 = AgentKey.toPkcs8(key)
  const seed = Redacted.value(key.seed)
  const secrets = [
    Redacted.value(pkcs8),
    ...spellings(seed),
    ...spellings(Buffer.from(Redacted.value(pkcs8), "base64"))
  ]

  const { lines, observe, spans } = observer()

  const Identity = Layer.effect(
    AgentIdentity.AgentIdentity,
    Effect.gen(function*() {
      const identity = yield* AgentIdentity.make({ agentRuntimeId: "agent-1", privateKey: pkcs8, accountId })
      const directory = yield* AgentDirectory.AgentDirectory
      yield* directory.putAgent({ agentRuntimeId: identity.agentRuntimeId, publicKey: identity.signer.publicKey })
      return identity
    })
  )
  const World = Layer.provide(Run.layer(Identity), NodeHttpClient.layerUndici)
  return { key, pkcs8, secrets, lines, spans, observe, World }
})

describe("no secret", () => {
  it.effect("is in a service, a value, a log line, a span, a response or an error of a run", () =>
    Effect.gen(function*() {
      const { key, lines, observe, pkcs8, secrets, spans, World } = yield* makeWorld
      yield* observe(
        Effect.gen(function*() {
          const server = yield* ScriptedAuthApi
          const client = yield* HttpClient.HttpClient
          const assertion = yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
          const token = Redacted.value(assertion.header).slice("AgentAssertion ".length)
          const { signature } = Either.getOrThrow(AssertionHeader.decode(Redacted.value(assertion.header)))
          const all = [...secrets, token, ...spellings(signature)]

          const request = HttpClientRequest.get(`${server.origin}/backend-api/codex/responses`)
          const response = yield* client.execute(request)
          yield* response.text
          yield* server.script({ _tag: "HalfBody" })
          const broken = yield* Effect.flip(Effect.flatMap(client.execute(request), (_) => _.text))
          yield* server.script({ _tag: "Drop" })
          const dropped = yield* Effect.flip(client.execute(request))
          const present = yield* Effect.flip(client.get(`${server.origin}/backend-api/codex`, {
            headers: { authorization: "Bearer of-the-app" }
          }))
          yield* server.script({ _tag: "Status", status: 400, body: `${token} ${Redacted.value(assertion.header)}` })
          const { register } = yield* TaskRegistration.TaskRegistration
          const rejected = yield* Effect.flip(register(Option.none()))

          const values: Record<string, unknown> = {
            key,
            pkcs8,
            assertion,
            response,
            broken,
            dropped,
            present,
            rejected,
            client,
            credential: yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current),
            identity: yield* AgentIdentity.AgentIdentity,
            signing: yield* Signing.Signing,
            task: yield* RunTask.RunTask,
            auth: yield* ProviderAuth.ProviderAuth,
            urls: yield* UrlDerivation.UrlDerivation,
            registration: yield* TaskRegistration.TaskRegistration,
            assertions: yield* AgentAssertion.AgentAssertion,
            exit: yield* Effect.exit(client.execute(HttpClientRequest.get("http://127.0.0.1:1/")))
          }
          for (const [name, value] of Object.entries(values)) {
            assertClean(name, shown(value), all)
            if (name === "present") assertClean(name, shown((value as { readonly cause: unknown }).cause), all)
          }
          assertClean("a log line", lines.join("\n"), [...all, accountId])
          assertClean("a span", spans.join("\n"), [...all, accountId, "of-the-app"])
          for (const [name, value] of Object.entries({ response, broken, dropped, present, rejected })) {
            assertClean(name, shown(value), [accountId])
          }
          assert.isAbove(lines.length, 0)
          assert.include(shown(spans), "http.request.header.authorization")
          assert.include(shown(spans), "TaskRegistration.register")
        }).pipe(Effect.provide(World))
      )
      // The server is not observed: it is the one that is to see the header.
    }).pipe(Effect.provide(Layer.provideMerge(Scripted.layer, NodeSigning.layer))))

  it.effect("is in what the printers of this test would find, were it not hidden: they find it where it is not", () =>
    Effect.gen(function*() {
      const { key, pkcs8, secrets } = yield* makeWorld
      assert.throws(() => assertClean("base64", shown({ a: [Redacted.value(pkcs8)] }), secrets))
      assert.throws(() => assertClean("bytes", shown(Array.from(Redacted.value(key.seed))), secrets))
      assert.throws(() => assertClean("bytes", shown(Redacted.value(key.seed)), secrets))
      assert.throws(() => assertClean("a buffer", shown(Buffer.from(Redacted.value(key.seed))), secrets))
    }))

  it.effect("is in an error about a key that was refused", () =>
    Effect.gen(function*() {
      const { pkcs8, secrets } = yield* makeWorld
      const text = Redacted.value(pkcs8)
      const pem = `-----BEGIN PRIVATE KEY-----\n${text}\n-----END PRIVATE KEY-----`
      const jwk = `{"d":"${Buffer.from(text, "base64").subarray(16).toString("base64url")}"}`
      for (const swapped of [text, `${text}\n`, ` ${text} `, pem, jwk]) {
        for (const options of [{ agentRuntimeId: swapped }, { agentRuntimeId: "agent-1", accountId: swapped }]) {
          const made = yield* Effect.either(AgentIdentity.make({ privateKey: pkcs8, ...options }))
          assert.isTrue(Either.isLeft(made))
          assertClean("AgentIdentityError", shown(made), [...secrets, text.slice(8, 40)])
        }
      }
      let refused = 0
      const inputs = [` ${text}`, `${text}=`, `${text.slice(0, -4)}`, `-${text}`, text.replace("MC4C", "MC4D")]
      for (const input of inputs) {
        const read = AgentKey.fromPkcs8(Redacted.make(input))
        const made = yield* Effect.either(
          AgentIdentity.make({ agentRuntimeId: "agent-1", privateKey: Redacted.make(input) })
        )
        if (Either.isRight(read)) continue
        refused++
        assertClean("AgentKeyError", shown(read.left), [...secrets, text.slice(8, 40)])
        assertClean("AgentIdentityError", shown(made), [...secrets, text.slice(8, 40)])
      }
      assert.strictEqual(refused, 4)
    }).pipe(Effect.provide(NodeSigning.layer)))
})
