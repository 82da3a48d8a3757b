/**
 * Mints Agent Identity JWTs and knows the keys that they verify with, so that examples, tests and backends of one's own
 * have a real issuer. Its keys live in this process's memory.
 *
 * @since 0.1.0
 */
import type { AccountId } from "@agent-identity/core/AccountId"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Jose from "jose"
import type * as IssuerApi from "./IssuerApi.ts"

/**
 * Why there is no issuer (`InvalidIssuer`, `InvalidLifetime`) or no token (`InvalidLifetime`, `SigningFailed`). It
 * shows nothing of a key, a token or its claims.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentIdentityIssuerError extends Schema.TaggedError<AgentIdentityIssuerError>(
  "@agent-identity/server/AgentIdentityIssuerError"
)("AgentIdentityIssuerError", { reason: Schema.Literal("InvalidIssuer", "InvalidLifetime", "SigningFailed") }) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return explanations[this.reason]
  }
}

/**
 * Who a token is for, in the order of the claims that `AgentIdentityJwt` reads; `planType` is the raw name of a plan,
 * such as `pro`. Whoever holds the token holds the agent's private key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claims {
  readonly agentRuntimeId: AgentRuntimeId
  /** Standard base64 of PKCS#8 DER; `AgentKey.toPkcs8` writes it. It is not looked into. */
  readonly privateKey: Redacted.Redacted<string>
  readonly accountId: AccountId
  readonly chatgptUserId: string
  readonly email?: string | undefined
  readonly planType: string
  readonly fedramp: boolean
  /** In place of the issuer's token lifetime; whole seconds, the rest is cut off. */
  readonly lifetime?: Duration.DurationInput | undefined
}

/**
 * Issues tokens, and tells with which keys they verify.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The claim `iss` of its tokens. */
  readonly issuer: string
  /** The claim `aud` of its tokens. */
  readonly audience: string
  /** A new token, RS256, that is valid from this second on. */
  readonly issue: (claims: Claims) => Effect.Effect<Redacted.Redacted<string>, AgentIdentityIssuerError>
  /** The public keys that its valid tokens verify with, the newest first. */
  readonly jwks: Effect.Effect<IssuerApi.KeySet>
  /** A new signing key. The old one stays in the key set until all its tokens expired more than 60 seconds ago. */
  readonly rotate: Effect.Effect<void>
}

/**
 * A token issuer in this process. `IssuerApiHandlers` publishes its keys.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentIdentityIssuer
  extends Context.Tag("@agent-identity/server/AgentIdentityIssuer")<AgentIdentityIssuer, Service>()
{}

/**
 * How long a token is valid where nothing else is said: 30 days, a choice of this package.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultTokenLifetime: Duration.Duration = Duration.days(30)

/**
 * Who issues, for whom, and for how long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * An http or https URL without user information, query and fragment; `AgentIdentityJwt.chatGptIssuer` by default. `IssuerApi` serves
   * the discovery document of issuers whose path is the default one's.
   */
  readonly issuer?: string | undefined
  /** `AgentIdentityJwt.chatGptAudience` by default. */
  readonly audience?: string | undefined
  /** `defaultTokenLifetime` by default. */
  readonly tokenLifetime?: Duration.DurationInput | undefined
  /** Public keys of another issuer that stand beside its own in its key set, so that clients take its tokens too. */
  readonly alsoTrusted?: ReadonlyArray<IssuerApi.PublicJwk> | undefined
}

