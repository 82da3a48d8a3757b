/** A `TaskRegistration` that keeps its tasks, and shares them with every process that has the same store. */
import type * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as CredentialStore from "../CredentialStore.ts"
import * as Lease from "./lease.ts"

/** @internal */
export interface Options {
  readonly inner: TaskRegistration.Service
  readonly store: CredentialStore.Service
  readonly binding: CredentialStore.Binding
  readonly lease: Duration.Duration
  readonly identity: AgentIdentity.Service
  /** Fails, and says why, where the login is no longer the one that the agent was made for. */
  readonly check: Effect.Effect<void, { readonly message: string }>
}

/** A kept task that differs from the stale one is the answer; a new one is kept. @internal */
export const make = (options: Options): TaskRegistration.Service => {
  const { binding, identity: { agentRuntimeId }, inner, lease, store } = options
  const fail = (reason: "StaleAuth" | "Store", detail: string) =>
    new TaskRegistration.TaskRegistrationError({ reason, agentRuntimeId, url: "", detail, attempts: 0 })

  const register: TaskRegistration.Service["register"] = (stale) =>
    Effect.map(
      Lease.whileHeld<TaskRegistration.TaskRegistrationError>({
        store,
        binding,
        lease,
        check: Effect.mapError(options.check, ({ message }) => fail("StaleAuth", message)),
        isDone: (record) =>
          Option.match(Option.filter(record, isOf(agentRuntimeId)), {
            onNone: () => fail("StaleAuth", "the agent that is kept for this login is no longer this one"),
            onSome: (record) => Effect.succeed(record.state === "ready" && !Option.contains(stale, record.taskId))
          }),
        claim: (record) => Effect.succeed(Option.getOrThrow(record)),
        work: (record) =>
          Effect.map(inner.register(stale), ({ registeredAt, taskId }) => ({
            state: "ready",
            privateKey: record.privateKey,
            agentRuntimeId,
            taskId,
            registeredAt
          })),
        onStoreError: (error) => fail(error.reason === "StaleAuth" ? "StaleAuth" : "Store", error.message)
      }),
      (record) => {
        const { registeredAt, taskId } = record as CredentialStore.AgentRecord & { readonly state: "ready" }
        return { taskId, registeredAt }
      }
    )

  return { register }
}

const isOf = (agentRuntimeId: string) => (record: CredentialStore.AgentRecord) =>
  record.state !== "key-made" && record.agentRuntimeId === agentRuntimeId
