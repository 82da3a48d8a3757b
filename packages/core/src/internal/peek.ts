/** A look at the start of an answer that leaves the answer whole. */
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "./http.ts"
import * as Text from "./text.ts"

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
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const close = Scope.close(scope, Exit.void)
    const pull = yield* Scope.extend(Stream.toPull(response.stream), scope)
    const chunks: Array<Uint8Array> = []
    let length = 0
    let pulling: Pulling | undefined
    let end: Exit.Exit<void, HttpClientError.ResponseError> | undefined

    const readStart = Effect.gen(function*() {
      while (end === undefined && length <= Http.MAX_BODY_BYTES) {
        // A fiber of its own: the chunk that is under way when time is up belongs to whoever reads on.
        pulling = yield* Effect.forkDaemon(pull)
        const exit = yield* Fiber.await(pulling)
        pulling = undefined
        if (Exit.isFailure(exit)) {
          end = endOf(exit.cause)
        } else {
          for (const chunk of exit.value) {
            chunks.push(chunk)
            length += chunk.length
          }
        }
      }
    })
    const abandon = Effect.suspend(() =>
      Effect.zipRight(pulling === undefined ? Effect.void : Fiber.interruptFork(pulling), close)
    )
    yield* Effect.onInterrupt(Effect.timeoutOption(readStart, "5 seconds"), () => abandon)

    const start = Stream.fromChunk(Chunk.unsafeFromArray(chunks))
    if (end !== undefined) {
      yield* close
      const whole = new WholeResponse(response, Stream.concat(start, Stream.drain(Stream.fromEffect(end))))
      return [Exit.isSuccess(end) ? parse(chunks, length) : undefined, whole] as const
    }
    const next = Effect.suspend(() => {
      const begun = pulling
      pulling = undefined
      return begun === undefined ? pull : Effect.onInterrupt(Fiber.join(begun), () => Fiber.interruptFork(begun))
    })
    const rest = Stream.ensuring(Stream.repeatEffectChunkOption(next), close)
    return [undefined, abandonWhenForgotten(new WholeResponse(response, Stream.concat(start, rest)), abandon)] as const
  })

type Pulling = Fiber.RuntimeFiber<Chunk.Chunk<Uint8Array>, Option.Option<HttpClientError.ResponseError>>

/** No error is the end of the body. `fetch` has no body at all where others have an empty one. */
const endOf = (
  cause: Cause.Cause<Option.Option<HttpClientError.ResponseError>>
): Exit.Exit<void, HttpClientError.ResponseError> =>
  Option.match(Cause.flipCauseOption(cause), {
    onNone: () => Exit.void,
    onSome: (failure) => {
      const error = Cause.failureOption(failure)
      return Option.isSome(error) && error.value.reason === "EmptyBody" ? Exit.void : Exit.failCause(failure)
    }
  })

const parse = (chunks: ReadonlyArray<Uint8Array>, length: number): unknown => {
  if (length > Http.MAX_BODY_BYTES) return undefined
  const body = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    body.set(chunk, at)
    at += chunk.length
  }
  return Text.parseJson(Text.fromUtf8(body) ?? "")
}

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
