import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Option, TestClock } from "effect"

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
      const gate = yield* Deferred.make<void>()
      const directory = AgentDirectoryCache.make({
        ...inner,
        findAgent: (id) => Effect.flatMap(inner.findAgent(id), (found) => Effect.as(Deferred.await(gate), found))
      })
      yield* directory.putAgent(agent)
      const looking = yield* Effect.fork(directory.findAgent(agentRuntimeId))
      yield* Effect.yieldNow()
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
      Effect.provide(AgentDirectoryCache.layer),
      Effect.provide(AgentDirectory.layerMemory)
    ))
})
