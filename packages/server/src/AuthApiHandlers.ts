/**
 * The handlers of the AuthAPI.
 *
 * @since 0.1.0
 */
import * as AgentKey from "@agent-identity/core/AgentKey"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { toEffect } from "@agent-identity/core/run/either"
import * as SealedBox from "@agent-identity/core/SealedBox"
import * as SignedPayload from "@agent-identity/core/SignedPayload"
import * as Signing from "@agent-identity/core/Signing"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AgentDirectory from "./AgentDirectory.ts"
import * as AuthApi from "./AuthApi.ts"
import * as AgentSignature from "./internal/agentSignature.ts"
import * as RegistrationBearer from "./RegistrationBearer.ts"
import * as RegistrationLimits from "./RegistrationLimits.ts"

/**
 * What the AuthAPI does in one way or another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How far a timestamp may be from this machine's clock, either way; 300 seconds by default. */
  readonly skew?: Duration.DurationInput | undefined
  /** Whether a task id is answered sealed for the agent's key; false by default. */
  readonly sealed?: boolean | undefined
}

/**
 * A task registration is taken when it was signed by the agent, within the skew of this machine's clock. Two
 * registrations of one second are byte-identical and get two tasks.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<
  HttpApiGroup.ApiGroup<"AuthApi", "agent"> | HttpApiGroup.ApiGroup<"AuthApi", "health">,
  never,
  | AgentDirectory.AgentDirectory
  | RegistrationBearer.RegistrationBearer
  | RegistrationLimits.RegistrationLimits
  | Signing.Signing
> =>
  Layer.merge(
    HttpApiBuilder.group(AuthApi.AuthApi, "agent", (handlers) =>
      Effect.gen(function*() {
        const directory = yield* AgentDirectory.AgentDirectory
        const { ownerOf } = yield* RegistrationBearer.RegistrationBearer
        const limits = yield* RegistrationLimits.RegistrationLimits
        const signing = yield* Signing.Signing
        const checkSignature = yield* AgentSignature.makeCheck(options)

        const requireOwner = (request: HttpServerRequest.HttpServerRequest) =>
          Effect.gen(function*() {
            const [, token] = /^Bearer +([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? "") ?? []
            const owner = token === undefined ? Option.none() : yield* ownerOf(Redacted.make(token))
            if (Option.isSome(owner)) return owner.value
            yield* setHeader("www-authenticate", "Bearer error=\"invalid_token\"")
            return yield* Effect.fail(invalidToken)
          })

        return handlers
          // Raw, so that nobody makes this process read more than a registration can have.
          .handleRaw("registerAgent", ({ request }) =>
            Effect.gen(function*() {
              yield* limits.address(addressOf(request))
              const owner = yield* requireOwner(request)
              const payload = yield* readBody(request, AuthApi.AgentRegistrationRequest, maxAgentBytes)
              const publicKey = yield* Effect.mapError(
                Effect.tap(toEffect(AgentKey.fromSshPublicKey(payload.agent_public_key)), signing.checkPublicKey),
                () => badRequest("agent_public_key is no OpenSSH line of an Ed25519 key that can verify")
              )
              const agentRuntimeId = yield* idOf(owner, publicKey)
              yield* directory.putAgent({ agentRuntimeId, publicKey, owner, ...(yield* lifeOf(payload.ttl)) })
              return { agent_runtime_id: agentRuntimeId }
            }).pipe(Effect.catchAll(answer)))
          .handleRaw("registerTask", ({ path, request }) =>
            Effect.gen(function*() {
              yield* limits.address(addressOf(request))
              const payload = yield* readBody(request, AuthApi.TaskRegistrationRequest, maxTaskBytes)
              const agentRuntimeId = yield* Effect.mapError(decodeId(path.agent_runtime_id), () =>
                "UnknownAgent" as const)
              const signature = yield* Effect.mapError(decodeSignature(payload.signature), () =>
                "BadSignature" as const)
              const { publicKey } = yield* checkSignature({
                agentRuntimeId,
                timestamp: payload.timestamp,
                payload: SignedPayload.taskRegistration(agentRuntimeId, payload.timestamp),
                signature
              })
              // Only now: nobody but the agent uses up what it has.
              yield* limits.agent(agentRuntimeId)
              const { taskId } = yield* directory.issueTask(agentRuntimeId)
              if (options.sealed !== true) return { task_id: taskId }
              const sealed = yield* Effect.orDie(SealedBox.seal(publicKey, new TextEncoder().encode(taskId)))
              return { encrypted_task_id: Encoding.encodeBase64(sealed) }
            }).pipe(Effect.catchAll(answer)))
          .handle("deleteAgent", ({ path, request }) =>
            Effect.gen(function*() {
              yield* limits.address(addressOf(request))
              const owner = yield* requireOwner(request)
              const agentRuntimeId = yield* Effect.mapError(decodeId(path.agent_runtime_id), () => notFound)
              // Always a query, so that its time tells nobody whose agent is remembered here.
              const agent = yield* directory.findAgent(agentRuntimeId, { fresh: true })
              if (Option.isNone(agent) || agent.value.owner !== owner) return yield* Effect.fail(notFound)
              yield* directory.removeAgent(agentRuntimeId)
            }).pipe(
              Effect.catchTag("AgentDirectoryError", () => unavailable),
              Effect.catchTag("RegistrationLimited", limited)
            ))
      })),
    HttpApiBuilder.group(
      AuthApi.AuthApi,
      "health",
      (handlers) => handlers.handle("health", () => Effect.succeed({ status: "ok" as const }))
    )
  )

/**
 * `layerWith` without options.
 *
 * @example
 * import { Signing } from "@agent-identity/core"
 * import { AgentDirectory, AuthApi, AuthApiHandlers, RegistrationBearer, RegistrationLimits } from "@agent-identity/server"
 * import { HttpLayerRouter, HttpServer } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const Routes = HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
 *   Layer.provide(AuthApiHandlers.layer),
 *   Layer.provide([AgentDirectory.layerMemory, RegistrationBearer.layerNone, RegistrationLimits.layerMemory()]),
 *   Layer.provide([Signing.layer, HttpServer.layerContext])
 * )
 *
 * const routerConfig = AuthApi.routerConfig
 * const { dispose, handler } = HttpLayerRouter.toWebHandler(Routes, { routerConfig, disableLogger: true })
 * const response = await handler(new Request("http://localhost/api/accounts/health"))
 * assert.deepStrictEqual(await response.json(), { status: "ok" })
 * await dispose()
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = layerWith({})

/** A task registration has about 160 bytes, an agent's about 400. */
const maxTaskBytes = 1024
const maxAgentBytes = 16 * 1024

