import { RunTask, TaskId, TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import {
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  HashMap,
  Layer,
  Logger,
  ManagedRuntime,
  Metric,
  Option,
  Ref,
  Scope,
  TestClock
} from "effect"
import * as Clocks from "../clocks.ts"
import { tracing } from "../provider/server.ts"

const Agent = Layer.merge(Fakes.layerTaskRegistration, Fakes.layerAgentIdentity)

/** A run, with the fake registration that it asks. */
const Run = Layer.merge(RunTask.layer(Agent), Agent)

/** A run over this registration. */
const over = (registration: Layer.Layer<TaskRegistration.TaskRegistration>) =>
  RunTask.layer(Layer.merge(registration, Fakes.layerAgentIdentity))

/** A run over the registration that a test provides. */
const overProvided = () =>
  RunTask.layer(Layer.merge(Layer.service(TaskRegistration.TaskRegistration), Fakes.layerAgentIdentity))

/** A run of this task, with the fake registration that it asks. */
const resumed = (taskId: TaskId.TaskId) =>
  Layer.provideMerge(Layer.scoped(RunTask.RunTask, RunTask.make({ taskId, registeredAt: undefined })), Agent)

const failure = new TaskRegistration.TaskRegistrationError({
  reason: "Status",
  agentRuntimeId: Fakes.agentRuntimeId,
  url: "https://authapi.test/",
  detail: "status 503",
  status: 503,
  attempts: 3
})

/** A registration that counts its calls, and answers renewals only when the gate opens. */
const gated = Effect.gen(function*() {
  const gate = yield* Deferred.make<TaskRegistration.RegisteredTask, TaskRegistration.TaskRegistrationError>()
  const calls = yield* Ref.make(0)
  const registration = Layer.succeed(TaskRegistration.TaskRegistration, {
    register: (stale) =>
      Effect.zipRight(
        Ref.update(calls, (_) => _ + 1),
        Option.isNone(stale) ? Effect.succeed(registered("first")) : Deferred.await(gate)
      )
  })
  return { gate, calls, layer: over(registration) }
})

const task = TaskId.TaskId.make

const registered = (taskId: string): TaskRegistration.RegisteredTask => ({ taskId: task(taskId), registeredAt: 0 })

describe("RunTask", () => {
  it.effect("registers once for 1,000 fibers over 50 dependents that start at the same time, over real HTTP", () =>
    Effect.gen(function*() {
      const dependents = Array.from({ length: 50 }, (_, index) => {
        const Dependent = Context.GenericTag<{ readonly task: string }>(`Dependent${index}`)
        return {
          Dependent,
          layer: Layer.effect(
            Dependent,
            Effect.map(Effect.flatMap(RunTask.RunTask, (_) => _.current), (task) => ({ task }))
          )
        }
      })
      const Registered = RegisteredAgent.layer({ agentRuntimeId: "agent-1" })
      const [first, ...rest] = dependents.map((_) => _.layer)
      const App = Layer.mergeAll(first!, ...rest).pipe(
        Layer.provide(RunTask.layer(Layer.merge(TaskRegistration.layer(Registered), Registered))),
        Layer.provideMerge(Scripted.layer),
        Layer.provide([NodeSigning.layer, NodeHttpClient.layerUndici])
      )
      const runtime = ManagedRuntime.make(App)
      const tasks = yield* Effect.promise(() =>
        Promise.all(
          Array.from({ length: 1000 }, (_, index) =>
            runtime.runPromise(Effect.map(dependents[index % 50]!.Dependent, (_) => _.task)))
        )
      )
      assert.strictEqual(new Set(tasks).size, 1)
      assert.strictEqual(
        (yield* Effect.promise(() => runtime.runPromise(Effect.flatMap(ScriptedAuthApi, (_) => _.requests)))).length,
        1
      )
      yield* runtime.disposeEffect
    }))

  it.effect("gives two runs two tasks: two calls in one build, and one value in two", () =>
    Effect.gen(function*() {
      class Other extends Context.Tag("Other")<Other, TaskId.TaskId>() {}
      const current = Effect.flatMap(RunTask.RunTask, (_) => _.current)
      const [one, two] = [overProvided(), overProvided()]
      const both = Effect.all([current, Other]).pipe(
        Effect.provide(Layer.merge(one, Layer.provide(Layer.effect(Other, current), two)))
      )
      assert.strictEqual(new Set(yield* both).size, 2)
      assert.strictEqual(yield* Effect.provide(current, one), "task-3")
      assert.strictEqual(yield* Effect.provide(current, one), "task-4")
    }).pipe(Effect.provide(Fakes.layerTaskRegistration)))

  it.effect("fails the build where registration fails, and a new provide starts over", () =>
    Effect.gen(function*() {
      yield* Effect.flatMap(Fakes.Registrations, (_) => _.fail(failure))
      const OneRun = overProvided()
      const current = Effect.provide(Effect.flatMap(RunTask.RunTask, (_) => _.current), OneRun)
      assert.strictEqual(yield* Effect.flip(current), failure)
      assert.strictEqual(yield* current, "task-1")
    }).pipe(Effect.provide(Fakes.layerTaskRegistration)))

  it.effect("a ManagedRuntime whose build failed stays failed, without another registration", () =>
    Effect.gen(function*() {
      const calls = yield* Ref.make(0)
      const failing = Layer.succeed(TaskRegistration.TaskRegistration, {
        register: () => Effect.zipRight(Ref.update(calls, (_) => _ + 1), failure)
      })
      const runtime = ManagedRuntime.make(over(failing))
      for (let attempt = 0; attempt < 3; attempt++) {
        const exit = yield* Effect.promise(() => runtime.runPromiseExit(RunTask.RunTask))
        assert.deepStrictEqual(exit, Exit.fail(failure))
      }
      assert.strictEqual(yield* Ref.get(calls), 1)
      yield* runtime.disposeEffect
    }))

  it.effect("goes on with a known task without a registration", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      const { calls } = yield* Fakes.Registrations
      assert.deepStrictEqual(yield* run.current, task("known"))
      assert.deepStrictEqual(yield* calls, [])
      assert.strictEqual(yield* run.renew(task("known")), "task-1")
      assert.deepStrictEqual(yield* calls, [Option.some(task("known"))])
    }).pipe(Effect.provide(
      resumed(task("known"))
    )))
})

