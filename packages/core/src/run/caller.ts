/** Who is calling: what requests of our own say of their sender. */
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** Of the packages, which all have the same. @internal */
export const version = "0.1.0"

/** @internal */
export interface Caller {
  readonly userAgent: string
  readonly originator: string
  /** Where the account's data has to stay, as the reference client says it; undefined where nothing is said. */
  readonly residency: string | undefined
  /** Whether requests of the app that are signed say so too. */
  readonly isSaidOfSigned: boolean
  /** Whether the AuthAPI sees the ids of the app's traces. */
  readonly sendsTraces: boolean
}

/** @internal */
export class CallerReference extends Context.Reference<CallerReference>()("@agent-identity/core/Caller", {
  defaultValue: (): Caller => ({
    userAgent: `agent-identity/${version}`,
    originator: "agent_identity",
    residency: undefined,
    isSaidOfSigned: false,
    sendsTraces: false
  })
}) {}

/** Names the caller where the request names none. @internal */
export const named =
  ({ originator, residency, userAgent }: Caller) =>
  (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest =>
    HttpClientRequest.setHeaders(request, {
      ...(Headers.has(request.headers, "user-agent") ? undefined : { "user-agent": userAgent }),
      ...(Headers.has(request.headers, "originator") ? undefined : { originator }),
      ...(residency === undefined || Headers.has(request.headers, residencyHeader)
        ? undefined
        : { [residencyHeader]: residency })
    })

const residencyHeader = "x-openai-internal-codex-residency"

/** The client for requests of our own. @internal */
export const client = (given: HttpClient.HttpClient): Effect.Effect<HttpClient.HttpClient> =>
  Effect.map(CallerReference, (caller) => {
    const own = HttpClient.mapRequest(given, named(caller))
    return caller.sendsTraces ? own : HttpClient.withTracerPropagation(own, false)
  })
