/** What every `CredentialStore` does, wherever it keeps its agents. */
import { AccountId, AgentRuntimeId, TaskId } from "@agent-identity/core"
import { CredentialStore } from "@agent-identity/login"
import { assert, describe, it } from "@effect/vitest"
import {
  Arbitrary,
  Array,
  Context,
  Effect,
  FastCheck,
  Fiber,
  Layer,
  Option,
  Redacted,
  Runtime,
  Schema,
  type Scope
} from "effect"
import { vector } from "../../core/test/fixtures.ts"
import { assertClean, shown } from "../../core/test/leaks.ts"

/** Two stores over one place, built for themselves as in two processes; in memory they are the same one. */
export interface Stores {
  readonly layer: Layer.Layer<CredentialStore.CredentialStore, unknown>
  readonly again: Layer.Layer<CredentialStore.CredentialStore, unknown>
}

/** A place of its own for each test, with all that `BINDING` needs there, and without a record. */
export type Place = Effect.Effect<Stores, unknown, Scope.Scope>

export const bindingOf = (accountId: string, chatgptUserId: string): CredentialStore.Binding => ({
  accountId: AccountId.AccountId.make(accountId),
  chatgptUserId
})

export const BINDING = bindingOf("account-1", "user-1")

export const KEY = vector.pkcs8V1

const common = { privateKey: Redacted.make(KEY) }
const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-1")
const keyMade: CredentialStore.AgentRecord = { state: "key-made", ...common }
const registered: CredentialStore.AgentRecord = { state: "registered", agentRuntimeId, ...common }

/** A record that can be told from others by a number. */
export const recordOf = (count: number): CredentialStore.AgentRecord => ({
  state: "ready",
  agentRuntimeId,
  taskId: TaskId.TaskId.make(`task-${count}`),
  registeredAt: count,
  ...common
})

export const countOf = (record: CredentialStore.AgentRecord): number =>
  record.state === "ready" ? record.registeredAt ?? NaN : NaN

/** All of a record, the key too: `Redacted` values look alike to an assertion. */
export const plain = (record: CredentialStore.AgentRecord): unknown =>
  // What is undefined is not there, and there is one zero: a store may do as JSON does.
  JSON.parse(JSON.stringify(Schema.encodeSync(CredentialStore.AgentRecord)(record)))

/** Reads the number of the record and counts it up, as often as others come first. */
export const increment = (
  store: CredentialStore.Service
): Effect.Effect<void, CredentialStore.CredentialStoreError> =>
  store.get(BINDING).pipe(
    Effect.map(Option.getOrThrow),
    Effect.flatMap(({ record, version }) =>
      store.compareAndSwap(BINDING, Option.some(version), Option.some(recordOf(countOf(record) + 1)))
    ),
    Effect.repeat({ until: (swapped) => swapped }),
    Effect.asVoid
  )

const anyRecord: FastCheck.Arbitrary<CredentialStore.AgentRecord> = FastCheck.tuple(
  Arbitrary.make(CredentialStore.AgentRecord),
  FastCheck.oneof(FastCheck.constantFrom(vector.pkcs8V1, vector.pkcs8V2), FastCheck.string({ unit: "binary" }))
).map(([record, key]) => ({ ...record, privateKey: Redacted.make(key) }))

const LIMIT = 60_000

