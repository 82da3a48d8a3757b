/**
 * A whole run in one layer: from the task to the client that signs.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Layer from "effect/Layer"
import type { UrlDerivationError } from "./protocol/Environment.ts"
import * as ProviderAuth from "./provider/ProviderAuth.ts"
import * as AgentAssertion from "./run/AgentAssertion.ts"
import type * as AgentIdentity from "./run/AgentIdentity.ts"
import * as RunAuth from "./run/RunAuth.ts"
import * as RunTask from "./run/RunTask.ts"
import * as TaskRegistration from "./run/TaskRegistration.ts"
import type * as UrlDerivation from "./run/UrlDerivation.ts"

/**
 * What a run gives to an app: its client, and every service between it and the registration.
 *
 * @since 0.1.0
 * @category models
 */
export type Services =
  | RunTask.RunTask
  | AgentAssertion.AgentAssertion
  | RunAuth.RunAuth
  | ProviderAuth.ProviderAuth
  | HttpClient.HttpClient

/**
 * A whole run over a registration of one's own, such as one that keeps its tasks; `layer` is this over the AuthAPI.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithRegistration: Layer.Layer<
  Services,
  TaskRegistration.TaskRegistrationError,
  | TaskRegistration.TaskRegistration
  | AgentIdentity.AgentIdentity
  | UrlDerivation.UrlDerivation
  | HttpClient.HttpClient
> = ProviderAuth.layerHttpClient.pipe(
  Layer.provideMerge(ProviderAuth.layer),
  Layer.provideMerge(RunAuth.layer),
  Layer.provideMerge(AgentAssertion.layer),
  Layer.provideMerge(RunTask.layer)
)

/**
 * Takes the plain `HttpClient` and gives the one that signs first-party requests, with every service between the two.
 * One build is one run: compose first, provide once. It is a constant, and Effect builds a constant once for all that
 * are composed of it, whatever was provided to it: give `Layer.fresh(Run.layer)` to each of several runs, and to each
 * of several agents, or all of them would send as the first one. A run inside of a run is built over the plain client.
 *
 * In an app the identity is `AgentIdentity.layerConfig` or `layerJwt`, the URLs are `UrlDerivation.layer`, and the
 * plain client is `FetchHttpClient.layer` or another of the platform's; here an AuthAPI in this process stands in for
 * all three.
 *
 * @example
 * import { Run, RunTask, Signing } from "@agent-identity/core"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import * as SocketlessAuthApi from "@agent-identity/testing/SocketlessAuthApi"
 * import { Effect, Layer } from "effect"
 *
 * const AgentRun = Run.layer.pipe(
 *   Layer.provide(RegisteredAgent.layer({ agentRuntimeId: "agent-123" })),
 *   Layer.provide(SocketlessAuthApi.layer),
 *   Layer.provide(Signing.layer)
 * )
 *
 * const task = Effect.flatMap(RunTask.RunTask, ({ current }) => current())
 * const tasks = Effect.provide(Effect.all([task, task], { concurrency: "unbounded" }), AgentRun)
 * const [first, second] = await Effect.runPromise(tasks)
 * assert.deepStrictEqual(first, second)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<
  TaskRegistration.TaskRegistration | Services,
  TaskRegistration.TaskRegistrationError | UrlDerivationError,
  AgentIdentity.AgentIdentity | UrlDerivation.UrlDerivation | HttpClient.HttpClient
> = Layer.provideMerge(layerWithRegistration, TaskRegistration.layer)
