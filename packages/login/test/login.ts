/** A person who logs in and out, and the agents that are made of their logins by a scripted AuthAPI. */
import { AccountId, UrlDerivation } from "@agent-identity/core"
import { AgentProvisioning, AgentRegistration, ChatGptLogin, CredentialStore } from "@agent-identity/login"
import { NodeSigning } from "@agent-identity/node"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { NodeHttpClient } from "@effect/platform-node"
import { Context, Effect, Layer, Redacted } from "effect"

export const login = (
  accountId = "acct-1",
  chatgptUserId = "user-1",
  token = Scripted.bearerToken
): ChatGptLogin.Login => ({
  binding: { accountId: AccountId.AccountId.make(accountId), chatgptUserId },
  fedramp: false,
  accessToken: Redacted.make(token)
})

export const loggedOut = new ChatGptLogin.ChatGptLoginError({
  reason: "LoggedOut",
  source: "a test",
  detail: "nobody is logged in"
})

export const billOfMaterials: AgentRegistration.BillOfMaterials = AgentRegistration.billOfMaterials({
  agentVersion: "1.2.3",
  sessionSource: "cli",
  platform: "linux"
})

export class Person extends Context.Tag("test/Person")<Person, {
  readonly become: (login: ChatGptLogin.Login | ChatGptLogin.ChatGptLoginError) => Effect.Effect<void>
}>() {}

const layerPerson: Layer.Layer<Person | ChatGptLogin.ChatGptLogin> = Layer.effectContext(Effect.sync(() => {
  let current: ChatGptLogin.Login | ChatGptLogin.ChatGptLoginError = login()
  return Context.make(Person, { become: (next) => Effect.sync(() => void (current = next)) }).pipe(
    Context.add(ChatGptLogin.ChatGptLogin, {
      current: Effect.suspend(() => "_tag" in current ? Effect.fail(current) : Effect.succeed(current))
    })
  )
}))

/** The world that processes share. */
export const World = Layer.mergeAll(
  layerPerson,
  CredentialStore.layerMemory,
  Layer.provideMerge(Layer.orDie(Scripted.layer), NodeSigning.layer),
  NodeHttpClient.layerUndici
)

export type World = Layer.Layer.Success<typeof World>

/** What one process makes of it, for itself at every use. */
export const process = (
  options: Partial<AgentProvisioning.Options> = {}
): Layer.Layer<AgentProvisioning.AgentProvisioning, never, World | UrlDerivation.UrlDerivation> =>
  AgentProvisioning.layer({ policy: "ChatGptAuth", billOfMaterials, ...options }).pipe(
    Layer.provide(AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation)))
  )
