/**
 * Services that an app holds for longer than one run: a key set, a command that prints a token, the provisioning of a
 * login.
 */
import * as Jwks from "@agent-identity/core/Jwks"
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentProvisioning from "@agent-identity/login/AgentProvisioning"
import * as AgentRegistration from "@agent-identity/login/AgentRegistration"
import * as AuthCommand from "@agent-identity/node/AuthCommand"
import * as AuthFile from "@agent-identity/node/AuthFile"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import { HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Context, Effect, Fiber, Layer, Redacted } from "effect"
import { existsSync } from "node:fs"
import { serve } from "./commands.mjs"

class Command extends Context.Tag("Command")() {}

/** The client of a provider whose token the command prints. */
class Own extends Context.Tag("Own")() {}

const steps = {
  find: ({ find }) =>
    Effect.map(Effect.flatMap(Jwks.Jwks, (jwks) => jwks.find(find)), (keys) => ({ keys: keys.map(({ kid }) => kid) })),
  token: () =>
    Effect.map(Effect.flatMap(Command, ({ current }) => current), (token) => ({ text: Redacted.value(token) })),
  /** So many requests at once to the provider whose token the command prints. */
  ask: ({ ask, body, times = 1 }) =>
    Effect.gen(function*() {
      const client = yield* Own
      const request = HttpClientRequest.post(ask).pipe(HttpClientRequest.bodyUnsafeJson(body ?? {}))
      const answers = yield* Effect.all(
        Array.from({ length: times }, () =>
          Effect.flatMap(client.execute(request), ({ status, text }) =>
            Effect.map(text, (text) => ({ status, text })))),
        { concurrency: "unbounded" }
      )
      return {
        ...answers[0],
        statuses: answers.map(({ status }) =>
          status
        )
      }
    }),
  agent: () => agent,
  /** Asks for an agent and goes on; `ended` waits for what comes of it. */
  begin: ({ begin }) => Effect.map(Effect.forkDaemon(agent), (fiber) => void begun.set(begin, fiber)),
  ended: ({ ended }) => Effect.flatMap(Effect.sync(() => begun.get(ended)), Fiber.join),
  /** Waits until there is such a file. */
  until: ({ until }) =>
    Effect.as(Effect.repeat(Effect.sleep(20), { until: () => Effect.sync(() => existsSync(until)) }), {})
}

const agent = Effect.map(
  Effect.flatMap(AgentProvisioning.AgentProvisioning, ({ agent }) => agent),
  ({ identity }) => ({ text: identity.agentRuntimeId, account: identity.account.id })
)

const begun = new Map()

/** Unless a test says otherwise it prints the id of its own process: each time it runs another one. */
const layerCommand = (script = "echo token-$$") =>
  Layer.effect(Command, AuthCommand.make({ command: "sh", args: ["-c", script] }))

const layerOwn = ({ origin }) =>
  Layer.effect(
    Own,
    Effect.gen(function*() {
      const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
      const provider = { name: "gateway", baseUrl: `${origin}/gateway`, authCommand: yield* Command }
      return yield* authorizeProvider(yield* HttpClient.HttpClient, provider)
    })
  )

const layerOf = ({ file = "/nowhere/auth.json", keySet, script, urls }) => {
  const Urls = UrlDerivation.layerCustom({
    authApi: urls.authApi,
    providers: [urls.provider],
    jwksBase: urls.issuer,
    loopbackHttp: true
  })
  const Keys = keySet === undefined || !("layerWith" in Jwks) ? Jwks.layer(Urls) : Jwks.layerWith(Urls, keySet)
  const billOfMaterials = AgentRegistration.billOfMaterials({
    agentVersion: "1.2.3",
    sessionSource: "cli",
    platform: process.platform
  })
  const Provisioning = AgentProvisioning.layer({ policy: "ChatGptAuth", billOfMaterials }).pipe(
    Layer.provide([AgentRegistration.layer(Urls), AuthFile.layerCredentialStore({ file }), Urls]),
    Layer.provide([AuthFile.layerLogin({ file }), NodeSigning.layer])
  )
  const Auth = ProviderAuth.layer(RunAuth.layerNone("a test")).pipe(Layer.provide(Urls))
  const Provider = layerOwn(urls).pipe(Layer.provide(Auth), Layer.provideMerge(layerCommand(script)))
  return Layer.mergeAll(Keys, Provider, Provisioning).pipe(Layer.provide(NodeHttpClient.layerUndici))
}

serve(layerOf, steps)
