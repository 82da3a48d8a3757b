/** A process with one run of a ChatGPT login, by its environment: `run once`, or `run renew`, which never ends. */
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentProvisioning from "@agent-identity/login/AgentProvisioning"
import * as AgentRegistration from "@agent-identity/login/AgentRegistration"
import * as AuthFile from "@agent-identity/node/AuthFile"
import * as NodeAgentIdentity from "@agent-identity/node/NodeAgentIdentity"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Fs from "node:fs"

const say = (value: unknown) => Effect.sync(() => Fs.writeSync(1, `${JSON.stringify(value)}\n`))

/** One signed request. */
const once = Effect.gen(function*() {
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* say({ sends: credential._tag, status: response.status, body: yield* response.json })
}).pipe(Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })))

/** A new task, as fast as it can, for an agent that is made where there is none. */
const renew = Effect.gen(function*() {
  const { agent } = yield* AgentProvisioning.AgentProvisioning
  const { identity, tasks } = yield* agent
  let { taskId } = yield* tasks.register(Option.none())
  yield* say(identity.agentRuntimeId)
  for (;;) taskId = (yield* tasks.register(Option.some(taskId))).taskId
}).pipe(Effect.provide(
  AgentProvisioning.layer({
    policy: "ChatGptAuth",
    billOfMaterials: { agentVersion: "1.0.0", agentHarnessId: "codex-cli", runningLocation: "cli-linux" },
    // For a test that kills whoever holds it.
    lease: "500 millis"
  }).pipe(
    Layer.provide(AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation))),
    Layer.provide(
      Layer.unwrapEffect(
        Effect.map(
          AuthFile.defaultFile,
          (file) => Layer.merge(AuthFile.layerLogin({ file }), AuthFile.layerCredentialStore({ file }))
        )
      )
    ),
    Layer.provide(UrlDerivation.layerCustomConfig({
      authApi: Config.string("CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL"),
      jwksBase: Config.string("CODEX_AGENT_IDENTITY_JWKS_BASE_URL"),
      providers: Config.array(Config.string(), "CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL"),
      loopbackHttp: Config.succeed(true)
    })),
    Layer.provide([NodeSigning.layer, NodeHttpClient.layerUndici])
  )
))

const program: Effect.Effect<void, unknown> = process.argv[2] === "once" ? once : renew

Effect.runPromise(
  program.pipe(
    Effect.catchAll((error) => say({ error: String(error) })),
    Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))
  )
)