export const suite = (name: string, place: Place, { manyBindings }: { readonly manyBindings: boolean }) =>
  describe(`CredentialStore: ${name}`, () => {
    const test = <A, E>(
      title: string,
      use: (one: CredentialStore.Service, other: CredentialStore.Service) => Effect.Effect<A, E, Scope.Scope>
    ) =>
      it.scopedLive(title, () =>
        Effect.gen(function*() {
          const { again, layer } = yield* place
          const [one, other] = yield* Effect.all(
            [layer, again].map((_) => Effect.map(Layer.build(_), Context.get(CredentialStore.CredentialStore)))
          )
          return yield* use(one!, other!)
        }), LIMIT)

    /** Puts it in, whatever is there. */
    const put = (
      store: CredentialStore.Service,
      record: CredentialStore.AgentRecord,
      binding: CredentialStore.Binding = BINDING
    ) =>
      Effect.gen(function*() {
        const before = yield* store.get(binding)
        const expected = Option.map(before, (_) => _.version)
        assert.isTrue(yield* store.compareAndSwap(binding, expected, Option.some(record)))
      })

    const remove = (store: CredentialStore.Service, binding: CredentialStore.Binding = BINDING) =>
      Effect.gen(function*() {
        const { version } = Option.getOrThrow(yield* store.get(binding))
        assert.isTrue(yield* store.compareAndSwap(binding, Option.some(version), Option.none()))
      })

    const assertHolds = (
      store: CredentialStore.Service,
      expected: CredentialStore.AgentRecord | undefined,
      binding: CredentialStore.Binding = BINDING
    ) =>
      Effect.gen(function*() {
        const entry = yield* store.get(binding)
        assert.deepStrictEqual(
          Option.getOrUndefined(Option.map(entry, (_) => plain(_.record))),
          expected && plain(expected)
        )
        return Option.map(entry, (_) => _.version)
      })

    test("is empty at first", (one, other) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* one.get(BINDING), Option.none())
        assert.deepStrictEqual(yield* other.get(BINDING), Option.none())
      }))

    test(
      "keeps each state of an agent, and its removal, and the other store sees it at once",
      (one, other) =>
        Effect.gen(function*() {
          const lease = { holder: "holder-1", expiresAt: 1_800_000_000_000 }
          const ready = recordOf(1)
          const undated: CredentialStore.AgentRecord = {
            state: "ready",
            agentRuntimeId,
            taskId: TaskId.TaskId.make("task-1"),
            ...common
          }
          const records: ReadonlyArray<CredentialStore.AgentRecord> = [
            keyMade,
            { ...keyMade, lease },
            registered,
            { ...registered, lease },
            ready,
            { ...ready, lease },
            undated,
            { ...undated, lease, privateKey: Redacted.make(vector.pkcs8V2) },
            keyMade
          ]
          for (const [index, record] of records.entries()) {
            yield* put(index % 2 === 0 ? one : other, record)
            assert.deepStrictEqual(yield* assertHolds(one, record), yield* assertHolds(other, record))
          }
          yield* remove(one)
          yield* assertHolds(other, undefined)
          yield* put(other, ready)
          yield* assertHolds(one, ready)
        })
    )

    test(
      "keeps any record",
      (one, other) => forAll(anyRecord, (record) => Effect.zipRight(put(one, record), assertHolds(other, record)))
    )

    test("keeps any task id, runtime id, key and holder", (one, other) =>
      Effect.gen(function*() {
        const texts = [
          "a:b",
          ":",
          "a\0b",
          "\u0000\u0001\u001f\u007f\u0085",
          " a\n",
          "null",
          "\"",
          "'; --",
          "\\u0000",
          "é",
          "e\u0301",
          "日本語",
          "🛰",
          "x".repeat(1024),
          "日".repeat(1024),
          "\u0001".repeat(1024)
        ]
        for (const text of texts) {
          const id = text.replace(/[:\p{Cc}]/gu, "").slice(0, 256) || "agent-1"
          const record: CredentialStore.AgentRecord = {
            state: "ready",
            privateKey: Redacted.make(text),
            agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(id),
            taskId: TaskId.TaskId.make(text),
            lease: { holder: text, expiresAt: 0.5 }
          }
          yield* put(one, record)
          yield* assertHolds(other, record)
        }
      }))

    test("creates a record only if none is there", (one, other) =>
      Effect.gen(function*() {
        assert.isTrue(yield* one.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        const version = yield* assertHolds(one, recordOf(1))
        for (const store of [one, other]) {
          assert.isFalse(yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(2))))
          assert.isFalse(yield* store.compareAndSwap(BINDING, Option.none(), Option.none()))
          assert.deepStrictEqual(yield* assertHolds(store, recordOf(1)), version)
        }
      }))

    test("changes nothing where another version is expected", (one, other) =>
      Effect.gen(function*() {
        const versions = ["", "0", "no such version", "' OR 1=1", "\0", "é", globalThis.crypto.randomUUID()]
        const assertRefused = (expected: string) =>
          Effect.gen(function*() {
            const before = yield* one.get(BINDING)
            for (const store of [one, other]) {
              for (const next of [Option.some(recordOf(99)), Option.none()]) {
                assert.isFalse(yield* store.compareAndSwap(BINDING, Option.some(expected), next))
              }
            }
            const after = yield* assertHolds(one, Option.getOrUndefined(before)?.record)
            assert.deepStrictEqual(after, Option.map(before, (_) => _.version))
          })
        for (const version of versions) yield* assertRefused(version)
        const old: Array<string> = []
        for (const count of [1, 2, 3]) {
          yield* put(one, recordOf(count))
          for (const version of [...versions, ...old]) yield* assertRefused(version)
          old.push(Option.getOrThrow(yield* one.get(BINDING)).version)
        }
        yield* remove(other)
        for (const version of [...versions, ...old]) yield* assertRefused(version)
      }))

    test("removes a record, once, and nothing is no record", (one, other) =>
      Effect.gen(function*() {
        assert.isTrue(yield* one.compareAndSwap(BINDING, Option.none(), Option.none()))
        yield* put(one, keyMade)
        const version = yield* assertHolds(other, keyMade)
        assert.isTrue(yield* other.compareAndSwap(BINDING, version, Option.none()))
        assert.isFalse(yield* one.compareAndSwap(BINDING, version, Option.none()))
        yield* assertHolds(one, undefined)
        assert.isTrue(yield* one.compareAndSwap(BINDING, Option.none(), Option.none()))
      }))

    test("never gives a version again, not even to an equal record", (one, other) =>
      Effect.gen(function*() {
        const versions: Array<string> = []
        for (const count of Array.range(1, 10)) {
          const store = count % 2 === 0 ? one : other
          yield* put(store, keyMade)
          versions.push(Option.getOrThrow(yield* assertHolds(store, keyMade)))
          if (count % 3 === 0) yield* remove(store)
        }
        assert.strictEqual(new Set(versions).size, versions.length)
        for (const version of versions.slice(0, -1)) {
          assert.isFalse(yield* one.compareAndSwap(BINDING, Option.some(version), Option.none()))
        }
      }))

    test("lets one of 64 swaps of the same version win", (one, other) =>
      Effect.gen(function*() {
        const race = (
          expected: Option.Option<string>,
          next: (index: number) => Option.Option<CredentialStore.AgentRecord>
        ) =>
          Effect.gen(function*() {
            const swapped = yield* Effect.forEach(
              Array.range(0, 63),
              (index) => (index % 2 === 0 ? one : other).compareAndSwap(BINDING, expected, next(index)),
              { concurrency: "unbounded" }
            )
            assert.strictEqual(swapped.filter((_) => _).length, 1)
            return swapped.indexOf(true)
          })
        const created = yield* race(Option.none(), (index) => Option.some(recordOf(index)))
        const version = yield* assertHolds(one, recordOf(created))
        const winner = yield* race(version, (index) => Option.some(recordOf(100 + index)))
        const last = yield* assertHolds(other, recordOf(100 + winner))
        yield* race(last, () => Option.none())
        yield* assertHolds(one, undefined)
      }))

    test("loses nothing of what 8 fibers count up", (one, other) =>
      Effect.gen(function*() {
        yield* put(one, recordOf(0))
        yield* Effect.forEach(Array.range(1, 50), (index) => increment(index % 2 === 0 ? one : other), {
          concurrency: 8,
          discard: true
        })
        yield* assertHolds(one, recordOf(50))
        yield* assertHolds(other, recordOf(50))
      }))

    test(
      "holds the old record or the new one after a swap is interrupted, and can be used",
      (one, other) =>
        Effect.gen(function*() {
          yield* put(one, recordOf(0))
          for (const round of Array.range(1, 40)) {
            const before = Option.getOrThrow(yield* one.get(BINDING))
            const next = recordOf(round)
            const fiber = yield* Effect.fork(
              one.compareAndSwap(BINDING, Option.some(before.version), Option.some(next))
            )
            // At another step of it each time.
            if (round % 4 === 0) yield* Effect.sleep(round / 8)
            else yield* Effect.repeatN(Effect.yieldNow(), round)
            yield* Fiber.interrupt(fiber)
            const after = Option.getOrThrow(yield* other.get(BINDING))
            assert.deepStrictEqual(plain(after.record), plain(after.version === before.version ? before.record : next))
            // A change that was asked for may still happen for a while, if it has not been seen.
            yield* increment(other)
          }
          assert.isTrue(
            yield* Effect.flatMap(one.get(BINDING), (entry) =>
              one.compareAndSwap(
                BINDING,
                Option.map(entry, (_) => _.version),
                Option.none()
              ))
          )
        })
    )

    test("answers as the store in memory does", (one, other) =>
      forAll(
        FastCheck.array(step, { maxLength: 30 }),
        (steps) =>
          Effect.gen(function*() {
            const model = CredentialStore.makeMemory()
            const left = yield* one.get(BINDING)
            if (Option.isSome(left)) yield* remove(one)
            /** The versions that were seen, in the store and in the model. */
            const versions: Array<readonly [store: string, model: string]> = []
            for (const { age, count, first } of steps) {
              const store = first ? one : other
              const pair = age < 0 ? undefined : versions.at(-1 - age) ?? (["unknown", "unknown"] as const)
              const next = Option.map(count, recordOf)
              assert.strictEqual(
                yield* store.compareAndSwap(BINDING, Option.map(Option.fromNullable(pair), (_) => _[0]), next),
                yield* model.compareAndSwap(BINDING, Option.map(Option.fromNullable(pair), (_) => _[1]), next)
              )
              const expected = yield* model.get(BINDING)
              const version = yield* assertHolds(first ? other : one, Option.getOrUndefined(expected)?.record)
              if (Option.isSome(version) && version.value !== versions.at(-1)?.[0]) {
                versions.push([version.value, Option.getOrThrow(expected).version])
              }
            }
          }),
        30
      ))

    test("does not show the key in anything that it gives", (one) =>
      Effect.gen(function*() {
        for (const record of [keyMade, registered, recordOf(1)]) {
          yield* put(one, record)
          const entry = yield* one.get(BINDING)
          const read = Option.getOrThrow(entry)
          assert.strictEqual(Redacted.value(read.record.privateKey), KEY)
          // The seed alone would do.
          const secrets = [KEY, KEY.slice(-40)]
          for (const value of [entry, read, read.record, read.record.privateKey]) {
            assertClean("what was read", shown(value), secrets)
          }
        }
      }))

    if (manyBindings) {
      test(
        "keeps bindings apart: other users, and the same user in other accounts",
        (one, other) =>
          Effect.gen(function*() {
            const bindings = [
              BINDING,
              bindingOf("account-2", "user-1"),
              bindingOf("account-1", "user-2"),
              bindingOf("user-1", "account-1"),
              bindingOf("Account-1", "user-1"),
              bindingOf("account-1", "User-1"),
              bindingOf("account-1user", "-1"),
              bindingOf("account-1\",\"user-1", "x"),
              bindingOf("account-1", "user-1\",\"x"),
              bindingOf("a", "é"),
              bindingOf("a", "e\u0301"),
              bindingOf("a", "a\0b"),
              bindingOf("a", "a\\u0000b"),
              bindingOf("~".repeat(256), "日".repeat(256)),
              bindingOf("~".repeat(256), "日".repeat(255))
            ]
            for (const [index, binding] of bindings.entries()) {
              yield* assertHolds(one, undefined, binding)
              yield* put(one, recordOf(index), binding)
            }
            const versions = new Set<string>()
            for (const [index, binding] of bindings.entries()) {
              versions.add(Option.getOrThrow(yield* assertHolds(other, recordOf(index), binding)))
            }
            assert.strictEqual(versions.size, bindings.length)
            // The version of one binding is none of another.
            const { version } = Option.getOrThrow(yield* one.get(BINDING))
            assert.isFalse(yield* one.compareAndSwap(bindings[1]!, Option.some(version), Option.none()))
            yield* remove(other)
            yield* assertHolds(one, undefined)
            for (const [index, binding] of bindings.entries()) {
              if (index > 0) yield* assertHolds(one, recordOf(index), binding)
            }
          })
      )

      test(
        "takes any binding",
        (one, other) =>
          forAll(Arbitrary.make(CredentialStore.Binding), (binding) =>
            Effect.gen(function*() {
              yield* put(one, keyMade, binding)
              yield* assertHolds(other, keyMade, binding)
              yield* remove(other, binding)
              yield* assertHolds(one, undefined, binding)
            }))
      )
    }
  })

/** `age`: how many versions ago; below zero where no record is expected. */
const step = FastCheck.record({
  first: FastCheck.boolean(),
  age: FastCheck.constantFrom(-1, -1, 0, 0, 0, 0, 1, 2, 100),
  count: FastCheck.constantFrom(Option.none<number>(), ...Array.range(1, 3).map(Option.some))
})

/** For a hundred values, in the test's own runtime. */
const forAll = <A, E, R>(
  arbitrary: FastCheck.Arbitrary<A>,
  property: (value: A) => Effect.Effect<unknown, E, R>,
  numRuns = 100
): Effect.Effect<void, never, R> =>
  Effect.flatMap(Effect.runtime<R>(), (runtime) =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(arbitrary, (value) => Runtime.runPromise(runtime)(Effect.asVoid(property(value)))),
        { numRuns }
      )
    ))
