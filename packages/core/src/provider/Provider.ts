/**
 * A model provider as an app configures it, and what its requests carry: the run's identity, a credential of the
 * provider's own, or nothing. `resolve` is the whole decision, and pure; `ProviderAuth.authorizeProvider` acts on it.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Environment from "../protocol/Environment.ts"
import * as Party from "../protocol/Party.ts"
import * as Text from "../protocol/text.ts"
import type * as RunAuth from "../run/RunAuth.ts"

/**
 * Gives a provider's own token, and a new one in the place of one that the provider has refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuthCommand<E extends { readonly message: string } = { readonly message: string }> {
  /** The token to send now. Asked for at each request. */
  readonly current: Effect.Effect<Redacted.Redacted<string>, E>
  /**
   * Returns the token that follows `stale`, the object that `current` returned. If there is a later one already, it is
   * returned. Otherwise the command runs once for all callers.
   */
  readonly renew: (stale: Redacted.Redacted<string>) => Effect.Effect<Redacted.Redacted<string>, E>
}

/**
 * A provider, of which the members decide that decide in the reference client's configuration too (openai/codex,
 * `provider_uses_first_party_auth_path`).
 *
 * @since 0.1.0
 * @category models
 */
export interface Provider {
  /** What reasons call it. */
  readonly name: string
  /** Requests to it and below it are the provider's. A token of its own goes there over `http:` too, if it says so. */
  readonly baseUrl: string
  /** Whether it takes the run's identity (`requires_openai_auth`); false by default. */
  readonly requiresFirstPartyAuth?: boolean | undefined
  /** The name of the environment variable that holds its key. */
  readonly environmentKey?: string | undefined
  /** A key of its own, given as such. */
  readonly bearerToken?: Redacted.Redacted<string> | undefined
  /**
   * Gives its token; the message of its error is shown. A 401 renews the token once, and the request is sent once more if its
   * body can be. `AuthCommand.make` of `@agent-identity/node` makes one of a command line.
   */
  readonly authCommand?: AuthCommand | undefined
  /** What signs its requests elsewhere, such as `aws`. */
  readonly cloudSigner?: string | undefined
}

/**
 * What the requests of a provider carry.
 *
 * - `RunAuth`: what the run sends, an assertion as a rule
 * - `OwnBearer`: a token of the provider's own, and where it is from
 * - `None`: nothing of ours; `reason` says why
 *
 * @since 0.1.0
 * @category models
 */
export type Resolution =
  | { readonly _tag: "RunAuth" }
  | { readonly _tag: "OwnBearer"; readonly source: "environmentKey" | "bearerToken" | "authCommand" }
  | { readonly _tag: "None"; readonly reason: string }

/**
 * Whose credential a provider's requests carry. A credential of its own wins over the run's identity, which goes to
 * first-party bases only, and only where the provider asks for it: a custom or local provider without a key gets
 * nothing. Of several credentials the order is `cloudSigner`, `environmentKey`, `bearerToken`, `authCommand`.
 *
 * @example
 * import { Environment, Provider } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Either.getOrThrow(Environment.make({}))
 * const ollama = { name: "ollama", baseUrl: "http://localhost:11434/v1" }
 * const chatGpt = { name: "chatgpt", baseUrl: "https://chatgpt.com/backend-api/codex", requiresFirstPartyAuth: true }
 *
 * assert.deepStrictEqual(Provider.resolve(ollama, environment)._tag, "None")
 * assert.deepStrictEqual(Provider.resolve(chatGpt, environment)._tag, "RunAuth")
 *
 * @since 0.1.0
 * @category combinators
 */
export const resolve = (provider: Provider, environment: Environment.Environment): Resolution => {
  const { authCommand, baseUrl, bearerToken, cloudSigner, environmentKey, name, requiresFirstPartyAuth } = provider
  const none = (reason: string): Resolution => ({ _tag: "None", reason: `provider ${JSON.stringify(name)} ${reason}` })
  if (!/^https?:\/\//i.test(baseUrl) || !URL.canParse(baseUrl)) return none("has no absolute base URL")
  if (cloudSigner !== undefined) return none(`has its requests signed by ${cloudSigner}`)
  if (environmentKey !== undefined) return { _tag: "OwnBearer", source: "environmentKey" }
  if (bearerToken !== undefined) return { _tag: "OwnBearer", source: "bearerToken" }
  if (authCommand !== undefined) return { _tag: "OwnBearer", source: "authCommand" }
  if (requiresFirstPartyAuth !== true) {
    return none("has no credential of its own, and does not ask for the run's identity")
  }
  return Party.classifier(environment)(new URL(baseUrl)) === "FirstParty"
    ? { _tag: "RunAuth" }
    : none("asks for the run's identity, but its base URL is not first party")
}

/**
 * What the requests of a provider carry, and what is done about a token that it has refused.
 *
 * @internal
 */
export interface Own {
  readonly credential: Effect.Effect<RunAuth.Bearer | RunAuth.None, { readonly detail: string }>
  /**
   * Whether there is another token now. Undefined where there never is.
   */
  readonly renew: ((refused: RunAuth.Bearer) => Effect.Effect<boolean>) | undefined
}

/**
 * The credential of each request of a provider, by its own resolution where that is not the run's. Fails where the
 * environment variable is not set.
 *
 * @internal
 */
export const own = (
  provider: Provider,
  resolution: Exclude<Resolution, { readonly _tag: "RunAuth" }>
): Effect.Effect<Own, ConfigError.ConfigError> => {
  if (resolution._tag === "None") return Effect.succeed({ credential: Effect.succeed(resolution), renew: undefined })
  const name = JSON.stringify(provider.name)
  const bearer = (token: Redacted.Redacted<string>): RunAuth.Bearer => ({
    _tag: "Bearer",
    token,
    account: undefined,
    reason: `provider ${name} has a token of its own, by ${resolution.source}`
  })
  const constant = (token: Redacted.Redacted<string>): Own => ({
    credential: Effect.succeed(bearer(token)),
    renew: undefined
  })
  switch (resolution.source) {
    case "environmentKey":
      return Effect.flatMap(Config.redacted(Config.nonEmptyString(provider.environmentKey)), (token) => {
        const around = Text.aroundToken(Redacted.value(token))
        return around === undefined
          ? Effect.succeed(constant(token))
          : Effect.fail(ConfigError.InvalidData([provider.environmentKey!], around))
      })
    case "bearerToken": {
      const around = Text.aroundToken(Redacted.value(provider.bearerToken!))
      return Effect.succeed(
        around === undefined
          ? constant(provider.bearerToken!)
          : {
            credential: Effect.fail({ detail: `the bearer token of provider ${name} cannot be sent: ${around}` }),
            renew: undefined
          }
      )
    }
    case "authCommand": {
      const { current, renew } = provider.authCommand!
      const without = (error: { readonly message: string }) =>
        `the auth command of provider ${name} gave no token: ${error.message}`
      return Effect.succeed({
        credential: Effect.mapBoth(current, {
          onFailure: (error) => ({ detail: without(error) }),
          onSuccess: bearer
        }),
        renew: ({ token }) =>
          Effect.matchEffect(renew(token), {
            onFailure: (error) =>
              Effect.as(Effect.logWarning(`A server refused the token, and ${without(error)}`), false),
            // The same token once more would be refused once more.
            onSuccess: (next) => Effect.succeed(Redacted.value(next) !== Redacted.value(token))
          })
      })
    }
  }
}