describe("RunTask.renew", () => {
  it.effect("costs a herd of 1,000 one registration", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      const renewed = yield* Effect.all(Array.from({ length: 1000 }, () => run.renew(task("task-1"))), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(new Set(renewed), new Set([task("task-2")]))
      assert.strictEqual((yield* (yield* Fakes.Registrations).calls).length, 2)
    }).pipe(Effect.provide(Run)))

  it.effect("gives whoever holds an old task the current one", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      yield* run.renew(task("task-1"))
      assert.strictEqual(yield* run.renew(task("task-1")), "task-2")
      assert.strictEqual(yield* run.renew(task("never seen")), "task-2")
      assert.strictEqual(yield* run.renew(task("task-2")), "task-3")
    }).pipe(Effect.provide(Run)))

  it.effect("fails all its waiters alike, keeps the task, and tries again at the next call", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      yield* (yield* Fakes.Registrations).fail(failure)
      const both = Effect.all([Effect.flip(run.renew(task("task-1"))), Effect.flip(run.renew(task("task-1")))], {
        concurrency: "unbounded"
      })
      // Not the same object: Effect puts a span that fails around its error.
      assert.deepStrictEqual((yield* both).map((_) => _.message), [failure.message, failure.message])
      assert.deepStrictEqual(yield* run.current, task("task-1"))
      assert.strictEqual(yield* run.renew(task("task-1")), "task-2")
    }).pipe(Effect.provide(Run)))

  it.effect("goes on when waiters are interrupted, the first one included", () =>
    Effect.gen(function*() {
      const { calls, gate, layer } = yield* gated
      yield* Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const first = yield* Effect.fork(run.renew(task("first")))
        const second = yield* Effect.fork(run.renew(task("first")))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(first)
        yield* Deferred.succeed(gate, registered("second"))
        assert.strictEqual(yield* Fiber.join(second), "second")
        assert.deepStrictEqual(yield* run.current, task("second"))
        assert.strictEqual(yield* Ref.get(calls), 2)
      }).pipe(Effect.provide(layer))
    }))

  it.effect("is finished for the next caller even when all its waiters are gone", () =>
    Effect.gen(function*() {
      const { gate, layer } = yield* gated
      yield* Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const only = yield* Effect.fork(run.renew(task("first")))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(only)
        yield* Deferred.succeed(gate, registered("second"))
        assert.strictEqual(yield* run.renew(task("first")), "second")
      }).pipe(Effect.provide(layer))
    }))
})

