/**
 * To whom the run's identity is sent: to first-party URLs, and to nobody else.
 *
 * Whether a URL is first party is decided on the finished URL of every single hop: signing is the last step that a client
 * lets anybody take, behind the app's own hooks. A task that the server calls invalid is renewed, once for all who sent it, and the request is sent once more.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Party from "../protocol/Party.ts"
import * as Refusal from "../protocol/Refusal.ts"
import type * as AgentIdentity from "../run/AgentIdentity.ts"
import * as Caller from "../run/caller.ts"
import * as RunAuth from "../run/RunAuth.ts"
import { RunTaskError } from "../run/RunTask.ts"
import * as UrlDerivation from "../run/UrlDerivation.ts"
import * as Inspect from "./inspect.ts"
import * as Provider from "./Provider.ts"
import * as SignedRequest from "./signedRequest.ts"

/**
 * Why a first-party request has no answer. `url` is without query and fragment.
 *
 * - `NoCredential`: the run is over, or its key did not sign; `cause` says which. Or the provider's own token could not
 *   be had. Nothing was sent.
 * - `AuthorizationPresent`: the app, or a run around this one, set an `Authorization` already. Nothing was sent.
 * - `AmbiguousUrl`: below a provider base, but servers may read its path in two ways. Nothing was sent.
 * - `Redirected`: the client below changed the URL after it was signed, so that the run's credential was sent there. Put
 *   `HttpClient.followRedirects` and `HttpClient.transform` around the signing client, not into it.
 * - `AgentDeleted`: the server says that the agent is no more. A new agent is needed, and a new run for it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ProviderAuthError extends Schema.TaggedError<ProviderAuthError>("@agent-identity/core/ProviderAuthError")(
  "ProviderAuthError",
  {
    reason: Schema.Literal("NoCredential", "AuthorizationPresent", "AmbiguousUrl", "Redirected", "AgentDeleted"),
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
    const wasSent = this.reason === "Redirected" || this.reason === "AgentDeleted"
    return `${this.method} ${this.url} ${wasSent ? "failed" : "was not sent"}: ${this.detail}`
  }
}

/**
 * Makes clients that sign out of clients that do not.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * The same client, with the run's `Authorization` and the account's headers on every first-party request. What it
   * hands back names the request as the caller made it, without them. First-party redirects are not followed by the
   * transport; `HttpClient.followRedirects` around the result decides anew at every hop.
   *
   * A 401 that says that the task is invalid renews it, and the request is sent once more if its body can be; a body that
   * is a stream cannot, and its 401 is the answer. Any other 401 is the answer as it came.
   */
  readonly authorize: <E, R>(client: HttpClient.HttpClient.With<E, R>) => HttpClient.HttpClient.With<
    E | ProviderAuthError,
    R
  >
  /**
   * The same client, with what `Provider.resolve` says on every request to the provider's base URL and below it: the
   * run's identity, the provider's own token, or nothing. Give it the plain client, as to `authorize`. A 401 for a token of
   * an `authCommand` renews it, and the request is sent once more if its body can be. Fails where the provider's environment
   * variable is not set.
   */
  readonly authorizeProvider: <E, R>(
    client: HttpClient.HttpClient.With<E, R>,
    provider: Provider.Provider
  ) => Effect.Effect<HttpClient.HttpClient.With<E | ProviderAuthError, R>, ConfigError.ConfigError>
  /**
   * What `authorize` adds to the headers of a request, for what is no `HttpClient`; make it for each request anew. The
   * handshake of a WebSocket is a request too: `wss:` is the same party as `https:`.
   */
  readonly headers: (
    request: HttpClientRequest.HttpClientRequest
  ) => Effect.Effect<
    {
      readonly headers: Redacted.Redacted<Readonly<Record<string, string>>>
      readonly authorization: RunAuth.Authorization
    },
    ProviderAuthError
  >
  /**
   * Renews the task where an event of a response's stream says that it is invalid, by the rules for a 401. `event` is what
   * stands in `data:` of an event of SSE, or its JSON: `error` or `response.failed` with the code of a refused task. True
   * where the run has another task by then, so that the request may be sent again. What streams is the app's: it is not read
   * here.
   *
   * @example
   * import { ProviderAuth } from "@agent-identity/core"
   * import { Fakes } from "@agent-identity/testing"
   * import { HttpClient, HttpClientResponse } from "@effect/platform"
   * import { Effect, TestClock, TestContext } from "effect"
   *
   * const event = `{"type":"response.failed","response":{"error":{"code":"task_expired"}}}`
   * const provider = HttpClient.make((request) =>
   *   Effect.succeed(HttpClientResponse.fromWeb(request, new Response(`data: ${event}\n\n`)))
   * )
   *
   * const program = Effect.gen(function*() {
   *   const { authorize, recover } = yield* ProviderAuth.ProviderAuth
   *   const response = yield* authorize(provider).get(Fakes.providerBase)
   *   yield* TestClock.adjust("30 seconds")
   *   assert.deepStrictEqual(yield* recover(response, event), true)
   *   assert.deepStrictEqual(yield* recover(response, `{"type":"response.completed"}`), false)
   * })
   *
   * await Effect.runPromise(program.pipe(Effect.provide(Fakes.layerProviderAuth), Effect.provide(TestContext.TestContext)))
   */
  readonly recover: (
    response: HttpClientResponse.HttpClientResponse,
    event: unknown
  ) => Effect.Effect<boolean, RunTaskError>
}

