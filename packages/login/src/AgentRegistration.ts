/**
 * Registers a new agent with the AuthAPI, on behalf of whoever holds a bearer token: its public key goes there, its
 * runtime id comes back.
 *
 * @since 0.1.0
 */
import * as AgentKey from "@agent-identity/core/AgentKey"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as Text from "@agent-identity/core/protocol/text"
import * as AuthApi from "@agent-identity/core/run/authApi"
import * as Caller from "@agent-identity/core/run/caller"
import * as Telemetry from "@agent-identity/core/run/telemetry"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * Why no agent was registered. `url` is what was asked, `attempts` how often, and `status` what the last answer was, if
 * there was one.
 *
 * - `InvalidToken`: the bearer token is no legal header value
 * - `Transport`: no answer, or not all of it
 * - `Certificate`: the server's certificate is not trusted, has expired, or is of another name
 * - `Timeout`: no answer within 30 s, or none within 75 s over all attempts
 * - `Throttled`: the server asks to wait longer than 20 s; `retryAfterMillis` says how long
 * - `Status`: an answer other than 2xx; `body` is its start, without anything that was sent
 * - `ResponseTooLarge`: an answer of more than 64 KiB
 * - `InvalidResponse`: a 2xx without a runtime id that is allowed
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentRegistrationError extends Schema.TaggedError<AgentRegistrationError>(
  "@agent-identity/login/AgentRegistrationError"
)("AgentRegistrationError", {
  reason: Schema.Literal(
    "InvalidToken",
    "Transport",
    "Certificate",
    "Timeout",
    "Throttled",
    "Status",
    "ResponseTooLarge",
    "InvalidResponse"
  ),
  url: Schema.String,
  detail: Schema.String,
  status: Schema.optional(Schema.Number),
  body: Schema.optional(Schema.String),
  retryAfterMillis: Schema.optional(Schema.Number),
  attempts: Schema.Number
}) {
  /**
   * Whether the same registration may succeed later.
   *
   * @since 0.1.0
   */
  get retryable(): boolean {
    return AuthApi.isRetryable(this)
  }

  /**
   * @since 0.1.0
   */
  override get message() {
    const attempts = this.attempts === 1 ? "1 attempt" : `${this.attempts} attempts`
    const body = this.body === undefined || this.body === "" ? "" : `: ${this.body}`
    return `No agent from ${this.url} (${attempts}): ${this.detail}${body}`
  }
}

/**
 * What the AuthAPI is told of an agent: an agent bill of materials, `abom` on the wire.
 *
 * @since 0.1.0
 * @category models
 */
export interface BillOfMaterials {
  /** Of the program: `1.2.0`. */
  readonly agentVersion: string
  /** What the agent runs in: `codex-cli`. */
  readonly agentHarnessId: string
  /** How and on what it runs: `cli-linux`. */
  readonly runningLocation: string
}

/**
 * A bill of materials in the words of the reference client (openai/codex), from the version of the program, how its
 * session came about (`cli`, `vscode`, `exec`, `mcp`, or a text of one's own), and the platform as `process.platform`
 * names it.
 *
 * @example
 * import { AgentRegistration } from "@agent-identity/login"
 *
 * assert.deepStrictEqual(
 *   AgentRegistration.billOfMaterials({ agentVersion: "1.2.0", sessionSource: "cli", platform: "darwin" }),
 *   { agentVersion: "1.2.0", agentHarnessId: "codex-cli", runningLocation: "cli-macos" }
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const billOfMaterials = (options: {
  readonly agentVersion: string
  readonly sessionSource: string
  readonly platform: string
}): BillOfMaterials => ({
  agentVersion: options.agentVersion,
  agentHarnessId: options.sessionSource === "vscode" ? "codex-app" : "codex-cli",
  runningLocation: `${options.sessionSource}-${rustSystems[options.platform] ?? options.platform}`
})

const rustSystems: Readonly<Record<string, string>> = { darwin: "macos", win32: "windows", sunos: "solaris" }

/**
 * The capability that the reference client asks for (openai/codex, codex-rs/agent-identity/src/lib.rs).
 *
 * @since 0.1.0
 * @category constants
 */
export const capabilities: ReadonlyArray<string> = ["responsesapi"]

/**
 * One agent to register.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  /** Of the person that the agent works for: the access token of a ChatGPT login. */
  readonly token: Redacted.Redacted<string>
  /** The agent's Ed25519 public key, 32 bytes: the same at every attempt. */
  readonly publicKey: Uint8Array
  readonly billOfMaterials: BillOfMaterials
  /** `capabilities` by default. */
  readonly capabilities?: ReadonlyArray<string> | undefined
  /** How long the agent is to live, in seconds; the server decides where it is undefined. */
  readonly ttl?: number | undefined
  /** Whether the account is a FedRAMP account; false by default. */
  readonly fedramp?: boolean | undefined
}

