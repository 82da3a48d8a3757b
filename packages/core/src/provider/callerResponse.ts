/** What a signed request hands back, as if the caller's own request had been sent: no header of ours is in it. */
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Stream from "effect/Stream"
import type * as RunAuth from "../run/RunAuth.ts"
import * as Clean from "./clean.ts"
import type * as Inspect from "./inspect.ts"

/** `body` takes the place of the answer's own, if that has been read already. @internal */
export const make = (
  request: HttpClientRequest.HttpClientRequest,
  response: HttpClientResponse.HttpClientResponse,
  authorization: RunAuth.Authorization | undefined,
  body?: Inspect.Body
): HttpClientResponse.HttpClientResponse => new CallerResponse(request, response, authorization, body)

/** @internal */
export const authorizationOf = (response: HttpClientResponse.HttpClientResponse): RunAuth.Authorization | undefined =>
  response instanceof CallerResponse ? response.authorization() : undefined

class CallerResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  /** Private to the language, so that no printer finds the signed request in it. */
  readonly #answer: HttpClientResponse.HttpClientResponse
  readonly #authorization: RunAuth.Authorization | undefined
  readonly #stream: Inspect.Body | undefined
  /** What `#stream` held, once it was read to its end. */
  #read: Blob | undefined

  constructor(
    request: HttpClientRequest.HttpClientRequest,
    answer: HttpClientResponse.HttpClientResponse,
    authorization: RunAuth.Authorization | undefined,
    stream: Inspect.Body | undefined
  ) {
    super()
    this.request = request
    this.#answer = answer
    this.#authorization = authorization
    this.#stream = stream
  }

  authorization() {
    return this.#authorization
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
    return this.#fromBody((body) => body.json)
  }
  get text() {
    return this.#fromBody((body) => body.text)
  }
  get urlParamsBody() {
    return this.#fromBody((body) => body.urlParamsBody)
  }
  get arrayBuffer() {
    return this.#fromBody((body) => body.arrayBuffer)
  }
  get formData() {
    return this.#fromBody((body) => body.formData)
  }
  get stream() {
    const stream = Stream.suspend(() =>
      this.#read === undefined ? this.#stream ?? this.#answer.stream : this.#whole(this.#read).stream
    )
    return Stream.mapError(stream, (error) => this.#ownError(error))
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "@effect/platform/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  #fromBody<A>(
    read: (body: HttpClientResponse.HttpClientResponse) => Effect.Effect<A, HttpClientError.ResponseError>
  ): Effect.Effect<A, HttpClientError.ResponseError> {
    return Effect.mapError(
      this.#stream === undefined ? read(this.#answer) : Effect.flatMap(this.#readStream(this.#stream), read),
      (error) => this.#ownError(error)
    )
  }

  #readStream(
    stream: Inspect.Body
  ): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.ResponseError> {
    return Effect.suspend(() => {
      if (this.#read !== undefined) return Effect.succeed(this.#whole(this.#read))
      return Effect.map(
        Stream.runCollect(stream),
        (chunks) => this.#whole(this.#read ??= new Blob(Array.from(chunks) as Array<Uint8Array<ArrayBuffer>>))
      )
    })
  }

  /** A new one each time, because each can be read once. */
  #whole(body: Blob): HttpClientResponse.HttpClientResponse {
    const headers = { "content-type": this.headers["content-type"] ?? "" }
    return HttpClientResponse.fromWeb(this.request, new Response(body, { headers }))
  }

  #ownError(error: HttpClientError.ResponseError): HttpClientError.ResponseError {
    const { authorization } = this.#answer.request.headers
    const cause = Clean.clean(error.cause, {
      request: (other) =>
        authorization !== undefined && other.headers.authorization === authorization ? this.request : undefined,
      response: () => this,
      secrets: authorization === undefined ? [] : [authorization.replace(/^\S+ /, "")]
    })
    return new HttpClientError.ResponseError({
      ...(cause === undefined ? undefined : { cause }),
      ...(error.description === undefined ? undefined : { description: error.description }),
      request: this.request,
      reason: error.reason,
      response: this
    })
  }
}