/**
 * The safest way to the run's identity: what it gives signs, whatever `HttpClient` a layer puts in the place of
 * another.
 *
 * @since 0.1.0
 * @category tags
 */
export class ProviderAuth extends Context.Tag("@agent-identity/core/ProviderAuth")<ProviderAuth, Service>() {}

/**
 * For what this run sends, to the first party of this deployment.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, RunAuth.RunAuth | UrlDerivation.UrlDerivation> = Effect.gen(
  function*() {
    const auth = yield* RunAuth.RunAuth
    const urls = yield* UrlDerivation.UrlDerivation
    const warned = new Set<string>()
    const caller = yield* Caller.CallerReference
    const identify = caller.isSaidOfSigned ? Caller.named(caller) : identity<HttpClientRequest.HttpClientRequest>
    const run: Policy = {
      classify: urls.classify,
      nearMiss: warnOf(urls.environment, warned),
      credential: auth.current,
      recover: auth.recover,
      renew: undefined,
      agentDeleted: auth.agentDeleted,
      identify
    }
    const decide = decideBy(run)
    return {
      authorize: (client) => authorizeWith(client, run),
      authorizeProvider: (client, provider) =>
        Effect.gen(function*() {
          const resolution = Provider.resolve(provider, urls.environment)
          // Where the base is no URL nothing is the provider's.
          const providers = URL.canParse(provider.baseUrl) ? [new URL(provider.baseUrl)] : []
          const environment = { ...urls.environment, providers, bearerOnly: [], paths: [] }
          const classify = Party.classifier(environment)
          return authorizeWith(
            client,
            resolution._tag === "RunAuth"
              ? {
                ...run,
                classify: (url) => classify(url) === "Foreign" ? "Foreign" : urls.classify(url),
                nearMiss: warnOf(environment, warned)
              }
              : {
                ...(yield* Provider.own(provider, resolution)),
                classify,
                nearMiss: warnOf(environment, warned),
                recover: () => Effect.succeedNone,
                agentDeleted: Effect.void,
                identify: identity
              }
          )
        }),
      headers: (given) => {
        const request = HttpClientRequest.updateUrl(given, (url) => url.replace(/^\s*ws(?=s?:)/i, "http"))
        return Effect.map(decide(request), (credential) => ({
          headers: Redacted.make({
            ...(credential._tag === "None" ? undefined : added(request, identify(request))),
            ...SignedRequest.headersOf(credential)
          }),
          authorization: RunAuth.authorizationOf(credential)
        }))
      },
      recover: (response, event) => {
        const authorization = SignedRequest.authorizationOf(response)
        return authorization?._tag === "Assertion" && Refusal.isTaskInvalidEvent(event)
          ? Effect.map(auth.recover(authorization.taskId), Option.isSome)
          : Effect.succeed(false)
      }
    }
  }
)

/**
 * `make` as a layer. It leaves the app's `HttpClient` alone; `layerHttpClient` replaces it.
 *
 * @example
 * import { ProviderAuth } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { HttpClient, HttpClientResponse } from "@effect/platform"
 * import { Effect, Layer, Option } from "effect"
 *
 * const plain = HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, new Response())))
 *
 * const program = Effect.gen(function*() {
 *   const { authorize } = yield* ProviderAuth.ProviderAuth
 *   const client = authorize(plain)
 *   const [ours, foreign] = [yield* client.get(Fakes.providerBase), yield* client.get("https://example.com/")]
 *   assert.deepStrictEqual(Option.getOrThrow(ProviderAuth.authorizationOf(ours))._tag, "Assertion")
 *   assert.deepStrictEqual(Option.getOrThrow(ProviderAuth.authorizationOf(foreign))._tag, "None")
 * })
 *
 * const Auth = ProviderAuth.layer(Fakes.layerRunAuth).pipe(Layer.provide(Fakes.layerUrlDerivation))
 * await Effect.runPromise(Effect.provide(program, Auth))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  over: Layer.Layer<RunAuth.RunAuth, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<ProviderAuth, E, R | UrlDerivation.UrlDerivation> =>
  Layer.provide(Layer.effect(ProviderAuth, make), over)

/** @internal */
export const makeHttpClient = Effect.gen(function*() {
  const { authorize } = yield* ProviderAuth
  const client = authorize(yield* HttpClient.HttpClient)
  return HttpClient.makeWith<HttpClientError.HttpClientError, never, HttpClientError.HttpClientError, never>(
    Effect.flatMap((request) =>
      Effect.catchTag(
        client.execute(request),
        "ProviderAuthError",
        (cause) => new HttpClientError.RequestError({ request, reason: "Encode", cause, description: cause.message })
      )
    ),
    Effect.succeed
  )
})

