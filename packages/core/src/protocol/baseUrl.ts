/**
 * Base URLs: which texts are taken for one, and what is derived of one. `Environment` and the key sets read their bases
 * here, and `Party` compares requests with them.
 */
import * as Either from "effect/Either"
import * as Text from "./text.ts"

/**
 * Where `http:` is allowed. Nowhere else, since everybody on the way could read an assertion.
 * @internal
 */
export interface HttpRules {
  /** `localhost`, `127.0.0.0/8` and `[::1]`. */
  readonly loopbackHttp?: boolean | undefined
  /** Each with its port, or for all of its ports. */
  readonly privateNetworkHttp?: ReadonlyArray<string> | undefined
}

/**
 * Reads a base URL: https, without user information, query and fragment, and without segments that servers may read in
 * two ways. `http:` is taken where the rules allow it. Fails with what is wrong and what to do.
 * @internal
 */
export const parse = (base: string, rules: HttpRules): Either.Either<URL, string> => {
  if (!/^https?:\/\/[^/]/i.test(base) || !URL.canParse(base)) return Either.left("Give an absolute https URL.")
  if (/^[^/]*\/\/[^/?#\\]*@/.test(base)) return Either.left("A base URL has no user name and no password.")
  if (/[?#]/.test(base)) return Either.left("A base URL has no query and no fragment.")
  // A URL parser would drop or turn them.
  if (/[\s\p{Cc}\\]/u.test(base)) {
    return Either.left("A base URL has no white space, control characters and backslashes.")
  }
  const url = new URL(base)
  if (!isPlain(readPath(trimSlashes(url.pathname))) || dotted.test(base)) {
    return Either.left("A base URL has no empty, dotted or escaped-slash segments.")
  }
  if (url.protocol === "http:" && !(rules.loopbackHttp === true && isLoopback(url)) && !isListed(url, rules)) {
    return Either.left(
      "Give an https URL; http is for a loopback address, where `loopbackHttp` is set, and for hosts of a private " +
        "network that `privateNetworkHttp` names."
    )
  }
  return Either.right(url)
}

/**
 * Whether the host of the URL, with its port, is one that the rules name.
 * @internal
 */
export const isListed = (url: URL, { privateNetworkHttp = [] }: HttpRules): boolean =>
  privateNetworkHttp.some((entry) => {
    if (!isHost(entry)) return false
    const { hostname, port } = new URL(`http://${entry}`)
    return hostname === url.hostname && (port === url.port || !/:\d+$/.test(entry))
  })

/**
 * Whether this is the name or the address of one host, with or without a port.
 * @internal
 */
export const isHost = (entry: string): boolean =>
  /^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?$/i.test(entry) && URL.canParse(`http://${entry}`)

/** Of the text: a parser has resolved them in the URL. */
const dotted = /\/(?:\.|%2e){1,2}(?:\/|$)/i

/** @internal */
export const isLoopback = (url: URL): boolean =>
  url.hostname === "localhost" || url.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(url.hostname)

/**
 * What is shown of a refused base. It may hold a password, with an `@` or `#` in it, so it begins behind the last `@`.
 * A value that is not a URL may be a key or a token, where variables were swapped.
 * @internal
 */
export const shown = (base: string): string =>
  base === ""
    ? ""
    : /^\s*https?:/i.test(base)
    ? Text.truncate(base.replace(/^.*@/s, "").replace(/[?#].*/s, ""), 128)
    : "a value that is not a URL"

/**
 * The URL of an issuer's key set: below a ChatGPT backend (`/backend-api` in its path; the reference client looks at the
 * host too) it is `/wham/agent-identities/jwks`, elsewhere `/agent-identities/jwks`.
 * @internal
 */
export const jwksUrl = (base: URL): URL =>
  below(base, base.pathname.includes("/backend-api") ? "/wham/agent-identities/jwks" : "/agent-identities/jwks")

/** @internal */
export const below = (base: URL, path: string): URL => {
  const url = new URL(base)
  url.pathname = trimSlashes(base.pathname) + path
  return url
}

/** @internal */
export const withSlash = (path: string): string => `/${path.replace(/^\//, "")}`

/** The lookbehind keeps it linear: many slashes before something else are looked at once. @internal */
export const trimSlashes = (path: string): string => path.replace(/(?<!\/)\/+$/, "")

/** @internal */
export interface Path {
  readonly segments: ReadonlyArray<string>
  readonly pieces: ReadonlyArray<string>
}

/** Whether no server cuts a segment of it. @internal */
export const isPlain = (path: Path | undefined): path is Path =>
  path !== undefined && path.segments.length === path.pieces.length

/**
 * The unescaped segments of a path, so that `%77ham` is `wham`; and the pieces that a careless server would make of
 * them: cut at escaped slashes too, in lower case, without `;parameters`. Undefined where such a server would see empty
 * or climbing ones.
 * @internal
 */
export const readPath = (pathname: string): Path | undefined => {
  if (plain.test(pathname)) {
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
const plain = /^(?:\/[\w-]+)+\/?$/

const unescape = (segment: string): string | undefined => {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
