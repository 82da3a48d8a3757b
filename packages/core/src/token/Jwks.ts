/**
 * The public keys of a token issuer, looked up by `kid`.
 *
 * The policy of the remote layers follows `jose`'s remote key set: a set is kept for 10 minutes; an unknown `kid`
 * fetches it again, at most once in 30 seconds; one fetch at a time, each answer within 10 seconds (the reference
 * client's limit), a broken connection once more; no redirects, status 200 only, 64 KiB at most; a failure is not kept:
 * while no set is young enough, every look-up fetches.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as BaseUrl from "../protocol/baseUrl.ts"
import * as Text from "../protocol/text.ts"
import * as Answer from "../run/answer.ts"
import * as Caller from "../run/caller.ts"
import { toEffect } from "../run/either.ts"
import * as Http from "../run/http.ts"
import * as Moment from "../run/moment.ts"
import * as SingleFlight from "../run/singleFlight.ts"
import * as UrlDerivation from "../run/UrlDerivation.ts"

/**
 * Why there are no keys. `source` is where they were looked for: a URL, a file, or what the caller gave.
 *
 * - `Transport`, `Timeout`: no answer, or none within 10 s
 * - `Certificate`: the server's certificate is not trusted, has expired, or is of another name
 * - `Status`: another one than 200
 * - `ResponseTooLarge`: more than 64 KiB
 * - `InvalidKeySet`: no JSON object with an array `keys`
 * - `InvalidDiscovery`: a discovery document, or a configured issuer, that is not as it has to be
 * - `Unreadable`: a file
 * - `NotConfigured`: the backend names no base of a token issuer; `source` is the option to set
 *
 * @since 0.1.0
 * @category errors
 */
export class JwksError extends Schema.TaggedError<JwksError>("@agent-identity/core/JwksError")("JwksError", {
  reason: Schema.Literal(
    "Transport",
    "Certificate",
    "Timeout",
    "Status",
    "ResponseTooLarge",
    "InvalidKeySet",
    "InvalidDiscovery",
    "Unreadable",
    "NotConfigured"
  ),
  source: Schema.String,
  detail: Schema.String,
  status: Schema.optional(Schema.Number),
  /** The start of the answer that was not a key set. */
  body: Schema.optional(Schema.String)
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    const body = this.body === undefined || this.body === "" ? "" : `: ${this.body}`
    return `No key set from ${this.source}: ${this.detail}${body}`
  }
}

/**
 * An RSA public key for signatures (RFC 7517).
 *
 * @since 0.1.0
 * @category models
 */
export interface Jwk {
  readonly kid: string
  readonly kty: "RSA"
  readonly n: string
  readonly e: string
  readonly alg: "RS256"
}

/**
 * Finds keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The keys with this `kid`: none, one, or more where an issuer names two alike. */
  readonly find: (kid: string) => Effect.Effect<ReadonlyArray<Jwk>, JwksError>
}

/**
 * The keys of the one issuer whose tokens are taken. `AgentIdentityJwt` takes it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Jwks extends Context.Tag("@agent-identity/core/Jwks")<Jwks, Service>() {}

/** Milliseconds that a key set is used. */
const maxAgeMillis = 10 * 60 * 1000
/** Milliseconds between two fetches for unknown keys. */
const cooldownMillis = 30 * 1000

/**
 * The keys behind a URL, by the policy at the head of this module. `locate` is asked for the URL at every fetch.
 *
 * @internal
 */
