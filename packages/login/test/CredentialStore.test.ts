import { CredentialStore } from "@agent-identity/login"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Layer, Option, Redacted, Schema, Struct } from "effect"
import { assertClean, shown } from "../../core/test/leaks.ts"
import { BINDING, KEY, plain, recordOf, suite } from "./credentialStoreSuite.ts"

suite(
  "memory",
  Effect.sync(() => {
    const layer = Layer.succeed(CredentialStore.CredentialStore, CredentialStore.makeMemory())
    return { layer, again: layer }
  }),
  { manyBindings: true }
)

describe("CredentialStore", () => {
  it.effect("is empty in every layer in memory", () => {
    const { CredentialStore: Tag, layerMemory } = CredentialStore
    const entry = Effect.flatMap(Tag, (_) => _.get(BINDING))
    const put = Effect.flatMap(Tag, (_) => _.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
    return Effect.gen(function*() {
      assert.isTrue(Option.isSome(yield* Effect.provide(Effect.zipRight(put, entry), layerMemory)))
      assert.deepStrictEqual(yield* Effect.provide(entry, layerMemory), Option.none())
    })
  })

  it("is bound to an account and a user that can be", () => {
    const decode = Schema.decodeUnknownEither(CredentialStore.Binding)
    const isRight = (accountId: unknown, chatgptUserId: unknown) => Either.isRight(decode({ accountId, chatgptUserId }))
    for (const user of ["u", "user-1", "auth0|1", "日本語", "a b", "x".repeat(256)]) assert.isTrue(isRight("a", user))
    for (const user of ["", " ", " u", "u\n", "x".repeat(257), undefined, null, 1]) assert.isFalse(isRight("a", user))
    for (const account of ["", "a b", "é", "a\n", "x".repeat(257), undefined, null, 1]) {
      assert.isFalse(isRight(account, "u"))
    }
    assert.isTrue(Either.isLeft(decode({ accountId: "a" })))
    assert.isTrue(Either.isLeft(decode({ chatgptUserId: "u" })))
  })

  describe("AgentRecord", () => {
    const decode = Schema.decodeUnknownEither(CredentialStore.AgentRecord)
    const ready = { state: "ready", privateKey: KEY, agentRuntimeId: "agent-1", taskId: "task-1" }

    it("is as far as it says", () => {
      const withoutId = Struct.omit(ready, "agentRuntimeId")
      const withoutTask = Struct.omit(ready, "taskId")
      const withoutKey = Struct.omit(ready, "privateKey")
      const cases: ReadonlyArray<readonly [record: unknown, isOne: boolean]> = [
        [ready, true],
        [{ ...ready, registeredAt: 1, lease: { holder: "h", expiresAt: 1 } }, true],
        [{ ...withoutTask, state: "registered" }, true],
        [{ state: "key-made", privateKey: KEY }, true],
        [{}, false],
        [null, false],
        [{ state: "key-made" }, false],
        [{ ...ready, state: "done" }, false],
        [withoutId, false],
        [withoutTask, false],
        [withoutKey, false],
        [{ ...withoutId, state: "registered" }, false],
        [{ ...ready, taskId: " " }, false],
        [{ ...ready, agentRuntimeId: "a:b" }, false],
        [{ ...ready, privateKey: 1 }, false],
        [{ ...ready, registeredAt: "1" }, false],
        [{ ...ready, lease: { holder: "h" } }, false]
      ]
      for (const [record, isOne] of cases) {
        assert.strictEqual(Either.isRight(decode(record)), isOne, JSON.stringify(record))
      }
    })

    it("is the plain key in JSON, and comes back from there", () => {
      const record = Either.getOrThrow(decode(ready))
      assert.strictEqual(Redacted.value(record.privateKey), KEY)
      assert.deepStrictEqual(plain(record), ready)
    })

    it("does not show its key", () => {
      assertClean("a record", shown(Either.getOrThrow(decode(ready))), [KEY])
    })
  })

  it("says which store failed, and why", () => {
    const error = new CredentialStore.CredentialStoreError({
      reason: "Unavailable",
      store: "the database",
      detail: "no answer within 10 seconds"
    })
    assert.strictEqual(error.message, "The agent in the database is out of reach: no answer within 10 seconds")
    assert.strictEqual(error._tag, "CredentialStoreError")
  })
})
