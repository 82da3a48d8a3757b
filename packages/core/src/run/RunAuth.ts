/**
 * What this run sends: an assertion, a bearer token with the reason for it, or nothing with the reason for that.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { AgentRuntimeId } from "../protocol/AgentRuntimeId.ts"
import type { TaskId } from "../protocol/TaskId.ts"
import * as AgentAssertion from "./AgentAssertion.ts"
import type * as AgentIdentity from "./AgentIdentity.ts"
import * as RunTask from "./RunTask.ts"
import * as Telemetry from "./telemetry.ts"

/**
 * A bearer token instead; `reason` says why there is no assertion. It is a person's, or the provider's own.
 *
 * @since 0.1.0
 * @category models
 */
export interface Bearer {
  readonly _tag: "Bearer"
  readonly token: Redacted.Redacted<string>
  readonly account: AgentIdentity.Account | undefined
  readonly reason: string
}

/**
 * Nothing; `reason` says why.
 *
 * @since 0.1.0
 * @category models
 */
export interface None {
  readonly _tag: "None"
  readonly reason: string
}

/**
 * What a request is sent with.
 *
 * @since 0.1.0
 * @category models
 */
export type Credential = AgentAssertion.Assertion | Bearer | None

/**
 * What of a credential may be shown: whose it is and for which task, or why it is no assertion.
 *
 * @since 0.1.0
 * @category models
 */
export type Authorization =
  | { readonly _tag: "Assertion"; readonly agentRuntimeId: AgentRuntimeId; readonly taskId: TaskId }
  | { readonly _tag: "Bearer" | "None"; readonly reason: string }

/**
 * What of it may be shown.
 *
 * @example
 * import { RunAuth } from "@agent-identity/core"
 * import { Redacted } from "effect"
 *
 * const reason = "the policy is JwtOnly"
 * const credential: RunAuth.Bearer = { _tag: "Bearer", token: Redacted.make("secret"), account: undefined, reason }
 *
 * assert.deepStrictEqual(RunAuth.authorizationOf(credential), { _tag: "Bearer", reason })
 *
 * @since 0.1.0
 * @category combinators
 */
export const authorizationOf = (credential: Credential): Authorization =>
  credential._tag === "Assertion"
    ? { _tag: "Assertion", agentRuntimeId: credential.agentRuntimeId, taskId: credential.taskId }
    : { _tag: credential._tag, reason: credential.reason }

/**
 * The attributes that spans of requests carry, for spans and logs of the app's own: `agent_identity.scheme`, with the ids
 * of an assertion or with the reason why there is none.
 *
 * @since 0.1.0
 * @category combinators
 */
export const attributes = (authorization: Authorization): Record<string, unknown> => ({
  "agent_identity.scheme": authorization._tag,
  ...(authorization._tag === "Assertion"
    ? Telemetry.attributes(authorization)
    : { "agent_identity.reason": authorization.reason })
})

/**
 * Decides at each request what the run sends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** What to send now. Fails once the run is over, and where the key does not sign: never with something else instead. */
  readonly current: Effect.Effect<Credential, RunTask.RunTaskError>
  /** The task that the run has in the place of one that a server has refused, if any: `RunTask.recover`. */
  readonly recover: (refused: TaskId) => Effect.Effect<Option.Option<TaskId>, RunTask.RunTaskError>
  /** Ends once this task is no longer the run's: `RunTask.replaced`. */
  readonly replaced: (taskId: TaskId) => Effect.Effect<"Replaced" | "Ended">
  /** A server has said that the agent is no more: whoever keeps it can forget it. */
  readonly agentDeleted: Effect.Effect<void>
}

/**
 * What the run sends. `ProviderAuth` takes it.
 *
 * @since 0.1.0
 * @category tags
 */
export class RunAuth extends Context.Tag("@agent-identity/core/RunAuth")<RunAuth, Service>() {}

/**
 * The run's assertion, always.
 *
 * @internal
 */
export const make: Effect.Effect<Service, never, AgentAssertion.AgentAssertion | RunTask.RunTask> = Effect.gen(
  function*() {
    const { current } = yield* AgentAssertion.AgentAssertion
    const { recover, replaced } = yield* RunTask.RunTask
    return { current, recover, replaced, agentDeleted: Effect.void }
  }
)

/**
 * A run without a task, which sends a bearer token or nothing: asked for at every request.
 *
 * @internal
 */
export const makeWithoutTask = (current: Effect.Effect<Bearer | None, RunTask.RunTaskError>): Service => ({
  current,
  recover: () => Effect.succeedNone,
  replaced: () => Effect.never,
  agentDeleted: Effect.void
})

/**
 * `make` over the run's assertion and task.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  over: Layer.Layer<AgentAssertion.AgentAssertion | RunTask.RunTask, E, R> & AgentIdentity.Closed<R>
): Layer.Layer<RunAuth, E, R> => Layer.provide(Layer.effect(RunAuth, make), over)

/**
 * Nothing, for a program that runs without an identity.
 *
 * @example
 * import { RunAuth } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const current = Effect.flatMap(RunAuth.RunAuth, (auth) => auth.current)
 * const credential = await Effect.runPromise(Effect.provide(current, RunAuth.layerNone("a dry run")))
 *
 * assert.deepStrictEqual(credential, { _tag: "None", reason: "a dry run" })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNone = (reason: string): Layer.Layer<RunAuth> =>
  Layer.succeed(RunAuth, makeWithoutTask(Effect.succeed({ _tag: "None", reason })))