/**
 * Puts the signing client in the place of the app's `HttpClient`, for code that knows nothing of us. There a
 * `ProviderAuthError` is the cause of a `RequestError` with reason `Encode`, which `HttpClient.retryTransient` does not
 * repeat.
 *
 * A layer with another `HttpClient` that is merged beside this one, or provided inside of it, silently wins: provide
 * this one last and alone.
 *
 * @example
 * import { ProviderAuth } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { HttpClient, HttpClientResponse } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * const Plain = Layer.succeed(
 *   HttpClient.HttpClient,
 *   HttpClient.make((request) =>
 *     Effect.succeed(HttpClientResponse.fromWeb(request, new Response(request.headers.authorization)))
 *   )
 * )
 * const Signing = ProviderAuth.layerHttpClient(Fakes.layerProviderAuth).pipe(Layer.provide(Plain))
 *
 * const program = Effect.flatMap(HttpClient.get(`${Fakes.providerBase}/models`), (response) => response.text)
 * assert.match(await Effect.runPromise(Effect.provide(program, Signing)), /^AgentAssertion /)
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHttpClient = <E, R>(
  over: Layer.Layer<ProviderAuth, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<HttpClient.HttpClient, E, R | HttpClient.HttpClient> =>
  Layer.provide(Layer.effect(HttpClient.HttpClient, makeHttpClient), over)

/**
 * What the request of this response was sent with, or why with nothing; none for a response of another client.
 *
 * @since 0.1.0
 * @category combinators
 */
