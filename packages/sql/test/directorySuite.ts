/** What every `AgentDirectory` does, whatever it keeps its agents and tasks in. */
import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import type { Layer } from "effect"
import { Arbitrary, Duration, Effect, Exit, FastCheck, Option, Runtime, type Scope, TestClock } from "effect"

type Directory = AgentDirectory.AgentDirectory
export type MakeLayer = (options: {
  readonly taskLifetime?: Duration.DurationInput
}) => Layer.Layer<Directory, unknown>

/** A place of its own for each test, and what makes a directory in it. */
export type Place = Effect.Effect<MakeLayer, unknown, Scope.Scope>

const { AgentRuntimeId: Id } = AgentRuntimeId
const agent = (id: string, byte = 0): AgentDirectory.Agent => ({
  agentRuntimeId: Id.make(id),
  publicKey: new Uint8Array(32).fill(byte)
})
const a = agent("agent-a", 1)
const b = agent("agent-b", 2)

export const suite = (name: string, place: Place) =>
  describe(`AgentDirectory: ${name}`, () => {
    const withDirectory = <A, E>(
      use: (directory: AgentDirectory.Service) => Effect.Effect<A, E, Scope.Scope>,
      taskLifetime: Duration.DurationInput = AgentDirectory.defaultTaskLifetime
    ) =>
      Effect.gen(function*() {
        const makeLayer = yield* place
        return yield* Effect.flatMap(AgentDirectory.AgentDirectory, use).pipe(
          Effect.provide(makeLayer({ taskLifetime }))
        )
      })

    it.scopedLive("finds the agents that were put in, the last of each", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.none())
          const versions = [a, { ...a, owner: "o" }, { ...b, agentRuntimeId: a.agentRuntimeId, owner: "p" }, a]
          for (const version of versions) {
            yield* directory.putAgent(version)
            assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(version))
          }
          assert.deepStrictEqual(yield* directory.findAgent(b.agentRuntimeId), Option.none())
        })
      ))

    it.scopedLive("issues a task of its own at every call, to agents that it knows and others", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          yield* directory.putAgent(a)
          const before = Date.now()
          const tasks = yield* Effect.forEach([a, a, b], (_) => directory.issueTask(_.agentRuntimeId))
          assert.strictEqual(new Set(tasks.map((_) => _.taskId)).size, 3)
          for (const task of tasks) {
            const sinceBefore = task.expiresAt - Duration.toMillis("24 hours") - before
            assert.isTrue(sinceBefore >= 0 && sinceBefore < 60_000)
            assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
          }
          assert.deepStrictEqual(yield* directory.findTask(TaskId.TaskId.make("unknown")), Option.none())
        })
      ))

    it.scopedLive("removes an agent with all of its tasks, and nothing else", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          yield* Effect.forEach([a, b], directory.putAgent)
          const tasks = yield* Effect.forEach([a, a, b], (_) => directory.issueTask(_.agentRuntimeId))
          assert.isTrue(yield* directory.removeAgent(a.agentRuntimeId))
          assert.isFalse(yield* directory.removeAgent(a.agentRuntimeId))
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.none())
          assert.deepStrictEqual(yield* directory.findAgent(b.agentRuntimeId), Option.some(b))
          assert.deepStrictEqual(
            (yield* Effect.forEach(tasks, (_) => directory.findTask(_.taskId))).map(Option.isSome),
            [false, false, true]
          )
          yield* directory.putAgent(a)
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(a))
        })
      ))

    it.scopedLive("removes the tasks of an agent that it does not know", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          const { taskId } = yield* directory.issueTask(a.agentRuntimeId)
          assert.isFalse(yield* directory.removeAgent(a.agentRuntimeId))
          assert.deepStrictEqual(yield* directory.findTask(taskId), Option.none())
        })
      ))

    it.scoped("remembers expired tasks for another lifetime, then forgets them", () =>
      withDirectory(
        (directory) =>
          Effect.gen(function*() {
            const { expiresAt, taskId } = yield* directory.issueTask(a.agentRuntimeId)
            assert.strictEqual(expiresAt, 60_000)
            yield* TestClock.adjust("119999 millis")
            const last = yield* directory.issueTask(a.agentRuntimeId)
            assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
            yield* TestClock.adjust("1 millis")
            assert.deepStrictEqual(yield* directory.findTask(taskId), Option.none())
            assert.deepStrictEqual(yield* directory.findTask(last.taskId), Option.some(last))
          }),
        "1 minute"
      ))

    it.scoped("knows an agent until it expires, or for longer when it is put in again", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          const until = (expiresAt: number) => ({ ...a, owner: "owner", expiresAt })
          yield* directory.putAgent(until(60_000))
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(until(60_000)))
          const { taskId } = yield* directory.issueTask(a.agentRuntimeId)
          yield* TestClock.adjust("59999 millis")
          assert.isTrue(Option.isSome(yield* directory.findAgent(a.agentRuntimeId)))
          yield* directory.putAgent(until(90_000))
          yield* TestClock.adjust("30 seconds")
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(until(90_000)))
          assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
          yield* TestClock.adjust("1 millis")
          assert.isTrue(Option.isNone(yield* directory.findTask(taskId)))
          assert.isTrue(Option.isNone(yield* directory.findAgent(a.agentRuntimeId)))
          assert.isFalse(yield* directory.removeAgent(a.agentRuntimeId))
        })
      ))

    it.scoped("does not bring back the tasks of an agent that has expired", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          yield* directory.putAgent({ ...a, expiresAt: 60_000 })
          const { taskId } = yield* directory.issueTask(a.agentRuntimeId)
          yield* TestClock.adjust("1 minute")
          yield* directory.putAgent(a)
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(a))
          assert.isTrue(Option.isNone(yield* directory.findTask(taskId)))
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(a))
          const task = yield* directory.issueTask(a.agentRuntimeId)
          assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
        })
      ))

    it.scopedLive("does not bring back the tasks of an agent that was removed, however many", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          yield* directory.putAgent(a)
          const tasks = yield* Effect.replicateEffect(directory.issueTask(a.agentRuntimeId), 1100, { concurrency: 20 })
          const found = Effect.map(
            Effect.forEach(tasks, (_) => directory.findTask(_.taskId), { concurrency: 20 }),
            (found) => found.filter(Option.isSome).length
          )
          assert.strictEqual(yield* found, 1100)
          assert.isTrue(yield* directory.removeAgent(a.agentRuntimeId))
          assert.strictEqual(yield* found, 0)
          assert.isTrue(Option.isNone(yield* directory.findAgent(a.agentRuntimeId)))
          assert.isFalse(yield* directory.removeAgent(a.agentRuntimeId))
          yield* directory.putAgent(a)
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(a))
          assert.strictEqual(yield* found, 0)
          const task = yield* directory.issueTask(a.agentRuntimeId)
          assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
        })
      ))

    it.scopedLive("keeps an end that is far away, and one that is a fraction of a millisecond", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          for (const expiresAt of [Date.now() + 60_000.5, 1e300, Infinity]) {
            yield* directory.putAgent({ ...a, expiresAt })
            const found = Option.getOrThrow(yield* directory.findAgent(a.agentRuntimeId))
            assert.isAtLeast(found.expiresAt!, Math.min(expiresAt, 8.64e15))
          }
        })
      ))

    it.scopedLive("keeps any id, owner and key", () =>
      withDirectory((directory) =>
        forAll(
          FastCheck.record({
            agentRuntimeId: Arbitrary.make(AgentRuntimeId.AgentRuntimeId),
            publicKey: FastCheck.uint8Array({ minLength: 32, maxLength: 32 }),
            owner: FastCheck.oneof(
              FastCheck.string({ unit: "binary" }),
              FastCheck.constantFrom("", "\0", "\ud800", "null", "\"", "'; --", "\\u0000", "x".repeat(5000))
            )
          }),
          (agent) =>
            Effect.gen(function*() {
              yield* directory.putAgent(agent)
              assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
              const task = yield* directory.issueTask(agent.agentRuntimeId)
              assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
              assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
              assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.none())
            })
        )
      ))

    it.scopedLive("can be asked for any task id", () =>
      withDirectory((directory) =>
        forAll(
          FastCheck.oneof(
            Arbitrary.make(TaskId.TaskId),
            FastCheck.constantFrom("\0", "\u0001:", "\u0085", "日".repeat(1024), "🛰".repeat(512)).map((_) =>
              TaskId.TaskId.make(_)
            )
          ),
          (taskId) => Effect.map(directory.findTask(taskId), (task) => assert.deepStrictEqual(task, Option.none()))
        )
      ))

    it.scopedLive("takes no id for another one, and the longest ones too", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          const ids = [
            "a",
            "A",
            "a ",
            "é",
            "e\u0301",
            "\"a\"",
            "\\u0061",
            "%61",
            "ａ",
            "日".repeat(256),
            "日".repeat(255)
          ]
          yield* Effect.forEach(ids, (id, index) => directory.putAgent(agent(id, index)))
          for (const [index, id] of ids.entries()) {
            assert.deepStrictEqual(yield* directory.findAgent(Id.make(id)), Option.some(agent(id, index)))
            assert.isTrue(Option.isSome(yield* directory.findTask((yield* directory.issueTask(Id.make(id))).taskId)))
          }
        })
      ))

    it.scopedLive("issues 200 tasks at the same time", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          const tasks = yield* Effect.replicateEffect(directory.issueTask(a.agentRuntimeId), 200, {
            concurrency: "unbounded"
          })
          assert.strictEqual(new Set(tasks.map((_) => _.taskId)).size, 200)
          const found = yield* Effect.forEach(tasks, (_) => directory.findTask(_.taskId), { concurrency: "unbounded" })
          assert.deepStrictEqual(found, tasks.map(Option.some))
        })
      ))

    it.scopedLive("puts and removes one agent at the same time", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          yield* Effect.forEach(
            Array.from({ length: 120 }, (_, index) => index),
            (index): Effect.Effect<unknown, AgentDirectory.AgentDirectoryError> =>
              index % 3 === 0
                ? directory.removeAgent(a.agentRuntimeId)
                : index % 3 === 1
                ? directory.putAgent(a)
                : directory.issueTask(a.agentRuntimeId),
            { concurrency: "unbounded" }
          )
          yield* directory.putAgent(a)
          const removals = yield* Effect.replicateEffect(directory.removeAgent(a.agentRuntimeId), 20, {
            concurrency: "unbounded"
          })
          assert.strictEqual(removals.filter((_) => _).length, 1)
          assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.none())
        })
      ))

    it.scoped("answers as the directory in memory does", () =>
      withDirectory(
        (directory) => {
          let run = 0
          return forAll(
            FastCheck.array(step, { maxLength: 40 }),
            (steps) => {
              const prefix = `run-${run++}-`
              const model = AgentDirectory.makeMemory({ taskLifetime: "1 minute" })
              return Effect.gen(function*() {
                /** What was issued, by the directory and by the model. */
                const issued: Array<readonly [TaskId.TaskId, TaskId.TaskId]> = []
                for (const { byte, name, type } of steps) {
                  const agent = { agentRuntimeId: Id.make(prefix + name), publicKey: new Uint8Array(32).fill(byte) }
                  if (type === "wait") yield* TestClock.adjust(byte * 500)
                  else if (type === "put") yield* Effect.all([directory.putAgent(agent), model.putAgent(agent)])
                  else if (type === "remove") {
                    assert.strictEqual(
                      yield* directory.removeAgent(agent.agentRuntimeId),
                      yield* model.removeAgent(agent.agentRuntimeId)
                    )
                  } else {
                    const task = yield* directory.issueTask(agent.agentRuntimeId)
                    const expected = yield* model.issueTask(agent.agentRuntimeId)
                    assert.deepStrictEqual({ ...task, taskId: expected.taskId }, expected)
                    issued.push([task.taskId, expected.taskId])
                  }
                }
                for (const name of names) {
                  const id = Id.make(prefix + name)
                  assert.deepStrictEqual(yield* directory.findAgent(id), yield* model.findAgent(id))
                }
                for (const [taskId, expectedId] of issued) {
                  assert.deepStrictEqual(
                    Option.map(yield* directory.findTask(taskId), (_) => ({ ..._, taskId: expectedId })),
                    yield* model.findTask(expectedId)
                  )
                }
              })
            },
            30
          )
        },
        "1 minute"
      ))
  })