describe("RunTask.recover", () => {
  const outcomes = Effect.map(Metric.value(RunTask.renewals), ({ occurrences }) => new Map(occurrences))

  it.effect("renews a task of unknown age at once, and one that was just registered after 30 seconds", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      assert.deepStrictEqual(yield* run.recover(task("known")), Option.some(task("task-1")))
      assert.deepStrictEqual(yield* run.recover(task("task-1")), Option.none())
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* run.recover(task("task-1")), Option.some(task("task-2")))
      assert.strictEqual((yield* (yield* Fakes.Registrations).calls).length, 2)
    }).pipe(Effect.provide(
      resumed(task("known"))
    )))

  it.effect("takes the age from the registration, for a task that a store kept", () =>
    Effect.gen(function*() {
      const Stored = Layer.succeed(TaskRegistration.TaskRegistration, {
        register: (stale) =>
          Effect.succeed({
            taskId: task(Option.isNone(stale) ? "stored" : "new"),
            registeredAt: Option.isNone(stale) ? -20_000 : undefined
          })
      })
      const run = Context.get(
        yield* Layer.build(over(Stored)),
        RunTask.RunTask
      )
      assert.deepStrictEqual(yield* run.recover(task("stored")), Option.none())
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* run.recover(task("stored")), Option.some(task("new")))
      // Where nobody knows, the task may be as old as this answer and no older.
      assert.deepStrictEqual(yield* run.recover(task("new")), Option.none())
    }).pipe(Effect.scoped))

  it.effect("is not put off by a clock that was ahead when the task was registered", () =>
    Effect.gen(function*() {
      const Ahead = Layer.succeed(TaskRegistration.TaskRegistration, {
        register: (stale) =>
          Effect.succeed({ taskId: task(Option.isNone(stale) ? "first" : "second"), registeredAt: 3_600_000 })
      })
      const run = Context.get(
        yield* Layer.build(over(Ahead)),
        RunTask.RunTask
      )
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* run.recover(task("first")), Option.some(task("second")))
    }).pipe(Effect.scoped))

  it.effect("is not put off by a clock that was set back after the task was registered", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("2 hours")
      yield* Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const recover = (refused: string) => Effect.map(run.recover(task(refused)), Option.getOrUndefined)
        assert.strictEqual(yield* recover("task-1"), undefined)
        yield* TestClock.setTime(3_600_000)
        assert.strictEqual(yield* recover("task-1"), "task-2")
        // The new one is as young by the new time.
        assert.strictEqual(yield* recover("task-2"), undefined)
      }).pipe(Effect.provide(Run))
    }))

  for (const [what, change] of Object.entries(Clocks.changes)) {
    it.effect(`is not put off after a registration or a failure where ${what}`, () => {
      const { change: set, clock, pass } = Clocks.make()
      return Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const recover = (refused: string) => Effect.map(run.recover(task(refused)), Option.getOrUndefined)
        yield* pass(29_000)
        assert.isUndefined(yield* recover("task-1"))
        yield* set(change)
        assert.strictEqual(yield* recover("task-1"), "task-2")
        yield* pass(30_000)
        yield* (yield* Fakes.Registrations).fail(failure)
        assert.isUndefined(yield* recover("task-2"))
        yield* pass(29_000)
        assert.isUndefined(yield* recover("task-2"))
        assert.strictEqual((yield* (yield* Fakes.Registrations).calls).length, 3)
        yield* set(change)
        assert.strictEqual(yield* recover("task-2"), "task-3")
      }).pipe(Effect.provide(Run), Effect.withClock(clock))
    })
  }

  for (
    const [what, ending] of [["has a defect", Effect.die("a defect")], ["interrupts itself", Effect.interrupt]] as const
  ) {
    it.effect(`is none where the registration ${what}, which is logged as such`, () => {
      const lines: Array<string> = []
      const keepLogs = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => lines.push(String(message))))
      return Effect.gen(function*() {
        const Failing = Layer.succeed(TaskRegistration.TaskRegistration, {
          register: (stale) =>
            Option.isNone(stale) ? Effect.succeed({ taskId: task("first"), registeredAt: undefined }) : ending
        })
        const run = Context.get(
          yield* Layer.build(over(Failing)),
          RunTask.RunTask
        )
        const before = (yield* outcomes).get("Defect") ?? 0
        assert.deepStrictEqual(yield* run.recover(task("first")), Option.none())
        assert.deepStrictEqual(yield* run.current, task("first"))
        assert.deepStrictEqual(lines, ["The task was not renewed: its registration has a defect"])
        assert.strictEqual((yield* outcomes).get("Defect"), before + 1)
      }).pipe(Effect.scoped, Effect.provide(keepLogs))
    })
  }

  it.effect("gives whoever holds an old task the current one, however young that is", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      yield* run.renew(task("task-1"))
      assert.deepStrictEqual(yield* run.recover(task("task-1")), Option.some(task("task-2")))
    }).pipe(Effect.provide(Run)))

  it.effect("joins a renewal that is under way", () =>
    Effect.gen(function*() {
      const { calls, gate, layer } = yield* gated
      yield* Effect.gen(function*() {
        const run = yield* RunTask.RunTask
        const renewing = yield* Effect.fork(run.renew(task("first")))
        yield* Effect.yieldNow()
        const recovering = yield* Effect.fork(run.recover(task("first")))
        yield* Effect.yieldNow()
        yield* Deferred.succeed(gate, registered("second"))
        assert.strictEqual(yield* Fiber.join(renewing), "second")
        assert.deepStrictEqual(yield* Fiber.join(recovering), Option.some(task("second")))
        assert.strictEqual(yield* Ref.get(calls), 2)
      }).pipe(Effect.provide(layer))
    }))

  it.effect("counts what comes of renewals, and logs a failure with its reason", () => {
    const lines: Array<string> = []
    const keepLogs = Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ annotations, logLevel, message }) =>
        lines.push([logLevel.label, message, ...Array.from(annotations).sort()].join(" "))
      )
    )
    return Effect.gen(function*() {
      const before = yield* outcomes
      const run = yield* RunTask.RunTask
      yield* (yield* Fakes.Registrations).fail(failure)
      yield* Effect.flip(run.renew(task("task-1")))
      yield* run.renew(task("task-1"))
      const after = yield* outcomes
      const added = (outcome: string) => (after.get(outcome) ?? 0) - (before.get(outcome) ?? 0)
      assert.strictEqual(added("Status"), 1)
      assert.strictEqual(added("renewed"), 1)
      assert.deepStrictEqual(lines, [
        `WARN The task was not renewed: ${failure.message} agentRuntimeId,agent-fake reason,Status`
      ])
    }).pipe(Effect.provide(Layer.provide(Run, keepLogs)))
  })

  it.effect("says once, with the reason and for how long, that a refused task is not renewed", () => {
    const lines: Array<string> = []
    const keepLogs = Logger.replace(
      Logger.defaultLogger,
      Logger.make(({ annotations, message }) =>
        lines.push(`${String(message)} ${Option.getOrThrow(HashMap.get(annotations, "agentRuntimeId"))}`)
      )
    )
    return Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      yield* TestClock.adjust("18 seconds")
      yield* run.recover(task("task-1"))
      yield* TestClock.adjust("2 seconds")
      yield* run.recover(task("task-1"))
      assert.deepStrictEqual(lines, [
        "A server refused the task, and it is not renewed for another 12 s: it was registered just now agent-fake"
      ])
      yield* TestClock.adjust("10 seconds")
      yield* (yield* Fakes.Registrations).fail(failure)
      yield* run.recover(task("task-1"))
      yield* run.recover(task("task-1"))
      assert.strictEqual(
        lines[2],
        "A server refused the task, and it is not renewed for another 30 s: its last renewal failed agent-fake"
      )
      assert.lengthOf(lines, 3)
    }).pipe(Effect.provide(Run), Effect.provide(keepLogs))
  })

  it.effect("is in a span of its own, inside of that of the request that asked for it", () => {
    const { spans, trace } = tracing()
    return Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      yield* Effect.withSpan(run.renew(task("task-1")), "request")
      const renewal = spans.find(({ name }) => name === "RunTask.renew")
      assert.strictEqual(renewal?.parent, "request")
      assert.deepStrictEqual(Object.fromEntries(renewal?.attributes ?? []), {
        "agent_identity.agent_runtime_id": "agent-fake",
        "agent_identity.task_id": "task-1"
      })
    }).pipe(Effect.provide(Run), trace)
  })
})

