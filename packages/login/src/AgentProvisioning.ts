/**
 * Turns a ChatGPT login into an agent, once: its key is kept before it is registered, its runtime id before it gets a
 * task, so that a crash loses none of them. Only for whoever asks for it: the policy is `JwtOnly` unless an app says
 * otherwise.
 *
 * @since 0.1.0
 */
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentKey from "@agent-identity/core/AgentKey"
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { toEffect } from "@agent-identity/core/run/either"
import * as SingleFlight from "@agent-identity/core/run/singleFlight"
import * as Telemetry from "@agent-identity/core/run/telemetry"
import * as Signing from "@agent-identity/core/Signing"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import type * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as AgentRegistration from "./AgentRegistration.ts"
import * as ChatGptLogin from "./ChatGptLogin.ts"
import * as CredentialStore from "./CredentialStore.ts"
import * as Cooldown from "./internal/cooldown.ts"
import * as Lease from "./internal/lease.ts"
import * as PersistedTasks from "./internal/persistedTasks.ts"

/**
 * Why there is no agent.
 *
 * - `NotAllowed`: the policy is `JwtOnly`, so that a login stays a login
 * - `NoLogin`: nobody is logged in, or not with ChatGPT
 * - `StaleAuth`: the login ended, or became another's, while the agent was being made; nothing of it was kept
 * - `Unavailable`: the AuthAPI does not answer; not asked again for the cooldown
 * - `Refused`: the AuthAPI refuses; not asked again for the cooldown
 * - `Store`: the record could not be read or written
 * - `KeyFailed`: no key could be made, or this platform cannot use the one that is kept
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentProvisioningError extends Schema.TaggedError<AgentProvisioningError>(
  "@agent-identity/login/AgentProvisioningError"
)("AgentProvisioningError", {
  reason: Schema.Literal("NotAllowed", "NoLogin", "StaleAuth", "Unavailable", "Refused", "Store", "KeyFailed"),
  detail: Schema.String,
  cause: Schema.optional(Schema.Union(
    ChatGptLogin.ChatGptLoginError,
    CredentialStore.CredentialStoreError,
    AgentRegistration.AgentRegistrationError,
    TaskRegistration.TaskRegistrationError
  ))
}) {
  /**
   * Whether a run may send the login's own token instead: there is nothing wrong with the login.
   *
   * @since 0.1.0
   */
  get fallback(): boolean {
    return this.reason === "NotAllowed" || this.reason === "Unavailable"
  }

  /**
   * @since 0.1.0
   */
  override get message() {
    return `No agent for this login: ${this.detail}`
  }
}

/**
 * Whether an agent may be made of a ChatGPT login. Under `JwtOnly`, which is what the reference client does unless it is
 * told otherwise, only those have an agent who bring one.
 *
 * @since 0.1.0
 * @category models
 */
export type Policy = "JwtOnly" | "ChatGptAuth"

/**
 * Whether an agent is made of a login, and what it is called.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly policy: Policy
  readonly billOfMaterials: AgentRegistration.BillOfMaterials
  /** For how long a failure is remembered: an hour by default, as in the reference client. */
  readonly cooldown?: Duration.DurationInput | undefined
  /**
   * After how long without a sign of life a process that was at work counts as dead: 20 seconds by default. Processes that
   * share a store have to agree on it.
   */
  readonly lease?: Duration.DurationInput | undefined
}

/**
 * The agent of a login: registered, kept, and ready for a run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Agent {
  /** Without an end: an agent of a login lives until it is deleted. */
  readonly identity: AgentIdentity.Service
  /** Answers with the task that is kept, if it is not the stale one, and keeps every new one. */
  readonly tasks: TaskRegistration.Service
  /** Takes the agent out of the store, so that the next run makes a new one. */
  readonly forget: Effect.Effect<void>
}

/**
 * Finds the agent of the present login, or makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The agent of the present login: the one that is kept, or else a new one. */
  readonly agent: Effect.Effect<Agent, AgentProvisioningError>
}

/**
 * How a run comes by the agent of a login. `layerAgent` and `ChatGptRun.layer` take it.
 *
 * @since 0.1.0
 * @category tags
 */
export class AgentProvisioning
  extends Context.Tag("@agent-identity/login/AgentProvisioning")<AgentProvisioning, Service>()
{}

