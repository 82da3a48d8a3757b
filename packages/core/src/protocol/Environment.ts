/**
 * Where things are: the ChatGPT bases that are known, the AuthAPI that each belongs to, and the rules that make URLs of
 * a base. Data and pure functions; the service over them is UrlDerivation.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { AgentRuntimeId } from "./AgentRuntimeId.ts"
import * as Text from "./text.ts"

/**
 * A base or an id that no URL is made of. `input` is what was refused, without user information and query.
 *
 * @since 0.1.0
 * @category errors
 */
export class UrlDerivationError extends Schema.TaggedError<UrlDerivationError>(
  "@agent-identity/core/UrlDerivationError"
)("UrlDerivationError", {
  reason: Schema.Literal("UnsupportedBase", "InvalidBase", "InvalidId"),
  input: Schema.String,
  hint: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    const what = {
      UnsupportedBase: "is no known ChatGPT base URL",
      InvalidBase: "is refused as a base URL",
      InvalidId: "makes no URL that stays below its base"
    }[this.reason]
    return `${JSON.stringify(this.input)} ${what}. ${this.hint}`
  }
}

/**
 * What belongs to one ChatGPT base. `authApi` answers registrations, `jwks` has the keys of the token issuer, and
 * requests to `providers` and below are first party.
 *
 * @since 0.1.0
 * @category models
 */
export interface Environment {
  readonly name: "Production" | "Staging" | "Custom"
  readonly authApi: URL
  readonly jwks: URL
  readonly providers: ReadonlyArray<URL>
  /** Paths below each provider base, and all below them, that take bearer tokens and no assertions. */
  readonly bearerOnly: ReadonlyArray<string>
}

/**
 * The first-party endpoints that answer assertions with 401: the reference client's analytics (openai/codex #19635). Its
 * other one of this kind, plugins, is outside of every known provider base.
 *
 * @since 0.1.0
 * @category constants
 */
export const BEARER_ONLY: ReadonlyArray<string> = ["/analytics-events"]

/**
 * One row of the table: a ChatGPT base and what belongs to it, as text.
 *
 * @since 0.1.0
 * @category models
 */
export interface KnownBase {
  readonly base: string
  readonly name: "Production" | "Staging"
  readonly authApi: string
  readonly jwks: string
  readonly providers: ReadonlyArray<string>
}

const production = { name: "Production", authApi: "https://auth.openai.com/api/accounts" } as const
const staging = { name: "Staging", authApi: "https://auth.api.openai.org/api/accounts" } as const
const chatGpt = { ...production, providers: ["https://chatgpt.com/backend-api/codex"] }
const chatOpenAi = { ...production, providers: ["https://chat.openai.com/backend-api/codex"] }
const chatGptStaging = { ...staging, providers: ["https://chatgpt-staging.com/backend-api/codex"] }

/**
 * The bases that are known, from the reference client's `ChatGptEnvironment` (openai/codex,
 * codex-rs/agent-identity/src/lib.rs). Only the host that was configured counts as first party.
 *
 * @since 0.1.0
 * @category constants
 */
export const knownBases: ReadonlyArray<KnownBase> = [
  { base: "https://chatgpt.com", jwks: "https://chatgpt.com/agent-identities/jwks", ...chatGpt },
  {
    base: "https://chatgpt.com/backend-api",
    jwks: "https://chatgpt.com/backend-api/wham/agent-identities/jwks",
    ...chatGpt
  },
  { base: "https://chatgpt.com/codex", jwks: "https://chatgpt.com/codex/agent-identities/jwks", ...chatGpt },
  {
    base: "https://chatgpt.com/backend-api/codex",
    jwks: "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks",
    ...chatGpt
  },
  { base: "https://chat.openai.com", jwks: "https://chat.openai.com/agent-identities/jwks", ...chatOpenAi },
  {
    base: "https://chat.openai.com/backend-api",
    jwks: "https://chat.openai.com/backend-api/wham/agent-identities/jwks",
    ...chatOpenAi
  },
  { base: "https://chat.openai.com/codex", jwks: "https://chat.openai.com/codex/agent-identities/jwks", ...chatOpenAi },
  {
    base: "https://chat.openai.com/backend-api/codex",
    jwks: "https://chat.openai.com/backend-api/codex/wham/agent-identities/jwks",
    ...chatOpenAi
  },
  {
    base: "https://chatgpt-staging.com",
    jwks: "https://chatgpt-staging.com/agent-identities/jwks",
    ...chatGptStaging
  },
  {
    base: "https://chatgpt-staging.com/backend-api",
    jwks: "https://chatgpt-staging.com/backend-api/wham/agent-identities/jwks",
    ...chatGptStaging
  },
  {
    base: "https://chatgpt-staging.com/codex",
    jwks: "https://chatgpt-staging.com/codex/agent-identities/jwks",
    ...chatGptStaging
  },
  {
    base: "https://chatgpt-staging.com/backend-api/codex",
    jwks: "https://chatgpt-staging.com/backend-api/codex/wham/agent-identities/jwks",
    ...chatGptStaging
  }
]