const readBody = <A, I>(request: HttpServerRequest.HttpServerRequest, schema: Schema.Schema<A, I>, maxBytes: number) =>
  Effect.suspend(() => {
    const refused = Effect.fail(
      badRequest(`The body is not JSON of at most ${maxBytes} bytes with the members that are wanted.`)
    )
    // Unread, it can still be answered: whoever stops reading halfway can only hang up.
    if (Number(request.headers["content-length"]) > maxBytes) {
      return Effect.zipRight(setHeader("connection", "close"), refused)
    }
    return request.json.pipe(
      HttpIncomingMessage.withMaxBodySize(Option.some(FileSystem.Size(maxBytes))),
      // A body that comes by drops holds its connection for no longer.
      Effect.timeout("10 seconds"),
      Effect.flatMap(Schema.decodeUnknown(schema)),
      Effect.catchAll(() => refused)
    )
  })

/** The address of whoever is connected: behind a proxy that is the proxy. */
const addressOf = (request: HttpServerRequest.HttpServerRequest): string =>
  Option.getOrElse(request.remoteAddress, () => "unknown")

/**
 * The same for the same key of the same owner: whoever has lost an answer, or has died before it was kept, asks again
 * and has made no second agent. An id by itself is no secret, and tells neither of the two.
 */
