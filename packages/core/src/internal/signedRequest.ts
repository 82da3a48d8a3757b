/** A request as it is sent for its caller, and its answer as it is handed back. */
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as RunAuth from "../RunAuth.ts"
import * as CallerResponse from "./callerResponse.ts"
import * as Http from "./http.ts"

/** An answer, and the error that it came as, where the client below was made to fail on its status. @internal */
export interface Answer<E> {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly failure: (E & HttpClientError.ResponseError) | undefined
}

/** Its redirects are not followed, and what comes back does not show it. @internal */
export const send = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  credential: RunAuth.Assertion | RunAuth.Bearer
): Effect.Effect<Answer<E>, E, R> => {
  const signed = Http.inPlaceOf(request, HttpClientRequest.setHeaders(request, headersOf(credential)))
  signedRequests.add(signed)
  return Http.execute(client, signed, "manual").pipe(
    Effect.annotateSpans(RunAuth.attributes(RunAuth.sent(credential))),
    Effect.matchEffect({
      onFailure: (error): Effect.Effect<Answer<E>, E> =>
        CallerResponse.isStatusError(error)
          ? Effect.succeed({ response: error.response, failure: error })
          : Effect.fail(CallerResponse.mapError(request, error)),
      onSuccess: (response) => Effect.succeed({ response, failure: undefined })
    }),
    Effect.catchAllDefect((defect) => Effect.die(CallerResponse.clean(request, defect)))
  )
}

/** @internal */
export const sendPlain = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  credential: RunAuth.None
) =>
  Http.execute(client, request, "as told").pipe(
    Effect.annotateSpans(RunAuth.attributes(RunAuth.sent(credential))),
    Effect.map((response) => note(response, credential))
  )

/** Hands an answer to the caller, as if the caller's own request had been sent. @internal */
export const finish = <E>(
  request: HttpClientRequest.HttpClientRequest,
  { failure, response }: Answer<E>,
  credential: RunAuth.Credential
): Effect.Effect<HttpClientResponse.HttpClientResponse, E> => {
  const own = note(CallerResponse.make(request, response), credential)
  return failure === undefined ? Effect.succeed(own) : Effect.fail(CallerResponse.statusError(failure, own))
}

/** The URL that goes on the wire; undefined for a relative one, which a browser would complete by itself. @internal */
export const finalUrl = (request: HttpClientRequest.HttpClientRequest): URL | undefined => {
  if (!URL.canParse(request.url)) return undefined
  const url = UrlParams.makeUrl(request.url, request.urlParams, request.hash)
  return url._tag === "Right" ? url.right : undefined
}

/** @internal */
export const headersOf = (credential: RunAuth.Credential): Readonly<Record<string, string>> => {
  if (credential._tag === "None") return {}
  const { account } = credential
  return {
    authorization: credential._tag === "Assertion"
      ? Redacted.value(credential.header)
      : `Bearer ${Redacted.value(credential.token)}`,
    ...(account === undefined ? undefined : { "chatgpt-account-id": account.id }),
    ...(account?.fedramp === true ? { "x-openai-fedramp": "true" } : undefined)
  }
}

/** @internal */
export const note = (response: HttpClientResponse.HttpClientResponse, credential: RunAuth.Credential) => {
  sentByResponse.set(response, RunAuth.sent(credential))
  return response
}

/** @internal */
export const sentByResponse = new WeakMap<HttpClientResponse.HttpClientResponse, RunAuth.Sent>()

/** Requests that a run has signed, so that a run inside of a run can say what is wrong. @internal */
export const signedRequests = new WeakSet<HttpClientRequest.HttpClientRequest>()
