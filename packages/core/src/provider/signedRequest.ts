/** A request as it is sent for its caller, and its answer as it is handed back. */
import * as Headers from "@effect/platform/Headers"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Tracer from "effect/Tracer"
import * as AgentIdentity from "../run/AgentIdentity.ts"
import * as Http from "../run/http.ts"
import * as RunAuth from "../run/RunAuth.ts"
import * as CallerResponse from "./callerResponse.ts"

/** An answer, and the error that it came as, where the client below was made to fail on its status. @internal */
export interface Answer<E> {
  readonly response: HttpClientResponse.HttpClientResponse
  readonly failure: (E & HttpClientError.ResponseError) | undefined
}

/** Its redirects are not followed, and what comes back does not show it. @internal */
export const send = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  credential: Exclude<RunAuth.Credential, RunAuth.None>
): Effect.Effect<Answer<E>, E, R> => {
  const { headers } = partsOf(credential)
  const signed = Http.inPlaceOf(request, HttpClientRequest.setHeaders(request, headers))
  return Effect.matchCauseEffect(annotated(Http.execute(client, signed, "manual"), credential), {
    onFailure: (cause): Effect.Effect<Answer<E>, E> => {
      const failure = Cause.failureOption(cause)
      if (Option.isSome(failure) && CallerResponse.isStatusError(failure.value)) {
        return Effect.succeed({ response: failure.value.response, failure: failure.value })
      }
      return Effect.failCause(Cause.match(cause, {
        onEmpty: Cause.empty as Cause.Cause<E>,
        onFail: (error) => Cause.fail(CallerResponse.mapError(request, error)),
        onDie: (defect) => Cause.die(CallerResponse.clean(request, defect)),
        onInterrupt: Cause.interrupt,
        onSequential: Cause.sequential,
        onParallel: Cause.parallel
      }))
    },
    onSuccess: (response) => Effect.succeed({ response, failure: undefined })
  })
}

/** @internal */
export const sendPlain = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: HttpClientRequest.HttpClientRequest,
  credential: RunAuth.None
) =>
  Effect.map(
    annotated(Http.execute(client, request, "as told"), credential),
    (response) => {
      plainResponses.set(response, partsOf(credential).sent)
      return response
    }
  )

/** The attributes are in an effect's own spans only, as by `Effect.annotateSpans`, which makes them anew each time. */
const annotated = <A, E, R>(effect: Effect.Effect<A, E, R>, credential: RunAuth.Credential): Effect.Effect<A, E, R> => {
  const { annotations } = partsOf(credential)
  return Effect.tracerWith((tracer) =>
    // Effect's own keeps nothing and shows nothing: where there is no other, nobody pays for them.
    isNative(tracer) ? effect : Effect.locallyWith(
      effect,
      FiberRef.currentTracerSpanAnnotations,
      (outer) => HashMap.isEmpty(outer) ? annotations : HashMap.union(outer, annotations)
    )
  )
}

let native: Tracer.Tracer | undefined
const isNative = (tracer: Tracer.Tracer) => tracer === (native ??= Effect.runSync(Effect.tracer))

/** What is made of a credential. One of a run is sent with many requests. */
interface Parts {
  readonly sent: RunAuth.Sent
  readonly headers: Headers.Headers
  readonly annotations: HashMap.HashMap<string, unknown>
}

const partsOf = (credential: RunAuth.Credential): Parts => {
  let parts = partsByCredential.get(credential)
  if (parts === undefined) {
    const sent = RunAuth.sent(credential)
    parts = {
      sent,
      headers: Headers.fromInput(headersOf(credential)),
      annotations: HashMap.fromIterable(Object.entries(RunAuth.attributes(sent)))
    }
    partsByCredential.set(credential, parts)
  }
  return parts
}

const partsByCredential = new WeakMap<RunAuth.Credential, Parts>()

/** Hands an answer to the caller, as if the caller's own request had been sent. @internal */
export const finish = <E>(
  request: HttpClientRequest.HttpClientRequest,
  { failure, response }: Answer<E>,
  credential: RunAuth.Credential
): Effect.Effect<HttpClientResponse.HttpClientResponse, E> => {
  const own = CallerResponse.make(request, response, partsOf(credential).sent)
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
  return credential._tag === "Assertion" ? Redacted.value(credential.headers) : {
    authorization: `Bearer ${Redacted.value(credential.token)}`,
    ...AgentIdentity.accountHeaders(credential.account)
  }
}

/** What the request of this response was sent with, if it was sent by us. @internal */
export const sentWith = (response: HttpClientResponse.HttpClientResponse): RunAuth.Sent | undefined =>
  CallerResponse.sentWith(response) ?? plainResponses.get(response)

/** Responses of requests that were sent as they are. */
const plainResponses = new WeakMap<HttpClientResponse.HttpClientResponse, RunAuth.Sent>()
