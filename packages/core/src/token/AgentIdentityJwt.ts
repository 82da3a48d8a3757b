/**
 * Agent identity JWTs: who a token says an agent is, once its signature and claims are verified.
 *
 * The token holds the agent's private key, so whoever sees it can sign: it is `Redacted` wherever it goes.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { AccountId } from "../protocol/AccountId.ts"
import * as AgentKey from "../protocol/AgentKey.ts"
import { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as Base64 from "../protocol/base64.ts"
import * as Text from "../protocol/text.ts"
import * as AgentIdentity from "../run/AgentIdentity.ts"
import { toEffect } from "../run/either.ts"
import * as Signing from "../run/Signing.ts"
import * as Jwks from "./Jwks.ts"
import * as PlanType from "./PlanType.ts"

/**
 * The issuer of ChatGPT's agent identity tokens, in production and staging alike (openai/codex,
 * codex-rs/agent-identity/src/lib.rs).
 *
 * @since 0.1.0
 * @category constants
 */
export const chatGptIssuer = "https://chatgpt.com/codex-backend/agent-identity"

/**
 * Whom they are for (same source).
 *
 * @since 0.1.0
 * @category constants
 */
export const chatGptAudience = "codex-app-server"

/**
 * Seconds that this machine's clock may be off from the issuer's, as in the reference client's verification.
 *
 * @internal
 */
export const leewaySeconds = 60

/** Characters of a token that is looked at. A real one has about 2,000. */
const maxLength = 16 * 1024

/**
 * Why a token is not taken. It names the claim and never its value, and nothing of the token.
 *
 * - `Malformed`: no signed JWT, or more than 16 KiB
 * - `Algorithm`: another one than RS256
 * - `MissingKid`, `UnknownKid`: it names no key, or one that the issuer does not have
 * - `BadSignature`: not of that key
 * - `Issuer`, `Audience`, `Expired`, `NotYetValid`: `iss`, `aud`, `exp`, or `iat` and `nbf`
 * - `InvalidClaims`: a claim is missing or of another form
 * - `InvalidPrivateKey`: the agent's key in it is no PKCS#8
 * - `KeySetUnavailable`: the issuer's keys could not be had; `cause` says why
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentIdentityJwtError extends Schema.TaggedError<AgentIdentityJwtError>(
  "@agent-identity/core/AgentIdentityJwtError"
)("AgentIdentityJwtError", {
  reason: Schema.Literal(
    "Malformed",
    "Algorithm",
    "MissingKid",
    "UnknownKid",
    "BadSignature",
    "Issuer",
    "Audience",
    "Expired",
    "NotYetValid",
    "InvalidClaims",
    "InvalidPrivateKey",
    "KeySetUnavailable"
  ),
  detail: Schema.String,
  cause: Schema.optional(Jwks.JwksError)
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The agent identity JWT is refused: ${this.detail}`
  }
}

/**
 * What a token says that may be shown: the claims `iss`, `aud`, `iat`, `exp`, `agent_runtime_id`, `account_id`,
 * `chatgpt_user_id`, `email`, `plan_type` and `chatgpt_account_is_fedramp`, in this order. Times are seconds since the
 * Unix epoch.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnverifiedClaims {
  readonly issuer: string
  readonly audience: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly agentRuntimeId: AgentRuntimeId
  readonly accountId: AccountId
  readonly chatgptUserId: string
  readonly email: string | undefined
  readonly plan: PlanType.PlanType
  readonly fedramp: boolean
}

/**
 * What a verified token says, with the private key of its claim `agent_private_key`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claims extends UnverifiedClaims {
  readonly key: AgentKey.AgentKey
}

/**
 * Verifies the tokens of one issuer for one audience.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Checks algorithm, key, signature, issuer, audience, times and the other claims, in that order; the time of expiry
   * once more at the end.
   */
  readonly verify: (token: Redacted.Redacted<string>) => Effect.Effect<Claims, AgentIdentityJwtError>
}

