/** Between a client and the PostgreSQL server: it can be cut, frozen, silent and slow. */
import { Effect, Redacted } from "effect"
import * as Net from "node:net"

export const proxyOf = (url: Redacted.Redacted<string>) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<{
        readonly url: Redacted.Redacted<string>
        readonly freeze: (frozen: boolean) => void
        /** Nothing passes over the connections that there are, and nobody hears of it; new ones are good. */
        readonly silence: () => void
        /** What a packet takes from either side to the other. */
        readonly delay: (millis: number) => void
        readonly cut: () => void
        readonly close: () => void
      }>((resolve) => {
        const target = new URL(Redacted.value(url))
        const sockets = new Set<Net.Socket>()
        let frozen = false
        let delay = 0
        const flow = (socket: Net.Socket) => frozen ? socket.pause() : socket.resume()
        const server = Net.createServer((client) => {
          const upstream = Net.connect(Number(target.port), target.hostname)
          for (const [from, to] of [[client, upstream], [upstream, client]] as const) {
            sockets.add(from)
            from.on("data", (data) => delay === 0 ? to.write(data) : setTimeout(() => to.write(data), delay))
            from.on("error", () => {})
            from.on("close", () => {
              sockets.delete(from)
              to.destroy()
            })
            flow(from)
          }
        })
        const cut = () => {
          for (const socket of sockets) socket.destroy()
        }
        server.listen(0, "127.0.0.1", () => {
          const through = new URL(target)
          through.port = String((server.address() as Net.AddressInfo).port)
          resolve({
            url: Redacted.make(through.href),
            freeze: (now) => {
              frozen = now
              for (const socket of sockets) flow(socket)
            },
            silence: () => {
              for (const socket of sockets) socket.pause()
            },
            delay: (millis) => {
              delay = millis
            },
            cut,
            close: () => {
              server.close()
              cut()
            }
          })
        })
      })
    ),
    (proxy) => Effect.sync(proxy.close)
  )
