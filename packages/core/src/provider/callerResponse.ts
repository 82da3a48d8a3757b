/** What a signed request hands back, as if the caller's own request had been sent: no header of ours in it. */
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import type * as RunAuth from "../run/RunAuth.ts"

/** @internal */
export const make = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse,
  sent?: RunAuth.Sent
): HttpClientResponse.HttpClientResponse => new CallerResponse(request, response, sent)

/** @internal */
export const sentWith = (response: HttpClientResponse.HttpClientResponse): RunAuth.Sent | undefined =>
  response instanceof CallerResponse ? response.sentWith() : undefined

/** Any error of a client; those of HttpClient hold the request. @internal */
export const mapError = <E>(request: HttpClientRequest.HttpClientRequest, error: E): E => {
  if (!HttpClientError.isHttpClientError(error)) return error
  return (error._tag === "RequestError"
    ? new HttpClientError.RequestError({ ...details(request, error), request, reason: error.reason })
    : new HttpClientError.ResponseError({
      ...details(request, error),
      request,
      reason: error.reason,
      response: make(request, error.response)
    })) as E & HttpClientError.HttpClientError
}

/** Whether a client was made to fail on the status of an answer. @internal */
export const isStatusError = <E>(error: E): error is E & HttpClientError.ResponseError =>
  HttpClientError.isHttpClientError(error) && error._tag === "ResponseError" && error.reason === "StatusCode"

/** The same error, of this response. @internal */
export const statusError = <E>(
  error: E & HttpClientError.ResponseError,
  response: HttpClientResponse.HttpClientResponse
): E =>
  new HttpClientError.ResponseError({
    ...details(response.request, error),
    request: response.request,
    reason: error.reason,
    response
  }) as E & HttpClientError.ResponseError

const details = (request: HttpClientRequest.HttpClientRequest, error: HttpClientError.HttpClientError) => ({
  ...(error.cause === undefined ? undefined : { cause: clean(request, error.cause) }),
  ...(error.description === undefined ? undefined : { description: error.description })
})

/** A cause or a defect, which may hold the signed request too: where another error does, only its text is left. @internal */
export const clean = (request: HttpClientRequest.HttpClientRequest, cause: unknown): unknown => {
  if (HttpClientError.isHttpClientError(cause)) return mapError(request, cause)
  let inner = cause
  for (let depth = 0; depth < 8 && Predicate.hasProperty(inner, "cause"); depth++) {
    inner = inner.cause
    if (HttpClientError.isHttpClientError(inner)) return new Error(cause instanceof Error ? cause.message : "an error")
  }
  return cause
}

class CallerResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  /** Private to the language, so that no printer finds the signed request in it. */
  readonly #answer: HttpClientResponse.HttpClientResponse
  readonly #sentWith: RunAuth.Sent | undefined

  constructor(
    request: HttpClientRequest.HttpClientRequest,
    answer: HttpClientResponse.HttpClientResponse,
    sentWith: RunAuth.Sent | undefined
  ) {
    super()
    this.request = request
    this.#answer = answer
    this.#sentWith = sentWith
  }

  sentWith() {
    return this.#sentWith
  }

  get status() {
    return this.#answer.status
  }
  get headers() {
    return this.#answer.headers
  }
  get cookies() {
    return this.#answer.cookies
  }
  get remoteAddress() {
    return this.#answer.remoteAddress
  }
  get json() {
    return this.#mapError(this.#answer.json)
  }
  get text() {
    return this.#mapError(this.#answer.text)
  }
  get urlParamsBody() {
    return this.#mapError(this.#answer.urlParamsBody)
  }
  get arrayBuffer() {
    return this.#mapError(this.#answer.arrayBuffer)
  }
  get formData() {
    return this.#mapError(this.#answer.formData)
  }
  get stream() {
    return Stream.mapError(this.#answer.stream, (error) => this.#ownError(error))
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@effect/platform/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  #mapError<A>(effect: Effect.Effect<A, HttpClientError.ResponseError>) {
    return Effect.mapError(effect, (error) => this.#ownError(error))
  }

  #ownError(error: HttpClientError.ResponseError): HttpClientError.ResponseError {
    return new HttpClientError.ResponseError({
      ...details(this.request, error),
      request: this.request,
      reason: error.reason,
      response: this
    })
  }
}
