/** A look at the start of an answer that leaves the answer whole. */
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Stream from "effect/Stream"
import * as Refusal from "../protocol/Refusal.ts"
import { decompress } from "../run/decompress.ts"
import * as Http from "../run/http.ts"

/** @internal */
export type Body = Stream.Stream<Uint8Array, HttpClientError.ResponseError>

/**
 * The JSON in which the answer may say why it refuses, by its headers alone where its body is larger than 64 KiB or not
 * there within 5 s; and the answer's body from its start, if any of it was read.
 * @internal
 */
export const refusal = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<readonly [documents: ReadonlyArray<unknown>, body: Body | undefined]> =>
  Number(response.headers["content-length"]) > Http.maxBodyBytes
    ? Effect.succeed([Refusal.documents(response.headers, undefined), undefined])
    : read(response)

/** Gives the connection of an answer back that is not handed on. @internal */
export const drop = (
  response: HttpClientResponse.HttpClientResponse,
  body: Body | undefined
): Effect.Effect<void> =>
  body === undefined
    ? Http.discard(response)
    : Effect.asVoid(Effect.forkDaemon(Effect.interruptible(Effect.ignore(Stream.runHead(body)))))

const read = (response: HttpClientResponse.HttpClientResponse) =>
  // Between the fork and the handing over of the fiber nothing is interrupted.
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      // One fiber reads from start to end. A chunk belongs to the start until the look is over, and to the rest from then
      // on: which of them is decided where it comes in, so that an interruption finds no chunk between the two.
      const start: Array<Uint8Array> = []
      const rest = yield* Mailbox.make<Uint8Array, HttpClientError.ResponseError>(1)
      const seenEnough = yield* Deferred.make<boolean>()
      let length = 0
      let isLooking = true

      const reading = yield* response.stream.pipe(
        Stream.runForEach((chunk) => {
          if (!isLooking) return rest.offer(chunk)
          start.push(chunk)
          length += chunk.length
          isLooking = length <= Http.maxBodyBytes
          return isLooking ? Effect.void : Deferred.succeed(seenEnough, false)
        }),
        // `fetch` has no body at all where others have an empty one.
        Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.void),
        Effect.onExit((exit) =>
          Effect.zipRight(rest.done(exit), Deferred.succeed(seenEnough, exit._tag === "Success"))
        ),
        Effect.interruptible,
        Effect.forkDaemon
      )
      const abandon = Fiber.interruptFork(reading)
      const isWhole = yield* restore(Effect.timeoutTo(Deferred.await(seenEnough), {
        duration: "5 seconds",
        onSuccess: (isWhole) => isWhole,
        onTimeout: () => false
      })).pipe(Effect.onInterrupt(() => abandon))
      isLooking = false

      const { body, complete } = Http.join(start)
      const decoded = isWhole && complete ? yield* decompress(body, Http.maxBodyBytes) : undefined
      return [Refusal.documents(response.headers, decoded), whole(response, start, rest, abandon)] as const
    })
  )

const whole = (
  response: HttpClientResponse.HttpClientResponse,
  start: ReadonlyArray<Uint8Array>,
  rest: Mailbox.ReadonlyMailbox<Uint8Array, HttpClientError.ResponseError>,
  abandon: Effect.Effect<void>
): Body => {
  let isRead = false
  const body: Body = Stream.suspend(() => {
    if (isRead) {
      const description = "its body is a stream that was read already"
      return Stream.fail(
        new HttpClientError.ResponseError({ request: response.request, response, reason: "Decode", description })
      )
    }
    isRead = true
    // From here on the reader's end is the connection's.
    forgotten.unregister(body)
    return Stream.ensuring(Stream.concat(Stream.fromIterable(start), Mailbox.toStream(rest)), abandon)
  })
  forgotten.register(body, abandon, body)
  return body
}

/** As platform does with an answer that nobody reads: its connection is given back once it is garbage. */
const forgotten = new FinalizationRegistry<Effect.Effect<void>>((abandon) => Effect.runFork(abandon))