/**
 * Finds or makes one agent for all who ask for the same login at the same time, in this process or in another one with the
 * same store. A failure of the AuthAPI is remembered for the login, a refusal for as long as the login has the token that
 * was refused.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<
  Service,
  never,
  | AgentRegistration.AgentRegistration
  | ChatGptLogin.ChatGptLogin
  | CredentialStore.CredentialStore
  | HttpClient.HttpClient
  | Signing.Signing
  | UrlDerivation.UrlDerivation
> =>
  Effect.gen(function*() {
    const registration = yield* AgentRegistration.AgentRegistration
    const login = yield* ChatGptLogin.ChatGptLogin
    const store = yield* CredentialStore.CredentialStore
    const signing = yield* Signing.Signing
    const context = yield* Effect.context<HttpClient.HttpClient | UrlDerivation.UrlDerivation>()
    const cooldown = Cooldown.make<AgentProvisioningError>(Duration.toMillis(options.cooldown ?? "1 hour"))
    const lease = Duration.decode(options.lease ?? "20 seconds")

    /** The login as it is now, which must still be this person's. */
    const loginOf = (binding: CredentialStore.Binding) =>
      Effect.filterOrFail(
        Effect.mapError(login.current, (cause) => stale(cause.message, cause)),
        (login) => CredentialStore.sameBinding(login.binding, binding),
        () => stale("it is another account's or user's now")
      )

    const importKey = (privateKey: Redacted.Redacted<string>) =>
      Effect.flatMap(toEffect(AgentKey.fromPkcs8(privateKey)), signing.importPrivateKey)

    /** Of a record. A platform that cannot use a key says nothing about it: no other agent is made for that. */
    const isKey = (privateKey: Redacted.Redacted<string>) =>
      Effect.matchEffect(importKey(privateKey), {
        onSuccess: () => Effect.succeed(true),
        onFailure: (error) =>
          error._tag === "AgentKeyError" || error.reason === "PublicKeyMismatch"
            ? Effect.succeed(false)
            : Effect.fail(keyFailed(error))
      })

    /** The record, once it has a runtime id. */
    const registered = (first: ChatGptLogin.Login) => {
      const { binding } = first
      return Lease.whileHeld<AgentProvisioningError>({
        store,
        binding,
        lease,
        check: loginOf(binding),
        isDone: (record) =>
          Option.isSome(record) && record.value.state !== "key-made"
            ? isKey(record.value.privateKey)
            : Effect.succeed(false),
        claim: (record) =>
          Effect.gen(function*() {
            if (Option.isSome(record)) {
              const { privateKey } = record.value
              if (yield* isKey(privateKey)) return { state: "key-made", privateKey }
              yield* Effect.logWarning("The key that is kept for this login is no Ed25519 key: a new agent is made")
            }
            return {
              state: "key-made",
              privateKey: AgentKey.toPkcs8(yield* Effect.mapError(AgentKey.generate(), keyFailed))
            }
          }),
        work: ({ privateKey }) =>
          Effect.gen(function*() {
            const { publicKey } = yield* Effect.mapError(importKey(privateKey), keyFailed)
            // Its token may have been refreshed while others were waited for.
            const login = yield* loginOf(binding)
            const agentRuntimeId = yield* registration.register({
              token: login.accessToken,
              publicKey,
              billOfMaterials: options.billOfMaterials,
              fedramp: login.fedramp
            }).pipe(
              Effect.mapError(fromAuthApi),
              Effect.tapError((error) => cooldown.begin(login, error))
            )
            return { state: "registered", privateKey, agentRuntimeId }
          }),
        onStoreError: fromStore
      })
    }

    const forget = (binding: CredentialStore.Binding, agentRuntimeId: AgentRuntimeId) =>
      Effect.gen(function*() {
        const entry = yield* Effect.flatten(store.get(binding))
        if (entry.record.state === "key-made" || entry.record.agentRuntimeId !== agentRuntimeId) return
        yield* store.compareAndSwap(binding, Option.some(entry.version), Option.none())
        yield* Effect.annotateLogs(
          Effect.logWarning("The agent of this login is forgotten: the next run makes a new one"),
          Telemetry.annotations({ agentRuntimeId })
        )
      }).pipe(Effect.ignore)

    const agentOf = (first: ChatGptLogin.Login): Effect.Effect<Agent, AgentProvisioningError> =>
      Effect.gen(function*() {
        yield* cooldown.check(first)
        const { binding, fedramp } = first
        const record = yield* registered(first)
        // `registered` ends with nothing else; and whatever changes a record keeps its key one that can be imported.
        if (record.state === "key-made") return yield* Effect.dieMessage("an agent without a runtime id")
        const identity: AgentIdentity.Service = {
          agentRuntimeId: record.agentRuntimeId,
          signer: yield* Effect.mapError(importKey(record.privateKey), keyFailed),
          account: { id: binding.accountId, fedramp },
          expiresAt: undefined
        }
        const inner = yield* TaskRegistration.make.pipe(
          Effect.provideService(AgentIdentity.AgentIdentity, identity),
          Effect.provide(context),
          Effect.mapError((error) => new AgentProvisioningError({ reason: "Refused", detail: error.message }))
        )
        const asking: TaskRegistration.Service = {
          register: (task) =>
            // The first task of a run is a part of provisioning; a renewal has a patience of its own.
            Option.isSome(task) ? inner.register(task) : cooldown.check(first).pipe(
              // Another run of this process has failed while this one waited for it.
              Effect.catchAll(({ cause }) =>
                cause?._tag === "TaskRegistrationError" ? Effect.fail(cause) : Effect.void
              ),
              Effect.zipRight(Effect.tapError(inner.register(task), (error) =>
                // The next run makes another agent.
                error.reason === "AgentDeleted" ? Effect.void : cooldown.begin(first, fromAuthApi(error))))
            )
        }
        const kept = PersistedTasks.make({ inner: asking, store, binding, lease, identity, check: loginOf(binding) })
        const tasks: TaskRegistration.Service = {
          register: (task) =>
            kept.register(task).pipe(
              Effect.tapError((error) =>
                error.reason === "AgentDeleted" ? forget(binding, identity.agentRuntimeId) : Effect.void
              ),
              Effect.tap(cooldown.end(first))
            )
        }
        return { identity, tasks, forget: forget(binding, identity.agentRuntimeId) }
      })

    const flight = yield* SingleFlight.make<Agent, AgentProvisioningError>()
    return {
      agent: options.policy === "JwtOnly"
        ? notAllowed
        : Effect.flatMap(
          Effect.mapError(login.current, noLogin),
          (first) => flight.share(agentOf(first), CredentialStore.bindingKey(first.binding))
        )
    }
  })

