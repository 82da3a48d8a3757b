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
import type { AgentRuntimeId } from "./AgentRuntimeId.ts"
import * as Environment from "./Environment.ts"

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly environment: Environment.Environment
  /** Where a new agent is registered. */
  readonly agentRegistration: URL
  /** Where this agent registers its run's task. */
  readonly taskRegistration: (agentRuntimeId: AgentRuntimeId) => Either.Either<URL, Environment.UrlDerivationError>
  /** The keys of the token issuer. */
  readonly jwks: URL
  /** What a request to this URL carries of the run's identity. */
  readonly classify: (url: URL) => Environment.Party
}

/**
 * @since 0.1.0
 * @category tags
 */
export class UrlDerivation extends Context.Tag("@agent-identity/core/UrlDerivation")<UrlDerivation, Service>() {}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (environment: Environment.Environment): Service => ({
  environment,
  agentRegistration: Environment.agentRegistrationUrl(environment),
  taskRegistration: (agentRuntimeId) => Environment.taskRegistrationUrl(environment, agentRuntimeId),
  jwks: environment.jwks,
  classify: Environment.classifier(environment)
})

/**
 * ChatGPT in production, `https://chatgpt.com/backend-api`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<UrlDerivation, Environment.UrlDerivationError> = Layer.effect(
  UrlDerivation,
  Effect.suspend(() => Effect.map(Environment.fromChatGptBase(Environment.DEFAULT_CHATGPT_BASE), make))
)

/**
 * One of the known ChatGPT bases (`Environment.knownBases`).
 *
 * @since 0.1.0
 * @category layers
 */
export const layerChatGpt = (base: string): Layer.Layer<UrlDerivation, Environment.UrlDerivationError> =>
  Layer.effect(UrlDerivation, Effect.suspend(() => Effect.map(Environment.fromChatGptBase(base), make)))

/**
 * A deployment of one's own, every base named.
 *
 * @example
 * import { UrlDerivation } from "@agent-identity/core"
 *
 * const Urls = UrlDerivation.layerCustom({
 *   authApi: "http://127.0.0.1:8080/api/accounts",
 *   jwksBase: "http://127.0.0.1:8080/backend-api",
 *   providers: ["http://127.0.0.1:8080/backend-api/codex"],
 *   loopbackHttp: true
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCustom = (
  options: Environment.CustomOptions
): Layer.Layer<UrlDerivation, Environment.UrlDerivationError> =>
  Layer.effect(UrlDerivation, Effect.suspend(() => Effect.map(Environment.custom(options), make)))

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
