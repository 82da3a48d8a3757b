/** The one place that reads answers of the AuthAPI and turns what went wrong into plain data. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as Text from "../protocol/text.ts"

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
  execute(client, request, "manual").pipe(
    // A client that was made to fail on a status has an answer all the same.
    Effect.catchIf(
      (error) => error._tag === "ResponseError" && error.reason === "StatusCode",
      (error) => Effect.succeed((error as HttpClientError.ResponseError).response)
    ),
    Effect.flatMap((response) =>
      Effect.map(
        response.status >= 200 && response.status < 300 ? readBody(response) : readErrorBody(response),
        (read) => ({ status: response.status, headers: response.headers, ...read })
      )
    ),
    // A layer may be built where nothing is interrupted, and there no timeout would end it.
    Effect.interruptible
  )

/**
 * Executes a request. `fetch` follows redirects by itself and takes custom headers along, the other transports do not:
 * `manual` tells it not to. Options of `fetch` that are given to a call take the place of those of the client's own layer,
 * a proxy among them, so these are put below.
 * @internal
 */
export const execute = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  redirects: "manual" | "as told"
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> => {
  const contexts = known.get(client)
  if (redirects === "manual" && contexts !== undefined) {
    return withContext(client.execute(request), contexts.manual)
  }
  return Effect.contextWithEffect((context: Context.Context<R>) => {
    if (redirects === "as told" && Option.isNone(requestInit(context))) return client.execute(request)
    return Effect.flatMap(
      fetchOptions(client),
      ({ asTold, manual }) => Effect.mapInputContext(client.execute(request), redirects === "manual" ? manual : asTold)
    )
  })
}

/** `Effect.mapInputContext` in half of its steps: it stands in the way of every request. */
const withContext = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  change: (context: Context.Context<R>) => Context.Context<R>
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      FiberRef.modify(FiberRef.currentContext, (context) => [context, change(context as Context.Context<R>)]),
      (before) => {
        const back = FiberRef.set(FiberRef.currentContext, before)
        return Effect.matchCauseEffect(restore(effect), {
          onFailure: (cause) => Effect.zipRight(back, Effect.failCause(cause)),
          onSuccess: (value) => Effect.as(back, value)
        })
      }
    )
  )

const requestInit = (context: Context.Context<never>) => Context.getOption(context, FetchHttpClient.RequestInit)

/** What a client gets in the place of the context of a call. */
interface Contexts {
  readonly manual: <R>(context: Context.Context<R>) => Context.Context<R>
  readonly asTold: <R>(context: Context.Context<R>) => Context.Context<R>
}

const makeContexts = (options: RequestInit | undefined): Contexts => {
  const adding = (more: RequestInit | undefined) => {
    // A fiber has the same context at many requests, and to add to one is to copy it.
    const made = new WeakMap<Context.Context<never>, Context.Context<never>>()
    return <R>(context: Context.Context<R>): Context.Context<R> => {
      let next = made.get(context) as Context.Context<R> | undefined
      if (next === undefined) {
        next = Context.add(context, FetchHttpClient.RequestInit, {
          ...options,
          ...Option.getOrUndefined(requestInit(context)),
          ...more
        }) as Context.Context<R>
        made.set(context, next)
      }
      return next
    }
  }
  return { manual: adding({ redirect: "manual" }), asTold: adding(undefined) }
}

/**
 * The options of `fetch` that the client's own layer was given, a proxy among them: ours would take their place. Only
 * what runs inside of the client sees them, so a request is begun and interrupted before it is sent.
 */
const fetchOptions = <E, R>(client: HttpClient.HttpClient.With<E, R>): Effect.Effect<Contexts, never, R> =>
  Effect.suspend(() => {
    const contexts = known.get(client)
    if (contexts !== undefined) return Effect.succeed(contexts)
    let options: RequestInit | undefined
    const probe = HttpClient.mapRequestEffect(
      client,
      () =>
        Effect.contextWithEffect((context: Context.Context<never>) => {
          options = Option.getOrUndefined(requestInit(context))
          return Effect.interrupt
        })
    )
    const asked = Effect.mapInputContext(
      probe.get("http://localhost/"),
      // Those of this call would hide the layer's.
      (context: Context.Context<R>) => Context.omit(FetchHttpClient.RequestInit)(context) as Context.Context<R>
    )
    return Effect.map(Effect.exit(asked), () => {
      const contexts = makeContexts(options)
      known.set(client, contexts)
      return contexts
    })
  })

const known = new WeakMap<object, Contexts>()

