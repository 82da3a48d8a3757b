/**
 * Whose URL is it: a first party's, which gets the run's identity, or another's.
 *
 * @since 0.1.0
 */
import * as BaseUrl from "./baseUrl.ts"

/**
 * What a request to this absolute URL carries of the run's identity.
 *
 * - `FirstParty`: the origin of a provider base, at its path, at one of the further `paths`, or below them at a segment
 *   boundary, and neither the AuthAPI nor a key set
 * - `BearerOnly`: such a URL, of an endpoint that takes no assertions
 * - `Ambiguous`: below a provider base or a further path, but with a path that servers may read in two ways: an empty
 *   segment, one that climbs in escapes, or escapes that are not UTF-8
 * - `Foreign`: everything else, and every URL with user information
 *
 * @since 0.1.0
 * @category models
 */
export type Party = "FirstParty" | "BearerOnly" | "Ambiguous" | "Foreign"

/**
 * Says of each URL which party it is. The environment is read once: give the classifier to all requests.
 *
 * @internal
 */
export const classifier = (environment: Environment): (url: URL) => Party => {
  const { authApi, bearerOnly, jwks, paths, providers } = environment
  const bases = providers.map(readBase)
  const further = providers.flatMap((base) => paths.map((path) => readBase(new URL(BaseUrl.withSlash(path), base))))
  const never = [authApi, ...jwks === undefined ? [] : [jwks], ...providers.map(BaseUrl.jwksUrl)].map(readBase)
  const withoutAssertion = providers.flatMap((base) =>
    bearerOnly.map((endpoint) => readBase(BaseUrl.below(base, BaseUrl.withSlash(endpoint))))
  )
  return (url) => {
    const { origin, pathname } = url
    if (url.username !== "" || url.password !== "") return "Foreign"
    const path = BaseUrl.readPath(pathname)
    if (path === undefined) {
      return [...bases, ...further].some((base) => base.origin === origin && pathname.startsWith(base.prefix))
        ? "Ambiguous"
        : "Foreign"
    }
    const isBelow = (base: Base, of: "segments" | "pieces") =>
      base.origin === origin && base[of].every((part, index) => part === path[of][index])
    const isOurs = bases.some((base) => isBelow(base, "segments")) ||
      (further.some((base) => isBelow(base, "segments")) && !isKeySet(path))
    if (!isOurs || never.some((base) => isBelow(base, "pieces"))) return "Foreign"
    return withoutAssertion.some((base) => isBelow(base, "pieces")) ? "BearerOnly" : "FirstParty"
  }
}

/**
 * Why a URL that looks like a provider's is `Foreign`: it has the host of a provider base, and is neither the AuthAPI's
 * nor a key set's. Undefined for every other URL.
 * @internal
 */
export const nearMiss = (
  { authApi, jwks, providers }: Pick<Environment, "authApi" | "jwks" | "providers">,
  url: URL
): string | undefined => {
  const bases = providers.filter((base) => hostOf(base) === hostOf(url))
  const isElsewhere = [authApi, jwks, ...providers.map(BaseUrl.jwksUrl)].some((other) =>
    other !== undefined && other.origin === url.origin && `${url.pathname}/`.startsWith(readBase(other).prefix)
  )
  if (bases.length === 0 || isElsewhere) return undefined
  if (url.username !== "" || url.password !== "") return "it has user information"
  return bases.some((base) => base.origin === url.origin)
    ? "its path is not below theirs"
    : "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
}

/** The names of this machine are one host to those who mistake one for another. */
const hostOf = (url: URL): string => BaseUrl.isLoopback(url) ? "localhost" : url.hostname

/** Of any base: a further path may lie above the key sets of other bases than the environment's. */
const isKeySet = ({ pieces }: BaseUrl.Path): boolean =>
  pieces.some((piece, index) => piece === "agent-identities" && pieces[index + 1] === "jwks")

interface Environment {
  readonly authApi: URL
  readonly jwks: URL | undefined
  readonly providers: ReadonlyArray<URL>
  readonly bearerOnly: ReadonlyArray<string>
  readonly paths: ReadonlyArray<string>
}

interface Base extends BaseUrl.Path {
  readonly origin: string
  readonly prefix: string
}

const readBase = (url: URL): Base => {
  const pathname = BaseUrl.trimSlashes(url.pathname)
  // What cannot be read has no path below it: no path has this segment.
  return {
    origin: url.origin,
    prefix: `${pathname}/`,
    ...BaseUrl.readPath(pathname) ?? { segments: ["?"], pieces: ["?"] }
  }
}
