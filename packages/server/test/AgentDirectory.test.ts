import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option, TestClock } from "effect"

const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-1")

describe("AgentDirectory in memory", () => {
  it.effect("finds the agents that were put in, and the last key of each", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.none())
      yield* directory.putAgent({ agentRuntimeId, publicKey: new Uint8Array(32) })
      const agent = { agentRuntimeId, publicKey: new Uint8Array(32).fill(1) }
      yield* directory.putAgent(agent)
      assert.deepStrictEqual(yield* directory.findAgent(agentRuntimeId), Option.some(agent))
    }).pipe(Effect.provide(AgentDirectory.layerMemory)))

  it.effect("issues a task of its own at every call, for 24 hours", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const tasks = yield* Effect.all([directory.issueTask(agentRuntimeId), directory.issueTask(agentRuntimeId)])
      assert.strictEqual(new Set(tasks.map((_) => _.taskId)).size, 2)
      assert.strictEqual(tasks[0].expiresAt, Duration.toMillis("24 hours"))
      assert.deepStrictEqual(yield* directory.findTask(tasks[1].taskId), Option.some(tasks[1]))
      assert.deepStrictEqual(yield* directory.findTask(TaskId.TaskId.make("unknown")), Option.none())
    }).pipe(Effect.provide(AgentDirectory.layerMemory)))

  it.effect("remembers expired tasks for another lifetime, then forgets them", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const { taskId } = yield* directory.issueTask(agentRuntimeId)
      yield* TestClock.adjust("119 seconds")
      const last = yield* directory.issueTask(agentRuntimeId)
      assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
      yield* TestClock.adjust("1 seconds")
      assert.isTrue(Option.isNone(yield* directory.findTask(taskId)))
      assert.isTrue(Option.isSome(yield* directory.findTask(last.taskId)))
    }).pipe(Effect.provide(AgentDirectory.layerMemoryWith({ taskLifetime: "1 minute" }))))
})