/**
 * The ChatGPT base that is meant where none is named, as in the reference client's own configuration.
 *
 * @since 0.1.0
 * @category constants
 */
export const DEFAULT_CHATGPT_BASE = "https://chatgpt.com/backend-api"

/**
 * Looks a ChatGPT base up in `knownBases`, by its origin and path; slashes at its end do not count. Fails with
 * `UnsupportedBase` for another one, and with `InvalidBase` for what is no base URL.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Either.getOrThrow(Environment.fromChatGptBase("https://chatgpt.com/backend-api/"))
 *
 * assert.deepStrictEqual(environment.authApi.href, "https://auth.openai.com/api/accounts")
 * assert.deepStrictEqual(environment.jwks.href, "https://chatgpt.com/backend-api/wham/agent-identities/jwks")
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromChatGptBase = (base: string): Either.Either<Environment, UrlDerivationError> =>
  Either.gen(function*() {
    const url = yield* Either.mapLeft(
      parseBase(base, { loopbackHttp: false }),
      (error) => new UrlDerivationError({ ...error, hint: `${error.hint} ${acceptedBases}` })
    )
    const known = knownBases.find((row) => baseKey(new URL(row.base)) === baseKey(url))
    if (known === undefined) return yield* refuse("UnsupportedBase", base, acceptedBases)
    return {
      name: known.name,
      authApi: new URL(known.authApi),
      jwks: new URL(known.jwks),
      providers: known.providers.map((provider) => new URL(provider)),
      bearerOnly: BEARER_ONLY
    }
  })

/**
 * A deployment of one's own, every base named. `loopbackHttp` allows `http:` for this machine's own addresses.
 *
 * @since 0.1.0
 * @category models
 */
export interface CustomOptions {
  /** Below it are `/v1/agent/register` and `/v1/agent/{id}/task/register`. */
  readonly authApi: string
  /** The base of the token issuer; `jwksUrl` makes the URL of its keys. */
  readonly jwksBase: string
  /** Requests to these and below them are first party. */
  readonly providers: ReadonlyArray<string>
  /** Paths below each provider base; `BEARER_ONLY` by default. */
  readonly bearerOnly?: ReadonlyArray<string> | undefined
  /** False by default. */
  readonly loopbackHttp?: boolean | undefined
}

/**
 * A deployment of one's own, its bases checked. Fails where one is no base URL, or where a provider base lies at or
 * below the AuthAPI or a key set, so that it would never be first party.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Environment.custom({
 *   authApi: "http://auth.example.com/api/accounts",
 *   jwksBase: "https://id.example.com",
 *   providers: ["https://llm.example.com/v1"]
 * })
 *
 * assert.match(Either.match(environment, { onLeft: String, onRight: String }), /Give an https URL/)
 *
 * @since 0.1.0
 * @category constructors
 */
export const custom = (options: CustomOptions): Either.Either<Environment, UrlDerivationError> =>
  Either.gen(function*() {
    const rules = { loopbackHttp: options.loopbackHttp === true }
    return yield* checked({
      name: "Custom",
      authApi: yield* parseBase(options.authApi, rules),
      jwks: jwksUrl(yield* parseBase(options.jwksBase, rules)),
      providers: yield* parseBases(options.providers, rules),
      bearerOnly: options.bearerOnly ?? BEARER_ONLY
    })
  })

