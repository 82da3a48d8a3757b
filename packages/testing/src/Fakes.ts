/**
 * A stand-in for every service of `@agent-identity/core`: no network, no cryptography, the same answers every time.
 *
 * The signer, tokens, the identity, the URLs and the registration are fakes; the services above them are the real ones over
 * these fakes, so that they behave as in production. Swap in one of them, or all with `layer`.
 *
 * @since 0.1.0
 */
import { AccountId } from "@agent-identity/core/AccountId"
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as AgentKey from "@agent-identity/core/AgentKey"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import type * as Environment from "@agent-identity/core/Environment"
import * as Jwks from "@agent-identity/core/Jwks"
import * as PlanType from "@agent-identity/core/PlanType"
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as RunTask from "@agent-identity/core/RunTask"
import * as SealedBox from "@agent-identity/core/SealedBox"
import * as Signing from "@agent-identity/core/Signing"
import { TaskId } from "@agent-identity/core/TaskId"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentProvisioning from "@agent-identity/login/AgentProvisioning"
import * as AgentRegistration from "@agent-identity/login/AgentRegistration"
import * as ChatGptLogin from "@agent-identity/login/ChatGptLogin"
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

/**
 * The runtime id of the fake agent.
 *
 * @since 0.1.0
 * @category constants
 */
export const agentRuntimeId = "agent-fake"

/**
 * The provider base that the fake URLs call first party.
 *
 * @since 0.1.0
 * @category constants
 */
export const providerBase = "https://provider.test/backend-api/codex"

/**
 * Signs by mixing numbers: deterministic, different for each key and payload, and no protection at all. Sealed boxes
 * are never opened.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSigning: Layer.Layer<Signing.Signing> = Layer.succeed(Signing.Signing, {
  importPrivateKey: (key) =>
    Effect.suspend(() => {
      const publicKey = mix(32, Redacted.value(key.seed))
      if (key.publicKey !== undefined && !equals(key.publicKey, publicKey)) {
        return new Signing.SigningError({ reason: "PublicKeyMismatch" })
      }
      return Effect.succeed({
        publicKey,
        sign: (payload) => Effect.succeed(mix(64, publicKey, payload)),
        openSealed: () => new SealedBox.SealedBoxError({ reason: "CannotOpen" })
      })
    }),
  importPublicKey: (publicKey) =>
    publicKey.length === 32
      ? Effect.succeed({
        publicKey: publicKey.slice(),
        verify: (payload, signature) => Effect.sync(() => equals(signature, mix(64, publicKey, payload)))
      })
      : new Signing.SigningError({ reason: "InvalidPublicKey" }),
  checkPublicKey: (publicKey) =>
    publicKey.length === 32 ? Effect.void : new Signing.SigningError({ reason: "InvalidPublicKey" })
})

/**
 * Imports keys, and fails at every signature.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSigningFails: Layer.Layer<Signing.Signing> = Layer.effect(
  Signing.Signing,
  Effect.map(Signing.Signing, (signing): Signing.Service => ({
    ...signing,
    importPrivateKey: (key) =>
      Effect.map(signing.importPrivateKey(key), (signer) => ({
        ...signer,
        sign: () => new Signing.SigningError({ reason: "SigningFailed" })
      }))
  }))
).pipe(Layer.provide(layerSigning))

const key: AgentKey.AgentKey = { seed: Redacted.make(new Uint8Array(32).fill(7)), publicKey: undefined }

const privateKey = AgentKey.toPkcs8(key)

/**
 * The agent `agentRuntimeId`, without an account where none is given.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentIdentityWith = (
  options: Partial<Omit<AgentIdentity.Options, "privateKey">>
): Layer.Layer<AgentIdentity.AgentIdentity, AgentIdentity.AgentIdentityError, Signing.Signing> =>
  AgentIdentity.layer({ agentRuntimeId: agentRuntimeId, privateKey, ...options })

/**
 * The agent `agentRuntimeId`, without an account.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentIdentity: Layer.Layer<AgentIdentity.AgentIdentity> = layerAgentIdentityWith({}).pipe(
  Layer.provide(layerSigning),
  Layer.orDie
)

/**
 * URLs below `https://authapi.test` and `https://provider.test`, unless others are given.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUrlDerivationWith = (
  options: Partial<Environment.CustomOptions>
): Layer.Layer<UrlDerivation.UrlDerivation, Environment.UrlDerivationError> =>
  UrlDerivation.layerCustom({
    authApi: "https://authapi.test/api/accounts",
    jwksBase: "https://provider.test/backend-api",
    providers: [providerBase],
    ...options
  })

/**
 * URLs below `https://authapi.test` and `https://provider.test`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUrlDerivation: Layer.Layer<UrlDerivation.UrlDerivation> = Layer.orDie(layerUrlDerivationWith({}))

/**
 * A key set without a key: no token verifies with it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerJwks: Layer.Layer<Jwks.Jwks> = Layer.succeed(Jwks.Jwks, { find: () => Effect.succeed([]) })

/**
 * Takes every token for one of the fake agent, of the account `account-fake`, that expires in the year 9999. Nothing is
 * verified.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentIdentityJwt: Layer.Layer<AgentIdentityJwt.AgentIdentityJwt> = Layer.succeed(
  AgentIdentityJwt.AgentIdentityJwt,
  {
    verify: () =>
      Effect.succeed({
        issuer: AgentIdentityJwt.chatGptIssuer,
        audience: AgentIdentityJwt.chatGptAudience,
        issuedAt: 0,
        expiresAt: 253_402_300_799,
        agentRuntimeId: AgentRuntimeId.make(agentRuntimeId),
        accountId: AccountId.make("account-fake"),
        chatgptUserId: "user-fake",
        email: undefined,
        plan: PlanType.fromClaim("pro"),
        fedramp: false,
        key
      })
  }
)

/**
 * Refuses every token for this reason.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentIdentityJwtFails = (
  reason: AgentIdentityJwt.AgentIdentityJwtError["reason"]
): Layer.Layer<AgentIdentityJwt.AgentIdentityJwt> =>
  Layer.succeed(AgentIdentityJwt.AgentIdentityJwt, {
    verify: () => new AgentIdentityJwt.AgentIdentityJwtError({ reason, detail: "a fake" })
  })

/**
 * What the fake registration was asked for, and a way to make it fail.
 *
 * @since 0.1.0
 * @category tags
 */