export const makeRemote = (
  locate: Effect.Effect<URL, JwksError>,
  options: { readonly staleFor?: Duration.DurationInput | undefined } = {}
): Effect.Effect<Service, never, HttpClient.HttpClient> =>
  Effect.gen(function*() {
    const client = yield* Effect.flatMap(HttpClient.HttpClient, Caller.client)
    const staleMillis = Duration.toMillis(options.staleFor ?? 0)
    let set: { readonly keys: ReadonlyArray<Jwk>; readonly fetchedAt: Moment.Moment } | undefined
    let failed: { readonly error: JwksError; readonly at: Moment.Moment } | undefined

    const flight = yield* SingleFlight.make<ReadonlyArray<Jwk>, JwksError>()
    const fetch = flight.share(
      Effect.gen(function*() {
        const url = yield* locate
        const keys = yield* toEffect(parseKeySet(yield* getJson(client, url), url.href))
        set = { keys, fetchedAt: yield* Moment.now }
        failed = undefined
        return keys
      }).pipe(
        // Here and not with those who wait: they may be gone by then.
        Effect.tapError((error) => Effect.map(Moment.now, (at) => void (failed = { error, at })))
      )
    )

    /** Returns the last good set while the issuer is away. Its age counts from when it was fetched. */
    const stale = (error: JwksError) =>
      Effect.flatMap(Moment.now, (now) =>
        set !== undefined && isAway(error) && Moment.isWithin(set.fetchedAt, staleMillis, now)
          ? Effect.succeed(set.keys)
          : Effect.fail(error))

    const fetchOrStale = Effect.catchAll(fetch, (error) =>
      Effect.tap(
        stale(error),
        Effect.logWarning(`Using the last good key set, because the issuer is away: ${error.message}`)
      ))

    const find = (kid: string) =>
      Effect.gen(function*() {
        const now = yield* Moment.now
        const isCooling = failed !== undefined && Moment.isWithin(failed.at, cooldownMillis, now)
        if (set === undefined || !Moment.isWithin(set.fetchedAt, maxAgeMillis, now)) {
          // Within 30 seconds of a failure the issuer is not asked again, if there is a set to use.
          const keys = isCooling
            ? Effect.orElse(stale(failed!.error), () =>
              fetchOrStale)
            : fetchOrStale
          return withKid(yield* keys, kid)
        }
        const found = withKid(set.keys, kid)
        if (found.length > 0 || isCooling || Moment.isWithin(set.fetchedAt, cooldownMillis, now)) {
          return found
        }
        return withKid(yield* fetch, kid)
      })

    return { find }
  })

/** Whether nobody knows what the issuer would say. */
const isAway = ({ reason, status = 0 }: JwksError): boolean =>
  reason === "Transport" || reason === "Timeout" || (reason === "Status" && (status === 429 || status >= 500))

/**
 * The key set of the deployment: `UrlDerivation`'s `jwks`, which comes from the issuer's base and never from the
 * AuthAPI's. Fails with `NotConfigured` for a backend that names no `jwksBase`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  urls: Layer.Layer<UrlDerivation.UrlDerivation, E, R>
): Layer.Layer<Jwks, E | JwksError, R | HttpClient.HttpClient> => layerWith(urls, {})

/**
 * Builds `layer` with another policy. While the issuer is away (no answer, 429 or 5xx), the last good set is used for `staleFor`
 * after it was fetched. The default is 0; one hour suits an agent that reads its own token.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E, R>(
  urls: Layer.Layer<UrlDerivation.UrlDerivation, E, R>,
  options: { readonly staleFor?: Duration.DurationInput | undefined }
): Layer.Layer<Jwks, E | JwksError, R | HttpClient.HttpClient> =>
  Layer.provide(Layer.effect(Jwks, makeDeployment(options)), urls)

const makeDeployment = (options: Parameters<typeof makeRemote>[1]) =>
  Effect.flatMap(UrlDerivation.UrlDerivation, ({ jwks }) =>
    jwks === undefined
      ? new JwksError({
        reason: "NotConfigured",
        source: "jwksBase",
        detail: "it is not set, and tokens are verified with the issuer's keys; set it to the issuer's base URL"
      })
      : makeRemote(Effect.succeed(jwks), options))

/**
 * An issuer that publishes where its keys are.
 *
 * @since 0.1.0
 * @category models
 */
