/** The one place that reads answers of the AuthAPI and turns what went wrong into plain data. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as Text from "./text.ts"

/** Bytes of an answer that are read. @internal */
export const MAX_BODY_BYTES = 64 * 1024

/** Characters of an answer that an error quotes. @internal */
const MAX_EXCERPT_LENGTH = 512

/** Status, headers and at most 64 KiB of body; `complete` is false where there was more. @internal */
export interface Answer {
  readonly status: number
  readonly headers: HttpClientResponse.HttpClientResponse["headers"]
  readonly body: Uint8Array
  readonly complete: boolean
}

/** Sends a request once and reads its answer. No transport follows a redirect. @internal */
export const send = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<Answer, HttpClientError.HttpClientError> =>
  withoutRedirects(client.execute(request)).pipe(
    Effect.flatMap((response) =>
      Effect.map(readBody(response), (read) => ({ status: response.status, headers: response.headers, ...read }))
    )
  )

/** `fetch` follows redirects by itself and takes custom headers along; the other transports do not. @internal */
export const withoutRedirects = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) => {
    const init = Option.getOrUndefined(Context.getOption(context, FetchHttpClient.RequestInit))
    return Context.add(context, FetchHttpClient.RequestInit, { ...init, redirect: "manual" })
  })

const readBody = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.gen(function*() {
    const chunks: Array<Uint8Array> = []
    let length = 0
    yield* response.stream.pipe(
      Stream.takeUntil((chunk) => {
        chunks.push(chunk)
        length += chunk.length
        return length > MAX_BODY_BYTES
      }),
      Stream.runDrain,
      // `fetch` has no body at all where others have an empty one.
      Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.void)
    )
    const body = new Uint8Array(Math.min(length, MAX_BODY_BYTES))
    let at = 0
    for (const chunk of chunks) {
      body.set(chunk.subarray(0, body.length - at), at)
      at += Math.min(chunk.length, body.length - at)
    }
    return { body, complete: length <= MAX_BODY_BYTES }
  })

/**
 * The start of an answer, fit for an error: without what we sent and without anything that looks like a credential.
 * @internal
 */
export const excerpt = (body: Uint8Array, sent: ReadonlyArray<string>): string => {
  // JSON has more than one spelling for what was sent.
  let text = new TextDecoder().decode(body)
    .replaceAll("\\/", "/")
    .replace(/\\u00([2-7][0-9a-f])/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  for (const value of sent) text = text.replaceAll(value, "<redacted>")
  return Text.truncate(
    text
      .replace(/\b(Bearer|AgentAssertion)\s+[^\s"',;]+/gi, "$1 <redacted>")
      // Base64 of JSON begins with `eyJ`, a personal access token with `at-`. Whole words, so that it stays linear.
      .replace(/[\w.~-]+/g, (word) => word.startsWith("at-") || word.includes("eyJ") ? "<redacted>" : word)
      // A terminal would obey them.
      .replace(/\p{Cc}/gu, " "),
    MAX_EXCERPT_LENGTH
  )
}

/**
 * How long the server asked to wait, in milliseconds from `now`, by a `Retry-After` of seconds or of a date.
 * @internal
 */
export const retryAfter = (headers: Answer["headers"], now: number): number | undefined => {
  const value = headers["retry-after"]?.trim()
  if (value === undefined) return undefined
  if (/^\d+$/.test(value)) return Number(value) * 1000
  // Every form of HTTP date begins with the day's name; `Date.parse` makes a date of `-5` and `1.5` too.
  const date = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(value) ? Date.parse(value) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** What a transport error says of itself; the error as a whole holds the request. @internal */
export const transportDetail = (error: HttpClientError.HttpClientError): string => {
  const cause = Predicate.hasProperty(error.cause, "cause") ? error.cause.cause ?? error.cause : error.cause
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? ` (${cause.code})` : ""
  return error._tag === "RequestError"
    ? `the request could not be sent or was not answered${code}`
    : `the answer broke off${code}`
}
