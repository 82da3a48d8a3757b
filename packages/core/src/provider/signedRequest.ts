/** A request as it is sent for its caller, and what became of it. */
import * as Headers from "@effect/platform/Headers"
import type * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as AgentIdentity from "../run/AgentIdentity.ts"
import * as Http from "../run/http.ts"
import * as RunAuth from "../run/RunAuth.ts"
import * as CallerResponse from "./callerResponse.ts"
import * as Clean from "./clean.ts"
import type * as Inspect from "./inspect.ts"

/**
 * - `Plain`: the answer of a request that was sent as it is
 * - `Signed`: the answer of a request that went out with this credential; `failure` is the error that it came as, where
 *   the client was made to fail on its status
 * - `Redirected`: something inside the client changed the URL after it was signed
 * @internal
 */
export type Outcome<E> =
  | { readonly _tag: "Plain"; readonly response: HttpClientResponse.HttpClientResponse }
  | {
    readonly _tag: "Signed"
    readonly signed: Signed
    readonly response: HttpClientResponse.HttpClientResponse
    readonly failure: (E & HttpClientError.ResponseError) | undefined
  }
  | { readonly _tag: "Redirected"; readonly signed: Signed; readonly to: HttpClientRequest.HttpClientRequest }

/** What one attempt was signed with. `request` is as the client's hooks had left it, without the credential. @internal */
export interface Signed {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly signed: HttpClientRequest.HttpClientRequest
  readonly credential: Exclude<RunAuth.Credential, RunAuth.None>
  readonly headers: Headers.Headers
  readonly authorization: RunAuth.Authorization
}

/** An attempt that was sent as it is. */
interface Unsigned {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly authorization: RunAuth.Authorization
}

/**
 * Sends a request. `decide` says what it carries, of its finished URL and as the last step inside the client; its failure
 * is the failure of the request, whatever the client makes of failures. No error holds the signed request.
 * @internal
 */
export const send = <E, R, E2>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  decide: (finished: HttpClientRequest.HttpClientRequest) => Effect.Effect<RunAuth.Credential, E2>,
  identify: (finished: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest
): Effect.Effect<Outcome<E | E2>, E | E2, R> =>
  Effect.suspend(() => {
    // A client that tries again, or twice at once, has several attempts under way.
    const attempts: Array<Signed> = []
    const unsigned: Array<Unsigned> = []
    let refusal: Option.Option<E2> = Option.none()

    const lastStep = (finished: HttpClientRequest.HttpClientRequest, replace: Http.Replace) =>
      Effect.matchEffect(decide(finished), {
        onFailure: (error) => {
          refusal = Option.some(error)
          return Effect.fail(error)
        },
        onSuccess: (credential) => {
          refusal = Option.none()
          const authorization = RunAuth.authorizationOf(credential)
          const annotations = () => HashMap.fromIterable(Object.entries(RunAuth.attributes(authorization)))
          if (credential._tag === "None") {
            unsigned.push({ request: finished, authorization })
            return replace(finished, { annotations })
          }
          const headers = headersOf(credential)
          const signed = HttpClientRequest.setHeaders(identify(finished), headers)
          attempts.push({ request: finished, signed, credential, headers, authorization })
          return replace(signed, {
            requestInit: Http.noRedirects,
            redactedNames: Http.redactedNames,
            annotations
          })
        }
      })

    return Http.execute(client, request, lastStep, {
      onFailure: (cause): Effect.Effect<Outcome<E | E2>, E | E2> => {
        if (Option.isSome(refusal) && !Cause.isInterruptedOnly(cause)) return Effect.fail(refusal.value)
        if (attempts.length === 0) return Effect.failCause(cause)
        const failure = Option.getOrUndefined(Cause.failureOption(cause))
        if (HttpClientError.isHttpClientError(failure)) {
          const attempt = attemptOf(attempts, failure.request)
          if (attempt?.isMoved === true) {
            return Effect.succeed({ _tag: "Redirected", signed: attempt.signed, to: failure.request })
          }
          if (attempt !== undefined && failure._tag === "ResponseError" && failure.reason === "StatusCode") {
            return Effect.succeed({ _tag: "Signed", signed: attempt.signed, response: failure.response, failure })
          }
        }
        return Effect.failCause(cleanCause(cause, attempts))
      },
      onSuccess: (response): Effect.Effect<Outcome<E | E2>, E | E2> => {
        // Nothing was sent: whatever the client has made of that.
        if (Option.isSome(refusal)) return Effect.fail(refusal.value)
        const plain = plainOf(unsigned, response.request)
        const attempt = attemptOf(attempts, response.request) ??
          (plain === undefined ? ofAnother(attempts, response.request) : undefined)
        if (attempt === undefined) {
          const isOthers = response.request.headers.authorization !== request.headers.authorization
          const own = plain === undefined && isOthers ? CallerResponse.make(request, response, notSent) : response
          if (own === response) plainResponses.set(response, plain ?? unsigned.at(-1)?.authorization ?? notSent)
          return Effect.succeed({ _tag: "Plain", response: own })
        }
        const { isMoved, signed } = attempt
        return Effect.succeed(
          isMoved
            ? { _tag: "Redirected", signed, to: response.request }
            : { _tag: "Signed", signed, response, failure: undefined }
        )
      }
    })
  })

/** A cache inside the client may hold an answer to what another execution has signed. */
const notSent: RunAuth.None = { _tag: "None", reason: "the client answered without sending it" }

/**
 * Hands an answer to the caller, as if the caller's own request had been sent. `body` is its body from the start, if some
 * of it was read.
 * @internal
 */
