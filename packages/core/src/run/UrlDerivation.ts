/**
 * The URLs of one deployment, derived when the layer builds.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as Environment from "../protocol/Environment.ts"
import * as Party from "../protocol/Party.ts"
import { toEffect } from "./either.ts"

/**
 * What is derived of an environment, once.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What they are derived of. */
  readonly environment: Environment.Environment
  /** Where a new agent is registered. */
  readonly agentRegistration: URL
  /** Where this agent registers its run's task. */
  readonly taskRegistration: (agentRuntimeId: AgentRuntimeId) => Either.Either<URL, Environment.UrlDerivationError>
  /** The keys of the token issuer; undefined for a backend of your own that names no `jwksBase`. */
  readonly jwks: URL | undefined
  /** What a request to this URL carries of the run's identity. */
  readonly classify: (url: URL) => Party.Party
}

/**
 * Where things are, for this process: `layer` for ChatGPT in production, `layerCustom` for a backend of your own.
 *
 * @since 0.1.0
 * @category tags
 */
export class UrlDerivation extends Context.Tag("@agent-identity/core/UrlDerivation")<UrlDerivation, Service>() {}

/**
 * The URLs of this environment.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (environment: Environment.Environment): Service => ({
  environment,
  agentRegistration: Environment.agentRegistrationUrl(environment),
  taskRegistration: (agentRuntimeId) => Environment.taskRegistrationUrl(environment, agentRuntimeId),
  jwks: environment.jwks,
  classify: Party.classifier(environment)
})

/**
 * ChatGPT in production, `https://chatgpt.com/backend-api`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<UrlDerivation, Environment.UrlDerivationError> = Layer.effect(
  UrlDerivation,
  Effect.suspend(() => Effect.map(toEffect(Environment.make({})), make))
)

/**
 * One of the known ChatGPT bases, such as `https://chatgpt-staging.com/backend-api`. With
 * `{ paths: Environment.chatGptPaths }` requests outside of `/backend-api/codex` are signed too.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerChatGpt = (
  base: string,
  options?: Pick<Environment.Options, "bearerOnly" | "paths">
): Layer.Layer<UrlDerivation, Environment.UrlDerivationError> =>
  Layer.effect(
    UrlDerivation,
    Effect.suspend(() => Effect.map(toEffect(Environment.make({ ...options, chatGptBase: base })), make))
  )

/**
 * A backend of your own. `jwksBase` is needed where tokens are verified. Fails where a base is refused.
 *
 * @example
 * import { UrlDerivation } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const Urls = UrlDerivation.layerCustom({
 *   authApi: "http://127.0.0.1:8080/api/accounts",
 *   providers: ["http://127.0.0.1:8080/backend-api/codex"],
 *   loopbackHttp: true
 * })
 *
 * const urls = await Effect.runPromise(Effect.provide(UrlDerivation.UrlDerivation, Urls))
 * assert.deepStrictEqual(urls.agentRegistration.pathname, "/api/accounts/v1/agent/register")
 * assert.deepStrictEqual(urls.classify(new URL("http://127.0.0.1:8080/backend-api/codex/models")), "FirstParty")
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCustom = (
  options: Environment.CustomOptions
): Layer.Layer<UrlDerivation, Environment.UrlDerivationError> =>
  Layer.effect(UrlDerivation, Effect.suspend(() => Effect.map(toEffect(Environment.make(options)), make)))

/**
 * `layerCustom` with its options from configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCustomConfig = (
  options: Config.Config.Wrap<Environment.CustomOptions>
): Layer.Layer<UrlDerivation, Environment.UrlDerivationError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(options), layerCustom))
