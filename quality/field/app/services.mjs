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
import { Context, Effect, Layer, Redacted } from "effect"
import { serve } from "./commands.mjs"

class Command extends Context.Tag("Command")() {}

const steps = {
  find: ({ find }) =>
    Effect.map(Effect.flatMap(Jwks.Jwks, (jwks) => jwks.find(find)), (keys) => ({ keys: keys.map(({ kid }) => kid) })),
  token: () => Effect.map(Effect.flatten(Command), (token) => ({ text: Redacted.value(token) })),
  agent: () =>
    Effect.map(
      Effect.flatMap(AgentProvisioning.AgentProvisioning, ({ agent }) => agent),
      ({ identity }) => ({ text: identity.agentRuntimeId })
    )
}

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