/**
 * An issuer with a first key of its own, 2048 bit RSA.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options?: Options): Effect.Effect<Service, AgentIdentityIssuerError> =>
  Effect.gen(function*() {
    const { audience = AgentIdentityJwt.chatGptAudience, issuer = AgentIdentityJwt.chatGptIssuer } = options ?? {}
    if (!isIssuer(issuer)) return yield* new AgentIdentityIssuerError({ reason: "InvalidIssuer" })
    const tokenLifetime = yield* wholeSeconds(options?.tokenLifetime ?? defaultTokenLifetime)
    const { SignJWT } = yield* jose

    /** The first one signs. It is only ever replaced within one step, so that no rotation is lost. */
    let keys: readonly [Key, ...ReadonlyArray<Key>] = [yield* generateKey]

    const dropExpired = (now: number) => {
      const [signing, ...old] = keys
      return keys = [signing, ...old.filter((key) => toSeconds(now) <= key.lastExpiry + AgentIdentityJwt.leewaySeconds)]
    }

    const issue = (claims: Claims) =>
      Effect.gen(function*() {
        const lifetime = claims.lifetime === undefined ? tokenLifetime : yield* wholeSeconds(claims.lifetime)
        const iat = toSeconds(yield* Clock.currentTimeMillis)
        const exp = iat + lifetime
        const [key] = keys
        // Before it is signed: a rotation meanwhile has to keep the key.
        key.lastExpiry = Math.max(key.lastExpiry, exp)
        const token = yield* Effect.tryPromise({
          try: () =>
            new SignJWT({
              iss: issuer,
              aud: audience,
              iat,
              exp,
              agent_runtime_id: claims.agentRuntimeId,
              agent_private_key: Redacted.value(claims.privateKey),
              account_id: claims.accountId,
              chatgpt_user_id: claims.chatgptUserId,
              ...(claims.email === undefined ? undefined : { email: claims.email }),
              plan_type: claims.planType,
              chatgpt_account_is_fedramp: claims.fedramp
            }).setProtectedHeader({ alg: "RS256", kid: key.jwk.kid, typ: "JWT" }).sign(key.privateKey),
          catch: () => new AgentIdentityIssuerError({ reason: "SigningFailed" })
        })
        return Redacted.make(token)
      })

    return {
      issuer,
      audience,
      issue,
      jwks: Effect.map(Clock.currentTimeMillis, (now) => ({
        keys: [...dropExpired(now).map((key) => key.jwk), ...options?.alsoTrusted ?? []]
      })),
      rotate: Effect.zipWith(
        generateKey,
        Clock.currentTimeMillis,
        (key, now) => void (keys = [key, ...dropExpired(now)])
      )
    }
  })

/**
 * An issuer of tokens like those for ChatGPT in production, under a key of its own.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentIdentityIssuer> = Layer.effect(AgentIdentityIssuer, Effect.orDie(make()))

/**
 * An issuer of one's own. Fails with `InvalidIssuer` or `InvalidLifetime`.
 *
 * @example
 * import { AgentIdentityIssuer } from "@agent-identity/server"
 * import { Effect } from "effect"
 *
 * const Issuer = AgentIdentityIssuer.layerWith({ issuer: "https://id.example.com", tokenLifetime: "1 hour" })
 *
 * const program = Effect.gen(function*() {
 *   const issuer = yield* AgentIdentityIssuer.AgentIdentityIssuer
 *   yield* issuer.rotate
 *   // The first key has signed no token, so that it is not needed any more.
 *   assert.deepStrictEqual((yield* issuer.jwks).keys.length, 1)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Issuer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<AgentIdentityIssuer, AgentIdentityIssuerError> =>
  Layer.effect(AgentIdentityIssuer, make(options))

interface Key {
  readonly jwk: IssuerApi.PublicJwk
  readonly privateKey: Jose.CryptoKey
  /** When the last of its tokens expires, in seconds since the Unix epoch. */
  lastExpiry: number
}

const explanations: Record<AgentIdentityIssuerError["reason"], string> = {
  InvalidIssuer: "The issuer is not an http or https URL without user information, query and fragment",
  InvalidLifetime: "The lifetime of a token is less than a second, or not finite",
  SigningFailed: "The token was not signed: its claims cannot be written as JSON, or the cryptography failed"
}

/** Loaded when the first issuer is made: most servers only verify assertions. */
const jose = Effect.promise(() => import("jose"))

/** The private half cannot be exported, and only what is public is taken of the public one. */
const generateKey: Effect.Effect<Key> = Effect.gen(function*() {
  const { calculateJwkThumbprint, exportJWK, generateKeyPair } = yield* jose
  const { privateKey, publicKey } = yield* Effect.promise(() => generateKeyPair("RS256", { modulusLength: 2048 }))
  const { e, n } = (yield* Effect.promise(() => exportJWK(publicKey))) as Jose.JWK_RSA_Public
  const kid = yield* Effect.promise(() => calculateJwkThumbprint({ kty: "RSA", n, e }))
  return { jwk: { kid, kty: "RSA", n, e, use: "sig", alg: "RS256" }, privateKey, lastExpiry: -Infinity }
})

const isIssuer = (issuer: string): boolean => {
  if (!/^https?:\/\//i.test(issuer) || /[?#\s]/.test(issuer) || !URL.canParse(issuer)) return false
  const { password, username } = new URL(issuer)
  return username === "" && password === ""
}

const wholeSeconds = (lifetime: Duration.DurationInput): Effect.Effect<number, AgentIdentityIssuerError> => {
  const seconds = toSeconds(Duration.toMillis(lifetime))
  return seconds >= 1 && Number.isSafeInteger(seconds)
    ? Effect.succeed(seconds)
    : Effect.fail(new AgentIdentityIssuerError({ reason: "InvalidLifetime" }))
}

const toSeconds = (millis: number): number => Math.floor(millis / 1000)
