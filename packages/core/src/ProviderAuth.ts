/**
 * To whom the run's identity is sent: to first-party URLs, and to nobody else.
 *
 * Whether a URL is first party is decided on the finished URL of every single hop, below redirects and retries of the
 * app.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as CallerResponse from "./internal/callerResponse.ts"
import * as Http from "./internal/http.ts"
import * as RunAuth from "./RunAuth.ts"
import { RunTaskError } from "./RunTask.ts"
import * as UrlDerivation from "./UrlDerivation.ts"

/**
 * Why a first-party request has no answer.
 *
 * - `NoCredential`: the run is over, or its key did not sign; `cause` says which. Nothing was sent.
 * - `AuthorizationPresent`: the app, or a run around this one, set an `Authorization` already. Nothing was sent.
 * - `AmbiguousUrl`: below a provider base, but servers may read its path in two ways. Nothing was sent.
 * - `Redirected`: the client below follows redirects by itself, and took the run's headers along to where they do not
 *   belong. Put `HttpClient.followRedirects` around the signing client, not into it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProviderAuthError extends Schema.TaggedError<ProviderAuthError>("@agent-identity/core/ProviderAuthError")(
  "ProviderAuthError",
  {
    reason: Schema.Literal("NoCredential", "AuthorizationPresent", "AmbiguousUrl", "Redirected"),
    method: Schema.String,
    url: Schema.String,
    detail: Schema.String,
    cause: Schema.optional(RunTaskError)
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `${this.method} ${this.url} has no answer: ${this.detail}`
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * The same client, with the run's `Authorization` and the account's headers on every first-party request. What it
   * hands back names the request as the caller made it, without them. First-party redirects are not followed by the
   * transport; `HttpClient.followRedirects` around the result decides anew at every hop.
   */
  readonly authorize: <E, R>(client: HttpClient.HttpClient.With<E, R>) => HttpClient.HttpClient.With<
    E | ProviderAuthError,
    R
  >
}

/**
 * @since 0.1.0
 * @category tags
 */
export class ProviderAuth extends Context.Tag("@agent-identity/core/ProviderAuth")<ProviderAuth, Service>() {}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunAuth.RunAuth | UrlDerivation.UrlDerivation> = Effect.gen(
  function*() {
    const auth = yield* RunAuth.RunAuth
    const urls = yield* UrlDerivation.UrlDerivation

    const execute = <E, R>(
      client: HttpClient.HttpClient.With<E, R>,
      request: HttpClientRequest.HttpClientRequest
    ): Effect.Effect<HttpClientResponse.HttpClientResponse, E | ProviderAuthError, R> => {
      const url = finalUrl(request)
      const party = url === undefined ? "Foreign" : urls.classify(url)
      if (url === undefined || party === "Foreign") return client.execute(request)
      const refuse = (reason: ProviderAuthError["reason"], detail: string, cause?: RunTaskError) =>
        new ProviderAuthError({ reason, method: request.method, url: url.origin + url.pathname, detail, cause })
      return auth.current.pipe(
        Effect.mapError((error) => refuse("NoCredential", error.message, error)),
        Effect.flatMap((credential): Effect.Effect<HttpClientResponse.HttpClientResponse, E | ProviderAuthError, R> => {
          if (credential._tag === "None") return client.execute(request)
          if (party === "Ambiguous") {
            return refuse(
              "AmbiguousUrl",
              "its path has an empty or climbing segment or a broken escape; it was not sent"
            )
          }
          if (Headers.has(request.headers, "authorization")) {
            return refuse(
              "AuthorizationPresent",
              signedRequests.has(request)
                ? "a run around this one has signed it already, so it was not sent; build this run over the plain HttpClient"
                : "it has an Authorization of its own, so it was not sent; use the plain HttpClient for it"
            )
          }
          if (credential._tag === "Bearer" && !/^[\x21-\x7e]+$/.test(Redacted.value(credential.token))) {
            return refuse("NoCredential", "the bearer token is no legal header value")
          }
          const signed = Http.inPlaceOf(request, sign(request, credential))
          signedRequests.add(signed)
          return Http.fetchOptions(client).pipe(
            Effect.flatMap((options) => Http.withoutRedirects(client.execute(signed), options)),
            Effect.mapError((error) => CallerResponse.mapError(request, error)),
            Effect.catchAllDefect((defect) => Effect.die(CallerResponse.mapError(request, defect))),
            Effect.flatMap((response) =>
              response.request.url === request.url || isFirstParty(response.request)
                ? Effect.succeed(CallerResponse.make(request, response))
                : refuse(
                  "Redirected",
                  "the client below followed a redirect out of the first party; it must follow none"
                )
            )
          )
        })
      )
    }

    const isFirstParty = (request: HttpClientRequest.HttpClientRequest): boolean => {
      const url = finalUrl(request)
      return url !== undefined && urls.classify(url) === "FirstParty"
    }

    return {
      authorize: <E, R>(client: HttpClient.HttpClient.With<E, R>) =>
        HttpClient.makeWith<E | ProviderAuthError, R, E | ProviderAuthError, R>(
          (request) => Effect.flatMap(request, (finished) => execute(client, finished)),
          Effect.succeed
        )
    }
  }
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<ProviderAuth, never, RunAuth.RunAuth | UrlDerivation.UrlDerivation> = Layer.effect(
  ProviderAuth,
  make
)

/**
 * Puts the signing client in the place of the app's `HttpClient`, for code that knows nothing of us. There a
 * `ProviderAuthError` is the cause of a `RequestError` with reason `Encode`, which `HttpClient.retryTransient` does not
 * repeat.
 *
 * A layer with another `HttpClient` that is merged beside this one, or provided inside of it, silently wins: provide
 * this one last and alone.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHttpClient: Layer.Layer<HttpClient.HttpClient, never, ProviderAuth | HttpClient.HttpClient> = Layer
  .effect(
    HttpClient.HttpClient,
    Effect.gen(function*() {
      const { authorize } = yield* ProviderAuth
      const client = authorize(yield* HttpClient.HttpClient)
      return HttpClient.makeWith<HttpClientError.HttpClientError, never, HttpClientError.HttpClientError, never>(
        Effect.flatMap((request) =>
          Effect.catchTag(
            client.execute(request),
            "ProviderAuthError",
            (cause) =>
              new HttpClientError.RequestError({ request, reason: "Encode", cause, description: cause.message })
          )
        ),
        Effect.succeed
      )
    })
  )

/** Requests that a run has signed, so that a run inside of a run can say what is wrong. */
const signedRequests = new WeakSet<HttpClientRequest.HttpClientRequest>()

/** The URL that goes on the wire; undefined for a relative one, which a browser would complete by itself. */
const finalUrl = (request: HttpClientRequest.HttpClientRequest): URL | undefined => {
  if (!URL.canParse(request.url)) return undefined
  const url = UrlParams.makeUrl(request.url, request.urlParams, request.hash)
  return url._tag === "Right" ? url.right : undefined
}

const sign = (
  request: HttpClientRequest.HttpClientRequest,
  credential: RunAuth.Assertion | RunAuth.Bearer
): HttpClientRequest.HttpClientRequest => {
  const { account } = credential
  return HttpClientRequest.setHeaders(request, {
    authorization: credential._tag === "Assertion"
      ? Redacted.value(credential.header)
      : `Bearer ${Redacted.value(credential.token)}`,
    ...(account === undefined ? undefined : { "chatgpt-account-id": account.id }),
    ...(account?.fedramp === true ? { "x-openai-fedramp": "true" } : undefined)
  })
}
