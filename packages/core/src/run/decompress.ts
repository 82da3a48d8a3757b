/** Answers that were compressed, although nobody asked for it, and that the transport hands on as they came. */
import * as Effect from "effect/Effect"
import * as Text from "../protocol/text.ts"

/**
 * A body that is not JSON and begins like gzip or zlib, decoded where the platform can; every other one as it is. At most
 * `max` bytes are decoded, and one more to tell that there were more.
 * @internal
 */
export const decompress = (body: Uint8Array, max: number): Effect.Effect<Uint8Array> => {
  const format = formatOf(body)
  if (format === undefined || typeof DecompressionStream === "undefined" || Text.readJson(body) !== undefined) {
    return Effect.succeed(body)
  }
  return Effect.promise(() => read(body, format, max).catch(() => body))
}

const formatOf = (body: Uint8Array): CompressionFormat | undefined => {
  const [first = 0, second = 0] = body
  if (first === 0x1f && second === 0x8b) return "gzip"
  // RFC 1950: the method is 8, and the two bytes are a multiple of 31.
  return (first & 0x0f) === 8 && (first * 256 + second) % 31 === 0 && body.length > 2 ? "deflate" : undefined
}

const read = async (body: Uint8Array, format: CompressionFormat, max: number): Promise<Uint8Array> => {
  const reader = new Blob([body as Uint8Array<ArrayBuffer>]).stream()
    .pipeThrough(new DecompressionStream(format)).getReader()
  const chunks: Array<Uint8Array<ArrayBuffer>> = []
  let length = 0
  while (length <= max) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value as Uint8Array<ArrayBuffer>)
    length += value.length
  }
  void reader.cancel().catch(() => {})
  return new Uint8Array(await new Blob(chunks).arrayBuffer()).subarray(0, max + 1)
}
