/**
 * Services that an app holds for longer than one run: a key set, a command that prints a token, the provisioning of a
 * login.
 */
import * as Jwks from "@agent-identity/core/Jwks"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentProvisioning from "@agent-identity/login/AgentProvisioning"
import * as AgentRegistration from "@agent-identity/login/AgentRegistration"
import * as AuthCommand from "@agent-identity/node/AuthCommand"
import * as AuthFile from "@agent-identity/node/AuthFile"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import { NodeHttpClient } from "@effect/platform-node"
import { Context, Effect, Fiber, Layer, Redacted } from "effect"
import { existsSync } from "node:fs"
import { serve } from "./commands.mjs"

class Command extends Context.Tag("Command")() {}

const steps = {
  find: ({ find }) =>
    Effect.map(Effect.flatMap(Jwks.Jwks, (jwks) => jwks.find(find)), (keys) => ({ keys: keys.map(({ kid }) => kid) })),
  token: () => Effect.map(Effect.flatten(Command), (token) => ({ text: Redacted.value(token) })),
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

/** A command prints the id of its own process: each time it runs another one. */
const layerCommand = Layer.effect(Command, AuthCommand.make({ command: "sh", args: ["-c", "echo token-$$"] }))

const layerOf = ({ file = "/nowhere/auth.json", keySet, urls }) => {
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
  return Layer.mergeAll(Keys, layerCommand, Provisioning).pipe(Layer.provide(NodeHttpClient.layerUndici))
}

serve(layerOf, steps)
