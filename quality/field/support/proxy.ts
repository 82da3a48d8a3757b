/** A proxy by hand: it tunnels, forwards `http:`, and finds every name on this machine. */
import * as Net from "node:net"
import * as Tls from "node:tls"
import { afterTests } from "./cleanup.ts"

export interface Request {
  /** `CONNECT service.test:443`, without the version. */
  readonly line: string
  readonly head: string
}

export interface Proxy {
  readonly port: number
  readonly url: string
  readonly requests: Array<Request>
  /** Connections, also those that asked for nothing. */
  readonly connections: () => number
}

/** What it does with a request in place of serving it. */
type Behaviour = (socket: Net.Socket, request: Request) => void

export const answers = (status: number, headers = ""): Behaviour => (socket) =>
  void socket.end(`HTTP/1.1 ${status} No\r\n${headers}content-length: 0\r\nconnection: close\r\n\r\n`)

export const closes: Behaviour = (socket) => void socket.destroy()

/** `ports` says where a port of an authority is in truth. */
export const start = async (
  { behaviour, ports = {}, tls }: {
    readonly behaviour?: Behaviour
    readonly ports?: Readonly<Record<number, number>>
    readonly tls?: Tls.TlsOptions
  } = {}
): Promise<Proxy> => {
  const requests: Array<Request> = []
  const sockets = new Set<Net.Socket>()
  let connections = 0

  const open = (port: string) => {
    const socket = Net.connect({ port: ports[Number(port)] ?? Number(port), host: "127.0.0.1" })
    sockets.add(socket)
    return socket
  }
  const join = (left: Net.Socket, right: Net.Socket) => {
    left.pipe(right).pipe(left)
    for (const [one, other] of [[left, right], [right, left]] as const) {
      one.on("error", () => other.destroy())
      one.on("close", () => other.destroy())
    }
  }

  const serve = (socket: Net.Socket) => {
    connections++
    sockets.add(socket)
    socket.on("error", () => undefined)
    let bytes = Buffer.alloc(0)
    const onData = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      const end = bytes.indexOf("\r\n\r\n")
      if (end === -1) return
      socket.off("data", onData)
      const head = bytes.subarray(0, end).toString()
      const rest = bytes.subarray(end)
      const line = head.slice(0, head.indexOf("\r\n")).replace(/ HTTP\/1\.1$/, "")
      const request = { line, head }
      requests.push(request)
      if (behaviour !== undefined) return behaviour(socket, request)
      const [method, target] = line.split(" ") as [string, string]
      if (method === "CONNECT") {
        const upstream = open(target.slice(target.lastIndexOf(":") + 1))
        upstream.once("connect", () => {
          socket.write("HTTP/1.1 200 Connection established\r\n\r\n")
          upstream.write(rest.subarray(4))
          join(socket, upstream)
        })
        upstream.once("error", () => socket.destroy())
      } else {
        const url = new URL(target)
        const upstream = open(url.port || "80")
        upstream.write(head.replace(target, url.pathname + url.search))
        upstream.write(rest)
        join(socket, upstream)
      }
    }
    socket.on("data", onData)
  }

  const server = tls === undefined ? Net.createServer(serve) : Tls.createServer(tls, serve)
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  afterTests(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as Net.AddressInfo
  const url = tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`
  return { port, url, requests, connections: () => connections }
}
