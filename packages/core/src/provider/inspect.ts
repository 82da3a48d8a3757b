/** A look at the start of an answer that leaves the answer whole. */
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Text from "../protocol/text.ts"
import * as Http from "../run/http.ts"

/**
 * The answer's JSON, undefined where it is none, larger than 64 KiB, or not there within 5 s; and the answer with its
 * body as it was, whatever has been read of it.
 * @internal
 */
export const json = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<readonly [json: unknown, whole: HttpClientResponse.HttpClientResponse]> =>
  /^application\/([\w.+-]+\+)?json *(;|$)/i.test(response.headers["content-type"] ?? "") &&
    !(Number(response.headers["content-length"]) > Http.MAX_BODY_BYTES)
    ? read(response)
    : Effect.succeed([undefined, response])

const read = (response: HttpClientResponse.HttpClientResponse) =>
  // Between the fork and whoever ends it nothing is interrupted.
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      let chunks: Array<Uint8Array> = []
      let length = 0
      let limit = Http.MAX_BODY_BYTES
      let end: Exit.Exit<void, HttpClientError.ResponseError> | undefined
      const known = yield* Deferred.make<void>()
      const something = Effect.unsafeMakeLatch(false)
      const room = Effect.unsafeMakeLatch(true)

      // One fiber reads it from start to end, however long anybody waits: no chunk is lost to an interruption.
      const reading = yield* response.stream.pipe(
        Stream.runForEachChunk((taken) => {
          for (const chunk of taken) {
            chunks.push(chunk)
            length += chunk.length
          }
          something.unsafeOpen()
          if (length <= limit) return Effect.void
          room.unsafeClose()
          return Effect.zipRight(Deferred.succeed(known, undefined), room.await)
        }),
        // `fetch` has no body at all where others have an empty one.
        Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.void),
        Effect.onExit((exit) => {
          end = exit
          something.unsafeOpen()
          return Deferred.succeed(known, undefined)
        }),
        Effect.interruptible,
        Effect.forkDaemon
      )
      const abandon = Fiber.interruptFork(reading)
      yield* Effect.onInterrupt(restore(Effect.timeoutOption(Deferred.await(known), "5 seconds")), () => abandon)

      if (end !== undefined && Exit.isSuccess(end)) {
        const body = Http.join(chunks)
        return [
          body.complete ? Text.parseJson(Text.fromUtf8(body.body) ?? "") : undefined,
          new WholeResponse(response, Stream.fromChunk(Chunk.unsafeFromArray(chunks)))
        ] as const
      }
      // From here on whoever reads the answer sets the pace.
      limit = -1
      const next: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<HttpClientError.ResponseError>> = Effect.suspend(
        () => {
          if (chunks.length > 0) {
            const taken = chunks
            chunks = []
            room.unsafeOpen()
            return Effect.succeed(Chunk.unsafeFromArray(taken))
          }
          if (end !== undefined) {
            return Exit.isSuccess(end)
              ? Effect.fail(Option.none())
              : Effect.failCause(Cause.map(end.cause, Option.some))
          }
          something.unsafeClose()
          return Effect.zipRight(something.await, next)
        }
      )
      const rest = Stream.ensuring(Stream.repeatEffectChunkOption(next), abandon)
      return [undefined, abandonWhenForgotten(new WholeResponse(response, rest), abandon)] as const
    })
  )

/** As platform does with an answer that nobody reads: its connection is given back once it is garbage. */
const abandonWhenForgotten = (whole: WholeResponse, abandon: Effect.Effect<void>): WholeResponse => {
  forgotten.register(whole, abandon)
  return whole
}

const forgotten = new FinalizationRegistry<Effect.Effect<void>>((abandon) => Effect.runFork(abandon))

/** An answer whose body comes from a stream that was put together again. */
class WholeResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly stream: Stream.Stream<Uint8Array, HttpClientError.ResponseError>
  readonly #read: HttpClientResponse.HttpClientResponse
  #web: HttpClientResponse.HttpClientResponse | undefined

  constructor(
    read: HttpClientResponse.HttpClientResponse,
    stream: Stream.Stream<Uint8Array, HttpClientError.ResponseError>
  ) {
    super()
    this.#read = read
    this.stream = stream
  }

  get request() {
    return this.#read.request
  }
  get status() {
    return this.#read.status
  }
  get headers() {
    return this.#read.headers
  }
  get cookies() {
    return this.#read.cookies
  }
  get remoteAddress() {
    return this.#read.remoteAddress
  }
  get json() {
    return Effect.suspend(() => this.#body.json)
  }
  get text() {
    return Effect.suspend(() => this.#body.text)
  }
  get urlParamsBody() {
    return Effect.suspend(() => this.#body.urlParamsBody)
  }
  get arrayBuffer() {
    return Effect.suspend(() => this.#body.arrayBuffer)
  }
  get formData() {
    return Effect.suspend(() => this.#body.formData)
  }

  toJSON(): unknown {
    return this.#read.toJSON()
  }

  /** Only when the body is asked for: a web stream begins to read by itself. */
  get #body(): HttpClientResponse.HttpClientResponse {
    return this.#web ??= HttpClientResponse.fromWeb(
      this.request,
      new Response(Stream.toReadableStream(this.stream), {
        headers: { "content-type": this.headers["content-type"] ?? "" }
      })
    )
  }
}
