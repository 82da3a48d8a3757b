/**
 * Where things are: the ChatGPT bases that are known, the AuthAPI that each belongs to, and the backends that are named
 * in their place. Data and pure functions; the service over them is UrlDerivation.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { AgentRuntimeId } from "./AgentRuntimeId.ts"
import * as BaseUrl from "./baseUrl.ts"
import * as Party from "./Party.ts"
import * as Text from "./text.ts"

/**
 * Why there is no URL. `option` is the option, or the environment variable, that holds the refused value; `input` is that
 * value without user information and query.
 *
 * - `UnsupportedBase`: a ChatGPT base that is not known
 * - `InvalidBase`: not a base URL, or empty
 * - `InvalidPath`: not a path of an endpoint
 * - `InvalidId`: an id that leaves its place in the path
 *
 * @since 0.1.0
 * @category errors
 */
export class UrlDerivationError extends Schema.TaggedError<UrlDerivationError>(
  "@agent-identity/core/UrlDerivationError"
)("UrlDerivationError", {
  reason: Schema.Literal("UnsupportedBase", "InvalidBase", "InvalidPath", "InvalidId"),
  option: Schema.optional(Schema.String),
  input: Schema.String,
  hint: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    const what = {
      UnsupportedBase: "is not a known ChatGPT base URL",
      InvalidBase: "is refused as a base URL",
      InvalidPath: "is refused as a path",
      InvalidId: "makes no URL that stays below its base"
    }[this.reason]
    return this.option === undefined
      ? `${JSON.stringify(this.input)} ${what}. ${this.hint}`
      : this.input === ""
      ? `${this.option} is empty. ${this.hint}`
      : `${this.option} ${JSON.stringify(this.input)} ${what}. ${this.hint}`
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
  /** Undefined for a backend of your own that names no `jwksBase`: it verifies no tokens. */
  readonly jwks: URL | undefined
  readonly providers: ReadonlyArray<URL>
  /** Paths below each provider base, and all below them, that take bearer tokens and no assertions. */
  readonly bearerOnly: ReadonlyArray<string>
  /** Paths at the origin of each provider base, and all below them, that are first party too. */
  readonly paths: ReadonlyArray<string>
}

/**
 * The first-party endpoints that answer assertions with 401: the reference client's analytics (openai/codex #19635). Its
 * other one of this kind, plugins, is outside of every known provider base.
 */
const defaultBearerOnly: ReadonlyArray<string> = ["/analytics-events"]

/**
 * The paths of ChatGPT outside of `/backend-api/codex` at which the reference client sends assertions: usage, credits,
 * settings, the MCP server of ChatGPT's apps and plugins. Give it as `paths`.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const environment = Either.getOrThrow(Environment.make({ paths: Environment.chatGptPaths }))
 * assert.ok(environment.paths.includes("/backend-api/wham/usage"))
 *
 * @since 0.1.0
 * @category constants
 */
export const chatGptPaths: ReadonlyArray<string> = [
  "/backend-api/wham/usage",
  "/backend-api/wham/rate-limit-reset-credits",
  "/backend-api/wham/settings/user",
  "/backend-api/ps/mcp",
  "/backend-api/ps/plugins"
]

/**
 * One row of the table: a ChatGPT base and what belongs to it, as text.
 * @internal
 */
interface KnownBase {
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
const govChatGpt = { ...production, providers: ["https://gov.chatgpt.com/backend-api/codex"] }
const chatGptStaging = { ...staging, providers: ["https://chatgpt-staging.com/backend-api/codex"] }

/**
 * The bases that are known, from the reference client's `ChatGptEnvironment` (openai/codex,
 * codex-rs/agent-identity/src/lib.rs); `npm run interop` asks the client itself. Only the host that was configured
 * counts as first party.
 * @internal
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
  { base: "https://gov.chatgpt.com", jwks: "https://gov.chatgpt.com/agent-identities/jwks", ...govChatGpt },
  {
    base: "https://gov.chatgpt.com/backend-api",
    jwks: "https://gov.chatgpt.com/backend-api/wham/agent-identities/jwks",
    ...govChatGpt
  },
  { base: "https://gov.chatgpt.com/codex", jwks: "https://gov.chatgpt.com/codex/agent-identities/jwks", ...govChatGpt },
  {
    base: "https://gov.chatgpt.com/backend-api/codex",
    jwks: "https://gov.chatgpt.com/backend-api/codex/wham/agent-identities/jwks",
    ...govChatGpt
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

/** The ChatGPT base that is meant where none is named, as in the reference client's own configuration. */
const defaultChatGptBase = "https://chatgpt.com/backend-api"

/**
 * Which bases are ChatGPT's, and which are named in their place.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** One of the known ChatGPT bases; `https://chatgpt.com/backend-api` by default. */
  readonly chatGptBase?: string | undefined
  /** Below it are `/v1/agent/register` and `/v1/agent/{id}/task/register`. */
  readonly authApi?: string | undefined
  /** The base of the token issuer, below which its keys are. It is needed where tokens are verified. */
  readonly jwksBase?: string | undefined
  /** Requests to these and below them are first party. One or more. */
  readonly providers?: ReadonlyArray<string> | undefined
  /** Paths below each provider base that take bearer tokens only; `/analytics-events` by default, `[]` for none. */
  readonly bearerOnly?: ReadonlyArray<string> | undefined
  /**
   * Paths outside of the provider bases, at the origin of each, such as `/backend-api/wham/usage`: requests to them and
   * below them are first party too. None by default; `chatGptPaths` are those of ChatGPT.
   */
  readonly paths?: ReadonlyArray<string> | undefined
  /** Allows `http:` for this machine's own addresses in the bases that are named; false by default. */
  readonly loopbackHttp?: boolean | undefined
  /**
   * Allows `http:` for these hosts in the bases that are named, such as `authapi:8787` in a Docker network; none by
   * default. Without a port it is all ports of the host. Everybody in that network can read the assertions.
   */
  readonly privateNetworkHttp?: ReadonlyArray<string> | undefined
}

/**
 * A backend of your own: nothing is ChatGPT's.
 *
 * @since 0.1.0
 * @category models
 */
export interface CustomOptions extends Omit<Options, "chatGptBase"> {
  readonly authApi: string
  readonly providers: ReadonlyArray<string>
}

/**
 * The bases that are named, checked, and ChatGPT's in place of those that are not. With `authApi` and `providers` it is a
 * backend of your own, and nothing is ChatGPT's: without `jwksBase` it has no key set. Fails where a base is refused, or
 * where a provider base lies at or below the AuthAPI or a key set, so that it would never be first party.
 *
 * @example
 * import { Environment } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const chatGpt = Either.getOrThrow(Environment.make({ chatGptBase: "https://chatgpt.com/backend-api/" }))
 * assert.deepStrictEqual(chatGpt.authApi.href, "https://auth.openai.com/api/accounts")
 * assert.deepStrictEqual(chatGpt.jwks?.href, "https://chatgpt.com/backend-api/wham/agent-identities/jwks")
 *
 * const own = Environment.make({ authApi: "http://auth.example.com", providers: ["https://llm.example.com/v1"] })
 * assert.match(Either.match(own, { onLeft: String, onRight: String }), /authApi "http:.*Give an https URL/)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Either.Either<Environment, UrlDerivationError> =>
  Either.gen(function*() {
    const parse = (option: keyof Options, base: string) =>
      Either.mapLeft(BaseUrl.parse(base, options), (hint) => refusal("InvalidBase", option, base, hint))
    const noHost = options.privateNetworkHttp?.find((entry) => !BaseUrl.isHost(entry))
    if (noHost !== undefined) {
      return yield* Either.left(
        refusal(
          "InvalidBase",
          "privateNetworkHttp",
          noHost,
          "Give one host, without a scheme and wildcards, such as authapi:8787."
        )
      )
    }
    if (options.providers?.length === 0) {
      return yield* Either.left(refusal("InvalidBase", "providers", "", "Name at least one provider base URL."))
    }
    const authApi = options.authApi === undefined ? undefined : yield* parse("authApi", options.authApi)
    const jwks = options.jwksBase === undefined
      ? undefined
      : BaseUrl.jwksUrl(yield* parse("jwksBase", options.jwksBase))
    const providers = options.providers === undefined
      ? undefined
      : yield* Either.all(options.providers.map((base) => parse("providers", base)))
    const bearerOnly = yield* Either.all(
      (options.bearerOnly ?? defaultBearerOnly).map((path) => checkPath("bearerOnly", path))
    )
    const paths = yield* Either.all((options.paths ?? []).map((path) => checkPath("paths", path)))
    if (authApi !== undefined && providers !== undefined) {
      return yield* checkProviders({ name: "Custom", authApi, jwks, providers, bearerOnly, paths })
    }
    const known = yield* fromChatGptBase(options.chatGptBase ?? defaultChatGptBase)
    return yield* checkProviders({
      name: authApi === undefined && jwks === undefined && providers === undefined ? known.name : "Custom",
      authApi: authApi ?? known.authApi,
      jwks: jwks ?? known.jwks,
      providers: providers ?? known.providers,
      bearerOnly,
      paths
    })
  })

/** By origin and path; slashes at the end do not count. */
const fromChatGptBase = (base: string) =>
  Either.gen(function*() {
    const url = yield* Either.mapLeft(
      BaseUrl.parse(base, {}),
      (hint) => refusal("InvalidBase", "chatGptBase", base, `${hint} ${acceptedBases}`)
    )
    const known = knownBases.find((row) => baseKey(new URL(row.base)) === baseKey(url))
    if (known === undefined) return yield* Either.left(refusal("UnsupportedBase", "chatGptBase", base, acceptedBases))
    return {
      name: known.name,
      authApi: new URL(known.authApi),
      jwks: new URL(known.jwks),
      providers: known.providers.map((provider) => new URL(provider))
    }
  })

const baseKey = (url: URL): string => url.origin + BaseUrl.trimSlashes(url.pathname)

const acceptedBases = `Give one of ${
  knownBases.map((row) => row.base).join(", ")
}, or name \`authApi\` and \`providers\` of another backend.`

/** An empty path would be a whole provider base, or the whole of its origin. */
const checkPath = (option: "bearerOnly" | "paths", path: string): Either.Either<string, UrlDerivationError> => {
  const endpoint = path.replace(/^\//, "")
  // A URL parser would drop white space and control characters, and what is left may be another path.
  return endpoint !== "" && !/[?#\s\p{Cc}\\]/u.test(endpoint) && BaseUrl.isPlain(BaseUrl.readPath(`/${endpoint}`))
    ? Either.right(path)
    : Either.left(refusedPath(option, path, pathHints[option]))
}

const refusedPath = (option: "bearerOnly" | "paths", path: string, hint: string) =>
  new UrlDerivationError({ reason: "InvalidPath", option, input: Text.truncate(path, 128), hint })

const pathHints = {
  bearerOnly: "Give the path of an endpoint below a provider base, such as `/analytics-events`.",
  paths: "Give the path of an endpoint at the origin of a provider base, such as `/backend-api/wham/usage`."
}

/** A provider base, or a path, that is never first party is a mistake. */
const checkProviders = (environment: Environment): Either.Either<Environment, UrlDerivationError> => {
  const classify = Party.classifier(environment)
  const hidden = environment.providers.find((provider) => classify(provider) !== "FirstParty")
  if (hidden !== undefined) {
    return Either.left(
      refusal(
        "InvalidBase",
        "providers",
        hidden.href,
        "A provider base does not lie at or below the AuthAPI base or a key set."
      )
    )
  }
  const foreign = environment.paths.find((path) =>
    environment.providers.every((base) => classify(new URL(BaseUrl.withSlash(path), base)) === "Foreign")
  )
  return foreign === undefined
    ? Either.right(environment)
    : Either.left(refusedPath("paths", foreign, "It does not lie at or below the AuthAPI base or a key set."))
}

const refusal = (reason: "UnsupportedBase" | "InvalidBase", option: keyof Options, base: string, hint: string) =>
  new UrlDerivationError({ reason, option, input: BaseUrl.shown(base), hint })

/**
 * Where a new agent is registered.
 * @internal
 */
export const agentRegistrationUrl = (environment: Environment): URL =>
  BaseUrl.below(environment.authApi, "/v1/agent/register")

/**
 * Where an agent registers the task of a run. The id stands in one escaped segment of the path; that it does is
 * checked on the finished URL.
 * @internal
 */
export const taskRegistrationUrl = (
  environment: Environment,
  agentRuntimeId: AgentRuntimeId
): Either.Either<URL, UrlDerivationError> => {
  const refused = () =>
    Either.left(
      new UrlDerivationError({
        reason: "InvalidId",
        input: Text.truncate(String(agentRuntimeId), 64),
        hint: "Give the agent runtime id as it was issued."
      })
    )
  // A lone surrogate makes `encodeURIComponent` throw.
  if (!Text.isWellFormed(agentRuntimeId)) return refused()
  const segment = encodeURIComponent(agentRuntimeId)
  const url = BaseUrl.below(environment.authApi, `/v1/agent/${segment}/task/register`)
  const expected = `${BaseUrl.trimSlashes(environment.authApi.pathname)}/v1/agent/${segment}/task/register`
  // Only the path was set; a query or a fragment is one that an environment made by hand brings along.
  return segment.length > 0 && url.pathname === expected && url.search === "" && url.hash === ""
    ? Either.right(url)
    : refused()
}
