/**
 * A `fetch` over an HttpClient: code that is not Effect, and takes a `fetch`, gets the run's identity.
 *
 * @since 0.1.0
 */
import * as Cookies from "@effect/platform/Cookies"
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as HttpMethod from "@effect/platform/HttpMethod"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Http from "../run/http.ts"
import { statusTexts } from "./statusTexts.ts"

/**
 * Stands for the API key that an SDK insists on. `toFetch` removes each header that holds it, and the run's own
 * `Authorization` takes its place.
 *
 * @since 0.1.0
 * @category constants
 */
export const placeholderKey = "agent-identity-placeholder"

/**
 * The function `fetch`, answered by this client. Over the signing client of a run it signs first-party requests.
 *
 * Redirects are followed here, by the rules of the Fetch standard, and the client decides anew at every hop: no header of
 * the run leaves the first party. A failure is a `TypeError` with the client's error as its `cause`; an aborted `signal`
 * ends the request and rejects with its reason. Answers stream. A body that is given as a stream is streamed too;
 * every other one is read into memory, so that it can be sent once more. `statusText` is the standard phrase of the status.
 * Options of browsers, such as `cache`, `credentials` and `mode`, have no effect.
 *
 * @example
 * import { Fetch, ProviderAuth } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { HttpClient, HttpClientResponse } from "@effect/platform"
 * import { Effect } from "effect"
 *
 * // A provider that answers with the header that it was sent.
 * const provider = HttpClient.make((request) =>
 *   Effect.succeed(HttpClientResponse.fromWeb(request, new Response(request.headers.authorization)))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const { authorize } = yield* ProviderAuth.ProviderAuth
 *   const fetch = yield* Fetch.toFetch(authorize(provider))
 *   const response = yield* Effect.promise(() => fetch(`${Fakes.providerBase}/models`))
 *   assert.match(yield* Effect.promise(() => response.text()), /^AgentAssertion /)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Fakes.layer))
 *
 * @since 0.1.0
 * @category conversions
 */
export const toFetch = <E, R>(client: HttpClient.HttpClient.With<E, R>): Effect.Effect<typeof fetch, never, R> =>
  Effect.map(Effect.runtime<R>(), (runtime): typeof fetch => async (input, init) => {
    const request = new Request(input, init)
    // Not the new request's: it may forget the signal that it follows. `null` takes a request's own away.
    const given = init?.signal === undefined && input instanceof Request ? input.signal : init?.signal
    const signal = given ?? undefined
    signal?.throwIfAborted()
    const exit = await Runtime.runPromiseExit(runtime)(
      // An abort ends it, wherever this function was made.
      Effect.tryPromise({ try: (signal) => readBody(request, init?.body, signal), catch: (cause) => cause }).pipe(
        Effect.flatMap((body) => follow(client, request, body)),
        Effect.flatMap((answer) => Effect.try(() => toWeb(answer, request, signal))),
        Effect.interruptible
      ),
      signal ? { signal } : undefined
    )
    if (Exit.isSuccess(exit)) return exit.value
    signal?.throwIfAborted()
    const cause = Cause.squash(exit.cause)
    // What an app has done wrong is said at once: SDKs show the message, and no cause.
    const why = Predicate.isTagged(cause, "ProviderAuthError") && cause instanceof Error ? `: ${cause.message}` : ""
    throw new TypeError(`fetch failed${why}`, { cause })
  })

/** Twenty in the Fetch standard. */
const maxRedirects = 20

/** The cause of a rejection. */
class RedirectError extends Data.TaggedError("RedirectError")<{ readonly message: string }> {}

/** They are the transport's own business: forbidden header names of the Fetch standard. */
const forbiddenNames = [
  "accept-encoding",
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "te",
  "transfer-encoding"
]

/**
 * A value is read, so that it can be sent once more, and a stream is streamed. The body of a `Request` may be either: it is
 * a value if it is there within 10 ms and, where it comes in more than one piece, has at most 1 MiB.
 */
const readBody = async (
  request: Request,
  given: RequestInit["body"],
  signal: AbortSignal
): Promise<HttpBody.HttpBody> => {
  // Without one there is no header: an empty text is no default of platform's.
  const contentType = request.headers.get("content-type") ?? ""
  const stream = (body: ReadableStream<Uint8Array>) =>
    HttpBody.stream(Stream.fromReadableStream(() => body, (cause) => cause), contentType)
  if (request.body === null) return HttpBody.empty
  if (given instanceof ReadableStream) return stream(request.body)
  // Some browsers have no streams of requests.
  if (request.body === undefined || (given != null && !(Symbol.asyncIterator in Object(given)))) {
    return HttpBody.uint8Array(new Uint8Array(await request.arrayBuffer()), contentType)
  }
  const reader = request.body.getReader()
  signal.addEventListener("abort", () => void reader.cancel(signal.reason).catch(() => {}))
  const chunks: Array<Uint8Array> = []
  const late = new Promise<undefined>((resolve) => setTimeout(resolve, 10))
  for (let length = 0; length <= maxValueBytes;) {
    const next = reader.read()
    const read = await Promise.race([next, late])
    if (read === undefined) return stream(concat(chunks, next, reader))
    if (read.done) {
      return HttpBody.uint8Array(new Uint8Array(await new Blob(chunks as Array<BlobPart>).arrayBuffer()), contentType)
    }
    chunks.push(read.value)
    length += read.value.length
  }
  return stream(concat(chunks, reader.read(), reader))
}

const maxValueBytes = 1024 * 1024

