/** The one place that reads answers of the AuthAPI and turns what went wrong into plain data. */
import * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import { decompress } from "./decompress.ts"
import * as FiberState from "./fiberState.ts"

/** Bytes of an answer that are read. @internal */
export const maxBodyBytes = 64 * 1024

/** Status, headers and at most 64 KiB of body, decompressed; `complete` is false where there was more. @internal */
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
  executeOnce(client, request).pipe(
    // A client that was made to fail on a status has an answer all the same.
    Effect.catchIf(
      (error) => error._tag === "ResponseError" && error.reason === "StatusCode",
      (error) => Effect.succeed((error as HttpClientError.ResponseError).response)
    ),
    Effect.flatMap((response) =>
      (response.status >= 200 && response.status < 300 ? readBody(response) : readErrorBody(response)).pipe(
        Effect.flatMap(decoded),
        Effect.map((read) => ({ status: response.status, headers: response.headers, ...read }))
      )
    ),
    // A layer may be built where nothing is interrupted, and there no timeout would end it.
    Effect.interruptible
  )

/** Sends a request in the place of a finished one. @internal */
export type Replace = (
  request: HttpClientRequest.HttpClientRequest,
  changes: FiberState.Changes
) => Effect.Effect<HttpClientRequest.HttpClientRequest>

/**
 * Executes a request with a last step: it gets the request as the client's own hooks have left it, in the client's own
 * context, and nothing but `transform` and `followRedirects` inside the client runs after it. A client that tries again
 * repeats the step with the hooks. `end` is not interrupted.
 * @internal
 */
export const execute = <E, R, E2, B, E3>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  lastStep: (
    finished: HttpClientRequest.HttpClientRequest,
    replace: Replace
  ) => Effect.Effect<HttpClientRequest.HttpClientRequest, E2>,
  end: {
    readonly onFailure: (cause: Cause.Cause<E | E2>) => Effect.Effect<B, E3>
    readonly onSuccess: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<B, E3>
  }
): Effect.Effect<B, E3, R> =>
  FiberState.restoring((callOptions) => {
    const replace: Replace = (sent, changes) => {
      // It is aborted with the request that it takes the place of.
      const controller = scopedRequests.get(request)
      if (controller !== undefined) scopedRequests.set(sent, controller)
      return Effect.as(
        FiberState.change(
          callOptions === undefined ? changes : { ...changes, requestInit: { ...callOptions, ...changes.requestInit } }
        ),
        sent
      )
    }
    return HttpClient.mapRequestEffect(client, (finished) => lastStep(finished, replace)).execute(request)
  }, end)

/** Executes a request whose redirects no transport follows: `fetch` would, and take custom headers along. @internal */
export const executeOnce = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientResponse.HttpClientResponse, E, R> =>
  execute(client, request, (finished, replace) => replace(finished, { requestInit: noRedirects, redactedNames }), {
    onFailure: Effect.failCause,
    onSuccess: Effect.succeed
  })

/** @internal */
export const noRedirects: RequestInit = { redirect: "manual" }

/** Headers that identify an agent or its account. @internal */
export const redactedNames: ReadonlyArray<string> = ["authorization", "chatgpt-account-id"]

/** Platform's own register of the requests that `HttpClient.withScope` aborts, by request. */
const scopedRequests = globalValue(
  "@effect/platform/HttpClient/scopedRequests",
  () => new WeakMap<HttpClientRequest.HttpClientRequest, AbortController>()
)

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

/** Gives the connection of an answer back that nobody wants, in the background. @internal */
export const discard = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Effect.asVoid(Effect.forkDaemon(Effect.interruptible(readErrorBody(response))))

const decoded = (read: Read): Effect.Effect<Read> =>
  read.complete ? Effect.map(decompress(read.body, maxBodyBytes), (body) => join([body])) : Effect.succeed(read)

const collect = (response: HttpClientResponse.HttpClientResponse, chunks: Array<Uint8Array>) => {
  let length = 0
  return response.stream.pipe(
    Stream.takeUntil((chunk) => {
      chunks.push(chunk)
      length += chunk.length
      return length > maxBodyBytes
    }),
    Stream.runDrain,
    // `fetch` has no body at all where others have an empty one.
    Effect.catchIf((error) => error.reason === "EmptyBody", () => Effect.void)
  )
}

/** At most 64 KiB of it. @internal */
export const join = (chunks: ReadonlyArray<Uint8Array>): Read => {
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const body = new Uint8Array(Math.min(length, maxBodyBytes))
  let at = 0
  for (const chunk of chunks) {
    body.set(chunk.subarray(0, body.length - at), at)
    at += Math.min(chunk.length, body.length - at)
  }
  return { body, complete: length <= maxBodyBytes }
}

/**
 * Returns what a transport error says of itself; the error as a whole holds the request.
 * @internal
 */
export const transportFailure = (error: HttpClientError.HttpClientError): ConnectionFailure =>
  connectionFailure(
    Predicate.hasProperty(error.cause, "cause") ? error.cause.cause ?? error.cause : error.cause,
    (code) =>
      error._tag === "RequestError"
        ? `the request could not be sent or was not answered${code}; check the network and the base URL`
        : `the answer broke off${code}; try again later`
  )

interface ConnectionFailure {
  readonly reason: "Transport" | "Certificate"
  readonly detail: string
}

/**
 * Returns why the connection failed. Another attempt does not help against a certificate that is not trusted. The message of
 * a proxy's error is shown as it is. `otherwise` gets the code in parentheses, or an empty text.
 * @internal
 */
export const connectionFailure = (cause: unknown, otherwise: (code: string) => string): ConnectionFailure => {
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
  if (code !== undefined && ofCertificate.test(code)) return { reason: "Certificate", detail: untrusted(code) }
  const isOfProxy = Predicate.isTagged(cause, "ProxyError") && cause instanceof Error
  return {
    reason: "Transport",
    detail: isOfProxy ? cause.message : otherwise(code === undefined ? "" : ` (${code})`)
  }
}

/** The codes of OpenSSL and of Node. */
const ofCertificate = /CERT|^UNABLE_TO_(?:GET_ISSUER|VERIFY)|SELF_SIGNED|HOSTNAME_MISMATCH|^INVALID_(?:CA|PURPOSE)$/

const untrusted = (code: string): string =>
  code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID"
    ? `the server's certificate is not valid at this time (${code}); check this machine's clock, or the server`
    : code === "ERR_TLS_CERT_ALTNAME_INVALID"
    ? `the server's certificate is for another name (${code}); check the base URL`
    : `the server's certificate is of an authority that is not trusted (${code}); to trust it, name the file of the authority ` +
      "in NODE_EXTRA_CA_CERTS, SSL_CERT_FILE or CODEX_CA_CERTIFICATE"
