/** A JSON body, plain or in Zstandard, of which no more is kept than was agreed on. */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Zstd from "./zstd.ts"

/** @internal */
export class RequestBodyError extends Schema.TaggedError<RequestBodyError>("@agent-identity/authapi/RequestBodyError")(
  "RequestBodyError",
  { reason: Schema.Literal("TooLarge", "Timeout", "UnsupportedEncoding", "InvalidEncoding", "InvalidRequest") }
) {
  override get message() {
    return answers[this.reason].message
  }
  get response(): HttpServerResponse.HttpServerResponse {
    const { code, headers, message, status } = answers[this.reason]
    return HttpServerResponse.unsafeJson({ error: { code, message } }, { status, headers })
  }
}

/** @internal */
export interface Options {
  /** The most bytes of a body as it is sent; 1 MiB by default. */
  readonly maxBodyBytes?: number | undefined
  /** The most bytes of a body once it is decoded; 1 MiB by default. */
  readonly maxDecodedBytes?: number | undefined
  /** How long it may take to decode a body; 5 seconds by default. */
  readonly decodeTimeout?: Duration.DurationInput | undefined
}

/** @internal */
export const make = <A, I>(
  schema: Schema.Schema<A, I>,
  { decodeTimeout = "5 seconds", maxBodyBytes = mebibyte, maxDecodedBytes = mebibyte }: Options
): Effect.Effect<
  (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<A, RequestBodyError>,
  never,
  Scope.Scope
> =>
  Effect.map(Zstd.make(decodeTimeout), (decodeZstd) => {
    const decode = (encoding: string, body: Uint8Array) => {
      if (encoding === "zstd") return Effect.mapError(decodeZstd(body, maxDecodedBytes), ofZstd)
      return body.length > maxDecodedBytes ? refuse("TooLarge") : Effect.succeed(body)
    }

    return (request) =>
      Effect.gen(function*() {
        const encoding = request.headers["content-encoding"]?.trim().toLowerCase() ?? "identity"
        if (encoding !== "identity" && encoding !== "zstd") return yield* refuse("UnsupportedEncoding")
        const content = yield* decode(encoding, yield* readBytes(request, maxBodyBytes))
        return yield* Effect.mapError(
          Effect.flatMap(Effect.try(() => JSON.parse(utf8.decode(content)) as unknown), Schema.decodeUnknown(schema)),
          () => new RequestBodyError({ reason: "InvalidRequest" })
        )
      })
  })

const mebibyte = 1024 * 1024

/** Read on and thrown away, so that a client that has sent all of its body gets to read why it was refused. */
const maxDiscardedBytes = 8 * mebibyte

/** A body that comes by drops holds its connection for no longer. */
const readTimeout = "30 seconds"

const readBytes = (
  request: HttpServerRequest.HttpServerRequest,
  maxBytes: number
): Effect.Effect<Uint8Array, RequestBodyError> =>
  Effect.suspend(() => {
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) return refuse("TooLarge")
    const chunks: Array<Uint8Array> = []
    let size = 0
    return Stream.runForEach(request.stream, (chunk) => {
      size += chunk.length
      if (size <= maxBytes) chunks.push(chunk)
      return size > maxBytes + maxDiscardedBytes ? refuse("TooLarge") : Effect.void
    }).pipe(
      Effect.catchTag("RequestError", () => refuse("InvalidRequest")),
      // Not interrupted with the timeout: that would close the connection before the answer. The answer closes it.
      Effect.forkDaemon,
      Effect.flatMap(Fiber.join),
      Effect.timeoutFail({ duration: readTimeout, onTimeout: () => new RequestBodyError({ reason: "Timeout" }) }),
      Effect.flatMap(() => size > maxBytes ? refuse("TooLarge") : Effect.succeed(concat(chunks, size)))
    )
  })

const concat = (chunks: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

const refuse = (reason: RequestBodyError["reason"]): Effect.Effect<never, RequestBodyError> =>
  Effect.fail(new RequestBodyError({ reason }))

const ofZstd = (failure: Zstd.Failure): RequestBodyError =>
  new RequestBodyError({ reason: failure === "TooLarge" ? "TooLarge" : "InvalidEncoding" })

const answers: Record<
  RequestBodyError["reason"],
  {
    readonly status: number
    readonly code: string
    readonly message: string
    readonly headers?: Readonly<Record<string, string>>
  }
> = {
  TooLarge: { status: 413, code: "body_too_large", message: "The body is too large, or it is once it is decoded." },
  Timeout: {
    status: 408,
    code: "body_timeout",
    message: "The body did not arrive in time.",
    headers: { connection: "close" }
  },
  UnsupportedEncoding: {
    status: 415,
    code: "unsupported_encoding",
    message: "Send the body plain, or with the content encoding zstd.",
    headers: { "accept-encoding": "zstd" }
  },
  InvalidEncoding: {
    status: 400,
    code: "invalid_encoding",
    message: "The body is not one whole zstd frame that can be decoded in time."
  },
  InvalidRequest: { status: 400, code: "invalid_request", message: "The body is not JSON with the member input." }
}