const concat = (
  chunks: ReadonlyArray<Uint8Array>,
  pending: Promise<ReadableStreamReadResult<Uint8Array>>,
  reader: ReadableStreamDefaultReader<Uint8Array>
) => {
  let next: typeof pending | undefined = pending
  return new ReadableStream<Uint8Array>({
    start: (controller) => chunks.forEach((chunk) => controller.enqueue(chunk)),
    pull: async (controller) => {
      const { done, value } = await (next ?? reader.read())
      next = undefined
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason)
  })
}

interface Answer {
  readonly url: URL
  readonly redirected: boolean
  readonly response: HttpClientResponse.HttpClientResponse
}

const follow = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: Request,
  given: HttpBody.HttpBody
): Effect.Effect<Answer, E | RedirectError, R> =>
  Effect.gen(function*() {
    const headers = new Headers(request.headers)
    for (const name of forbiddenNames) headers.delete(name)
    for (const [name, value] of [...headers]) {
      if (value.includes(placeholderKey)) headers.delete(name)
    }
    let { method } = request
    let body = given
    let url = new URL(request.url)
    const shown = ({ origin, pathname }: URL) => origin + pathname
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      url.hash = ""
      const hop = HttpClientRequest.make(method as HttpMethod.HttpMethod)(url.href).pipe(
        HttpClientRequest.setBody(body),
        HttpClientRequest.setHeaders(Object.fromEntries(headers))
      )
      const response = yield* Http.executeOnce(client, hop)
      const { location } = response.headers
      const { status } = response
      if (![301, 302, 303, 307, 308].includes(status) || location === undefined || request.redirect === "manual") {
        return { url, redirected: redirects > 0, response }
      }
      if (request.redirect === "error") {
        return yield* new RedirectError({ message: `${shown(url)} answers with a redirect` })
      }
      if (!URL.canParse(location, url)) {
        return yield* new RedirectError({ message: `${shown(url)} redirects to no URL` })
      }
      const next = new URL(location, url)
      if (!/^https?:$/.test(next.protocol)) {
        return yield* new RedirectError({ message: `${shown(url)} redirects off the web` })
      }
      if (status === 303 ? method !== "GET" && method !== "HEAD" : status < 303 && method === "POST") {
        method = "GET"
        body = HttpBody.empty
        for (const name of ["content-encoding", "content-language", "content-location", "content-type"]) {
          headers.delete(name)
        }
      } else if (body._tag === "Stream") {
        return yield* new RedirectError({
          message: `${shown(url)} redirects, and the body, a stream, cannot be sent again`
        })
      }
      if (next.origin !== url.origin) {
        for (const name of ["authorization", "cookie", "proxy-authorization"]) headers.delete(name)
      }
      url = next
    }
    return yield* new RedirectError({
      message: `more than ${maxRedirects} redirects from ${shown(new URL(request.url))}`
    })
  })

const toWeb = ({ redirected, response, url }: Answer, request: Request, signal: AbortSignal | undefined): Response => {
  const headers = new Headers(response.headers)
  headers.delete("set-cookie")
  for (const cookie of setCookies(response)) headers.append("set-cookie", cookie)
  const { status } = response
  const isNull = request.method === "HEAD" || [204, 205, 304].includes(status)
  const body = isNull ? null : lazily(() => Stream.toReadableStream(bodyOf(response)), signal)
  const web = new Response(body, { status, statusText: statusTexts[status] ?? "", headers })
  Object.defineProperties(web, { url: { value: url.href }, redirected: { value: redirected } })
  return web
}

/**
 * As they came, where the transport keeps them all in one header; `fetch` as a transport keeps the last one there. Platform's
 * parser knows no cookie without a `=`, and one of each name.
 */
const setCookies = ({ cookies, headers }: HttpClientResponse.HttpClientResponse): ReadonlyArray<string> => {
  const parsed = Cookies.toSetCookieHeaders(cookies)
  // The comma of a date stands behind the day.
  const raw = headers["set-cookie"]?.split(/(?<!expires=\s*[a-z]{3,9}), /i) ?? []
  const nameless = raw.filter((cookie) => !/^[^;]*=/.test(cookie))
  return raw.length - nameless.length >= parsed.length ? raw : [...parsed, ...nameless]
}

/**
 * A stream that begins to read when it is read. Effect's begins at once, and would hold the connection of an answer that
 * nobody reads. An abort ends it at any time, and closes the connection.
 */
const lazily = (
  open: () => ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined
): ReadableStream<Uint8Array> => {
  let opened: ReadableStreamDefaultReader<Uint8Array> | undefined
  const reader = () => opened ??= open().getReader()
  let controller: ReadableStreamDefaultController<Uint8Array>
  const abort = () => {
    controller.error(signal?.reason)
    reader().cancel(signal?.reason).catch(() => {})
  }
  let forget = () => {}
  return new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given
      if (signal !== undefined) forget = listen(signal, new WeakRef(abort))
    },
    pull: async () => {
      const { done, value } = await reader().read().catch((error) => {
        forget()
        throw error
      })
      if (signal?.aborted === true) return
      if (!done) return controller.enqueue(value)
      forget()
      controller.close()
    },
    cancel: (reason) => {
      forget()
      return reader().cancel(reason)
    }
  }, { highWaterMark: 0 })
}

/** A signal may live longer than an answer, and does not keep it. */
const listen = (signal: AbortSignal, abort: WeakRef<() => void>) => {
  const listener = () => abort.deref()?.()
  signal.addEventListener("abort", listener)
  return () => signal.removeEventListener("abort", listener)
}

const bodyOf = (response: HttpClientResponse.HttpClientResponse): Stream.Stream<Uint8Array> =>
  Stream.catchAll(response.stream, (cause: HttpClientError.ResponseError) =>
    // `fetch` has no body at all where others have an empty one.
    cause.reason === "EmptyBody" ? Stream.empty : Stream.die(new TypeError("terminated", { cause })))