export class Registrations extends Context.Tag("@agent-identity/testing/Registrations")<Registrations, {
  /** The `stale` of each call so far. */
  readonly calls: Effect.Effect<ReadonlyArray<Option.Option<TaskId>>>
  /** The next calls fail with these, one each. */
  readonly fail: (...errors: ReadonlyArray<TaskRegistration.TaskRegistrationError>) => Effect.Effect<void>
}>() {}

/**
 * Answers `task-1`, `task-2`, and so on.
 *
 * @example
 * import { TaskRegistration } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Option } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { register } = yield* TaskRegistration.TaskRegistration
 *   const { calls } = yield* Fakes.Registrations
 *   const { taskId } = yield* register(Option.none())
 *   yield* register(Option.some(taskId))
 *   assert.deepStrictEqual(yield* calls, [Option.none(), Option.some("task-1")])
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Fakes.layerTaskRegistration))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTaskRegistration: Layer.Layer<TaskRegistration.TaskRegistration | Registrations> = Layer
  .effectContext(Effect.sync(() => {
    const calls: Array<Option.Option<TaskId>> = []
    const failures: Array<TaskRegistration.TaskRegistrationError> = []
    let issued = 0
    return Context.make(TaskRegistration.TaskRegistration, {
      register: (stale) =>
        Effect.suspend(() => {
          calls.push(stale)
          const failure = failures.shift()
          return failure ??
            Effect.map(Clock.currentTimeMillis, (registeredAt) => ({
              taskId: TaskId.make(`task-${++issued}`),
              registeredAt
            }))
        })
    }).pipe(
      Context.add(Registrations, {
        calls: Effect.sync(() => calls.slice()),
        fail: (...errors) => Effect.sync(() => void failures.push(...errors))
      })
    )
  }))

/**
 * Registers no task, for this reason: a run over it does not begin.
 *
 * @example
 * import { TaskRegistration } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect, Option } from "effect"
 *
 * const program = Effect.flatMap(TaskRegistration.TaskRegistration, ({ register }) => register(Option.none()))
 * const error = await Effect.runPromise(
 *   Effect.flip(Effect.provide(program, Fakes.layerTaskRegistrationFails("Throttled")))
 * )
 * assert.deepStrictEqual([error.reason, error.retryable], ["Throttled", true])
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTaskRegistrationFails = (
  reason: TaskRegistration.TaskRegistrationError["reason"]
): Layer.Layer<TaskRegistration.TaskRegistration> =>
  Layer.succeed(TaskRegistration.TaskRegistration, {
    register: () =>
      new TaskRegistration.TaskRegistrationError({
        reason,
        agentRuntimeId: agentRuntimeId,
        url: "",
        detail: "a fake",
        attempts: 1
      })
  })

/**
 * Makes every key the agent `agentRuntimeId`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentRegistration: Layer.Layer<AgentRegistration.AgentRegistration> = Layer.succeed(
  AgentRegistration.AgentRegistration,
  { register: () => Effect.succeed(AgentRuntimeId.make(agentRuntimeId)) }
)

/**
 * The real store in memory, which is empty.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCredentialStore: Layer.Layer<CredentialStore.CredentialStore> = CredentialStore.layerMemory

/**
 * The user `user-fake` of the account `account-fake`, logged in with the token `token-fake`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerChatGptLogin: Layer.Layer<ChatGptLogin.ChatGptLogin> = Layer.succeed(ChatGptLogin.ChatGptLogin, {
  current: Effect.succeed({
    binding: { accountId: AccountId.make("account-fake"), chatgptUserId: "user-fake" },
    fedramp: false,
    accessToken: Redacted.make("token-fake")
  })
})

/**
 * Has the fake agent for every login, with the tasks of the fake registration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentProvisioning: Layer.Layer<AgentProvisioning.AgentProvisioning> = Layer.effect(
  AgentProvisioning.AgentProvisioning,
  Effect.gen(function*() {
    const identity = yield* AgentIdentity.AgentIdentity
    const tasks = yield* TaskRegistration.TaskRegistration
    return { agent: Effect.succeed({ identity, tasks, forget: Effect.void }) }
  })
).pipe(Layer.provide([layerAgentIdentity, layerTaskRegistration]))

/**
 * Has no agent, for this reason.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentProvisioningFails = (
  reason: AgentProvisioning.AgentProvisioningError["reason"]
): Layer.Layer<AgentProvisioning.AgentProvisioning> =>
  Layer.succeed(AgentProvisioning.AgentProvisioning, {
    agent: new AgentProvisioning.AgentProvisioningError({ reason, detail: "a fake" })
  })

/**
 * A run with the task `task-1`; each renewal takes the next number.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunTask: Layer.Layer<RunTask.RunTask> = Layer.orDie(
  RunTask.layer(Layer.merge(layerTaskRegistration, layerAgentIdentity))
)

/**
 * A run that is over.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunTaskClosed: Layer.Layer<RunTask.RunTask> = Layer.effect(
  RunTask.RunTask,
  Effect.scoped(Effect.map(Layer.build(layerRunTask), Context.get(RunTask.RunTask)))
)

/**
 * Assertions of the fake agent for `task-1`, signed by the fake signer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentAssertion: Layer.Layer<AgentAssertion.AgentAssertion> = AgentAssertion.layer(
  Layer.merge(layerRunTask, layerAgentIdentity)
)

/**
 * An agent whose key does not sign: every request of the run fails.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgentAssertionFails: Layer.Layer<AgentAssertion.AgentAssertion> = Layer.orDie(
  AgentAssertion.layer(Layer.merge(layerRunTask, Layer.provide(layerAgentIdentityWith({}), layerSigningFails)))
)

/**
 * Sends the fake agent's assertion.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunAuth: Layer.Layer<RunAuth.RunAuth> = RunAuth.layer(
  Layer.merge(layerAgentAssertion, layerRunTask)
)

/**
 * Sends this bearer token.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunAuthBearer = (token: string): Layer.Layer<RunAuth.RunAuth> =>
  Layer.succeed(
    RunAuth.RunAuth,
    RunAuth.makeWithoutTask(
      Effect.succeed({ _tag: "Bearer", token: Redacted.make(token), account: undefined, reason: "a fake" })
    )
  )

/**
 * Signs requests to `providerBase` with the fake agent's assertion.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProviderAuth: Layer.Layer<ProviderAuth.ProviderAuth> = Layer.provide(
  ProviderAuth.layer(layerRunAuth),
  layerUrlDerivation
)

/**
 * All of them, over one fake registration and one run. It has no `HttpClient`: the app's own, or a stub, is signed by
 * `ProviderAuth.layerHttpClient` over `layerProviderAuth`.
 *
 * @example
 * import { RunAuth } from "@agent-identity/core"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect } from "effect"
 *
 * const current = Effect.flatMap(RunAuth.RunAuth, (auth) => auth.current)
 * const credential = await Effect.runPromise(Effect.provide(current, Fakes.layer))
 *
 * const agentRuntimeId = Fakes.agentRuntimeId
 * assert.deepStrictEqual(RunAuth.authorizationOf(credential), { _tag: "Assertion", agentRuntimeId, taskId: "task-1" })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  | Signing.Signing
  | Jwks.Jwks
  | AgentIdentityJwt.AgentIdentityJwt
  | AgentIdentity.AgentIdentity
  | UrlDerivation.UrlDerivation
  | AgentRegistration.AgentRegistration
  | CredentialStore.CredentialStore
  | ChatGptLogin.ChatGptLogin
  | AgentProvisioning.AgentProvisioning
  | TaskRegistration.TaskRegistration
  | Registrations
  | RunTask.RunTask
  | AgentAssertion.AgentAssertion
  | RunAuth.RunAuth
  | ProviderAuth.ProviderAuth
> = Layer.mergeAll(
  layerProviderAuth,
  layerRunAuth,
  layerAgentAssertion,
  layerRunTask,
  layerTaskRegistration,
  layerAgentIdentity,
  layerUrlDerivation,
  layerAgentRegistration,
  layerCredentialStore,
  layerChatGptLogin,
  layerAgentProvisioning,
  layerSigning,
  layerJwks,
  layerAgentIdentityJwt
)

const equals = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, index) => byte === right[index])

/** FNV-1a over the parts, then one more round for each byte of output. */
const mix = (length: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let state = 0x811c9dc5
  const round = (byte: number) => {
    state = Math.imul(state ^ byte, 0x01000193) >>> 0
  }
  for (const part of parts) {
    part.forEach(round)
    round(part.length)
  }
  return Uint8Array.from({ length }, (_, index) => {
    round(index)
    return state >>> 24
  })
}