describe("RunTaskError", () => {
  it("says whose run it was, or that it is one of a login without an agent", () => {
    for (const reason of ["Closed", "SigningFailed", "NoLogin", "StaleAuth"] as const) {
      const of = (agentRuntimeId?: string) => new RunTask.RunTaskError({ reason, agentRuntimeId, detail: "it is over" })
      assert.strictEqual(of("agent-1").message, "The run of agent \"agent-1\" sends nothing: it is over")
      assert.strictEqual(of().message, "This run sends nothing: it is over")
    }
  })
})

describe("RunTask.replaced", () => {
  it.effect("ends when the task is replaced, at once for one that is not the current one", () =>
    Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      const waiting = yield* Effect.fork(run.replaced(task("task-1")))
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* waiting.poll))
      yield* run.renew(task("task-1"))
      assert.strictEqual(yield* Fiber.join(waiting), "Replaced")
      assert.strictEqual(yield* run.replaced(task("task-1")), "Replaced")
      assert.strictEqual(yield* run.replaced(task("never seen")), "Replaced")
      assert.isTrue(Option.isNone(yield* Effect.timeoutOption(run.replaced(task("task-2")), 0)))
    }).pipe(Effect.provide(Run)))

  it.effect("ends when the run ends", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const run = Context.get(yield* Layer.buildWithScope(Run, scope), RunTask.RunTask)
      const waiting = yield* Effect.fork(run.replaced(task("task-1")))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Fiber.join(waiting), "Ended")
      assert.strictEqual(yield* run.replaced(task("task-1")), "Ended")
    }))
})

