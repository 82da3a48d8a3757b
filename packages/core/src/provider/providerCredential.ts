import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as RunAuth from "../run/RunAuth.ts"
import type * as Provider from "./Provider.ts"

/**
 * The credential of each request of a provider, by its own resolution where that is not the run's. Fails where the
 * environment variable is not set.
 * @internal
 */
export const make = (
  provider: Provider.Provider,
  resolution: Exclude<Provider.Resolution, { readonly _tag: "RunAuth" }>
): Effect.Effect<
  Effect.Effect<RunAuth.Bearer | RunAuth.None, { readonly detail: string }>,
  ConfigError.ConfigError
> => {
  if (resolution._tag === "None") return Effect.succeed(Effect.succeed(resolution))
  const name = JSON.stringify(provider.name)
  const bearer = (token: Redacted.Redacted<string>): RunAuth.Bearer => ({
    _tag: "Bearer",
    token,
    account: undefined,
    reason: `provider ${name} has a token of its own, by ${resolution.source}`
  })
  switch (resolution.source) {
    case "environmentKey":
      return Effect.map(
        Config.redacted(Config.nonEmptyString(provider.environmentKey)),
        (token) => Effect.succeed(bearer(token))
      )
    case "bearerToken":
      return Effect.succeed(Effect.succeed(bearer(provider.bearerToken!)))
    case "authCommand":
      return Effect.succeed(Effect.mapBoth(provider.authCommand!, {
        onFailure: (error) => ({ detail: `the auth command of provider ${name} gave no token: ${error.message}` }),
        onSuccess: bearer
      }))
  }
}