/**
 * Bases that are named explicitly, in the place of a known deployment's.
 *
 * @since 0.1.0
 * @category models
 */
export type Overrides = { readonly [Name in keyof CustomOptions]?: CustomOptions[Name] | undefined }

/**
 * A known ChatGPT base with some of its bases replaced, or, where all are named, a deployment of one's own.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const providers = ["https://llm.example.com/v1"]
 * const environment = Either.getOrThrow(Environment.fromOverrides(Environment.DEFAULT_CHATGPT_BASE, { providers }))
 *
 * assert.deepStrictEqual(environment.name, "Custom")
 * assert.deepStrictEqual(environment.authApi.href, "https://auth.openai.com/api/accounts")
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromOverrides = (
  chatGptBase: string,
  overrides: Overrides
): Either.Either<Environment, UrlDerivationError> =>
  Either.gen(function*() {
    const { authApi, bearerOnly, jwksBase, loopbackHttp, providers } = overrides
    if (authApi !== undefined && jwksBase !== undefined && providers !== undefined) {
      return yield* custom({ authApi, bearerOnly, jwksBase, providers, loopbackHttp })
    }
    const known = yield* fromChatGptBase(chatGptBase)
    const rules = { loopbackHttp: loopbackHttp === true }
    return yield* checked({
      name: authApi === undefined && jwksBase === undefined && providers === undefined ? known.name : "Custom",
      authApi: authApi === undefined ? known.authApi : yield* parseBase(authApi, rules),
      jwks: jwksBase === undefined ? known.jwks : jwksUrl(yield* parseBase(jwksBase, rules)),
      providers: providers === undefined ? known.providers : yield* parseBases(providers, rules),
      bearerOnly: bearerOnly ?? known.bearerOnly
    })
  })

/**
 * The URL of an issuer's key set: below a ChatGPT backend (`/backend-api` in its path; the reference client looks at the
 * host too) it is `/wham/agent-identities/jwks`, elsewhere `/agent-identities/jwks`.
 *
 * @since 0.1.0
 * @category combinators
 */
export const jwksUrl = (base: URL): URL =>
  below(base, base.pathname.includes("/backend-api") ? "/wham/agent-identities/jwks" : "/agent-identities/jwks")

/**
 * Where a new agent is registered.
 *
 * @since 0.1.0
 * @category combinators
 */
export const agentRegistrationUrl = (environment: Environment): URL => below(environment.authApi, "/v1/agent/register")

/**
 * Where an agent registers the task of a run. The id stands in one escaped segment of the path; that it does is
 * checked on the finished URL.
 *
 * @example
 * import { AgentRuntimeId, Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Either.getOrThrow(Environment.fromChatGptBase("https://chatgpt.com"))
 * const id = AgentRuntimeId.AgentRuntimeId.make("team/agent 1")
 *
 * assert.deepStrictEqual(
 *   Either.getOrThrow(Environment.taskRegistrationUrl(environment, id)).pathname,
 *   "/api/accounts/v1/agent/team%2Fagent%201/task/register"
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const taskRegistrationUrl = (
  environment: Environment,
  agentRuntimeId: AgentRuntimeId
): Either.Either<URL, UrlDerivationError> => {
  const refused = () =>
    refuse("InvalidId", Text.truncate(String(agentRuntimeId), 64), "Give the agent runtime id as it was issued.")
  // A lone surrogate makes `encodeURIComponent` throw.
  if (!Text.isWellFormed(agentRuntimeId)) return refused()
  const segment = encodeURIComponent(agentRuntimeId)
  const url = below(environment.authApi, `/v1/agent/${segment}/task/register`)
  const expected = `${trimSlashes(environment.authApi.pathname)}/v1/agent/${segment}/task/register`
  // Only the path was set; a query or a fragment is one that an environment made by hand brings along.
  return segment.length > 0 && url.pathname === expected && url.search === "" && url.hash === ""
    ? Either.right(url)
    : refused()
}

/**
 * What a request to this absolute URL carries of the run's identity.
 *
 * - `FirstParty`: the origin of a provider base, at its path or below it at a segment boundary, and neither the AuthAPI
 *   nor a key set
 * - `BearerOnly`: such a URL, of an endpoint that takes no assertions
 * - `Ambiguous`: below a provider base, but with a path that servers may read in two ways: an empty segment, one that
 *   climbs in escapes, or escapes that are no text
 * - `Foreign`: everything else, and every URL with user information
 *
 * @since 0.1.0
 * @category models
 */
