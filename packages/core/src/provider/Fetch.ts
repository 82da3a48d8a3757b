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
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Http from "../run/http.ts"

/**
 * The function `fetch`, answered by this client. Over the signing client of a run it signs first-party requests.
 *
 * Redirects are followed here, by the rules of the Fetch standard, and the client decides anew at every hop: no header of
 * the run leaves the first party. A failure is a `TypeError` with the client's error as its `cause`; an aborted `signal`
 * ends the request and rejects with its reason. Answers stream. A body that is given as a `ReadableStream` is streamed
 * too; every other one is read into memory, so that it can be sent once more. Options of browsers, such as `cache`,
 * `credentials` and `mode`, have no effect.
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
    // Not the new request's: it may forget the signal that it follows.
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
    signal?.throwIfAborted()
    const body = init?.body instanceof ReadableStream
      ? HttpBody.stream(Stream.fromReadableStream(() => request.body!, (cause) => cause), contentType(request))
      : request.body === null
      ? HttpBody.empty
      : HttpBody.uint8Array(new Uint8Array(await request.arrayBuffer()), contentType(request))
    const exit = await Runtime.runPromiseExit(runtime)(
      // An abort ends it, wherever this function was made.
      Effect.interruptible(
        Effect.flatMap(follow(client, request, body), (hop) => Effect.try(() => toWeb(hop, request, signal)))
      ),
      signal ? { signal } : undefined
    )
    if (Exit.isSuccess(exit)) return exit.value
    signal?.throwIfAborted()
    throw new TypeError("fetch failed", { cause: Cause.squash(exit.cause) })
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

const contentType = (request: Request): string | undefined => request.headers.get("content-type") ?? undefined

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
  for (const cookie of Cookies.toSetCookieHeaders(response.cookies)) headers.append("set-cookie", cookie)
  const isNull = request.method === "HEAD" || [204, 205, 304].includes(response.status)
  const body = isNull ? null : lazily(() => Stream.toReadableStream(untilAborted(bodyOf(response), signal)))
  const web = new Response(body, { status: response.status, headers })
  Object.defineProperties(web, { url: { value: url.href }, redirected: { value: redirected } })
  return web
}

/**
 * A stream that begins to read when it is read. Effect's begins at once, and would hold the connection of an answer that
 * nobody reads.
 */
const lazily = (open: () => ReadableStream<Uint8Array>): ReadableStream<Uint8Array> => {
  let opened: ReadableStreamDefaultReader<Uint8Array> | undefined
  const reader = () => opened ??= open().getReader()
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await reader().read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader().cancel(reason)
  }, { highWaterMark: 0 })
}

const bodyOf = (response: HttpClientResponse.HttpClientResponse): Stream.Stream<Uint8Array> =>
  Stream.catchAll(response.stream, (cause: HttpClientError.ResponseError) =>
    // `fetch` has no body at all where others have an empty one.
    cause.reason === "EmptyBody" ? Stream.empty : Stream.die(new TypeError("terminated", { cause })))

const untilAborted = <A, E>(
  stream: Stream.Stream<A, E>,
  signal: AbortSignal | undefined
): Stream.Stream<A, unknown> =>
  signal === undefined ? stream : Stream.interruptWhen(
    stream,
    Effect.async<never, unknown>((resume) => {
      const abort = () => resume(Effect.fail(signal.reason))
      signal.addEventListener("abort", abort)
      if (signal.aborted) abort()
      return Effect.sync(() => signal.removeEventListener("abort", abort))
    })
  )
