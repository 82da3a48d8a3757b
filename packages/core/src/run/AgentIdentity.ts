/**
 * Whose run this is: the agent's runtime id, its imported key, and the account that it works for.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { AccountId } from "../protocol/AccountId.ts"
import * as AgentKey from "../protocol/AgentKey.ts"
import { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import * as Text from "../protocol/text.ts"
import { toEffect } from "./either.ts"
import * as Signing from "./Signing.ts"

/**
 * Why there is no identity. `input` is the id that was refused, cut at 64 characters; what looks like a key or a token
 * is not shown, and neither is anything of a key.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentIdentityError extends Schema.TaggedError<AgentIdentityError>(
  "@agent-identity/core/AgentIdentityError"
)("AgentIdentityError", {
  reason: Schema.Literal("InvalidAgentRuntimeId", "InvalidAccountId", "InvalidPrivateKey"),
  input: Schema.optional(Schema.String),
  detail: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return this.input === undefined ? this.detail : `${JSON.stringify(this.input)} is refused: ${this.detail}`
  }
}

/**
 * The account that an agent works for, as it is named beside each assertion.
 *
 * @since 0.1.0
 * @category models
 */
export interface Account {
  /** Goes into `ChatGPT-Account-ID`. */
  readonly id: AccountId
  /** Whether it is a FedRAMP account, whose requests are routed apart by `X-OpenAI-Fedramp: true`. */
  readonly fedramp: boolean
}

/**
 * Who the agent is, with its key ready to sign.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly agentRuntimeId: AgentRuntimeId
  /** Its imported key. */
  readonly signer: Signing.Signer
  /** Undefined where the agent works for no account: no companion headers are sent then. */
  readonly account: Account | undefined
  /** When it ends, in milliseconds since the Unix epoch: no task is registered from then on. Undefined: it does not. */
  readonly expiresAt: number | undefined
}

/**
 * Whose run this is. It comes from a key (`layer`), a token (`AgentIdentityJwt.layerIdentity`) or a login (`AgentProvisioning.layerAgent`).
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentIdentity extends Context.Tag("@agent-identity/core/AgentIdentity")<AgentIdentity, Service>() {}

/**
 * Refuses a layer that itself requires an `AgentIdentity`: built together, two agents would share what is built over it.
 *
 * @since 0.1.0
 * @category models
 */
export type Closed<R> = [AgentIdentity] extends [R] ? "this layer has to build its AgentIdentity" : unknown

/**
 * The headers that name the account beside an assertion or a bearer token.
 *
 * @internal
 */
export const accountHeaders = (account: Account | undefined): Readonly<Record<string, string>> => ({
  ...(account === undefined ? undefined : { "chatgpt-account-id": account.id }),
  ...(account?.fedramp === true ? { "x-openai-fedramp": "true" } : undefined)
})

/**
 * An agent as it stands in a configuration: texts, which are checked when the identity is made.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly agentRuntimeId: string
  /** PKCS#8 in PEM or base64, or a JWK: all that `AgentKey.parse` reads. */
  readonly privateKey: Redacted.Redacted<string | object>
  /** The account that it works for; none by default. */
  readonly accountId?: string | undefined
  /** Whether that is a FedRAMP account; false by default. */
  readonly fedramp?: boolean | undefined
}

/**
 * An identity from its parts, checked and with the key imported.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Service, AgentIdentityError, Signing.Signing> =>
  Effect.gen(function*() {
    const signing = yield* Signing.Signing
    const agentRuntimeId = yield* decodeId(AgentRuntimeId, "InvalidAgentRuntimeId", options.agentRuntimeId)
    const accountId = options.accountId === undefined
      ? undefined
      : yield* decodeId(AccountId, "InvalidAccountId", options.accountId)
    const signer = yield* Effect.flatMap(toEffect(AgentKey.parse(options.privateKey)), signing.importPrivateKey).pipe(
      Effect.mapError((error) => new AgentIdentityError({ reason: "InvalidPrivateKey", detail: error.message }))
    )
    const account = accountId === undefined ? undefined : { id: accountId, fedramp: options.fedramp === true }
    return { agentRuntimeId, signer, account, expiresAt: undefined }
  })

/**
 * An agent with a key of its own.
 *
 * @example
 * import { AgentIdentity, Signing } from "@agent-identity/core"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * const Identity = AgentIdentity.layer({
 *   agentRuntimeId: "agent-123",
 *   privateKey: Redacted.make("MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH")
 * }).pipe(Layer.provide(Signing.layer))
 *
 * const { agentRuntimeId, signer } = await Effect.runPromise(Effect.provide(AgentIdentity.AgentIdentity, Identity))
 * assert.deepStrictEqual(agentRuntimeId, "agent-123")
 * assert.deepStrictEqual(signer.publicKey.length, 32)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<AgentIdentity, AgentIdentityError, Signing.Signing> =>
  Layer.effect(AgentIdentity, make(options))

const decodeId = <A>(
  schema: Schema.Schema<A, string>,
  reason: "InvalidAgentRuntimeId" | "InvalidAccountId",
  input: string
): Effect.Effect<A, AgentIdentityError> =>
  isSecret(String(input))
    ? Effect.fail(
      new AgentIdentityError({
        reason,
        detail: "a key or a token stands in the place of an id; the two may be swapped"
      })
    )
    : Effect.mapError(
      Schema.decodeUnknown(schema)(input),
      () => new AgentIdentityError({ reason, input: Text.truncate(String(input), 64), detail: idRules[reason] })
    )

/** Variables get swapped: what begins like a key or a token is neither taken for an id nor shown. */
const isSecret = (input: string): boolean =>
  /^(?:MC4CAQ|MFECAQ|MHICAQ|-----|eyJ|at-|\{\s*"|(?:[0-9a-f]{2}[\s:]){31})/i.test(input.trim())

const idRules = {
  InvalidAgentRuntimeId:
    "an agent runtime id has 1 to 256 characters, is not blank, has no colon and no control characters, and is not a dot segment",
  InvalidAccountId: "an account id has 1 to 256 visible ASCII characters"
}
