/** Bodies that come compressed, decoded as `fetch` decodes them: the headers stay as they came. */
import * as CallerResponse from "@agent-identity/core/provider/callerResponse"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { Duplex } from "node:stream"
import * as Zlib from "node:zlib"

/** @internal */
export const decode = (
  response: HttpClientResponse.HttpClientResponse
): HttpClientResponse.HttpClientResponse => {
  const codings = (response.headers["content-encoding"] ?? "").toLowerCase().split(",")
    .map((coding) => coding.trim()).filter((coding) => coding !== "" && coding !== "identity")
  const known = codings.length > 0 && codings.length <= maxCodings &&
    codings.every((coding) => Object.hasOwn(decoders, coding))
  if (!known || response.request.method === "HEAD" || [204, 304].includes(response.status)) return response
  const body = codings.reduceRight((stream, coding) => decoders[coding]!(stream, response), response.stream)
  return CallerResponse.make(response.request, response, undefined, body)
}

/** Each of them costs memory. As many as `fetch` of Node takes. */
const maxCodings = 5

type Body = Stream.Stream<Uint8Array, HttpClientError.ResponseError>
type Decoder = (body: Body, response: HttpClientResponse.HttpClientResponse) => Body

const through = (make: () => Duplex): Decoder => (body, response) =>
  NodeStream.pipeThroughDuplex(body, make, (cause) =>
    new HttpClientError.ResponseError({
      request: response.request,
      response,
      reason: "Decode",
      description: "its content encoding is damaged",
      cause
    }))

// A stream of events is decoded as far as it has come, and one that breaks off as far as it went.
const flushing = { flush: Zlib.constants.Z_SYNC_FLUSH, finishFlush: Zlib.constants.Z_SYNC_FLUSH }

const gunzip = through(() => Zlib.createGunzip(flushing))
const inflate = through(() => Zlib.createInflate(flushing))
const inflateRaw = through(() => Zlib.createInflateRaw(flushing))

const decoders: Readonly<Record<string, Decoder>> = {
  "gzip": gunzip,
  "x-gzip": gunzip,
  "br": through(() =>
    Zlib.createBrotliDecompress({
      flush: Zlib.constants.BROTLI_OPERATION_FLUSH,
      finishFlush: Zlib.constants.BROTLI_OPERATION_FLUSH
    })
  ),
  // Some leave the header of zlib out, by which its first byte is known.
  "deflate": (body, response) =>
    Stream.unwrapScoped(Effect.map(Stream.peel(body, Sink.take<Uint8Array>(1)), ([head, rest]) => {
      const first = Chunk.toReadonlyArray(head)[0]?.[0] ?? 8
      return ((first & 0x0f) === 8 ? inflate : inflateRaw)(Stream.concat(Stream.fromChunk(head), rest), response)
    }))
}
