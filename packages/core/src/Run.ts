/**
 * A whole run in one layer: from the agent's identity to the client that signs.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as Layer from "effect/Layer"
import type { UrlDerivationError } from "./protocol/Environment.ts"
import type { PayloadForm } from "./protocol/SignedPayload.ts"
import type { TaskId } from "./protocol/TaskId.ts"
import * as ProviderAuth from "./provider/ProviderAuth.ts"
import * as AgentAssertion from "./run/AgentAssertion.ts"
import type * as AgentIdentity from "./run/AgentIdentity.ts"
import { isolated } from "./run/isolated.ts"
import * as RunAuth from "./run/RunAuth.ts"
import * as RunTask from "./run/RunTask.ts"
import * as TaskRegistration from "./run/TaskRegistration.ts"
import type * as UrlDerivation from "./run/UrlDerivation.ts"

/**
 * What a run gives to an app: its client, and every service between it and the identity.
 *
 * @since 0.1.0
 * @category models
 */
export type Services =
  | AgentIdentity.AgentIdentity
  | TaskRegistration.TaskRegistration
  | RunTask.RunTask
  | AgentAssertion.AgentAssertion
  | RunAuth.RunAuth
  | ProviderAuth.ProviderAuth
  | HttpClient.HttpClient

/** What a run needs besides the agent. */
type Needed = UrlDerivation.UrlDerivation | HttpClient.HttpClient

/**
 * How a run differs from the usual one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<E = UrlDerivationError, R = AgentIdentity.AgentIdentity | Needed> {
  /** Where tasks come from; the AuthAPI by default. */
  readonly registration?: Layer.Layer<TaskRegistration.TaskRegistration, E, R> | undefined
  /** A task that the agent already has: the run goes on with it, and registers none until it has to be renewed. */
  readonly taskId?: TaskId | undefined
  /** `v1` by default, the one that OpenAI's service takes. */
  readonly form?: PayloadForm | undefined
}

/**
 * Builds a run of the agent whose identity this layer builds. Takes the plain `HttpClient` and gives the one that signs
 * first-party requests. One value in one build is one run and one task, for all of its dependents; provided again, it is
 * another run. What the run of one agent builds is never shared with another's.
 *
 * In an app the identity is `AgentIdentity.layer` or `AgentIdentityJwt.layerIdentity`, the URLs are
 * `UrlDerivation.layer`, and the plain client is `FetchHttpClient.layer` or another of the platform's; here an AuthAPI in
 * this process stands in for all three.
 *
 * @example
 * import { Run, RunTask, Signing } from "@agent-identity/core"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
 * import { Effect, Layer } from "effect"
 *
 * const AgentRun = Run.layer(RegisteredAgent.layer({ agentRuntimeId: "agent-123" })).pipe(
 *   Layer.provide(SocketlessAuthApi.layer),
 *   Layer.provide(Signing.layer)
 * )
 *
 * const task = Effect.flatMap(RunTask.RunTask, ({ current }) => current)
 * const tasks = Effect.provide(Effect.all([task, task], { concurrency: "unbounded" }), AgentRun)
 * const [first, second] = await Effect.runPromise(tasks)
 * assert.deepStrictEqual(first, second)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  identity: Layer.Layer<AgentIdentity.AgentIdentity, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<Services, E | TaskRegistration.TaskRegistrationError | UrlDerivationError, R | Needed> =>
  layerWith<E, R>(identity, {})

/**
 * `layer` with another registration, a task that is known, or another form of assertions.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = <E, R, E2 = UrlDerivationError, R2 = AgentIdentity.AgentIdentity | Needed>(
  identity: Layer.Layer<AgentIdentity.AgentIdentity, E, R> & AgentIdentity.Closed<R>,
  options: Options<E2, R2>
): Layer.Layer<
  Services,
  E | E2 | TaskRegistration.TaskRegistrationError,
  R | Exclude<R2, AgentIdentity.AgentIdentity> | Needed
> => {
  const { form = "v1", registration = ofAuthApi as Layer.Layer<TaskRegistration.TaskRegistration, E2, R2>, taskId } =
    options
  const task = taskId === undefined ? RunTask.makeRegistered : RunTask.make({ taskId, registeredAt: undefined })
  return isolated(
    Layer.effect(HttpClient.HttpClient, ProviderAuth.makeHttpClient).pipe(
      Layer.provideMerge(Layer.effect(ProviderAuth.ProviderAuth, ProviderAuth.make)),
      Layer.provideMerge(Layer.effect(RunAuth.RunAuth, RunAuth.make)),
      Layer.provideMerge(Layer.scoped(AgentAssertion.AgentAssertion, AgentAssertion.make(form))),
      Layer.provideMerge(Layer.scoped(RunTask.RunTask, task)),
      Layer.provideMerge(registration),
      Layer.provideMerge(identity as Layer.Layer<AgentIdentity.AgentIdentity, E, R>)
    )
  )
}

const ofAuthApi = Layer.effect(TaskRegistration.TaskRegistration, TaskRegistration.make)
