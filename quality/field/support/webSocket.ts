/** The server's side of a WebSocket (RFC 6455) by hand, so that it can leave out what a library would do. */
import { createHash } from "node:crypto"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import type { Duplex } from "node:stream"

export interface Connection {
  /** What the client sent as text. */
  readonly texts: Array<string>
  readonly pings: Array<number>
  /** The code of the client's close frame. */
  closed: number | undefined
  onText: (text: string) => void
  /** Whether it answers pings. */
  answersPings: boolean
  readonly send: (value: unknown) => void
  /** Begins a frame that does not end. */
  readonly sendPart: () => void
  readonly close: (code: number) => void
  /** Ends the connection without a close frame. */
  readonly hangUp: () => void
  readonly reset: () => void
}

const opcodes = { text: 1, close: 8, ping: 9, pong: 10 }

export const accept = (request: IncomingMessage, stream: Duplex): Connection => {
  const key = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  stream.write(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n" +
      `sec-websocket-accept: ${key.digest("base64")}\r\n\r\n`
  )
  const write = (opcode: number, payload: Buffer) => {
    if (!stream.writable) return
    const length = payload.length < 126
      ? Buffer.from([payload.length])
      : Buffer.from([126, payload.length >> 8, payload.length & 255])
    stream.write(Buffer.concat([Buffer.from([128 | opcode]), length, payload]))
  }
  const connection: Connection = {
    texts: [],
    pings: [],
    closed: undefined,
    onText: () => undefined,
    answersPings: true,
    send: (value) => write(opcodes.text, Buffer.from(JSON.stringify(value))),
    sendPart: () => void stream.write(Buffer.from([128 | opcodes.text, 100, 123])),
    close: (code) => write(opcodes.close, Buffer.from([code >> 8, code & 255])),
    hangUp: () => void stream.end(),
    reset: () => void (stream as Socket).resetAndDestroy()
  }
  const take = (opcode: number, payload: Buffer) => {
    if (opcode === opcodes.text) {
      const text = payload.toString()
      connection.texts.push(text)
      connection.onText(text)
    } else if (opcode === opcodes.ping) {
      connection.pings.push(performance.now())
      if (connection.answersPings) write(opcodes.pong, payload)
    } else if (opcode === opcodes.close) {
      connection.closed = payload.length >= 2 ? payload.readUInt16BE(0) : 1005
      write(opcodes.close, payload)
      stream.end()
    }
  }
  let rest: Buffer = Buffer.alloc(0)
  stream.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    for (let frame = read(rest); frame !== undefined; frame = read(rest)) {
      rest = rest.subarray(frame.end)
      take(frame.opcode, frame.payload)
    }
  })
  return connection
}

/** The first frame, masked as those of a client are and of less than 64 KiB; undefined where it is not whole. */
const read = (bytes: Buffer) => {
  if (bytes.length < 2) return undefined
  const short = bytes[1]! & 127
  const start = short === 126 ? 4 : 2
  if (bytes.length < start) return undefined
  const end = start + 4 + (short === 126 ? bytes.readUInt16BE(2) : short)
  if (bytes.length < end) return undefined
  const mask = bytes.subarray(start, start + 4)
  const payload = bytes.subarray(start + 4, end).map((byte, at) => byte ^ mask[at % 4]!)
  return { opcode: bytes[0]! & 15, payload: Buffer.from(payload), end }
}
