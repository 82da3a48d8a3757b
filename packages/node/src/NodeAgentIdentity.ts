/**
 * All of it in one line: `program.pipe(Effect.provide(NodeAgentIdentity.layerConfig))`.
 *
 * In two parts for a process with more than one run: `layerProcess` once (the transport, the identity and its key, the
 * URLs), `layerRun` once a run, `Layer.fresh` for each.
 *
 * @since 0.1.0
 */
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as Environment from "@agent-identity/core/Environment"
import * as Jwks from "@agent-identity/core/Jwks"
import * as Run from "@agent-identity/core/Run"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CredentialSource from "./CredentialSource.ts"
import * as NodeSigning from "./NodeSigning.ts"

/**
 * What can go wrong before a run begins.
 *
 * @since 0.1.0
 * @category errors
 */
export type ProcessError =
  | CredentialSource.CredentialSourceError
  | AgentIdentity.AgentIdentityError
  | AgentIdentityJwt.AgentIdentityJwtError
  | Environment.UrlDerivationError
  | Jwks.JwksError
  | ConfigError.ConfigError

/**
 * What a process has: whose runs they are, where things are, and the plain client, which signs nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type ProcessServices =
  | AgentIdentity.AgentIdentity
  | UrlDerivation.UrlDerivation
  | TaskRegistration.TaskRegistration
  | HttpClient.HttpClient

/**
 * @since 0.1.0
 * @category models
 */
export interface Options extends Environment.Overrides {
  readonly credential: CredentialSource.Credential
  /** A known ChatGPT base, production by default. */
  readonly chatGptBase?: string | undefined
  /** Of the token; ChatGPT's by default. */
  readonly issuer?: string | undefined
  readonly audience?: string | undefined
  /** A key set as JSON, where the issuer cannot be reached. */
  readonly jwksJson?: string | undefined
}

/**
 * Once a process, from explicit values.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProcessWith = (options: Options): Layer.Layer<ProcessServices, ProcessError> => {
  const { credential, jwksJson } = options
  const KeySet = jwksJson === undefined ? Jwks.layer : Jwks.layerConfig(Config.succeed(jwksJson))
  const Identity = credential._tag === "Token"
    ? AgentIdentity.layerJwt(credential.token).pipe(
      Layer.provide(AgentIdentityJwt.layerWith(options)),
      Layer.provide(KeySet)
    )
    : AgentIdentity.layer(credential.record)
  const Registration = credential._tag === "Record" && credential.taskId !== undefined
    ? Layer.provide(TaskRegistration.layerStored(credential.taskId), TaskRegistration.layer)
    : TaskRegistration.layer
  const Urls = Layer.effect(
    UrlDerivation.UrlDerivation,
    Effect.gen(function*() {
      const chatGptBase = options.chatGptBase ?? Environment.DEFAULT_CHATGPT_BASE
      const environment = yield* Environment.fromOverrides(chatGptBase, options)
      const { authApi, jwksBase, providers } = options
      const named = [authApi, jwksBase, providers].filter((base) => base !== undefined).length
      if (named === 1 || named === 2) {
        yield* Effect.logWarning("Some bases are named and the others are ChatGPT's: each can use what the others get")
          .pipe(
            Effect.annotateLogs({
              authApi: environment.authApi.href,
              jwks: environment.jwks.href,
              providers: environment.providers.map((provider) => provider.href).join(", ")
            })
          )
      }
      return UrlDerivation.make(environment)
    })
  )
  return Registration.pipe(
    Layer.provideMerge(Identity),
    Layer.provideMerge(Layer.merge(Urls, NodeHttpClient.layerUndici)),
    Layer.provide(NodeSigning.layer)
  )
}

/**
 * Once a process, from the environment.
 *
 * | variable | what it is |
 * |---|---|
 * | `CODEX_ACCESS_TOKEN`, then `CODEX_AGENT_IDENTITY` | an agent identity JWT |
 * | `CODEX_HOME` | the folder of `auth.json`, where neither is set; `~/.codex` |
 * | `CODEX_CHATGPT_BASE_URL` | a known ChatGPT base; `https://chatgpt.com/backend-api` |
 * | `CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL` | another AuthAPI |
 * | `CODEX_AGENT_IDENTITY_JWKS_BASE_URL` | the base of another token issuer |
 * | `CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL` | another provider base; several are separated by commas |
 * | `CODEX_AGENT_IDENTITY_JWKS_JSON` | the key set itself |
 *
 * A base that is named may be `http:` on a loopback address. Name all three of a backend of your own: with one or two,
 * assertions for the one backend go to the other, which is warned of. Tokens are ChatGPT's by `iss` and `aud`; `layer`
 * takes others.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProcess: Layer.Layer<ProcessServices, ProcessError> = Layer.unwrapEffect(
  Effect.gen(function*() {
    // A variable that is blank is not there.
    const text = (name: string) =>
      Effect.map(Config.option(Config.string(name)), (value) => Option.getOrUndefined(value)?.trim() || undefined)
    const providers = yield* text("CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL")
    return layerProcessWith({
      credential: yield* CredentialSource.fromConfig,
      chatGptBase: yield* text("CODEX_CHATGPT_BASE_URL"),
      authApi: yield* text("CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL"),
      jwksBase: yield* text("CODEX_AGENT_IDENTITY_JWKS_BASE_URL"),
      providers: providers?.split(",").map((base) => base.trim()).filter((base) => base !== ""),
      jwksJson: yield* text("CODEX_AGENT_IDENTITY_JWKS_JSON"),
      loopbackHttp: true
    })
  })
).pipe(Layer.provide(NodeContext.layer))

/**
 * Once a run: its task, and the client that signs. Give `Layer.fresh(layerRun)` to each of several runs and of several
 * agents: it is a constant, which is built once for all that are composed of it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRun: Layer.Layer<
  Run.Services,
  TaskRegistration.TaskRegistrationError,
  ProcessServices
> = Run.layerWithRegistration

/**
 * A process with one run, from explicit values. Its `HttpClient` is the one that signs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<ProcessServices | Run.Services, ProcessError | TaskRegistration.TaskRegistrationError> =>
  Layer.provideMerge(layerRun, layerProcessWith(options))

/**
 * A process with one run, from the environment; `layerProcess` has the table of what is read. Its `HttpClient` is the
 * one that signs.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<
  ProcessServices | Run.Services,
  ProcessError | TaskRegistration.TaskRegistrationError
> = Layer.provideMerge(layerRun, layerProcess)
