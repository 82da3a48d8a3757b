/**
 * The port to where an agent is kept between runs: one record for each login, which is only changed if it is still what
 * it was. Several processes, and several machines, can share one agent by it.
 *
 * @since 0.1.0
 */
import { AccountId } from "@agent-identity/core/AccountId"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { TaskId } from "@agent-identity/core/TaskId"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * Why a record was not read, or not written. `store` is the file or the database; nothing of a record is shown.
 *
 * - `StaleAuth`: the login is no more, or it is another's now; nothing was written
 * - `Occupied`: there is room for one agent, and another login's stands there; it was left alone
 * - `Invalid`: what is there cannot be understood; it was left alone
 * - `Locked`: others held the lock all the time
 * - `LockLost`: the lock was held for too long, so that others may have it; nothing was written
 * - `Unreadable`, `Unwritable`: there is no permission, or the like
 * - `DiskFull`: there is no space left; what was there still is
 * - `Unavailable`: a database gives no answer
 *
 * @since 0.1.0
 * @category errors
 */
export class CredentialStoreError extends Schema.TaggedError<CredentialStoreError>(
  "@agent-identity/login/CredentialStoreError"
)("CredentialStoreError", {
  reason: Schema.Literal(
    "StaleAuth",
    "Occupied",
    "Invalid",
    "Locked",
    "LockLost",
    "Unreadable",
    "Unwritable",
    "DiskFull",
    "Unavailable"
  ),
  store: Schema.String,
  detail: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The agent in ${this.store} is out of reach: ${this.detail}`
  }
}

/**
 * The ChatGPT account and the user of it that an agent works for. The same user in another account is another binding,
 * and so is another user of the account.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Binding = Schema.Struct({
  accountId: AccountId,
  chatgptUserId: Schema.NonEmptyTrimmedString.pipe(Schema.maxLength(256))
})

/**
 * Whose agent a record is.
 *
 * @since 0.1.0
 * @category models
 */
export type Binding = typeof Binding.Type

/**
 * Whether both are the same user of the same account.
 *
 * @example
 * import { AccountId } from "@agent-identity/core"
 * import { CredentialStore } from "@agent-identity/login"
 *
 * const accountId = AccountId.AccountId.make("account-1")
 * const [ada, bob] = ["ada", "bob"].map((chatgptUserId) => ({ accountId, chatgptUserId }))
 *
 * assert.deepStrictEqual(CredentialStore.sameBinding(ada!, { ...ada! }), true)
 * assert.deepStrictEqual(CredentialStore.sameBinding(ada!, bob!), false)
 *
 * @since 0.1.0
 * @category equivalence
 */
export const sameBinding = (left: Binding, right: Binding): boolean =>
  left.accountId === right.accountId && left.chatgptUserId === right.chatgptUserId

/**
 * The same text for the same binding.
 *
 * @internal
 */
export const bindingKey = ({ accountId, chatgptUserId }: Binding): string => JSON.stringify([accountId, chatgptUserId])

/**
 * Names who is at work on a record. Its holder moves `expiresAt` (milliseconds since the Unix epoch) on as a sign of life.
 * Others take over once they have seen it unchanged for the lease's term, whatever their wall clock says.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Lease = Schema.Struct({ holder: Schema.String, expiresAt: Schema.Finite })

const common = {
  /** Standard base64 of PKCS#8 DER: `AgentKey.toPkcs8`. */
  privateKey: Schema.Redacted(Schema.String),
  lease: Schema.optional(Lease)
}

/**
 * How far an agent is. Each step is kept before the next one begins, so that a crash loses none of them.
 *
 * - `key-made`: there is a key, which the AuthAPI may have heard of or not
 * - `registered`: the AuthAPI has given it a runtime id
 * - `ready`: it has a task; `registeredAt` is when it got that, where somebody remembers
 *
 * @since 0.1.0
 * @category schemas
 */
export const AgentRecord = Schema.Union(
  Schema.Struct({ state: Schema.Literal("key-made"), ...common }),
  Schema.Struct({ state: Schema.Literal("registered"), agentRuntimeId: AgentRuntimeId, ...common }),
  Schema.Struct({
    state: Schema.Literal("ready"),
    agentRuntimeId: AgentRuntimeId,
    taskId: TaskId,
    registeredAt: Schema.optional(Schema.Finite),
    ...common
  })
)

/**
 * An agent as it is kept.
 *
 * @since 0.1.0
 * @category models
 */
export type AgentRecord = typeof AgentRecord.Type

/**
 * A record, and a version of it that no other state of it ever has.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  readonly record: AgentRecord
  readonly version: string
}

/**
 * One record for each binding.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The record of this login, none where there is none yet. */
  readonly get: (binding: Binding) => Effect.Effect<Option.Option<Entry>, CredentialStoreError>
  /**
   * Puts `next`, or nothing, in the place of the version that is expected, none if there shall be no record yet. False
   * where it is another one by now; nothing is changed then.
   */
  readonly compareAndSwap: (
    binding: Binding,
    expected: Option.Option<string>,
    next: Option.Option<AgentRecord>
  ) => Effect.Effect<boolean, CredentialStoreError>
}

/**
 * Where agents are kept: in memory here, in the file of the Codex client (`AuthFile` of `@agent-identity/node`), or in
 * a database (`@agent-identity/sql`).
 *
 * @since 0.1.0
 * @category tags
 */
export class CredentialStore extends Context.Tag("@agent-identity/login/CredentialStore")<CredentialStore, Service>() {}

/**
 * An empty store in this process's memory.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory = (): Service => {
  const entries = new Map<string, Entry>()
  let versions = 0
  return {
    get: (binding) => Effect.sync(() => Option.fromNullable(entries.get(bindingKey(binding)))),
    compareAndSwap: (binding, expected, next) =>
      Effect.sync(() => {
        if (entries.get(bindingKey(binding))?.version !== Option.getOrUndefined(expected)) return false
        if (Option.isNone(next)) return entries.delete(bindingKey(binding)) || true
        entries.set(bindingKey(binding), { record: next.value, version: String(++versions) })
        return true
      })
  }
}

/**
 * Agents that last as long as this process.
 *
 * @example
 * import { AccountId } from "@agent-identity/core"
 * import { CredentialStore } from "@agent-identity/login"
 * import { Effect, Option, Redacted } from "effect"
 *
 * const login = { accountId: AccountId.AccountId.make("account-1"), chatgptUserId: "user-1" }
 * const record = { state: "key-made", privateKey: Redacted.make("MC4CAQAw…") } as const
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* CredentialStore.CredentialStore
 *   // Only where there is no record yet: the second one comes too late.
 *   assert.deepStrictEqual(yield* store.compareAndSwap(login, Option.none(), Option.some(record)), true)
 *   assert.deepStrictEqual(yield* store.compareAndSwap(login, Option.none(), Option.some(record)), false)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, CredentialStore.layerMemory))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<CredentialStore> = Layer.sync(CredentialStore, makeMemory)
