/** Connections to https: through a proxy, by CONNECT (RFC 9110, section 9.3.6). */
import * as Data from "effect/Data"
import * as Http from "node:http"
import * as Https from "node:https"
import { isIP } from "node:net"
import * as Tls from "node:tls"
import * as Proxies from "./proxies.ts"

/** What went wrong before the target was reached; its message is shown. */
class ProxyError extends Data.TaggedError("ProxyError")<{ readonly message: string }> {}

interface Target {
  readonly proxy: Proxies.Proxy
  readonly url: URL
  /** Ends a connection that is still being made. */
  readonly signal?: AbortSignal | undefined
  readonly secureContext: Tls.SecureContext | undefined
}

/** Of each step: a proxy, or a server behind it, that never answers does not hold a connection for ever. */
const timeoutMillis = 60_000

/**
 * Connects, and speaks TLS with the target. Undici's own ProxyAgent connects again without a pause where the proxy closes
 * at CONNECT.
 * @internal
 */
export const connect = (
  { proxy: { authorization, source, url: proxy }, secureContext, signal, url }: Target,
  callback: (error: Error | null, socket: Tls.TLSSocket | null) => void
): void => {
  const secure = secureContext === undefined ? {} : { secureContext }
  const authority = `${url.hostname}:${Proxies.portOf(url)}`
  const request = (proxy.protocol === "https:" ? Https : Http).request({
    ...secure,
    ...(signal && { signal }),
    method: "CONNECT",
    host: Proxies.hostOf(proxy),
    port: Proxies.portOf(proxy),
    path: authority,
    agent: false,
    setHost: false,
    timeout: timeoutMillis,
    headers: {
      host: authority,
      ...(authorization === undefined ? undefined : { "proxy-authorization": authorization })
    }
  })
  let isDone = false
  const end = (error: Error | null, socket: Tls.TLSSocket | null) => {
    if (isDone) return
    isDone = true
    callback(error, socket)
  }
  const refuse = (detail: string) => end(new ProxyError({ message: `the proxy of ${source} ${detail}` }), null)

  request.once("connect", (response, socket) => {
    const status = response.statusCode ?? 0
    if (status < 200 || status > 299) {
      socket.destroy()
      return refuse(
        `answered CONNECT with status ${status}; ${
          status === 407
            ? "check the user name and the password in its URL"
            : `see whether it lets ${authority} through`
        }`
      )
    }
    const servername = Proxies.hostOf(url)
    const tls = Tls.connect({
      ...secure,
      socket,
      ALPNProtocols: ["http/1.1"],
      ...(isIP(servername) === 0 ? { servername } : undefined),
      host: servername
    })
    const abandon = () => tls.destroy(new Error("nobody waits for it any more"))
    signal?.addEventListener("abort", abandon)
    tls.setTimeout(timeoutMillis, () => tls.destroy(new Error("no answer to the TLS handshake")))
    tls.once("secureConnect", () => {
      tls.setTimeout(0)
      signal?.removeEventListener("abort", abandon)
      end(null, tls)
    })
    tls.once("error", (error) => end(error, null))
    // The proxy hung up, without an error.
    tls.once("close", () => refuse(`closed the tunnel to ${authority}`))
  })
  request.once("timeout", () => request.destroy(new Error("no answer to CONNECT")))
  request.once(
    "error",
    (error: NodeJS.ErrnoException) =>
      refuse(`cannot be reached, or closed the connection${error.code === undefined ? "" : ` (${error.code})`}`)
  )
  request.end()
}