/** For a directory that outlives its layer. */
export const persistentSuite = (name: string, place: Place) =>
  describe(`AgentDirectory: ${name}`, () => {
    it.scopedLive("knows its agents and tasks after a restart", () =>
      Effect.gen(function*() {
        const makeLayer = yield* place
        const restarted = <A, E>(use: (directory: AgentDirectory.Service) => Effect.Effect<A, E>) =>
          Effect.provide(Effect.flatMap(AgentDirectory.AgentDirectory, use), makeLayer({}))
        const owned = { ...a, owner: "owner" }
        const task = yield* restarted((_) => Effect.zipRight(_.putAgent(owned), _.issueTask(a.agentRuntimeId)))
        yield* restarted((_) => _.putAgent(b))
        yield* restarted((directory) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.some(owned))
            assert.deepStrictEqual(yield* directory.findAgent(b.agentRuntimeId), Option.some(b))
            assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
            assert.isTrue(yield* directory.removeAgent(a.agentRuntimeId))
          })
        )
        yield* restarted((directory) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* directory.findAgent(a.agentRuntimeId), Option.none())
            assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.none())
          })
        )
      }))

    it.scopedLive("answers with an error once it is closed", () =>
      Effect.gen(function*() {
        const makeLayer = yield* place
        const directory = yield* Effect.provide(AgentDirectory.AgentDirectory, makeLayer({}))
        yield* assertUnavailable(directory)
      }))
  })

/** Every method fails with the port's own error, which shows nothing of what it was called with. */
export const assertUnavailable = (directory: AgentDirectory.Service): Effect.Effect<void> =>
  Effect.gen(function*() {
    const secret = agent("agent-secret")
    const calls: ReadonlyArray<Effect.Effect<unknown, AgentDirectory.AgentDirectoryError>> = [
      directory.putAgent({ ...secret, owner: "owner-secret" }),
      directory.findAgent(secret.agentRuntimeId),
      directory.removeAgent(secret.agentRuntimeId),
      directory.issueTask(secret.agentRuntimeId),
      directory.findTask(TaskId.TaskId.make("task-secret"))
    ]
    for (const exit of yield* Effect.forEach(calls, Effect.exit)) {
      assert.isTrue(
        Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "AgentDirectoryError"
      )
      assert.notInclude(String(JSON.stringify(exit)), "secret")
    }
  })

const names = ["x", "y"]
const step = FastCheck.record({
  type: FastCheck.constantFrom("put", "remove", "issue", "issue", "wait"),
  name: FastCheck.constantFrom(...names),
  byte: FastCheck.integer({ min: 0, max: 255 })
})

/** For a hundred values, in the test's own runtime: its clock too. */
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