/**
 * What makes claims of a token. `layerIdentity` takes it.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentIdentityJwt
  extends Context.Tag("@agent-identity/core/AgentIdentityJwt")<AgentIdentityJwt, Service>()
{}

/**
 * Whose tokens are taken.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** `iss`, to the letter; `chatGptIssuer` by default. */
  readonly issuer?: string | undefined
  /** `aud`; `chatGptAudience` by default. */
  readonly audience?: string | undefined
}

/**
 * RS256 and nothing else, whatever the token says of itself; `kid`, `iss`, `aud`, `iat` and `exp` are required; 60
 * seconds of leeway by Effect's clock.
 *
 * @internal
 */
export const make = (options?: Options): Effect.Effect<Service, never, Jwks.Jwks> =>
  Effect.gen(function*() {
    const jwks = yield* Jwks.Jwks
    const issuer = options?.issuer ?? chatGptIssuer
    const audience = options?.audience ?? chatGptAudience

    const verify = (token: Redacted.Redacted<string>) =>
      Effect.gen(function*() {
        const jose = yield* loadJose
        const text = Redacted.value(token).trim()
        const { alg, kid } = yield* toEffect(readHeader(text))
        if (alg !== "RS256") return yield* fail("Algorithm", "its algorithm is not RS256; get a token of the issuer")
        if (typeof kid !== "string" || kid === "") {
          return yield* fail("MissingKid", "its header names no key (`kid`); get a token of the issuer")
        }
        const keys = yield* Effect.mapError(
          jwks.find(kid),
          (cause) => new AgentIdentityJwtError({ reason: "KeySetUnavailable", detail: cause.message, cause })
        )
        if (keys.length === 0) {
          return yield* fail("UnknownKid", "its key (`kid`) is not in the issuer's key set; check the JWKS base URL")
        }

        const now = yield* Clock.currentTimeMillis
        const check = (key: Jwks.Jwk) =>
          Effect.tryPromise({
            try: () =>
              jose.jwtVerify(text, key, {
                algorithms: ["RS256"],
                issuer,
                audience,
                clockTolerance: leewaySeconds,
                currentDate: new Date(now)
              }),
            catch: joseError
          })
        // An issuer may name two keys alike: one of them has to fit, and what is wrong besides is that one's to say.
        yield* keys.slice(1).reduce(
          (before, key) => Effect.catchIf(before, ({ reason }) => reason === "BadSignature", () => check(key)),
          check(keys[0]!)
        )
        // Not what `jose` has read of it, which takes a byte order mark for nothing.
        const { claims, privateKey } = yield* toEffect(readClaims(readPayload(text)))
        if (claims.issuedAt > now / 1000 + leewaySeconds) {
          return yield* fail("NotYetValid", "it was issued in the future (`iat`); check this machine's clock")
        }
        const key = yield* toEffect(Either.mapLeft(
          AgentKey.fromPkcs8(privateKey),
          (error) => new AgentIdentityJwtError({ reason: "InvalidPrivateKey", detail: error.message })
        ))
        // The key set may have taken its time.
        if (claims.expiresAt + leewaySeconds <= (yield* Clock.currentTimeMillis) / 1000) {
          return yield* fail("Expired", expired)
        }
        return { ...claims, key }
      })

    return { verify }
  })

