/** An AuthAPI, an issuer and a provider in one plain server, which does what a test says and remembers what it saw. */
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo } from "node:net"
import type { Duplex } from "node:stream"
import { afterTests } from "./cleanup.ts"
import * as WebSocket from "./webSocket.ts"

export interface Seen {
  readonly method: string
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
  /** Of its assertion. */
  readonly task: string | undefined
  readonly at: number
}

export interface Answer {
  readonly status?: number
  readonly headers?: Http.OutgoingHttpHeaders
  readonly body?: string | Buffer
}

/** Without an answer it has written one itself. */
type Handler = (request: Seen, response: Http.ServerResponse) => Answer | undefined
/** An answer refuses the handshake. */
type Handshake = (request: Seen, accept: () => WebSocket.Connection) => Answer | undefined

/** Where an app finds it. */
export interface Urls {
  readonly origin: string
  readonly authApi: string
  readonly provider: string
  readonly issuer: string
  /** The environment of an app that uses it. */
  readonly environment: Readonly<Record<string, string>>
}

export interface Backend extends Urls {
  readonly port: number
  /** Its URLs by another name of this machine. */
  readonly at: (name: string) => Urls
  /** How often somebody has connected. */
  readonly connections: () => number
  readonly seen: Array<Seen>
  readonly seenAt: (path: string) => ReadonlyArray<Seen>
  readonly on: (path: string, handler: Handler) => void
  readonly onSocket: (path: string, handshake: Handshake) => void
}

export const json = (value: unknown, status = 200): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(value)
})

/** The path of an agent's registrations of tasks. */
export const tasksOf = (agent: string): string => `/authapi/v1/agent/${agent}/task/register`

/**
 * Starts it on loopback. Unless a test says otherwise it registers any task and answers every other request with
 * `{"ok":true}`. With `tls` it takes `https:`.
 */
export const start = async (
  { host = "127.0.0.1", tls }: { readonly host?: string; readonly tls?: Https.ServerOptions } = {}
): Promise<Backend> => {
  const handlers = new Map<string, Handler>()
  const handshakes = new Map<string, Handshake>()
  const seen: Array<Seen> = []

  let tasks = 0
  const fallback = ({ path }: Seen): Answer =>
    path.endsWith("/task/register") ? json({ task_id: `task-new-${++tasks}` }) : json({ ok: true })

  const see = (request: Http.IncomingMessage, body: string): Seen => {
    const one: Seen = {
      method: request.method!,
      path: request.url!,
      headers: request.headers,
      body,
      task: taskOf(request.headers.authorization),
      at: performance.now()
    }
    seen.push(one)
    return one
  }

  const listener: Http.RequestListener = (request, response) => {
    const chunks: Array<Buffer> = []
    request.on("error", () => undefined)
    request.on("data", (chunk) => void chunks.push(chunk))
    request.on("end", () => {
      const one = see(request, Buffer.concat(chunks).toString())
      const answer = (handlers.get(one.path) ?? fallback)(one, response)
      if (answer !== undefined) response.writeHead(answer.status ?? 200, answer.headers).end(answer.body)
    })
  }
  const server = tls === undefined ? Http.createServer(listener) : Https.createServer(tls, listener)
  let connections = 0
  server.on("connection", () => void connections++)
  const upgraded = new Set<Duplex>()
  server.on("upgrade", (request: Http.IncomingMessage, stream: Duplex) => {
    upgraded.add(stream)
    stream.on("error", () => undefined)
    const one = see(request, "")
    const accept = () => WebSocket.accept(request, stream)
    const refusal = (handshakes.get(one.path) ?? ((_, accept) => void accept()))(one, accept)
    if (refusal !== undefined) {
      const { body = "", headers = {}, status = 401 } = refusal
      const all = { "content-length": Buffer.byteLength(body), ...headers, connection: "close" }
      stream.write(`HTTP/1.1 ${status} Refused\r\n`)
      stream.write(`${Object.entries(all).map(([name, value]) => `${name}: ${String(value)}\r\n`).join("")}\r\n`)
      stream.end(body)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  afterTests(() => {
    for (const stream of upgraded) stream.destroy()
    server.closeAllConnections()
    server.close()
  })

  const { port } = server.address() as AddressInfo
  const at = (name: string): Urls => {
    const origin = `${tls === undefined ? "http" : "https"}://${name.includes(":") ? `[${name}]` : name}:${port}`
    return urlsOf(origin)
  }
  return {
    ...at(host),
    port,
    at,
    connections: () => connections,
    seen,
    seenAt: (path) => seen.filter((one) => one.path === path),
    on: (path, handler) => void handlers.set(path, handler),
    onSocket: (path, handshake) => void handshakes.set(path, handshake)
  }
}

export const urlsOf = (origin: string): Urls => {
  const [authApi, provider, issuer] = [`${origin}/authapi`, `${origin}/provider`, `${origin}/issuer`]
  return {
    origin,
    authApi,
    provider,
    issuer,
    environment: {
      CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: authApi,
      CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: provider,
      CODEX_AGENT_IDENTITY_JWKS_BASE_URL: issuer
    }
  }
}

const taskOf = (authorization: string | undefined): string | undefined =>
  authorization?.startsWith("AgentAssertion ") === true
    ? JSON.parse(Buffer.from(authorization.slice("AgentAssertion ".length), "base64url").toString()).task_id
    : undefined