export const authorizationOf = (
  response: HttpClientResponse.HttpClientResponse
): Option.Option<RunAuth.Authorization> => Option.fromNullable(SignedRequest.authorizationOf(response))

/** Whose credential goes where, and what is done about one that a server has refused. */
interface Policy {
  readonly classify: (url: URL) => Party.Party
  /** Warns of a foreign URL that looks like the provider's. */
  readonly nearMiss: (url: URL) => Effect.Effect<void>
  readonly credential: Effect.Effect<RunAuth.Credential, RunTaskError | { readonly detail: string }>
  readonly recover: RunAuth.Service["recover"]
  readonly renew: Provider.Own["renew"]
  readonly agentDeleted: RunAuth.Service["agentDeleted"]
  /** Says of a request that is signed who sends it. */
  readonly identify: (request: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest
}

const authorizeWith = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  policy: Policy
): HttpClient.HttpClient.With<E | ProviderAuthError, R> => {
  const decide = decideBy(policy)
  return HttpClient.makeWith<E | ProviderAuthError, R, E | ProviderAuthError, R>(
    Effect.flatMap((request) => execute(client, policy, decide, request, false)),
    Effect.succeed
  )
}

type Decide = (
  request: HttpClientRequest.HttpClientRequest
) => Effect.Effect<RunAuth.Credential, ProviderAuthError>

/** An app asks a few URLs again and again, so those are looked at once: that is a tenth of what a signature costs it. */
const decideBy = (policy: Policy): Decide => {
  const known = new Map<string, Place>()
  return (request) => {
    // Its query and its fragment change nothing of it.
    let place = known.get(request.url)
    if (place === undefined) {
      const url = SignedRequest.finalUrl(request)
      place = { url, party: url === undefined ? "Foreign" : policy.classify(url) }
      if (known.size === maxPlaces) known.clear()
      known.set(request.url, place)
      if (url !== undefined && place.party === "Foreign") return Effect.as(policy.nearMiss(url), foreign)
    }
    const { party, url } = place
    return url === undefined || party === "Foreign" ? Effect.succeed(foreign) : resolve(policy, { request, url, party })
  }
}

/** Once an origin, of the first 64. */
const warnOf =
  (environment: UrlDerivation.Service["environment"], warned: Set<string>): Policy["nearMiss"] => (url) => {
    const why = Party.nearMiss(environment, url)
    if (why === undefined || warned.has(url.origin) || warned.size === maxPlaces) return Effect.void
    warned.add(url.origin)
    const bases = environment.providers.map(({ href }) => href).join(", ")
    return Effect.logWarning(
      `A request to ${
        url.origin + url.pathname
      } carries nothing of the run, though it has the host of a provider base: ${why} (${bases})`
    )
  }

/** Where a request leads. */
interface Place {
  readonly url: URL | undefined
  readonly party: Party.Party
}

const maxPlaces = 64

/** A request to a provider, and where its URL leads. */
interface Target {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: URL
  readonly party: Party.Party
}

