/**
 * A run of a ChatGPT login: the assertion of its agent, or the login's own bearer token with the reason for it.
 *
 * @since 0.1.0
 */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import { isolated } from "@agent-identity/core/run/isolated"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as RunTask from "@agent-identity/core/RunTask"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import type * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as AgentProvisioning from "./AgentProvisioning.ts"
import * as ChatGptLogin from "./ChatGptLogin.ts"
import * as CredentialStore from "./CredentialStore.ts"

/**
 * Decides what a run of this login sends: the assertion of its agent, where the policy allows one; the login's own token,
 * for the whole run, where it does not or the AuthAPI is unavailable. Everything else is an error, a refusal above all.
 *
 * The token is the one that the login has at each request. Requests fail once the login is another account's, or while it
 * cannot be read.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeAuth: Effect.Effect<
  RunAuth.Service,
  AgentProvisioning.AgentProvisioningError | TaskRegistration.TaskRegistrationError,
  AgentProvisioning.AgentProvisioning | ChatGptLogin.ChatGptLogin | Scope.Scope
> = Effect.gen(function*() {
  const login = yield* ChatGptLogin.ChatGptLogin
  const provisioning = yield* AgentProvisioning.AgentProvisioning
  const { binding } = yield* Effect.mapError(login.current, AgentProvisioning.noLogin)
  const assertion = Effect.gen(function*() {
    const { forget, identity, tasks } = yield* provisioning.agent
    const agent = Layer.succeedContext(
      Context.make(AgentIdentity.AgentIdentity, identity).pipe(Context.add(TaskRegistration.TaskRegistration, tasks))
    )
    const task = RunTask.layer(agent)
    const auth = RunAuth.layer(Layer.merge(AgentAssertion.layer(Layer.merge(agent, task)), task))
    return { ...Context.get(yield* Layer.build(auth), RunAuth.RunAuth), agentDeleted: forget }
  })
  return yield* assertion.pipe(
    Effect.catchIf(
      (error) => error._tag === "AgentProvisioningError" ? error.fallback : error.retryable,
      (error) => {
        const reason = error.message
        const log = error._tag === "AgentProvisioningError" && error.reason === "NotAllowed"
          ? Effect.logDebug
          : Effect.logWarning
        return log("This run sends the login's bearer token, and no assertion").pipe(
          Effect.annotateLogs({ reason }),
          Effect.as(bearerOf(login, binding, reason))
        )
      }
    )
  )
})

/**
 * `makeAuth` over a login and its provisioning.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAuth = <E, R>(
  login: Layer.Layer<AgentProvisioning.AgentProvisioning | ChatGptLogin.ChatGptLogin, E, R>
): Layer.Layer<
  RunAuth.RunAuth,
  E | AgentProvisioning.AgentProvisioningError | TaskRegistration.TaskRegistrationError,
  R
> => Layer.provide(Layer.scoped(RunAuth.RunAuth, makeAuth), login)

/**
 * Builds a run of this login: `layerAuth`, and the client that sends what it says. One value in one build is one run, as
 * for `Run.layer`, and nothing of it is shared with another login's.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  login: Layer.Layer<AgentProvisioning.AgentProvisioning | ChatGptLogin.ChatGptLogin, E, R>
): Layer.Layer<
  RunAuth.RunAuth | ProviderAuth.ProviderAuth | HttpClient.HttpClient,
  E | AgentProvisioning.AgentProvisioningError | TaskRegistration.TaskRegistrationError,
  R | UrlDerivation.UrlDerivation | HttpClient.HttpClient
> => {
  const auth = layerAuth(login)
  const provider = Layer.provideMerge(Layer.effect(ProviderAuth.ProviderAuth, ProviderAuth.make), auth)
  return isolated(Layer.provideMerge(Layer.effect(HttpClient.HttpClient, ProviderAuth.makeHttpClient), provider))
}

const bearerOf = (login: ChatGptLogin.Service, binding: CredentialStore.Binding, reason: string): RunAuth.Service =>
  RunAuth.makeWithoutTask(Effect.matchEffect(login.current, {
    onFailure: (error) => fail("NoLogin", error.message),
    onSuccess: (login) =>
      CredentialStore.sameBinding(login.binding, binding)
        ? Effect.succeed<RunAuth.Bearer>({
          _tag: "Bearer",
          token: login.accessToken,
          account: { id: binding.accountId, fedramp: login.fedramp },
          reason
        })
        : fail("StaleAuth", "the login is another account's than when the run began; start another run")
  }))

const fail = (reason: "NoLogin" | "StaleAuth", detail: string) =>
  Effect.fail(new RunTask.RunTaskError({ reason, detail }))