export const finish = <E>(
  { failure, response, signed }: Extract<Outcome<E>, { readonly _tag: "Signed" }>,
  body?: Inspect.Body
): Effect.Effect<HttpClientResponse.HttpClientResponse, E> => {
  const own = CallerResponse.make(signed.request, response, signed.authorization, body)
  return failure === undefined
    ? Effect.succeed(own)
    : Effect.fail(Clean.clean(failure, { ...callersOf([signed]), response: () => own }))
}

/**
 * The attempt that a request belongs to, and whether its URL is another one than was signed. What stands inside the client
 * may have copied it; of several that look alike it is the last one, then.
 */
const attemptOf = (attempts: ReadonlyArray<Signed>, request: HttpClientRequest.HttpClientRequest) => {
  const { authorization } = request.headers
  const same = attempts.find(({ signed }) => signed === request)
  if (same !== undefined) return { signed: same, isMoved: false }
  // A client may name the request without its headers.
  const alike = attempts.filter(({ headers }) =>
    authorization === undefined || authorization === headers["authorization"]
  )
  const signed = alike.filter((signed) => isSameUrl(signed.request, request)).at(-1)
  if (signed !== undefined) return { signed, isMoved: false }
  const moved = authorization === undefined ? undefined : alike.at(-1)
  return moved === undefined ? undefined : { signed: moved, isMoved: true }
}

/** Why an attempt was not signed, if the request is of one that was not. */
const plainOf = (unsigned: ReadonlyArray<Unsigned>, request: HttpClientRequest.HttpClientRequest) =>
  unsigned.filter((plain) =>
    plain.request.headers.authorization === request.headers.authorization && isSameUrl(plain.request, request)
  ).at(-1)?.authorization

/** A cache inside the client answers with a request that another execution has signed. */
const ofAnother = (attempts: ReadonlyArray<Signed>, { headers }: HttpClientRequest.HttpClientRequest) => {
  const signed = attempts.at(-1)
  const isSigned = headers.authorization !== undefined &&
    headers.authorization !== signed?.request.headers.authorization
  return signed === undefined || !isSigned ? undefined : { signed, isMoved: false }
}

const isSameUrl = (one: HttpClientRequest.HttpClientRequest, other: HttpClientRequest.HttpClientRequest): boolean => {
  if (one.url === other.url && one.urlParams === other.urlParams) return true
  const href = (request: HttpClientRequest.HttpClientRequest) => {
    const url = finalUrl(request)
    return url === undefined ? request.url : url.origin + url.pathname + url.search
  }
  return href(one) === href(other)
}

/** Errors as if the caller's own requests had been sent. */
const cleanCause = <E>(cause: Cause.Cause<E>, attempts: ReadonlyArray<Signed>): Cause.Cause<E> => {
  const callers = callersOf(attempts)
  return Cause.match(cause, {
    onEmpty: Cause.empty as Cause.Cause<E>,
    onFail: (error) => Cause.fail(Clean.clean(error, callers)),
    onDie: (defect) => Cause.die(Clean.clean(defect, callers)),
    onInterrupt: Cause.interrupt,
    onSequential: Cause.sequential,
    onParallel: Cause.parallel
  })
}

/** Whether a body can be sent once more: it is a value, and not something that is used up by reading it. @internal */
export const isReplayable = (body: HttpBody.HttpBody): boolean => {
  switch (body._tag) {
    case "Empty":
    case "Uint8Array":
    case "FormData":
      return true
    case "Stream":
      return false
    case "Raw":
      return body.body === undefined || body.body === null || typeof body.body === "string" ||
        ArrayBuffer.isView(body.body) ||
        [ArrayBuffer, Blob, FormData, URLSearchParams].some((value) => body.body instanceof value)
  }
}

const callersOf = (attempts: ReadonlyArray<Signed>): Clean.Callers => {
  const find = (request: HttpClientRequest.HttpClientRequest) =>
    request.headers.authorization === undefined ? undefined : attemptOf(attempts, request)?.signed
  return {
    request: (signed) => find(signed)?.request,
    response: (request, response) => CallerResponse.make(request, response, find(response.request)!.authorization),
    secrets: attempts.map(({ headers }) => secretOf(headers))
  }
}

const secretOf = ({ authorization }: Headers.Headers): string => authorization!.replace(/^\S+ /, "")

/** The URL that goes on the wire; undefined for a relative one, which a browser would complete by itself. @internal */
export const finalUrl = (request: HttpClientRequest.HttpClientRequest): URL | undefined => {
  if (!URL.canParse(request.url)) return undefined
  const url = UrlParams.makeUrl(request.url, request.urlParams, request.hash)
  return url._tag === "Right" ? url.right : undefined
}

/** @internal */
export const headersOf = (credential: RunAuth.Credential): Headers.Headers =>
  credential._tag === "None"
    ? Headers.empty
    : credential._tag === "Assertion"
    ? Redacted.value(credential.headers)
    : Headers.fromInput({
      authorization: `Bearer ${Redacted.value(credential.token)}`,
      ...AgentIdentity.accountHeaders(credential.account)
    })

/** What the request of this response was sent with, if it was sent by us. @internal */
export const authorizationOf = (response: HttpClientResponse.HttpClientResponse): RunAuth.Authorization | undefined =>
  CallerResponse.authorizationOf(response) ?? plainResponses.get(response)

/** Responses of requests that were sent as they are. */
const plainResponses = new WeakMap<HttpClientResponse.HttpClientResponse, RunAuth.Authorization>()
