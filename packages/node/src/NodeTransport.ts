/**
 * How this process reaches others: undici, with the proxies and the certificate authorities that the environment names.
 *
 * @since 0.1.0
 */
import type * as Environment from "@agent-identity/core/Environment"
import * as BaseUrl from "@agent-identity/core/protocol/baseUrl"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Undici from "@effect/platform-node/Undici"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Https from "node:https"
import type { Duplex } from "node:stream"
import type { SecureContext } from "node:tls"
import * as Certificates from "./internal/certificates.ts"
import { decode } from "./internal/decode.ts"
import { DirectHosts } from "./internal/directHosts.ts"
import * as Proxies from "./internal/proxies.ts"
import * as Tunnel from "./internal/tunnel.ts"

/**
 * Why the environment's transport cannot be used. `source` is the variable, or the option.
 *
 * - `InvalidProxy`: a proxy that is no http: or https: URL. Its URL is not shown, since it may hold a password
 * - `InvalidCertificate`: a file of certificates that cannot be read, or that holds none
 * - `InvalidHeader`: an option that is no value of a header
 *
 * @since 0.1.0
 * @category errors
 */
export class TransportError extends Schema.TaggedError<TransportError>("@agent-identity/node/TransportError")(
  "TransportError",
  {
    reason: Schema.Literal("InvalidProxy", "InvalidCertificate", "InvalidHeader"),
    source: Schema.String,
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `${this.source} cannot be used: ${this.detail}`
  }
}

interface Settings {
  readonly proxies: Proxies.Proxies
  readonly secureContext: SecureContext | undefined
}

const settings: Effect.Effect<Settings, TransportError> = Effect.mapError(
  Effect.all({ proxies: Proxies.read, secureContext: Certificates.read }),
  (failure) => new TransportError(failure)
)

/**
 * An `HttpClient` over undici that keeps connections, and decodes gzip, deflate and br as `fetch` does.
 *
 * | variable | what it is |
 * |---|---|
 * | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` | the proxy for `https:`, for `http:`, for both; lower case wins |
 * | `NO_PROXY` | hosts that no proxy is used for: names with their subdomains, `host:port`, addresses, CIDR, `*` |
 * | `SSL_CERT_FILE`, `CODEX_CA_CERTIFICATE` | files with certificate authorities, in addition to Node's own and `NODE_EXTRA_CA_CERTS` |
 *
 * `https:` goes through a tunnel. A loopback address never goes through a proxy. Fails where a variable cannot be used.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<HttpClient.HttpClient, TransportError> = Layer.suspend(() => layerWith({}))

/**
 * Builds `layer` with hosts of `http:` that no proxy is used for, beside those of `NO_PROXY`: the ones that
 * `Environment.Options` names for `http:`. An assertion would cross the proxy in clear text.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Pick<Environment.Options, "privateNetworkHttp">
): Layer.Layer<HttpClient.HttpClient, TransportError> =>
  Layer.scoped(
    HttpClient.HttpClient,
    Effect.gen(function*() {
      const closing = new AbortController()
      const { proxies, secureContext } = yield* settings
      const privateNetworkHttp = [...options.privateNetworkHttp ?? [], ...yield* DirectHosts]
      const isDirect = (url: URL) => url.protocol === "http:" && BaseUrl.isListed(url, { privateNetworkHttp })
      const dispatcher = makeDispatcher({
        secureContext,
        proxies: (url) => isDirect(url) ? undefined : proxies(url)
      }, closing.signal)
      yield* Effect.addFinalizer(() =>
        Effect.promise(() => {
          closing.abort()
          return dispatcher.destroy()
        })
      )
      return HttpClient.transformResponse(NodeHttpClient.makeUndici(dispatcher), Effect.map(decode))
    })
  )

const makeDispatcher = ({ proxies, secureContext }: Settings, signal: AbortSignal): Undici.Dispatcher =>
  new Undici.Agent({
    factory: (origin, options) => {
      const url = new URL(origin)
      const proxy = proxies(url)
      if (proxy === undefined) {
        return new Undici.Pool(url.origin, { ...options, ...(secureContext && { connect: { secureContext } }) })
      }
      return url.protocol === "https:"
        ? new Undici.Pool(url.origin, {
          ...options,
          connect: (_, callback) => Tunnel.connect({ proxy, url, secureContext, signal }, callback as never)
        })
        : new Undici.ProxyAgent({
          uri: proxy.url.href,
          ...(proxy.authorization && { token: proxy.authorization }),
          proxyTunnel: false,
          ...(secureContext && { proxyTls: { secureContext } })
        })
    }
  })

/**
 * What a handshake of `ws` goes through. The signal ends a connection that is still being made.
 *
 * @internal
 */
export const agentOf = (url: URL, signal: AbortSignal): Effect.Effect<Https.Agent | undefined, TransportError> =>
  !/^(?:wss|https):$/.test(url.protocol) ?
    Effect.succeed(undefined) :
    Effect.map(settings, ({ proxies, secureContext }) => {
      const proxy = proxies(url)
      return proxy === undefined
        ? secureContext && new Https.Agent({ secureContext })
        : new TunnelAgent((callback) => Tunnel.connect({ proxy, url, secureContext, signal }, callback))
    })

class TunnelAgent extends Https.Agent {
  readonly #connect: (callback: (error: Error | null, socket: Duplex | null) => void) => void
  constructor(connect: (callback: (error: Error | null, socket: Duplex | null) => void) => void) {
    super()
    this.#connect = connect
  }
  override createConnection(_: unknown, callback?: (error: Error | null, socket: Duplex) => void): undefined {
    this.#connect((error, socket) => callback!(error, socket as Duplex))
  }
}
