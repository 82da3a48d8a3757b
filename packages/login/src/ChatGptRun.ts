/**
 * A run of a ChatGPT login: the assertion of its agent, or the login's own bearer token with the reason for it.
 *
 * @since 0.1.0
 */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as RunTask from "@agent-identity/core/RunTask"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import type * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as AgentProvisioning from "./AgentProvisioning.ts"
import * as ChatGptLogin from "./ChatGptLogin.ts"
import * as CredentialStore from "./CredentialStore.ts"

/**
 * What a ChatGPT login makes of a run: the assertion of its agent, where the policy allows one; the login's own token, for
 * the whole run, where it does not or the AuthAPI is unavailable. Whatever else is wrong is an error, a refusal above all.
 *
 * The token is the one that the login has at each request. Nothing is sent once the login is another account's.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerAuth: Layer.Layer<
  RunAuth.RunAuth,
  AgentProvisioning.AgentProvisioningError | TaskRegistration.TaskRegistrationError,
  AgentProvisioning.AgentProvisioning | ChatGptLogin.ChatGptLogin
> = Layer.scoped(
  RunAuth.RunAuth,
  Effect.gen(function*() {
    const login = yield* ChatGptLogin.ChatGptLogin
    const provisioning = yield* AgentProvisioning.AgentProvisioning
    const { binding } = yield* Effect.mapError(login.current, AgentProvisioning.noLogin)
    const assertion = Effect.gen(function*() {
      const { forget, identity, tasks } = yield* provisioning.agent
      const context = yield* Layer.build(RunAuth.layer.pipe(
        Layer.provide(AgentAssertion.layer),
        Layer.provide(RunTask.layer),
        Layer.provide([
          Layer.succeed(AgentIdentity.AgentIdentity, identity),
          Layer.succeed(TaskRegistration.TaskRegistration, tasks)
        ])
      ))
      return { ...Context.get(context, RunAuth.RunAuth), agentDeleted: forget }
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
)

/**
 * A run of a ChatGPT login: `layerAuth`, and the client that sends what it says. One build is one run, as for
 * `layer`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  RunAuth.RunAuth | ProviderAuth.ProviderAuth | HttpClient.HttpClient,
  AgentProvisioning.AgentProvisioningError | TaskRegistration.TaskRegistrationError,
  AgentProvisioning.AgentProvisioning | ChatGptLogin.ChatGptLogin | UrlDerivation.UrlDerivation | HttpClient.HttpClient
> = ProviderAuth.layerHttpClient.pipe(
  Layer.provideMerge(ProviderAuth.layer),
  Layer.provideMerge(layerAuth)
)

const bearerOf = (login: ChatGptLogin.Service, binding: CredentialStore.Binding, reason: string): RunAuth.Service =>
  RunAuth.ofNoTask(Effect.match(login.current, {
    onFailure: (error): RunAuth.None => ({ _tag: "None", reason: error.message }),
    onSuccess: (login): RunAuth.Bearer | RunAuth.None =>
      CredentialStore.sameBinding(login.binding, binding)
        ? {
          _tag: "Bearer",
          token: login.accessToken,
          account: { id: binding.accountId, fedramp: login.fedramp },
          reason
        }
        : { _tag: "None", reason: "the login is another account's than when the run began" }
  }))