/** `isRepeat` where it was sent before, with a credential that was refused. */
const execute = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  policy: Policy,
  decide: Decide,
  request: HttpClientRequest.HttpClientRequest,
  isRepeat: boolean
): Effect.Effect<HttpClientResponse.HttpClientResponse, E | ProviderAuthError, R> =>
  Effect.flatMap(SignedRequest.send(client, request, decide, policy.identify), (outcome) => {
    if (outcome._tag === "Plain") return Effect.succeed(outcome.response)
    const { credential, request: sent } = outcome.signed
    if (outcome._tag === "Redirected") {
      return refuse(
        sent,
        "Redirected",
        `the client below changed the URL after it was signed, so the run's credential was sent to ${
          shown(outcome.to)
        }. Put followRedirects and transform around the signing client.`
      )
    }
    const { response } = outcome
    const again = () => execute(client, policy, decide, request, true)
    if (credential._tag === "Bearer") {
      if (policy.renew === undefined || isRepeat || response.status !== 401) return SignedRequest.finish(outcome)
      return Effect.flatMap(
        policy.renew(credential),
        (isRenewed) =>
          isRenewed && SignedRequest.isReplayable(request.body)
            ? Effect.zipRight(Inspect.drop(response, undefined), again())
            : SignedRequest.finish(outcome)
      )
    }
    if (!Refusal.isPossible(response)) return SignedRequest.finish(outcome)
    return Effect.flatMap(Inspect.refusal(response), ([documents, body]) => {
      if (response.status !== 401 && documents.some(Refusal.isAgentDeleted)) {
        return Effect.zipRight(
          policy.agentDeleted,
          refuse(sent, "AgentDeleted", "the agent has been deleted; make a new agent, and a new run for it")
        )
      }
      const asItCame = SignedRequest.finish(outcome, body)
      if (response.status !== 401 || isRepeat || !documents.some(Refusal.isTaskInvalid)) return asItCame
      return Effect.matchEffect(policy.recover(credential.taskId), {
        onFailure: (error) => refuse(sent, "NoCredential", error.message, error),
        onSuccess: (next) =>
          Option.isSome(next) && SignedRequest.isReplayable(request.body)
            ? Effect.zipRight(Inspect.drop(response, body), again())
            : asItCame
      })
    })
  })

/** What the request is sent with, or why it is not sent. */
const resolve = (policy: Policy, target: Target): Effect.Effect<RunAuth.Credential, ProviderAuthError> =>
  Effect.matchEffect(policy.credential, {
    onFailure: (error) =>
      error instanceof RunTaskError
        ? refuse(target.request, "NoCredential", error.message, error)
        : refuse(target.request, "NoCredential", error.detail),
    onSuccess: (credential): Effect.Effect<RunAuth.Credential, ProviderAuthError> => {
      if (credential._tag === "None") return Effect.succeed(credential)
      if (target.party === "BearerOnly" && credential._tag === "Assertion") return Effect.succeed(bearerOnly)
      if (target.party === "Ambiguous") {
        return refuse(
          target.request,
          "AmbiguousUrl",
          "its path has an empty or climbing segment or a broken escape. Write the path plainly."
        )
      }
      if (Headers.has(target.request.headers, "authorization")) {
        return refuse(
          target.request,
          "AuthorizationPresent",
          /^AgentAssertion /i.test(target.request.headers.authorization!)
            ? "another client has signed the request already. Give the plain HttpClient to `authorize`, `authorizeProvider` or the run."
            : "the request already has an Authorization header. Leave it out; give `Fetch.placeholderKey` to an SDK that " +
              "insists on an API key."
        )
      }
      if (credential._tag === "Bearer" && !/^[\x21-\x7e]+$/.test(Redacted.value(credential.token))) {
        return refuse(target.request, "NoCredential", "the bearer token is not a legal header value")
      }
      return Effect.succeed(credential)
    }
  })

const refuse = (
  request: HttpClientRequest.HttpClientRequest,
  reason: ProviderAuthError["reason"],
  detail: string,
  cause?: RunTaskError
) => Effect.fail(new ProviderAuthError({ reason, method: request.method, url: shown(request), detail, cause }))

/** Without user information, query and fragment. */
const shown = (request: HttpClientRequest.HttpClientRequest): string => {
  const url = SignedRequest.finalUrl(request)
  return url === undefined ? "a URL that cannot be read" : url.origin + url.pathname
}

const added = (before: HttpClientRequest.HttpClientRequest, after: HttpClientRequest.HttpClientRequest) =>
  Object.fromEntries(Object.entries(after.headers).filter(([name]) => !(name in before.headers)))

const foreign: RunAuth.None = { _tag: "None", reason: "the URL is not the provider's" }

const bearerOnly: RunAuth.None = { _tag: "None", reason: "the endpoint takes no assertions" }
