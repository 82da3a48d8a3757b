/** Which proxy a request goes through, by the variables that curl and most others read. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { BlockList, isIP } from "node:net"
import type { TransportFailure } from "./transportError.ts"

/** @internal */
export interface Proxy {
  /** The variable that names it. */
  readonly source: string
  readonly url: URL
  /** The whole `Proxy-Authorization`; undefined where the URL has no user name. */
  readonly authorization: string | undefined
}

/**
 * The proxy for a URL; undefined where there is none. Never one for this machine itself: an assertion would cross it in
 * clear text.
 * @internal
 */
export type Proxies = (url: URL) => Proxy | undefined

/**
 * Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case first, as curl does. `ALL_PROXY` stands for
 * both of the others; `HTTP_PROXY` does not stand for `HTTPS_PROXY`. Blank variables are treated as unset.
 * @internal
 */
export const read: Effect.Effect<Proxies, TransportFailure> = Effect.gen(function*() {
  const all = yield* proxy("all_proxy")
  const https = (yield* proxy("https_proxy")) ?? all
  const http = (yield* proxy("http_proxy")) ?? all
  const passesBy = bypass((yield* variable("no_proxy"))?.value ?? "")
  return (url) => {
    const found = /^(?:https|wss):$/.test(url.protocol) ? https : http
    return found === undefined || isLoopback(url) || passesBy(url) ? undefined : found
  }
})

const variable = (name: string) =>
  Effect.gen(function*() {
    for (const source of [name, name.toUpperCase()]) {
      const value = Option.getOrElse(yield* Config.option(Config.string(source)), () => "").trim()
      if (value !== "") return { source, value }
    }
    return undefined
  }).pipe(Effect.orElseSucceed(() => undefined))

const proxy = (name: string): Effect.Effect<Proxy | undefined, TransportFailure> =>
  Effect.flatMap(variable(name), (found) => {
    if (found === undefined) return Effect.succeed(undefined)
    const { source, value } = found
    // It may hold a password, so that nothing behind the scheme is shown.
    const fail = (detail: string) => Effect.fail<TransportFailure>({ reason: "InvalidProxy", source, detail })
    const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(value)?.[1]?.toLowerCase()
    if (scheme === undefined) return fail("it has no scheme; give a URL such as http://proxy.example:3128")
    if (scheme !== "http" && scheme !== "https") {
      return fail(`proxies of the scheme ${scheme} are not supported; give an http or https proxy`)
    }
    if (!URL.canParse(value)) return fail("it is not a URL; give one such as http://proxy.example:3128")
    const url = new URL(value)
    const login = decoded(`${url.username}:${url.password}`)
    if (login === undefined) return fail("its user name or password has a broken escape; write a % as %25")
    url.username = url.password = ""
    const authorization = login === ":" ? undefined : `Basic ${Buffer.from(login).toString("base64")}`
    return Effect.succeed({ source, url, authorization })
  })

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** @internal */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "")

/** @internal */
export const portOf = (url: URL): number => Number(url.port || (/^(?:https|wss):$/.test(url.protocol) ? 443 : 80))

const isLoopback = (url: URL): boolean => {
  const host = hostOf(url)
  return /^(?:.+\.)?localhost$/.test(host) || (isIP(host) !== 0 && loopback.check(host, familyOf(host)))
}

const familyOf = (address: string) => isIP(address) === 6 ? "ipv6" : "ipv4"

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8, "ipv4")
loopback.addAddress("::1", "ipv6")

/** Names and their subdomains, with a port or without, addresses, and networks as CIDR; `*` is everything. */
const bypass = (list: string): (url: URL) => boolean => {
  const entries = list.toLowerCase().split(/[\s,]+/).filter((entry) => entry !== "").map(entryOf)
  return (url) => entries.some((matches) => matches(hostOf(url), portOf(url)))
}

type Matches = (host: string, port: number) => boolean

const entryOf = (entry: string): Matches => {
  if (entry === "*") return () => true
  const [, network, bits] = /^\[?([^\]/]+)\]?\/(\d+)$/.exec(entry) ?? []
  if (network !== undefined && isIP(network) !== 0) return within(network, Number(bits))
  const [, name, port] = isIP(entry) === 6 ? [, entry] : /^\[?(.*?)\]?(?::(\d+))?$/.exec(entry)!
  const isPort = (actual: number) => port === undefined || Number(port) === actual
  if (isIP(name!) !== 0) {
    const isSame = within(name!, isIP(name!) === 6 ? 128 : 32)
    return (host, actual) => isPort(actual) && isSame(host, actual)
  }
  const suffix = name!.replace(/^\*?\./, "")
  return (host, actual) => isPort(actual) && suffix !== "" && (host === suffix || host.endsWith(`.${suffix}`))
}

const within = (network: string, bits: number): Matches => {
  const list = new BlockList()
  try {
    list.addSubnet(network, bits, familyOf(network))
  } catch {
    // More bits than an address has.
    return () => false
  }
  return (host) => isIP(host) !== 0 && list.check(host, familyOf(host))
}