/**
 * `make` as a layer. The `HttpClient` is the plain one.
 *
 * @example
 * import { AgentProvisioning, AgentRegistration } from "@agent-identity/login"
 * import { Fakes } from "@agent-identity/testing"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * const sessionSource = "cli"
 * const billOfMaterials = AgentRegistration.billOfMaterials({ agentVersion: "1.0.0", sessionSource, platform: "linux" })
 *
 * const Provisioning = AgentProvisioning.layer({ policy: "ChatGptAuth", billOfMaterials }).pipe(
 *   Layer.provide([Fakes.layer, FetchHttpClient.layer])
 * )
 *
 * const agent = Effect.flatMap(AgentProvisioning.AgentProvisioning, (provisioning) => provisioning.agent)
 * const { identity } = await Effect.runPromise(Effect.provide(agent, Provisioning))
 * assert.deepStrictEqual(identity.account?.id, "account-fake")
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<
  AgentProvisioning,
  never,
  | AgentRegistration.AgentRegistration
  | ChatGptLogin.ChatGptLogin
  | CredentialStore.CredentialStore
  | HttpClient.HttpClient
  | Signing.Signing
  | UrlDerivation.UrlDerivation
> => Layer.effect(AgentProvisioning, make(options))

/**
 * The identity of this login's agent, and a registration that keeps its tasks, for a program that wants an agent or
 * nothing: `Run.layerWith(agent, { registration: agent })`. `ChatGptRun.layer` falls back on the login.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAgent = <E, R>(
  provisioning: Layer.Layer<AgentProvisioning, E, R>
): Layer.Layer<
  AgentIdentity.AgentIdentity | TaskRegistration.TaskRegistration,
  E | AgentProvisioningError,
  R
> =>
  Layer.provide(
    Layer.effectContext(
      Effect.map(
        Effect.flatMap(AgentProvisioning, (provisioning) => provisioning.agent),
        ({ identity, tasks }) =>
          Context.make(AgentIdentity.AgentIdentity, identity).pipe(
            Context.add(TaskRegistration.TaskRegistration, tasks)
          )
      )
    ),
    provisioning
  )

/** @internal */
export const noLogin = (cause: ChatGptLogin.ChatGptLoginError): AgentProvisioningError =>
  new AgentProvisioningError({ reason: "NoLogin", detail: cause.message, cause })

const notAllowed = new AgentProvisioningError({
  reason: "NotAllowed",
  detail: "the policy is JwtOnly, under which no agent is made of a login"
})

const stale = (why: string, cause?: ChatGptLogin.ChatGptLoginError | CredentialStore.CredentialStoreError) =>
  new AgentProvisioningError({
    reason: "StaleAuth",
    detail: `the login has changed while its agent was being made: ${why}; start anew`,
    cause
  })

const keyFailed = (error: { readonly message: string }) =>
  new AgentProvisioningError({ reason: "KeyFailed", detail: error.message })

const fromStore = (cause: CredentialStore.CredentialStoreError) =>
  cause.reason === "StaleAuth"
    ? stale(cause.detail, cause)
    : new AgentProvisioningError({ reason: "Store", detail: cause.message, cause })

const fromAuthApi = (
  cause: AgentRegistration.AgentRegistrationError | TaskRegistration.TaskRegistrationError
): AgentProvisioningError =>
  new AgentProvisioningError({
    reason: cause.reason === "StaleAuth" || cause.reason === "Store"
      ? cause.reason
      : cause.retryable
      ? "Unavailable"
      : "Refused",
    detail: cause.message,
    cause
  })
