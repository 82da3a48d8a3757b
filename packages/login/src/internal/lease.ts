/** One step of an agent's record at a time, by one of all the processes that share it. */
import * as Moment from "@agent-identity/core/run/moment"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as CredentialStore from "../CredentialStore.ts"

/** @internal */
export interface Step<E> {
  readonly store: CredentialStore.Service
  readonly binding: CredentialStore.Binding
  /** For how long a lease of another has to stand unchanged until it is taken over. Its holder changes it in a quarter of that. */
  readonly lease: Duration.Duration
  /** Fails where the record is no longer wanted: asked at each turn, and again before anything is kept. */
  readonly check: Effect.Effect<void, E>
  /** Whether the step has been taken, by whomever. */
  readonly isDone: (record: Option.Option<CredentialStore.AgentRecord>) => Effect.Effect<boolean, E>
  /** What is kept, with a lease, before the work begins. */
  readonly claim: (
    record: Option.Option<CredentialStore.AgentRecord>
  ) => Effect.Effect<CredentialStore.AgentRecord, E>
  /** Any network is in here. */
  readonly work: (record: CredentialStore.AgentRecord) => Effect.Effect<CredentialStore.AgentRecord, E>
  readonly onStoreError: (error: CredentialStore.CredentialStoreError) => E
}

/**
 * The record after the step: whoever gets the lease does the work, everybody else waits for what comes of it. A lease
 * whose holder has died is taken over once it has stood unchanged for its term, by the monotonic clock of whoever waits:
 * the wall clocks of two machines may differ.
 * @internal
 */
export const whileHeld = <E>(step: Step<E>): Effect.Effect<CredentialStore.AgentRecord, E> =>
  Effect.gen(function*() {
    const leaseMillis = Math.min(Duration.toMillis(step.lease), longestLeaseMillis)
    const get = step.store.get(step.binding)
    const swap = (current: Option.Option<CredentialStore.Entry>, next: CredentialStore.AgentRecord) =>
      step.store.compareAndSwap(step.binding, Option.map(current, ({ version }) => version), Option.some(next))
    /** After a swap that came too late: another has won it, and not always. */
    let lost = 0
    const late = Effect.suspend(() =>
      ++lost < mostLostSwaps ? Effect.flatMap(Random.nextRange(5, 20), Effect.sleep) : Effect.fail(step.onStoreError(
        new CredentialStore.CredentialStoreError({
          reason: "Locked",
          store: "the credential store",
          detail: "the record is another one at every swap; try again later, or see why `get` shows what is not there"
        })
      ))
    )

    let seen: { readonly lease: Lease; readonly since: number } | undefined
    const isOver = (lease: Lease, now: Moment.Moment): boolean => {
      if (seen?.lease.holder === lease.holder && seen.lease.expiresAt === lease.expiresAt) {
        return now.monotonic - seen.since >= leaseMillis
      }
      seen = { lease, since: now.monotonic }
      return false
    }

    for (let turn = 0;; turn++) {
      yield* step.check
      const current = yield* Effect.mapError(get, step.onStoreError)
      const record = Option.map(current, (entry) => entry.record)
      if (yield* step.isDone(record)) return Option.getOrThrow(record)
      const now = yield* Moment.now
      const lease = Option.getOrUndefined(record)?.lease
      if (lease !== undefined && !isOver(lease, now)) {
        if (turn === 5) yield* Effect.logInfo("Waiting for another process, which is at work on the same agent")
        yield* Effect.interruptible(Effect.sleep(yield* Random.nextRange(20, Math.min(500, 50 * 2 ** turn))))
        lost = 0
        continue
      }
      const holder = globalThis.crypto.randomUUID()
      const leased = (of: CredentialStore.AgentRecord, { wall }: Moment.Moment): CredentialStore.AgentRecord => ({
        ...of,
        lease: { holder, expiresAt: wall + leaseMillis }
      })
      /** Changes the record as long as the lease is ours. */
      const touch = (
        change: (record: CredentialStore.AgentRecord, now: Moment.Moment) => CredentialStore.AgentRecord
      ) =>
        Effect.gen(function*() {
          const now = yield* Moment.now
          const current = yield* get
          if (Option.isSome(current) && current.value.record.lease?.holder === holder) {
            yield* swap(current, change(current.value.record, now))
          }
        }).pipe(Effect.ignore)

      const claimed = yield* step.claim(record)
      // The swap may have happened all the same.
      const won = yield* Effect.onInterrupt(swap(current, leased(claimed, now)), () => touch(released)).pipe(
        Effect.mapError(step.onStoreError)
      )
      if (!won) {
        yield* Effect.interruptible(late)
        continue
      }
      lost = 0

      const beat = Effect.forever(Effect.delay(touch(leased), leaseMillis / 4))
      // What was won is kept even if nobody waits for it any more, and whatever has happened to the record meanwhile.
      const kept = yield* Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const next = yield* restore(Effect.raceFirst(step.work(claimed), Effect.interruptible(beat)))
          for (;;) {
            yield* step.check
            const current = yield* Effect.mapError(again(get), step.onStoreError)
            const record = Option.map(current, (entry) => entry.record)
            if (yield* step.isDone(record)) return record
            // Another agent is being made in its place.
            if (Option.isSome(record) && !sameKey(record.value, next)) return Option.none()
            if (yield* Effect.mapError(again(swap(current, next)), step.onStoreError)) return Option.some(next)
            yield* late
          }
        }).pipe(Effect.onError(() => touch(released)))
      )
      if (Option.isSome(kept)) return kept.value
    }
  })

type Lease = typeof CredentialStore.Lease.Type

/** Nobody waits for longer, whatever the options say. */
const longestLeaseMillis = 600_000

/** In a row, with the waits between them. */
const mostLostSwaps = 20

/** What the AuthAPI has given is not lost to a store that is out of reach for a moment. */
const again = <A>(effect: Effect.Effect<A, CredentialStore.CredentialStoreError>) =>
  Effect.retry(effect, {
    times: 2,
    schedule: Schedule.spaced("500 millis"),
    while: ({ reason }) => reason === "Locked" || reason === "LockLost" || reason === "Unavailable"
  })

const released = (record: CredentialStore.AgentRecord): CredentialStore.AgentRecord => ({ ...record, lease: undefined })

const sameKey = (left: CredentialStore.AgentRecord, right: CredentialStore.AgentRecord): boolean =>
  Redacted.value(left.privateKey) === Redacted.value(right.privateKey)