const idOf = (owner: string, publicKey: Uint8Array) =>
  Effect.map(
    Effect.promise(() =>
      globalThis.crypto.subtle.digest(
        "SHA-256",
        new TextEncoder().encode(JSON.stringify(["agent", owner, Encoding.encodeBase64(publicKey)]))
      )
    ),
    (digest) => AgentRuntimeId.make(`agent-${Encoding.encodeHex(new Uint8Array(digest)).slice(0, 32)}`)
  )

/** Of an agent that is to live so many seconds. */
const lifeOf = (ttl: number | null | undefined) =>
  Effect.map(
    Clock.currentTimeMillis,
    (now) => typeof ttl === "number" ? { expiresAt: now + Math.ceil(ttl * 1000) } : {}
  )

/** Standard base64 in its one spelling. */
const decodeSignature = (text: string) =>
  Effect.filterOrFail(toEffect(Encoding.decodeBase64(text)), (bytes) => Encoding.encodeBase64(bytes) === text)

const decodeId = Schema.decodeUnknown(AgentRuntimeId)

type Failure =
  | AgentSignature.Refusal
  | AgentDirectory.AgentDirectoryError
  | RegistrationLimits.RegistrationLimited
  | AuthApi.BadRequest
  | AuthApi.Unauthorized

type Answered = AuthApi.BadRequest | AuthApi.Unauthorized | AuthApi.TooManyRequests | AuthApi.Unavailable

/** What went wrong in full for the log, and what the client may know of it. */
const answer = (failure: Failure): Effect.Effect<never, Answered> =>
  Effect.zipRight(
    Effect.logDebug("Registration refused", failure),
    Effect.suspend((): Effect.Effect<never, Answered> => {
      if (failure === "Stale") return Effect.fail(stale)
      if (failure === "UnknownAgent" || failure === "BadSignature") return Effect.fail(invalid)
      if (!("_tag" in failure)) return Effect.fail(failure)
      return failure._tag === "AgentDirectoryError" ? unavailable : limited(failure)
    })
  )

const limited = (
  failure: RegistrationLimits.RegistrationLimited
): Effect.Effect<never, AuthApi.TooManyRequests | AuthApi.Unavailable> => {
  if (failure.reason === "Unavailable") return unavailable
  const seconds = Math.max(1, Math.ceil(failure.retryAfterMillis / 1000))
  return Effect.zipRight(setHeader("retry-after", String(seconds)), Effect.fail(tooMany(seconds)))
}

const setHeader = (name: string, value: string) =>
  HttpApp.appendPreResponseHandler((_request, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, name, value))
  )

const unavailable = Effect.zipRight(
  setHeader("retry-after", String(AuthApi.retryAfterSeconds)),
  Effect.fail(AuthApi.unavailable)
)

/** Unknown agents and bad signatures are not told apart. */
const invalid: AuthApi.Unauthorized = {
  error: { code: "invalid_registration", message: "The registration is not signed by a registered agent." }
}

const stale: AuthApi.Unauthorized = {
  error: { code: "stale_registration", message: "The timestamp is too far from the server's clock." }
}

const invalidToken: AuthApi.Unauthorized = {
  error: {
    code: "invalid_token",
    message: "Send an Authorization header with a bearer token that may register agents."
  }
}

const notFound: AuthApi.NotFound = {
  error: { code: "agent_not_found", message: "You have registered no such agent." }
}

const badRequest = (message: string): AuthApi.BadRequest => ({ error: { code: "invalid_request", message } })

const tooMany = (seconds: number): AuthApi.TooManyRequests => ({
  error: { code: "too_many_registrations", message: `Too many registrations; try again in ${seconds} s.` }
})
