import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, TestClock } from "effect"

const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-1")
const agent: AgentDirectory.Agent = { agentRuntimeId, publicKey: new Uint8Array(32) }
const unknownTask = TaskId.TaskId.make("task-unknown")

/** A directory that counts what it is asked, with a cache over it. */
const counted = (options?: AgentDirectoryCache.Options) => {
  const inner = AgentDirectory.makeMemory()
  const asked: Array<string> = []
  const counting: AgentDirectory.Service = {
    ...inner,
    findAgent: (id) => Effect.suspend(() => (asked.push(id), inner.findAgent(id))),
    findTask: (id) => Effect.suspend(() => (asked.push(id), inner.findTask(id)))
  }
  return { inner, asked, directory: AgentDirectoryCache.make(counting, options) }
}

describe("AgentDirectoryCache", () => {
  it.effect("asks once for an agent and for a task, for 10 seconds", () =>
    Effect.gen(function*() {
      const { asked, directory } = counted()
      yield* directory.putAgent(agent)
      const { taskId } = yield* directory.issueTask(agentRuntimeId)
      for (let second = 0; second < 10; second++) {
        assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.some(agent))
        assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(asked, [agentRuntimeId, taskId])
      yield* directory.findAgent(agentRuntimeId)
      assert.strictEqual(asked.length, 3)
    }))

  it.effect("asks for a fresh answer by a query of its own, also while an older one is under way", () =>
    Effect.gen(function*() {
      const inner = AgentDirectory.makeMemory()
      const [begun, latch] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
      let queries = 0
      // The first query has read the old state when its answer is held up.
      const slow: AgentDirectory.Service = {
        ...inner,
        findAgent: (id) =>
          Effect.flatMap(
            inner.findAgent(id),
            (found) =>
              ++queries === 1 ? Effect.as(Effect.zipRight(begun.open, latch.await), found) : Effect.succeed(found)
          )
      }
      const directory = AgentDirectoryCache.make(slow)
      const older = yield* Effect.fork(directory.findAgent(agentRuntimeId))
      yield* begun.await
      yield* inner.putAgent(agent)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentRuntimeId, { fresh: true })))
      yield* latch.open
      assert.isTrue(Option.isNone(yield* Fiber.join(older)))
    }))

  it.effect("remembers for 1 second that there is no such agent or task", () =>
    Effect.gen(function*() {
      const { asked, directory } = counted()
      for (let times = 0; times < 5; times++) {
        assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
        assert.isTrue(Option.isNone(yield* directory.findTask(unknownTask)))
      }
      assert.strictEqual(asked.length, 2)
      yield* TestClock.adjust("1 second")
      yield* directory.findAgent(agentRuntimeId)
      assert.strictEqual(asked.length, 3)
    }))

  it.effect("sees at once what is changed through it: an agent that is put, gets another key, or is removed", () =>
    Effect.gen(function*() {
      const { directory } = counted()
      assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
      yield* directory.putAgent(agent)
      assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.some(agent))
      const rotated = { ...agent, publicKey: new Uint8Array(32).fill(1) }
      yield* directory.putAgent(rotated)
      assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.some(rotated))
      const { taskId } = yield* directory.issueTask(agentRuntimeId)
      assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
      assert.isTrue(yield* directory.removeAgent(agentRuntimeId))
      assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
      assert.isTrue(Option.isNone(yield* directory.findTask(taskId)))
      assert.isFalse(yield* directory.removeAgent(agentRuntimeId))
    }))

  it.effect("sees what is changed behind its back after its time to live", () =>
    Effect.gen(function*() {
      const { directory, inner } = counted({ timeToLive: "3 seconds" })
      yield* directory.putAgent(agent)
      yield* directory.findAgent(agentRuntimeId)
      yield* inner.removeAgent(agentRuntimeId)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentRuntimeId)))
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
    }))

  it.effect("does not keep an answer that was on its way while an agent was removed", () =>
    Effect.gen(function*() {
      const inner = AgentDirectory.makeMemory()
      const [asked, gate] = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
      const directory = AgentDirectoryCache.make({
        ...inner,
        findAgent: (id) =>
          Effect.tap(inner.findAgent(id), Effect.zipRight(Deferred.succeed(asked, undefined), Deferred.await(gate)))
      })
      yield* directory.putAgent(agent)
      const looking = yield* Effect.fork(directory.findAgent(agentRuntimeId))
      yield* Deferred.await(asked)
      yield* directory.removeAgent(agentRuntimeId)
      yield* Deferred.succeed(gate, undefined)
      assert.isTrue(Option.isSome(yield* Fiber.join(looking)))
      assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
    }))

  it.effect("forgets an agent whose removal failed, and keeps no failure", () =>
    Effect.gen(function*() {
      const inner = AgentDirectory.makeMemory()
      const unavailable = new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "gone" })
      let asked = 0
      const directory = AgentDirectoryCache.make({
        ...inner,
        findAgent: (id) => Effect.suspend(() => ++asked === 2 ? unavailable : inner.findAgent(id)),
        removeAgent: () => unavailable
      })
      yield* directory.putAgent(agent)
      yield* directory.findAgent(agentRuntimeId)
      assert.strictEqual(yield* Effect.flip(directory.removeAgent(agentRuntimeId)), unavailable)
      assert.strictEqual(yield* Effect.flip(directory.findAgent(agentRuntimeId)), unavailable)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentRuntimeId)))
      assert.strictEqual(asked, 3)
    }))

  it.effect("is bounded, unknown agents included", () =>
    Effect.gen(function*() {
      const { asked, directory } = counted({ capacity: 10 })
      for (let index = 0; index < 100; index++) {
        yield* directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(`agent-${index}`))
      }
      for (let index = 95; index < 100; index++) {
        yield* directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(`agent-${index}`))
      }
      assert.strictEqual(asked.length, 100)
      yield* directory.findAgent(AgentRuntimeId.AgentRuntimeId.make("agent-0"))
      assert.strictEqual(asked.length, 101)
    }))

  it.effect("takes the place of the directory that it is given", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      yield* directory.putAgent(agent)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentRuntimeId)))
    }).pipe(
      Effect.provide(AgentDirectoryCache.layer(AgentDirectory.layerMemory))
    ))

  it.effect("does not know an agent for longer than it lives", () =>
    Effect.gen(function*() {
      const { directory } = counted()
      yield* directory.putAgent({ ...agent, expiresAt: 3000 })
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentRuntimeId)))
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
    }))

  it.effect("remembers a task that has expired, too", () =>
    Effect.gen(function*() {
      const { asked, directory } = counted()
      const { taskId } = yield* directory.issueTask(agentRuntimeId)
      yield* TestClock.adjust("25 hours")
      yield* directory.findTask(taskId)
      assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
      assert.strictEqual(asked.length, 1)
    }))

  describe("with many who ask at the same time", () => {
    /** A directory that answers when the gate opens. */
    const gated = (options?: AgentDirectoryCache.Options) =>
      Effect.map(Deferred.make<void, AgentDirectory.AgentDirectoryError>(), (gate) => {
        const inner = AgentDirectory.makeMemory()
        const asked: Array<string> = []
        const wait = <A>(id: string, found: Effect.Effect<A, AgentDirectory.AgentDirectoryError>) =>
          Effect.suspend(() => {
            asked.push(id)
            return Effect.zipRight(Deferred.await(gate), found)
          })
        const directory = AgentDirectoryCache.make({
          ...inner,
          findAgent: (id) => wait(id, inner.findAgent(id)),
          findTask: (id) => wait(id, inner.findTask(id))
        }, options)
        return { asked, directory, gate }
      })
    /** Until every fiber waits for something. */
    const settle = Effect.replicateEffect(Effect.yieldNow(), 50)

    for (const timeToLive of ["10 seconds", 0] as const) {
      it.effect(`asks once for one id, also where it remembers for ${timeToLive}`, () =>
        Effect.gen(function*() {
          const { asked, directory, gate } = yield* gated({ timeToLive, unknownTimeToLive: timeToLive })
          yield* directory.putAgent(agent)
          const fibers = yield* Effect.replicateEffect(Effect.fork(directory.findAgent(agentRuntimeId)), 100)
          const tasks = yield* Effect.replicateEffect(Effect.fork(directory.findTask(unknownTask)), 100)
          const others = yield* Effect.fork(directory.findTask(TaskId.TaskId.make("other")))
          yield* settle
          assert.deepStrictEqual(asked, [agentRuntimeId, unknownTask, "other"])
          yield* Deferred.succeed(gate, undefined)
          assert.deepStrictEqual(yield* Fiber.join(Fiber.all(fibers)), fibers.map(() => Option.some(agent)))
          assert.deepStrictEqual(yield* Fiber.join(Fiber.all(tasks)), tasks.map(() => Option.none()))
          yield* Fiber.join(others)
        }))
    }

    it.effect("does not let one who is interrupted take the answer from the others", () =>
      Effect.gen(function*() {
        const { asked, directory, gate } = yield* gated()
        yield* directory.putAgent(agent)
        const first = yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* settle
        const second = yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* settle
        yield* Fiber.interrupt(first)
        const third = yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* settle
        yield* Deferred.succeed(gate, undefined)
        assert.deepStrictEqual(yield* Fiber.join(second), Option.some(agent))
        assert.deepStrictEqual(yield* Fiber.join(third), Option.some(agent))
        assert.strictEqual(asked.length, 1)
      }))

    it.effect("tells all of them of a failure, and asks again after it", () =>
      Effect.gen(function*() {
        const { asked, directory, gate } = yield* gated()
        const fibers = yield* Effect.replicateEffect(Effect.fork(directory.findAgent(agentRuntimeId)), 3)
        yield* settle
        yield* Deferred.fail(gate, new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "gone" }))
        for (const fiber of fibers) assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        yield* Effect.flip(directory.findAgent(agentRuntimeId))
        assert.strictEqual(asked.length, 2)
      }))

    it.effect("gives nobody an answer that was asked for before a change that he has seen", () =>
      Effect.gen(function*() {
        const inner = AgentDirectory.makeMemory()
        const [asked, gate] = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
        const directory = AgentDirectoryCache.make({
          ...inner,
          findAgent: (id) =>
            Effect.flatMap(
              Deferred.succeed(asked, undefined),
              (isFirst) => Effect.tap(inner.findAgent(id), isFirst ? Deferred.await(gate) : Effect.void)
            )
        })
        yield* directory.putAgent(agent)
        const before = yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* Deferred.await(asked)
        yield* directory.removeAgent(agentRuntimeId)
        assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(before)
      }))

    it.effect("does not wait for one that does not end, when it is 10 seconds old", () =>
      Effect.gen(function*() {
        const { asked, directory } = yield* gated()
        yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* settle
        yield* TestClock.adjust("10 seconds")
        yield* Effect.fork(directory.findAgent(agentRuntimeId))
        yield* settle
        assert.strictEqual(asked.length, 2)
      }))

    it.effect("holds no more queries than answers", () =>
      Effect.gen(function*() {
        const { asked, directory } = yield* gated({ capacity: 3 })
        for (let index = 0; index < 6; index++) {
          const id = AgentRuntimeId.AgentRuntimeId.make(`agent-${index}`)
          for (let times = 0; times < 2; times++) {
            const fiber = yield* Effect.fork(directory.findAgent(id))
            yield* settle
            yield* Fiber.interrupt(fiber)
          }
        }
        // The first three are still on their way, and who asks again waits for them.
        assert.deepStrictEqual(asked.map((_) => _.at(-1)).join(""), "012334455")
      }))
  })

  describe("when the clock is", () => {
    const hour = Duration.toMillis("1 hour")
    /** What happens to the wall clock and to the monotonic one in five seconds. */
    const cases: ReadonlyArray<readonly [what: string, wall: number, monotonic: number, times: number]> = [
      ["as it was", 5000, 5000, 1],
      ["set back a day", 5000 - 24 * hour, 5000, 2],
      ["set ahead a day", 5000 + 24 * hour, 5000, 2],
      ["that of a machine that was suspended for an hour", hour, 1, 2],
      ["set back by as much as has passed", 0, 10_000, 2]
    ]
    for (const [what, wall, monotonic, times] of cases) {
      it.live(`${what}, asks ${times === 1 ? "once" : "again"}`, () => {
        const start = Date.parse("2026-11-28T12:00:00Z")
        const now = { wall: start, monotonic: 1000 }
        const clock: Clock.Clock = {
          ...Clock.make(),
          unsafeCurrentTimeMillis: () => now.wall,
          currentTimeMillis: Effect.sync(() => now.wall),
          unsafeCurrentTimeNanos: () => BigInt(now.monotonic) * 1_000_000n,
          currentTimeNanos: Effect.sync(() => BigInt(now.monotonic) * 1_000_000n)
        }
        return Effect.gen(function*() {
          const { asked, directory } = counted()
          yield* directory.putAgent(agent)
          yield* directory.findAgent(agentRuntimeId)
          now.wall += wall
          now.monotonic += monotonic
          yield* directory.findAgent(agentRuntimeId)
          assert.strictEqual(asked.length, times)
        }).pipe(Effect.withClock(clock))
      })
    }
  })

  it.effect("is one cache for all who are given one value, and another one over another directory", () => {
    class One extends Context.Tag("One")<One, AgentDirectory.Service>() {}
    class Same extends Context.Tag("Same")<Same, AgentDirectory.Service>() {}
    class Other extends Context.Tag("Other")<Other, AgentDirectory.Service>() {}
    const cached = () =>
      AgentDirectoryCache.layer(Layer.sync(AgentDirectory.AgentDirectory, () => AgentDirectory.makeMemory()))
    const as = <Id>(tag: Context.Tag<Id, AgentDirectory.Service>, directory: ReturnType<typeof cached>) =>
      Layer.provide(Layer.effect(tag, AgentDirectory.AgentDirectory), directory)
    const shared = cached()
    return Effect.gen(function*() {
      const [one, same, other] = [yield* One, yield* Same, yield* Other]
      assert.strictEqual(one, same)
      yield* one.putAgent(agent)
      assert.isTrue(Option.isSome(yield* same.findAgent(agentRuntimeId)))
      assert.isTrue(Option.isNone(yield* other.findAgent(agentRuntimeId)))
    }).pipe(Effect.provide(Layer.mergeAll(as(One, shared), as(Same, shared), as(Other, cached()))))
  })
})