/** Platform's own register of the requests that `HttpClient.withScope` aborts, by request. */
const scopedRequests = globalValue(
  "@effect/platform/HttpClient/scopedRequests",
  () => new WeakMap<HttpClientRequest.HttpClientRequest, AbortController>()
)

/** A request that is sent in the place of another is aborted with it. @internal */
export const inPlaceOf = (
  request: HttpClientRequest.HttpClientRequest,
  sent: HttpClientRequest.HttpClientRequest
): HttpClientRequest.HttpClientRequest => {
  const controller = scopedRequests.get(request)
  if (controller !== undefined) scopedRequests.set(sent, controller)
  return sent
}

interface Read {
  readonly body: Uint8Array
  readonly complete: boolean
}

const readBody = (
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<Read, HttpClientError.ResponseError> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    return Effect.map(collect(response, chunks), () => join(chunks))
  })

/** What comes of it within 5 seconds: the status has said enough. */
const readErrorBody = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<Read> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    return collect(response, chunks).pipe(
      Effect.timeoutOption("5 seconds"),
      Effect.ignore,
      Effect.map(() => join(chunks))
    )
  })

const collect = (response: HttpClientResponse.HttpClientResponse, chunks: Array<Uint8Array>) => {
  let length = 0
  return response.stream.pipe(
    Stream.takeUntil((chunk) => {
      chunks.push(chunk)
      length += chunk.length
      return length > MAX_BODY_BYTES
    }),
    Stream.runDrain,
    // `fetch` has no body at all where others have an empty one.
    Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.void)
  )
}

/** At most 64 KiB of it. @internal */
export const join = (chunks: ReadonlyArray<Uint8Array>): Read => {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const body = new Uint8Array(Math.min(length, MAX_BODY_BYTES))
  let at = 0
  for (const chunk of chunks) {
    body.set(chunk.subarray(0, body.length - at), at)
    at += Math.min(chunk.length, body.length - at)
  }
  return { body, complete: length <= MAX_BODY_BYTES }
}

/**
 * The start of an answer, fit for an error: without what we sent and without anything that looks like a credential.
 * @internal
 */
export const excerpt = (body: Uint8Array, sent: ReadonlyArray<string>): string => {
  const text = new TextDecoder().decode(body)
    // JSON has more than one spelling for what was sent.
    .replaceAll("\\/", "/")
    .replace(/\\u00([2-7][0-9a-f])/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replace(/\b(Bearer|AgentAssertion)(?:\s|%20|\\[nrt"]|["':])+[^\s"',;\\]+/gi, "$1 <redacted>")
    // Base64 of JSON begins with `eyJ`, a personal access token with `at-`. Whole words, so that it stays linear.
    .replace(/[\w.~-]+/g, (word) => word.startsWith("at-") || word.includes("eyJ") ? "<redacted>" : word)
    .replace(/[\w+/=%-]+/g, (word) => sent.some((value) => shares(word, value)) ? "<redacted>" : word)
    // A terminal would obey them.
    .replace(/\p{Cc}/gu, " ")
  return Text.truncate(text, MAX_EXCERPT_LENGTH)
}

/** Whether 16 characters in a row of the value stand in the word, in either alphabet of base64, percent-encoded or not. */
const shares = (word: string, value: string): boolean => {
  const plain = (text: string) => text.replaceAll("-", "+").replaceAll("_", "/")
  const whole = plain(word.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))))
  const wanted = plain(value)
  for (let at = 0; at + Math.min(16, wanted.length) <= wanted.length; at++) {
    if (whole.includes(wanted.slice(at, at + 16))) return true
  }
  return false
}

/**
 * How long the server asked to wait, in milliseconds from `now`, by a `Retry-After` of seconds or of a date.
 * @internal
 */
export const retryAfter = (headers: Answer["headers"], now: number): number | undefined => {
  const value = headers["retry-after"]?.trim()
  if (value === undefined) return undefined
  if (/^\d+$/.test(value)) return Math.min(Number(value) * 1000, Number.MAX_SAFE_INTEGER)
  // Every form of HTTP date begins with the day's name; `Date.parse` makes a date of `-5` and `1.5` too.
  const date = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(value) ? Date.parse(value) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** What a transport error says of itself; the error as a whole holds the request. @internal */
export const transportDetail = (error: HttpClientError.HttpClientError): string => {
  const cause = Predicate.hasProperty(error.cause, "cause") ? error.cause.cause ?? error.cause : error.cause
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? ` (${cause.code})` : ""
  return error._tag === "RequestError"
    ? `the request could not be sent or was not answered${code}; check the network and the base URL`
    : `the answer broke off${code}; try again later`
}
