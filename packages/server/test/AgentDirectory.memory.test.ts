import { AgentRuntimeId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Option, TestClock, TestContext } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Maintenance from "../src/maintenance.ts"

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

const idOf = (name: string) => AgentRuntimeId.AgentRuntimeId.make(name)
const agentOf = (name: string, expiresAt?: number): AgentDirectory.Agent => ({
  agentRuntimeId: idOf(name),
  publicKey: new Uint8Array(32),
  expiresAt
})

describe("a pass over a directory in memory", () => {
  it.effect("removes what nobody can find any more, and nothing else", () =>
    Effect.gen(function*() {
      const { directory, pass, sizes } = AgentDirectory.memory("1 minute")
      yield* directory.putAgent(agentOf("removed"))
      yield* directory.putAgent(agentOf("expired", 150_000))
      yield* directory.putAgent(agentOf("live"))
      yield* Effect.forEach(["live", "stranger"], (name) => directory.issueTask(idOf(name)))
      yield* TestClock.adjust("1 minute")
      const tasks = yield* Effect.forEach(["removed", "expired", "live"], (name) => directory.issueTask(idOf(name)))
      yield* directory.removeAgent(idOf("removed"))
      assert.deepStrictEqual(sizes(), [3, 5])
      yield* pass
      assert.deepStrictEqual(sizes(), [3, 4])
      yield* TestClock.adjust("1 minute")
      yield* pass
      // The stranger had nothing but a task, and that was over.
      assert.deepStrictEqual(sizes(), [2, 2])
      yield* TestClock.adjust("30 seconds")
      yield* pass
      assert.deepStrictEqual(sizes(), [1, 1])
      assert.isTrue(Option.isSome(yield* directory.findTask(tasks[2]!.taskId)))
      yield* TestClock.adjust("30 seconds")
      yield* pass
      assert.deepStrictEqual(sizes(), [1, 0])
      assert.isTrue(Option.isSome(yield* directory.findAgent(idOf("live"))))
    }))

  it.live("lets the event loop turn, and removes an agent with 200,000 tasks at once", () =>
    Effect.gen(function*() {
      const { directory, pass, sizes } = AgentDirectory.memory("1 minute")
      yield* directory.putAgent(agentOf("agent"))
      yield* Effect.forEach(Array.from({ length: 200_000 }), () => directory.issueTask(idOf("agent")), {
        discard: true
      })
      // Its own time, whatever else this machine does.
      const before = process.cpuUsage()
      assert.isTrue(yield* directory.removeAgent(idOf("agent")))
      assert.isBelow(process.cpuUsage(before).user, 20_000)
      let turns = 0
      const timer = setInterval(() => turns++, 0)
      yield* pass
      clearInterval(timer)
      assert.isAbove(turns, 20)
      assert.deepStrictEqual(sizes(), [0, 0])
    }))
})

describe("passes in a fiber of their own", () => {
  it.live("are made ten times in a task's life, but once a second at most, and end with the scope", () =>
    Effect.gen(function*() {
      let passes = 0
      const logged: Array<unknown> = []
      const pass = Effect.suspend(() => ++passes === 1 ? Effect.fail("no database") : Effect.void)
      yield* Effect.scoped(Effect.zipRight(Maintenance.forkPasses("5 seconds", pass), Effect.sleep("2300 millis")))
        .pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => void logged.push(message))))
        )
      assert.strictEqual(passes, 2)
      assert.strictEqual(logged.length, 1)
      yield* Effect.sleep("1200 millis")
      assert.strictEqual(passes, 2)
    }))

  it.live("are made for the layers", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const tasks = yield* Effect.replicateEffect(
        Effect.map(directory.issueTask(idOf("stranger")), (task) => new WeakRef(task)),
        3
      )
      for (let times = 0; times < 50 && tasks.some((_) => _.deref() !== undefined); times++) {
        yield* Effect.sleep("100 millis")
        collectGarbage()
      }
      assert.isTrue(tasks.every((_) => _.deref() === undefined))
    }).pipe(Effect.provide(AgentDirectory.layerMemoryWith({ taskLifetime: "500 millis" }))))

  it.live("are not made by a test's clock", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Date.parse("2026-11-28T12:00:00Z"))
      const directory = yield* AgentDirectory.AgentDirectory
      assert.isTrue(Option.isNone(yield* directory.findAgent(idOf("agent"))))
    }).pipe(Effect.provide(Layer.merge(AgentDirectory.layerMemory, TestContext.TestContext))))
})
