/**
 * What this run sends: an assertion, a bearer token with the reason for it, or nothing with the reason for that.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as AgentAssertion from "./AgentAssertion.ts"
import * as AgentIdentity from "./AgentIdentity.ts"
import type * as RunTask from "./RunTask.ts"

/**
 * The run's identity.
 *
 * @since 0.1.0
 * @category models
 */
export interface Assertion extends AgentAssertion.Assertion {
  readonly _tag: "Assertion"
  readonly account: AgentIdentity.Account | undefined
}

/**
 * A person's token instead; `reason` says why there is no assertion.
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
 * @since 0.1.0
 * @category models
 */
export type Credential = Assertion | Bearer | None

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly current: Effect.Effect<Credential, RunTask.RunTaskError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class RunAuth extends Context.Tag("@agent-identity/core/RunAuth")<RunAuth, Service>() {}

/**
 * The run's assertion, always.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<RunAuth, never, AgentAssertion.AgentAssertion | AgentIdentity.AgentIdentity> = Layer
  .effect(
    RunAuth,
    Effect.gen(function*() {
      const { account } = yield* AgentIdentity.AgentIdentity
      const assertion = yield* AgentAssertion.AgentAssertion
      return {
        current: Effect.map(assertion.current, ({ agentRuntimeId, header, taskId }): Credential => ({
          _tag: "Assertion",
          header,
          agentRuntimeId,
          taskId,
          account
        }))
      }
    })
  )

/**
 * Nothing, for a program that runs without an identity.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerNone = (reason: string): Layer.Layer<RunAuth> =>
  Layer.succeed(RunAuth, { current: Effect.succeed<Credential>({ _tag: "None", reason }) })