describe("the end of a run", () => {
  const closedReason = (error: RunTask.RunTaskError | TaskRegistration.TaskRegistrationError) => error.reason

  it.live("does not wait for a renewal of 2 s that ignores interruption, and its waiters get Closed", () =>
    Effect.gen(function*() {
      const started = yield* Deferred.make<void>()
      const stubborn = Layer.succeed(TaskRegistration.TaskRegistration, {
        register: (stale) =>
          Option.isNone(stale)
            ? Effect.succeed(registered("first"))
            : Deferred.succeed(started, undefined).pipe(
              Effect.zipRight(Effect.sleep("2 seconds")),
              Effect.as(registered("too late")),
              Effect.uninterruptible
            )
      })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(
        over(stubborn),
        scope
      )
      const run = Context.get(context, RunTask.RunTask)
      const waiters = yield* Effect.forEach([1, 2, 3], () => Effect.fork(Effect.flip(run.renew(task("first")))))
      yield* Deferred.await(started)
      const [took] = yield* Effect.timed(Effect.zipRight(
        Scope.close(scope, Exit.void),
        Effect.forEach(waiters, Fiber.join).pipe(
          Effect.map((errors) => assert.deepStrictEqual(errors.map(closedReason), ["Closed", "Closed", "Closed"]))
        )
      ))
      // A tenth of it on a quiet machine.
      assert.isBelow(Duration.toMillis(took), 1000)
      yield* Effect.sleep("2100 millis")
      assert.strictEqual((yield* Effect.flip(run.current)).reason, "Closed")
    }))

  it.effect("leaves nothing but Closed: no task, no renewal, no registration", () =>
    Effect.gen(function*() {
      const registrations = yield* Fakes.Registrations
      const run = yield* Effect.scoped(Effect.map(
        Layer.build(overProvided()),
        Context.get(RunTask.RunTask)
      ))
      assert.strictEqual((yield* Effect.flip(run.current)).reason, "Closed")
      const error = yield* Effect.flip(run.renew(task("task-1")))
      assert.strictEqual(
        error.message,
        "The run of agent \"agent-fake\" sends nothing: its scope is closed; send requests inside of the run's `Effect.provide`"
      )
      assert.strictEqual((yield* registrations.calls).length, 1)
    }).pipe(Effect.provide(Fakes.layerTaskRegistration)))

  it.effect("interrupts a renewal that is under way, also of a run that was built where nothing is interrupted", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const slow = Layer.succeed(TaskRegistration.TaskRegistration, {
        register: (stale) =>
          Option.isNone(stale)
            ? Effect.succeed(registered("first"))
            : Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
      })
      const scope = yield* Scope.make()
      const context = yield* Effect.uninterruptible(Layer.buildWithScope(
        over(slow),
        scope
      ))
      const waiter = yield* Effect.fork(Effect.flip(Context.get(context, RunTask.RunTask).renew(task("first"))))
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiter)).reason, "Closed")
      yield* Deferred.await(interrupted)
    }))
})
