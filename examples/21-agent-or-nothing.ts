/** An app that sends the assertion of an agent or nothing, and never the login's own token. */
import { ProviderAuth, Run, RunAuth, UrlDerivation } from "@agent-identity/core"
import { AgentProvisioning, AgentRegistration, CredentialStore } from "@agent-identity/login"
import { AuthFile, NodeSigning } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeContext, NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { Backend, makeLogin } from "./backend.ts"

/** Where `ChatGptRun.layer` would fall back on the login, this is an error. The agent lives as long as the process. */
const AgentRun = (policy: AgentProvisioning.Policy, folder: string) => {
  const provisioning = AgentProvisioning.layer({
    policy,
    billOfMaterials: AgentRegistration.billOfMaterials({
      agentVersion: "1.0.0",
      sessionSource: "cli",
      platform: process.platform
    })
  }).pipe(
    Layer.provide([
      AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation)),
      CredentialStore.layerMemory,
      AuthFile.layerLogin({ file: `${folder}/auth.json` })
    ])
  )
  const agent = AgentProvisioning.layerAgent(provisioning)
  return Run.layerWith(agent, { registration: agent })
}

const NoRun = (reason: string) => {
  const auth = RunAuth.layerNone(reason)
  return Layer.merge(ProviderAuth.layerHttpClient(ProviderAuth.layer(auth)), auth)
}

const app = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const { _tag, ...sent } = RunAuth.authorizationOf(yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current))
  const { status } = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* Console.log(`${status} with ${_tag}, ${Object.values(sent).join(", ")}`)
})

const program = Effect.gen(function*() {
  const folder = yield* makeLogin
  for (const policy of ["ChatGptAuth", "JwtOnly"] as const) {
    yield* Effect.provide(
      app,
      Layer.catchAll(AgentRun(policy, folder), (error) => NoRun(error.message))
    )
  }
})

program.pipe(
  Effect.scoped,
  Effect.provide([Backend, NodeHttpClient.layerUndici, NodeContext.layer]),
  Effect.provide(NodeSigning.layer),
  NodeRuntime.runMain()
)