export interface DiscoveryOptions {
  /** Its `/.well-known/openid-configuration` is read, and has to name this very issuer. */
  readonly issuer: string
  /** Key sets on another origin than the issuer's, as whole URLs. */
  readonly allowedJwksUris?: ReadonlyArray<string> | undefined
  /** Allows `http:` for this machine's own addresses. */
  readonly loopbackHttp?: boolean | undefined
  /** Allows `http:` for these hosts, such as `issuer:8787` in a Docker network. */
  readonly privateNetworkHttp?: ReadonlyArray<string> | undefined
}

/**
 * The key set that an explicitly configured issuer names in its discovery document (OpenID Connect Discovery 1.0): over
 * https, of the same issuer, and on the issuer's origin unless another URL is allowed. The document is read again with
 * every fetch of the key set.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDiscovery = (options: DiscoveryOptions): Layer.Layer<Jwks, JwksError, HttpClient.HttpClient> =>
  Layer.effect(
    Jwks,
    Effect.gen(function*() {
      const client = yield* Effect.flatMap(HttpClient.HttpClient, Caller.client)
      const invalid = (detail: string) => new JwksError({ reason: "InvalidDiscovery", source: options.issuer, detail })
      const issuer = yield* Effect.mapError(
        toEffect(BaseUrl.parse(options.issuer, options)),
        // A refused issuer may hold a password, which is not shown.
        (hint) => new JwksError({ reason: "InvalidDiscovery", source: BaseUrl.shown(options.issuer), detail: hint })
      )
      const document = new URL(`${issuer.href.replace(/\/$/, "")}/.well-known/openid-configuration`)
      return yield* makeRemote(Effect.gen(function*() {
        const answer = yield* getJson(client, document)
        const found = yield* Effect.mapError(
          decodeDiscovery(answer),
          () => invalid(`${document} does not hold \`issuer\` and \`jwks_uri\``)
        )
        if (found.issuer !== options.issuer) return yield* invalid(`${document} is of another issuer`)
        const url = yield* Effect.mapError(
          toEffect(BaseUrl.parse(found.jwks_uri, options)),
          () => invalid(`the jwks_uri in ${document} is no https URL without a query`)
        )
        if (url.origin !== issuer.origin && options.allowedJwksUris?.includes(found.jwks_uri) !== true) {
          return yield* invalid(`the jwks_uri in ${document} is on another origin, ${url.origin}, and is not allowed`)
        }
        return url
      }))
    })
  )

/**
 * Keys that never change: a key set (RFC 7517) as data, of which those count that can verify RS256. Fails with
 * `InvalidKeySet`.
 *
 * @example
 * import { Jwks } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const KeySet = Jwks.layerStatic({
 *   keys: [{ kid: "key-1", kty: "RSA", n: "sXch…", e: "AQAB" }, { kid: "key-2", kty: "OKP", crv: "Ed25519", x: "11qY…" }]
 * })
 *
 * const find = (kid: string) => Effect.flatMap(Jwks.Jwks, (jwks) => jwks.find(kid)).pipe(Effect.provide(KeySet))
 *
 * assert.deepStrictEqual((await Effect.runPromise(find("key-1"))).length, 1)
 * assert.deepStrictEqual((await Effect.runPromise(find("key-2"))).length, 0)
 *
 * @since 0.1.0
 * @category layers
 */
export const layerStatic = (keySet: unknown): Layer.Layer<Jwks, JwksError> =>
  Layer.effect(Jwks, Effect.map(Effect.suspend(() => toEffect(parseKeySet(keySet, "the given value"))), makeStatic))

