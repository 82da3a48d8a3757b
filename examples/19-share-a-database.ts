/**
 * Several machines of one person, here four processes with a login of their own each: they share the agent in PostgreSQL,
 * and its task. `DATABASE_URL` names the database.
 */
import { RunAuth, UrlDerivation } from "@agent-identity/core"
import { AgentProvisioning, AgentRegistration, ChatGptRun } from "@agent-identity/login"
import { AuthFile, NodeSigning, NodeTransport } from "@agent-identity/node"
import { Postgres, SqlCredentialStore } from "@agent-identity/sql"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"
import * as Workers from "./workers.ts"

// ---- The run. ----

const Urls = UrlDerivation.layerCustomConfig({
  authApi: Config.string("CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL"),
  jwksBase: Config.string("CODEX_AGENT_IDENTITY_JWKS_BASE_URL"),
  providers: Config.array(Config.string(), "CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL"),
  loopbackHttp: Config.succeed(true)
})

const Login = Layer.unwrapEffect(Effect.map(AuthFile.defaultFile, (file) => AuthFile.layerLogin({ file })))

const Store = SqlCredentialStore.layer.pipe(
  Layer.provide(Postgres.layerConfig({ url: Config.redacted("DATABASE_URL") }))
)

const Provisioning = AgentProvisioning.layer({
  policy: "ChatGptAuth",
  billOfMaterials: AgentRegistration.billOfMaterials({
    agentVersion: "1.0.0",
    sessionSource: "cli",
    platform: process.platform
  })
}).pipe(
  Layer.provide([AgentRegistration.layer(Urls), Store, Login])
)

/** Like `NodeAgentIdentity.layerChatGpt`, with another store. */
const AgentRun = ChatGptRun.layer(Layer.merge(Provisioning, Login)).pipe(
  Layer.provideMerge(Urls),
  Layer.provide([NodeSigning.layer, NodeTransport.layer])
)

// ---- The machines. ----

const worker = Effect.gen(function*() {
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* Console.log(credential._tag, response.status, yield* response.text)
}).pipe(Effect.provide(AgentRun))

const program: Effect.Effect<void, unknown> = process.argv[2] === "worker"
  ? worker
  : Workers.run({ file: import.meta.filename, processes: 4, login: "Each" })

program.pipe(NodeRuntime.runMain())