/**
 * Registers agents.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The runtime id that the AuthAPI has given to the agent. The same key may get the same one again. */
  readonly register: (request: Request) => Effect.Effect<AgentRuntimeId, AgentRegistrationError>
}

/**
 * How agents are registered. `AgentProvisioning` takes it; take it yourself to keep an agent in your own way.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentRegistration
  extends Context.Tag("@agent-identity/login/AgentRegistration")<AgentRegistration, Service>()
{}

/**
 * Takes the plain `HttpClient`. At most 3 attempts on 429, 5xx, timeouts and transport failures, 30 s each and 75 s over
 * all, with the same key; a `Retry-After` of up to 20 s is waited for. An attempt whose answer was lost may have made an
 * agent that nobody knows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Service, never, UrlDerivation.UrlDerivation | HttpClient.HttpClient> = Effect.gen(
  function*() {
    const client = yield* Effect.flatMap(HttpClient.HttpClient, Caller.client)
    const { agentRegistration: url } = yield* UrlDerivation.UrlDerivation

    const register = (request: Request) =>
      Effect.suspend(() => {
        let attempts = 0
        const fail = (reason: AgentRegistrationError["reason"], detail: string, more?: Partial<AuthApi.Failure>) =>
          new AgentRegistrationError({ ...more, reason, url: url.href, detail, attempts })
        const token = Redacted.value(request.token)
        if (!/^[\x21-\x7e]+$/.test(token)) {
          return fail(
            "InvalidToken",
            "the bearer token is empty, or has characters that no header takes; give the login's access token"
          )
        }
        const attempt = Effect.gen(function*() {
          attempts += 1
          const answer = yield* Effect.mapError(
            AuthApi.post(client, {
              url,
              advice: "see that the bearer token is a present one, and of somebody who may register agents",
              headers: {
                authorization: `Bearer ${token}`,
                ...(request.fedramp === true ? { "x-openai-fedramp": "true" } : undefined)
              },
              body: {
                abom: {
                  agent_version: request.billOfMaterials.agentVersion,
                  agent_harness_id: request.billOfMaterials.agentHarnessId,
                  running_location: request.billOfMaterials.runningLocation
                },
                agent_public_key: AgentKey.toSshPublicKey(request.publicKey),
                capabilities: request.capabilities ?? capabilities,
                ttl: request.ttl ?? null
              },
              secrets: [token]
            }),
            // An agent that is only being made cannot have been deleted.
            (failure) => fail(failure.reason === "AgentDeleted" ? "Status" : failure.reason, failure.detail, failure)
          )
          const json = Text.readJson(answer.body)
          const id = Predicate.isRecord(json) ? json.agent_runtime_id : undefined
          return yield* Effect.mapError(decodeId(id), () =>
            fail("InvalidResponse", "the answer has no agent_runtime_id that is allowed; check the AuthAPI base URL", {
              status: answer.status
            }))
        })
        return AuthApi.retrying(attempt, () =>
          fail("Timeout", "no agent within 75 seconds over all attempts"))
      })

    return {
      register: (request) =>
        register(request).pipe(
          Effect.tap((agentRuntimeId) => Effect.annotateCurrentSpan(Telemetry.attributes({ agentRuntimeId }))),
          Effect.tap((agentRuntimeId) =>
            Effect.annotateLogs(Effect.logInfo("Registered an agent"), Telemetry.annotations({ agentRuntimeId }))
          ),
          Effect.withSpan("AgentRegistration.register", { captureStackTrace: false })
        )
    }
  }
)

/**
 * `make` as a layer. The `HttpClient` is the plain one.
 *
 * @example
 * import { AgentKey, Signing } from "@agent-identity/core"
 * import { AgentRegistration } from "@agent-identity/login"
 * import * as ScriptedAuthApi from "@agent-identity/testing/ScriptedAuthApi"
 * import { NodeHttpClient } from "@effect/platform-node"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { register } = yield* AgentRegistration.AgentRegistration
 *   const { importPrivateKey } = yield* Signing.Signing
 *   const { publicKey } = yield* importPrivateKey(yield* AgentKey.generate())
 *   const billOfMaterials = { agentVersion: "1.0.0", agentHarnessId: "my-agent", runningLocation: "cli-linux" }
 *   const id = yield* register({ token: Redacted.make(ScriptedAuthApi.bearerToken), publicKey, billOfMaterials })
 *   assert.match(id, /^agent-/)
 * })
 *
 * const Server = Layer.provideMerge(ScriptedAuthApi.layer, Layer.merge(Signing.layer, NodeHttpClient.layer))
 * await Effect.runPromise(Effect.provide(program, Layer.provideMerge(AgentRegistration.layer(Server), Server)))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  urls: Layer.Layer<UrlDerivation.UrlDerivation, E, R>
): Layer.Layer<AgentRegistration, E, R | HttpClient.HttpClient> =>
  Layer.provide(Layer.effect(AgentRegistration, make), urls)

const decodeId = Schema.decodeUnknown(AgentRuntimeId)
