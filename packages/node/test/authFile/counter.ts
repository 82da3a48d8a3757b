/** Records that count, for tests and for the processes that they start. */
import { AccountId } from "@agent-identity/core/AccountId"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { TaskId } from "@agent-identity/core/TaskId"
import type * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

export const BINDING: CredentialStore.Binding = { accountId: AccountId.make("account-1"), chatgptUserId: "user-1" }

export const KEY = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"

export const recordOf = (count: number): CredentialStore.AgentRecord => ({
  state: "ready",
  agentRuntimeId: AgentRuntimeId.make("agent-1"),
  privateKey: Redacted.make(KEY),
  taskId: TaskId.make(`task-${count}`),
  registeredAt: count
})

export const countOf = (record: CredentialStore.AgentRecord): number =>
  record.state === "ready" ? Number(record.taskId.slice("task-".length)) : NaN

/** One swap from what is there to the next number: the number that it put in, or none where another came first. */
export const increment = (
  store: CredentialStore.Service
): Effect.Effect<Option.Option<number>, CredentialStore.CredentialStoreError> =>
  Effect.gen(function*() {
    const entry = yield* store.get(BINDING)
    const next = Option.match(entry, { onNone: () => 0, onSome: ({ record }) => countOf(record) + 1 })
    const swapped = yield* store.compareAndSwap(
      BINDING,
      Option.map(entry, ({ version }) => version),
      Option.some(recordOf(next))
    )
    return swapped ? Option.some(next) : Option.none()
  })
