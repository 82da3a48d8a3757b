/**
 * The port to whatever knows the bearer tokens that agents are registered with.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

/**
 * Tells whose a token is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Whose bearer token it is: the owner of the agents that are registered with it. None where it is nobody's. */
  readonly ownerOf: (token: Redacted.Redacted<string>) => Effect.Effect<Option.Option<string>>
}

/**
 * Who may register agents, and delete them. Whoever has an identity provider writes a layer of it.
 *
 * @since 0.1.0
 * @category tags
 */
export class RegistrationBearer
  extends Context.Tag("@agent-identity/server/RegistrationBearer")<RegistrationBearer, Service>()
{}

/**
 * No token is anybody's: no agent is registered over the wire.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNone: Layer.Layer<RegistrationBearer> = Layer.succeed(RegistrationBearer, {
  ownerOf: () => Effect.succeedNone
})

/**
 * These tokens, by owner. They are found by their digests, so that the time of an answer tells nothing of them.
 *
 * @example
 * import { RegistrationBearer } from "@agent-identity/server"
 * import { Effect, Option, Redacted } from "effect"
 *
 * const Bearer = RegistrationBearer.layerTokens({ ada: Redacted.make("token-of-ada") })
 *
 * const ownerOf = (token: string) =>
 *   Effect.flatMap(RegistrationBearer.RegistrationBearer, (bearer) => bearer.ownerOf(Redacted.make(token)))
 *
 * const owner = await Effect.runPromise(Effect.provide(ownerOf("token-of-ada"), Bearer))
 * assert.deepStrictEqual(owner, Option.some("ada"))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTokens = (
  tokens: Readonly<Record<string, Redacted.Redacted<string>>>
): Layer.Layer<RegistrationBearer> => {
  // Found by its digest: comparing the token itself would tell by its time how much of a guess is right.
  const owners = Effect.forEach(
    Object.entries(tokens),
    ([owner, token]) => Effect.map(digest(Redacted.value(token)), (key) => [key, owner] as const)
  )
  return Layer.effect(
    RegistrationBearer,
    Effect.map(owners, (entries): Service => {
      const byDigest = new Map(entries)
      return {
        ownerOf: (token) => Effect.map(digest(Redacted.value(token)), (key) => Option.fromNullable(byDigest.get(key)))
      }
    })
  )
}

const digest = (text: string): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))),
    (bytes) => String.fromCharCode(...new Uint8Array(bytes))
  )