export type Party = "FirstParty" | "BearerOnly" | "Ambiguous" | "Foreign"

/**
 * Says of each URL which party it is. What of it depends on the environment alone is done once: give it to all requests.
 *
 * @since 0.1.0
 * @category guards
 */
export const classifier = (environment: Environment): (url: URL) => Party => {
  const { authApi, bearerOnly, jwks, providers } = environment
  const bases = providers.map(readBase)
  const never = [authApi, jwks, ...providers.map(jwksUrl)].map(readBase)
  const withoutAssertion = providers.flatMap((base) =>
    bearerOnly.map((endpoint) => readBase(below(base, `/${endpoint.replace(/^\//, "")}`)))
  )
  return (url) => {
    const { origin, pathname } = url
    if (url.username !== "" || url.password !== "") return "Foreign"
    const path = readPath(pathname)
    if (path === undefined) {
      return bases.some((base) => base.origin === origin && pathname.startsWith(base.prefix)) ? "Ambiguous" : "Foreign"
    }
    const isBelow = (base: Base, of: "segments" | "pieces") =>
      base.origin === origin && base[of].every((part, index) => part === path[of][index])
    if (!bases.some((base) => isBelow(base, "segments")) || never.some((base) => isBelow(base, "pieces"))) {
      return "Foreign"
    }
    return withoutAssertion.some((base) => isBelow(base, "pieces")) ? "BearerOnly" : "FirstParty"
  }
}

interface Base extends Path {
  readonly origin: string
  readonly prefix: string
}

const readBase = (url: URL): Base => {
  const pathname = trimSlashes(url.pathname)
  // What cannot be read has no path below it: no path has this segment.
  return { origin: url.origin, prefix: `${pathname}/`, ...readPath(pathname) ?? { segments: ["?"], pieces: ["?"] } }
}

/**
 * `classifier` for one URL.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Either.getOrThrow(Environment.fromChatGptBase("https://chatgpt.com"))
 * const partyOf = (url: string) => Environment.classify(environment, new URL(url))
 *
 * assert.deepStrictEqual(partyOf("https://chatgpt.com/backend-api/codex/responses"), "FirstParty")
 * assert.deepStrictEqual(partyOf("https://chatgpt.com/backend-api/codex/analytics-events/events"), "BearerOnly")
 * assert.deepStrictEqual(partyOf("https://chatgpt.com/backend-api/codexes"), "Foreign")
 *
 * @since 0.1.0
 * @category guards
 */
export const classify = (environment: Environment, url: URL): Party => classifier(environment)(url)

/**
 * Whether `classify` says `FirstParty`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isFirstParty = (environment: Environment, url: URL): boolean => classify(environment, url) === "FirstParty"

interface Path {
  readonly segments: ReadonlyArray<string>
  readonly pieces: ReadonlyArray<string>
}

/**
 * The unescaped segments of a path, so that `%77ham` is `wham`; and the pieces that a careless server would make of
 * them: cut at escaped slashes too, in lower case, without `;parameters`. Undefined where such a server would see empty
 * or climbing ones.
 */