/**
 * Tokens of ChatGPT's issuer.
 *
 * @example
 * import { AccountId, AgentIdentityJwt, AgentKey, AgentRuntimeId, Jwks } from "@agent-identity/core"
 * import { AgentIdentityIssuer } from "@agent-identity/server"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const issuer = yield* AgentIdentityIssuer.make()
 *   const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-123")
 *   const accountId = AccountId.AccountId.make("account-1")
 *   const privateKey = AgentKey.toPkcs8(yield* AgentKey.generate())
 *   const agent = { agentRuntimeId, privateKey, accountId, chatgptUserId: "user-1", planType: "pro", fedramp: false }
 *   const token = yield* issuer.issue(agent)
 *   const { verify } = yield* Effect.provide(AgentIdentityJwt.make(), Jwks.layerStatic(yield* issuer.jwks))
 *   assert.deepStrictEqual((yield* verify(token)).plan.displayName, "Pro")
 * })
 *
 * await Effect.runPromise(program)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(keys: Layer.Layer<Jwks.Jwks, E, R>): Layer.Layer<AgentIdentityJwt, E, R> =>
  layerWith(keys, {})

/**
 * Tokens of an issuer of one's own.
 *
 * @example
 * import { AgentIdentityJwt, Jwks } from "@agent-identity/core"
 * import { Effect, Redacted } from "effect"
 *
 * const Tokens = AgentIdentityJwt.layerWith(Jwks.layerStatic({ keys: [] }), { issuer: "https://id.example.com" })
 *
 * const program = Effect.gen(function*() {
 *   const { verify } = yield* AgentIdentityJwt.AgentIdentityJwt
 *   const error = yield* Effect.flip(verify(Redacted.make("no token")))
 *   assert.deepStrictEqual(error.reason, "Malformed")
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Tokens))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E, R>(
  keys: Layer.Layer<Jwks.Jwks, E, R>,
  options: Options
): Layer.Layer<AgentIdentityJwt, E, R> => Layer.provide(Layer.effect(AgentIdentityJwt, make(options)), keys)

/**
 * An agent from its agent identity JWT: verified, with its key imported. Whatever is wrong fails the construction, so
 * nothing is ever sent unsigned, or as bearer. A token that expires later does not end a run; from then on no task is
 * registered or renewed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerIdentity = (
  token: Redacted.Redacted<string>
): Layer.Layer<
  AgentIdentity.AgentIdentity,
  AgentIdentityJwtError | AgentIdentity.AgentIdentityError,
  AgentIdentityJwt | Signing.Signing
> =>
  Layer.effect(
    AgentIdentity.AgentIdentity,
    Effect.gen(function*() {
      const signing = yield* Signing.Signing
      const { verify } = yield* AgentIdentityJwt
      const { accountId, agentRuntimeId, expiresAt, fedramp, key } = yield* verify(token)
      const signer = yield* Effect.mapError(
        signing.importPrivateKey(key),
        (error) => new AgentIdentity.AgentIdentityError({ reason: "InvalidPrivateKey", detail: error.message })
      )
      return {
        agentRuntimeId,
        signer,
        account: { id: accountId, fedramp },
        expiresAt: (expiresAt + leewaySeconds) * 1000
      }
    })
  )

/**
 * `layerIdentity` with the token from configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerIdentityConfig = (
  token: Config.Config<Redacted.Redacted<string>>
): Layer.Layer<
  AgentIdentity.AgentIdentity,
  AgentIdentityJwtError | AgentIdentity.AgentIdentityError | ConfigError.ConfigError,
  AgentIdentityJwt | Signing.Signing
> => Layer.unwrapEffect(Effect.map(token, layerIdentity))

/**
 * What a token says of itself, for display. Nothing is verified, no key is read, and no identity comes of it: anybody
 * can write such a token.
 *
 * @example
 * import { AgentIdentityJwt } from "@agent-identity/core"
 * import { Either, Redacted } from "effect"
 *
 * const claims = AgentIdentityJwt.decodeUnverified(Redacted.make("e30.e30.e30"))
 *
 * assert.match(Either.match(claims, { onLeft: String, onRight: String }), /claims are missing.*agent_runtime_id/)
 *
 * @since 0.1.0
 * @category decoding
 */
export const decodeUnverified = (
  token: Redacted.Redacted<string>
): Either.Either<UnverifiedClaims, AgentIdentityJwtError> =>
  Either.gen(function*() {
    const text = Redacted.value(token).trim()
    yield* readHeader(text)
    return (yield* readClaims(readPayload(text))).claims
  })

const loadJose = Effect.promise(() => import("jose"))

const expired = "it has expired (`exp`); get a new one"

const fail = (reason: AgentIdentityJwtError["reason"], detail: string) => new AgentIdentityJwtError({ reason, detail })

/** Of a part that is base64url. */
const readJson = (part: string): unknown => Text.parseJson(Text.fromUtf8(Base64.decodeUrl(part)!) ?? "")