/**
 * Keys from a JSON file, read once.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFile = (path: string): Layer.Layer<Jwks, JwksError, FileSystem.FileSystem> =>
  Layer.effect(
    Jwks,
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const source = `the file ${path}`
      const text = yield* Effect.mapError(
        fs.readFileString(path),
        (error) => new JwksError({ reason: "Unreadable", source, detail: error.message })
      )
      return makeStatic(yield* toEffect(parseKeySet(Text.readJson(Text.toUtf8(text)), source)))
    })
  )

/**
 * Keys as JSON in the configuration, for places that cannot reach the issuer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  json: Config.Config<string>
): Layer.Layer<Jwks, JwksError | ConfigError.ConfigError> =>
  Layer.effect(
    Jwks,
    Effect.map(
      Effect.flatMap(json, (text) => toEffect(parseKeySet(Text.readJson(Text.toUtf8(text)), "the configuration"))),
      makeStatic
    )
  )

const makeStatic = (keys: ReadonlyArray<Jwk>): Service => ({ find: (kid) => Effect.succeed(withKid(keys, kid)) })

/** Never by property access: a `kid` comes from whoever wrote the token. */
const withKid = (keys: ReadonlyArray<Jwk>, kid: string): ReadonlyArray<Jwk> => keys.filter((key) => key.kid === kid)

const getJson = (client: HttpClient.HttpClient, url: URL): Effect.Effect<unknown, JwksError> =>
  Effect.gen(function*() {
    const fail = (
      reason: JwksError["reason"],
      detail: string,
      more?: { readonly status?: number; readonly body?: string | undefined }
    ) => new JwksError({ reason, source: url.href, detail, ...more })
    const answer = yield* Http.send(
      client,
      HttpClientRequest.get(url, { headers: { accept: "application/json", "accept-encoding": "identity" } })
    ).pipe(
      // A connection that was kept may have ended meanwhile.
      Effect.retry({ times: 1, while: (error) => Http.transportFailure(error).reason === "Transport" }),
      Effect.mapError((error) => {
        const { detail, reason } = Http.transportFailure(error)
        return fail(reason, detail)
      }),
      Effect.timeoutFail({
        duration: "10 seconds",
        onTimeout: () => fail("Timeout", "no answer within 10 seconds; check the network and the JWKS base URL")
      })
    )
    const { status } = answer
    const { advice, body, from, isReadable } = Answer.explain(answer, {
      secrets: [],
      advice: "check the JWKS base URL"
    })
    if (status !== 200) {
      return yield* fail("Status", `status ${status} instead of 200${from}; ${advice}`, { status, body })
    }
    if (!answer.complete) {
      return yield* fail(
        "ResponseTooLarge",
        `the answer is larger than ${Http.maxBodyBytes} bytes${from}; check the JWKS base URL`
      )
    }
    if (!isReadable) {
      return yield* fail("InvalidKeySet", `it is not a JSON object with an array \`keys\`${from}; ${advice}`, { body })
    }
    return Text.readJson(answer.body)
  })

const decodeDiscovery = Schema.decodeUnknown(Schema.Struct({ issuer: Schema.String, jwks_uri: Schema.String }))

const decodeKeySet = Schema.decodeUnknownOption(Schema.Struct({ keys: Schema.Array(Schema.Unknown) }))

const decodeKey = Schema.decodeUnknownOption(Schema.Struct({
  kid: Schema.String,
  kty: Schema.Literal("RSA"),
  n: Schema.String,
  e: Schema.String,
  alg: Schema.optional(Schema.Literal("RS256")),
  use: Schema.optional(Schema.Literal("sig")),
  key_ops: Schema.optional(
    Schema.Array(Schema.String).pipe(Schema.filter((operations) => operations.includes("verify")))
  )
}))

/** The keys that can verify RS256; others may stand beside them. */
const parseKeySet = (json: unknown, source: string): Either.Either<ReadonlyArray<Jwk>, JwksError> =>
  Option.match(decodeKeySet(json), {
    onNone: () =>
      Either.left(
        new JwksError({ reason: "InvalidKeySet", source, detail: "it is not a JSON object with an array `keys`" })
      ),
    onSome: ({ keys }) =>
      Either.right(keys.flatMap((key) =>
        Option.match(decodeKey(key), {
          onNone: () => [],
          onSome: ({ e, kid, n }) => [{ kid, kty: "RSA" as const, n, e, alg: "RS256" as const }]
        })
      ))
  })