const readPath = (pathname: string): Path | undefined => {
  if (PLAIN.test(pathname)) {
    const trimmed = pathname.endsWith("/") ? pathname.slice(1, -1) : pathname.slice(1)
    return { segments: trimmed.split("/"), pieces: trimmed.toLowerCase().split("/") }
  }
  const segments: Array<string> = []
  const pieces: Array<string> = []
  for (const escaped of pathname.replace(/\/$/, "").split("/").slice(1)) {
    const segment = unescape(escaped)
    if (segment === undefined) return undefined
    segments.push(segment)
    for (const part of segment.split(/[/\\]/)) {
      const piece = part.replace(/;.*/s, "").toLowerCase()
      if (piece === "" || piece === "." || piece === "..") return undefined
      pieces.push(piece)
    }
  }
  return { segments, pieces }
}

/** A path that nobody reads in two ways: nearly all are so. */
const PLAIN = /^(?:\/[\w-]+)+\/?$/

const unescape = (segment: string): string | undefined => {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/**
 * Reads a base URL: https, without user information, query and fragment, and without segments that servers may read in
 * two ways. With `loopbackHttp` `http:` is taken for `localhost`, `127.0.0.0/8` and `[::1]`.
 *
 * @since 0.1.0
 * @category decoding
 */
export const parseBase = (
  base: string,
  rules: { readonly loopbackHttp: boolean }
): Either.Either<URL, UrlDerivationError> => {
  const invalid = (hint: string) => refuse("InvalidBase", base, hint)
  if (!/^https?:\/\/[^/]/i.test(base) || !URL.canParse(base)) return invalid("Give an absolute https URL.")
  if (/^[^/]*\/\/[^/?#\\]*@/.test(base)) return invalid("A base URL has no user name and no password.")
  if (/[?#]/.test(base)) return invalid("A base URL has no query and no fragment.")
  // A URL parser would drop or turn them.
  if (/[\s\p{Cc}\\]/u.test(base)) return invalid("A base URL has no white space, control characters and backslashes.")
  const url = new URL(base)
  const path = readPath(trimSlashes(url.pathname))
  if (path === undefined || path.segments.length !== path.pieces.length || DOTTED.test(base)) {
    return invalid("A base URL has no empty, dotted or escaped-slash segments.")
  }
  if (url.protocol === "http:" && !(rules.loopbackHttp && isLoopback(url))) {
    return invalid("Give an https URL; http is for a loopback address, where `loopbackHttp` is set.")
  }
  return Either.right(url)
}

/** Of the text: in the URL a parser has climbed by then. */
const DOTTED = /\/(?:\.|%2e){1,2}(?:\/|$)/i

const parseBases = (bases: ReadonlyArray<string>, rules: { readonly loopbackHttp: boolean }) =>
  Either.all(bases.map((base) => parseBase(base, rules)))

/** A provider base that is never first party is a mistake. */
const checked = (environment: Environment): Either.Either<Environment, UrlDerivationError> => {
  const hidden = environment.providers.find((provider) => !isFirstParty(environment, provider))
  return hidden === undefined
    ? Either.right(environment)
    : refuse("InvalidBase", hidden.href, "A provider base does not lie at or below the AuthAPI base or a key set.")
}

const isLoopback = (url: URL): boolean =>
  url.hostname === "localhost" || url.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(url.hostname)

/** The lookbehind keeps it linear: many slashes before something else are looked at once. */
const trimSlashes = (path: string): string => path.replace(/(?<!\/)\/+$/, "")

const baseKey = (url: URL): string => url.origin + trimSlashes(url.pathname)

const below = (base: URL, path: string): URL => {
  const url = new URL(base)
  url.pathname = trimSlashes(base.pathname) + path
  return url
}

const acceptedBases = `Give one of ${knownBases.map((row) => row.base).join(", ")}, or name all bases of a custom one.`

/**
 * A refused base may hold a password, with an `@` or `#` in it: what is shown begins behind the last `@`. What is no URL
 * may be a key or a token, where variables were swapped.
 */
const refuse = (reason: UrlDerivationError["reason"], input: string, hint: string) =>
  Either.left(
    new UrlDerivationError({
      reason,
      input: reason === "InvalidId" || input === ""
        ? input
        : /^\s*https?:/i.test(input)
        ? Text.truncate(input.replace(/^.*@/s, "").replace(/[?#].*/s, ""), 128)
        : "a value that is no URL",
      hint
    })
  )
