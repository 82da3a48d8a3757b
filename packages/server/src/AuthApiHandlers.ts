/**
 * The handlers of the AuthAPI.
 *
 * @since 0.1.0
 */
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as SignedPayload from "@agent-identity/core/SignedPayload"
import type * as Signing from "@agent-identity/core/Signing"
import * as FileSystem from "@effect/platform/FileSystem"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import type * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AgentDirectory from "./AgentDirectory.ts"
import * as AuthApi from "./AuthApi.ts"
import * as AgentSignature from "./internal/agentSignature.ts"

/**
 * A task registration is taken when it was signed by the agent, within 300 seconds of this machine's clock. Two
 * registrations of one second are byte-identical and get two tasks.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  HttpApiGroup.ApiGroup<"AuthApi", "agent">,
  never,
  AgentDirectory.AgentDirectory | Signing.Signing
> = HttpApiBuilder.group(AuthApi.AuthApi, "agent", (handlers) =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const checkSignature = yield* AgentSignature.makeCheck(undefined)

    // Raw, so that nobody makes this process read more than a registration can have.
    return handlers.handleRaw("registerTask", ({ path, request }) =>
      Effect.gen(function*() {
        const payload = yield* readPayload(request)
        const agentRuntimeId = yield* Effect.mapError(decodeId(path.agent_runtime_id), () => "UnknownAgent" as const)
        const signature = yield* Effect.mapError(decodeSignature(payload.signature), () => "BadSignature" as const)
        yield* checkSignature({
          agentRuntimeId,
          timestamp: payload.timestamp,
          payload: SignedPayload.taskRegistration(agentRuntimeId, payload.timestamp),
          signature
        })
        const { taskId } = yield* directory.issueTask(agentRuntimeId)
        return { task_id: taskId }
      }).pipe(
        Effect.tapError((error) => Effect.logDebug("Task registration refused", error)),
        Effect.mapError((error) => {
          if (error === "Stale") return stale
          if (error === "UnknownAgent" || error === "BadSignature") return invalid
          return "_tag" in error ? AuthApi.unavailable : error
        })
      ))
  }))

/** A registration has about 160 bytes. */
const MAX_BODY_BYTES = 1024

const readPayload = (request: HttpServerRequest.HttpServerRequest) =>
  request.json.pipe(
    HttpIncomingMessage.withMaxBodySize(Option.some(FileSystem.Size(MAX_BODY_BYTES))),
    Effect.flatMap(Schema.decodeUnknown(AuthApi.TaskRegistrationRequest)),
    Effect.mapError((): AuthApi.BadRequest => ({
      error: { code: "invalid_request", message: "The body is not JSON with the texts timestamp and signature." }
    }))
  )

/** Standard base64 in its one spelling. */
const decodeSignature = (text: string) =>
  Effect.filterOrFail(Encoding.decodeBase64(text), (bytes) => Encoding.encodeBase64(bytes) === text)

const decodeId = Schema.decodeUnknown(AgentRuntimeId)

/** Unknown agents and bad signatures are not told apart. */
const invalid: AuthApi.Unauthorized = {
  error: { code: "invalid_registration", message: "The registration is not signed by a registered agent." }
}

const stale: AuthApi.Unauthorized = {
  error: { code: "stale_registration", message: "The timestamp is too far from the server's clock." }
}
