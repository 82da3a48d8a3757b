/** A proxy on loopback that does to requests and answers what networks and gateways do to them, when told to. */
import { Effect } from "effect"
import * as Http from "node:http"
import type { AddressInfo, Socket } from "node:net"
import { setTimeout } from "node:timers/promises"

export type Fault =
  /** Nothing, or only time: at once, late, or after answers to later requests. */
  | "None"
  | "Delay"
  | "Reorder"
  /** The connection is gone: before the backend has the request, or after it, in the answer's head or in its body. */
  | "DropBefore"
  | "DropAfter"
  | "HalfHead"
  | "HalfBody"
  /** The answer stands on the connection twice. */
  | "DuplicateAnswer"
  /** The backend gets the request twice. */
  | "DuplicateRequest"
  /** A gateway's answer. */
  | "Status"
  /** A redirect to a host that is nobody's. */
  | "Redirect"
  /** No answer, and a connection that stays. */
  | "Stall"

export interface Asked {
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
}

export interface Options {
  readonly port: number
  readonly decoy: string
  readonly faultOf: (asked: Asked) => Fault
  /** Numbers from 0 to 1. */
  readonly next: () => number
  /** An answer of the backend, and whether the client was given all of it. */
  readonly onAnswer: (asked: Asked, status: number, fault: Fault) => void
}

interface Answer {
  readonly status: number
  readonly headers: Http.OutgoingHttpHeaders
  readonly body: Buffer
}

const STATUSES = [429, 500, 502, 503, 504]
const REDIRECTS = [301, 302, 303, 307, 308]
const HOP_BY_HOP = ["connection", "keep-alive", "transfer-encoding"]

export const proxyOf = (options: Options) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const agent = new Http.Agent({ keepAlive: true })
      const errors: Array<unknown> = []
      const held: Array<() => void> = []
      const server = Http.createServer(
        { keepAliveTimeout: 0, requestTimeout: 0, noDelay: true },
        (request, response) => {
          const { socket } = response as { readonly socket: Socket }
          response.on("error", () => {}) // The client has gone meanwhile, as clients do.
          bodyOf(request).then(
            (body) => respond(request, body, response, socket).catch((error) => void errors.push(error)),
            () => {}
          )
        }
      )

      const respond = async (
        request: Http.IncomingMessage,
        body: Buffer,
        response: Http.ServerResponse,
        socket: Socket
      ) => {
        const asked: Asked = { path: request.url!, headers: request.headers }
        const fault = options.faultOf(asked)
        switch (fault) {
          case "Stall":
            return
          case "DropBefore":
            return void socket.resetAndDestroy()
          case "Status": {
            const status = STATUSES[Math.floor(options.next() * STATUSES.length)]!
            return void response.writeHead(status, { "content-type": "text/html" }).end("<h1>A gateway</h1>")
          }
          case "Redirect": {
            const status = REDIRECTS[Math.floor(options.next() * REDIRECTS.length)]!
            return void response.writeHead(status, { location: `${options.decoy}${request.url}` }).end()
          }
        }
        const forward = () => forwardTo(options.port, agent, request, body)
        const answers = fault === "DuplicateRequest" ? await Promise.all([forward(), forward()]) : [await forward()]
        for (const { status } of answers) options.onAnswer(asked, status, fault)
        const answer = answers.at(-1)!
        if (fault === "Delay") await setTimeout(options.next() * 40)
        if (fault === "Reorder") await overtaken(held)
        deliver(answer, fault, response, socket)
        held.shift()?.()
      }

      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
      return {
        origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        /** What went wrong without being told to. */
        errors,
        close: () =>
          new Promise<void>((resolve) => {
            server.close(() => resolve())
            server.closeAllConnections()
            agent.destroy()
          })
      }
    }),
    (proxy) => Effect.promise(proxy.close)
  )

const bodyOf = (message: Http.IncomingMessage) =>
  new Promise<Buffer>((resolve, reject) => {
    const chunks: Array<Buffer> = []
    message.on("data", (chunk) => chunks.push(chunk))
    message.on("end", () => resolve(Buffer.concat(chunks)))
    message.on("close", () => reject(new Error("the message broke off")))
  })

const forwardTo = (port: number, agent: Http.Agent, request: Http.IncomingMessage, body: Buffer) =>
  new Promise<Answer>((resolve, reject) => {
    const upstream = Http.request({
      host: "127.0.0.1",
      port,
      agent,
      path: request.url,
      ...(request.method === undefined ? undefined : { method: request.method }),
      headers: { ...endToEnd(request.headers), "content-length": body.length }
    })
    upstream.on("error", reject)
    upstream.on("response", (answer) => {
      const { headers, statusCode } = answer
      bodyOf(answer).then((body) => resolve({ status: statusCode!, headers: endToEnd(headers), body }), reject)
    })
    upstream.end(body)
  })

/** What is not of one connection only. */
const endToEnd = (headers: Http.IncomingHttpHeaders): Http.OutgoingHttpHeaders =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)))

/** Until another answer has gone out, for a while. */
const overtaken = (held: Array<() => void>) => Promise.race([new Promise<void>((go) => held.push(go)), setTimeout(50)])

const deliver = ({ body, headers, status }: Answer, fault: Fault, response: Http.ServerResponse, socket: Socket) => {
  const half = Math.floor(body.length / 2)
  switch (fault) {
    case "DropAfter":
      return void socket.resetAndDestroy()
    case "HalfHead":
      return void socket.write(`HTTP/1.1 ${status} OK\r\ncontent-ty`, () => socket.destroy())
    case "HalfBody":
      return void response.writeHead(status, headers).write(body.subarray(0, half), () => socket.destroy())
    case "DuplicateAnswer": {
      // In one segment, so that no request of the client's can come between the two: it has asked for one answer.
      const head = Object.entries({ ...headers, "content-length": body.length }).map(([name, value]) =>
        `${name}: ${String(value)}\r\n`
      )
      socket.cork()
      response.writeHead(status, headers).end(body)
      socket.write(Buffer.concat([Buffer.from(`HTTP/1.1 ${status} OK\r\n${head.join("")}\r\n`), body]))
      return socket.uncork()
    }
    default:
      return void response.writeHead(status, headers).end(body)
  }
}