const readPayload = (text: string): unknown => readJson(text.split(".")[1]!)

const readHeader = (
  text: string
): Either.Either<{ readonly alg?: unknown; readonly kid?: unknown }, AgentIdentityJwtError> => {
  const parts = text.split(".", 4)
  const header = text.length > maxLength || parts.length !== 3 || !parts.every(isBase64Url)
    ? undefined
    : readJson(parts[0]!)
  return Predicate.isRecord(header)
    ? Either.right(header)
    : Either.left(
      fail("Malformed", "it is not three parts of base64url with a JSON header, within 16 KiB; give the whole token")
    )
}

/** `jose` takes padding, white space and spare bits too, so that one signature would have many spellings. */
const isBase64Url = (part: string): boolean => part !== "" && Base64.decodeUrl(part) !== undefined

const Seconds = Schema.Number.pipe(Schema.filter((seconds) => Number.isSafeInteger(seconds) && seconds >= 0))

const decodeClaims = Schema.decodeUnknownEither(
  Schema.Struct({
    iss: Schema.String,
    aud: Schema.String,
    iat: Seconds,
    exp: Seconds,
    agent_runtime_id: AgentRuntimeId,
    agent_private_key: Schema.Redacted(Schema.String),
    account_id: AccountId,
    chatgpt_user_id: Schema.String,
    email: Schema.optional(Schema.NullOr(Schema.String)),
    plan_type: Schema.String,
    chatgpt_account_is_fedramp: Schema.Boolean
  }),
  { errors: "all" }
)

const readClaims = (
  payload: unknown
): Either.Either<
  { readonly claims: UnverifiedClaims; readonly privateKey: Redacted.Redacted<string> },
  AgentIdentityJwtError
> =>
  Either.mapBoth(decodeClaims(payload), {
    onLeft: ({ issue }) =>
      fail("InvalidClaims", `claims are missing or of another form: ${wrongMembers(issue).join(", ")}`),
    onRight: (claims) => ({
      claims: {
        issuer: claims.iss,
        audience: claims.aud,
        issuedAt: claims.iat,
        expiresAt: claims.exp,
        agentRuntimeId: claims.agent_runtime_id,
        accountId: claims.account_id,
        chatgptUserId: claims.chatgpt_user_id,
        email: claims.email ?? undefined,
        plan: PlanType.fromClaim(claims.plan_type),
        fedramp: claims.chatgpt_account_is_fedramp
      },
      privateKey: claims.agent_private_key
    })
  })

/** Not by a formatter of Schema's: it would write out what was given, which is secret, and may be too deep to be written. */
const wrongMembers = (issue: ParseResult.ParseIssue): ReadonlyArray<string> =>
  issue._tag === "Composite"
    ? Array.ensure(issue.issues).flatMap((part) => part._tag === "Pointer" ? Array.ensure(part.path).map(String) : [])
    : ["the payload"]

/** By `jose`'s codes and claim names; its errors hold the payload. */
const joseError = (error: unknown): AgentIdentityJwtError => {
  const { claim, code, reason } = Predicate.isRecord(error) ? error : {}
  if (code === "ERR_JWT_EXPIRED") return fail("Expired", expired)
  if (code === "ERR_JWT_CLAIM_VALIDATION_FAILED") {
    if (claim === "iss") {
      return fail("Issuer", "it is of another issuer (`iss`); for tokens of your own issuer, name that as `issuer`")
    }
    if (claim === "aud") {
      return fail(
        "Audience",
        "it is for another audience (`aud`); for tokens of your own issuer, name that as `audience`"
      )
    }
    if (claim === "nbf" && reason === "check_failed") {
      return fail("NotYetValid", "it is not valid yet (`nbf`); check this machine's clock")
    }
    return fail("InvalidClaims", `a claim is missing or of another form: ${String(claim)}`)
  }
  return code === "ERR_JWS_INVALID" || code === "ERR_JWT_INVALID"
    ? fail("Malformed", "it is no signed JWT; give the whole token")
    : fail(
      "BadSignature",
      "its signature is not of the key that it names; it was changed, or the key set is another issuer's"
    )
}
