/** Other processes, kills, full disks and changes at any moment. */
import type { CredentialStore } from "@agent-identity/login"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Duration, Effect, Either, Exit, Fiber, Option, Random, Schema, Scope } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { setImmediate, setTimeout } from "node:timers/promises"
import { assertClean, shown } from "../../core/test/leaks.ts"
import { BINDING, countOf, increment, KEY, recordOf } from "./authFile/counter.ts"
import {
  agent,
  bundle,
  file,
  leftovers,
  login,
  modeOf,
  readJson,
  readText,
  ReferenceAgent,
  run,
  storeOf,
  write
} from "./authFile/files.ts"

let worker = ""
const scope = Effect.runSync(Scope.make())
beforeAll(async () => {
  worker = await Effect.runPromise(Scope.extend(bundle("worker.ts"), scope))
}, 30_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const isRoot = process.getuid?.() === 0
const LIMIT = 110_000

const live = <A, E>(name: string, test: () => Effect.Effect<A, E, Scope.Scope>) => it.scopedLive(name, test, LIMIT)

/** A process of the worker, which does not outlive the test. */
const start = (what: string, file: string, times = 1, options: { readonly uid?: number; readonly gid?: number } = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => run(process.execPath, [worker, what, file, String(times)], options)),
    ({ process }) => Effect.sync(() => process.kill("SIGKILL"))
  )

const linesOf = (
  what: string,
  file: string,
  times?: number,
  options?: { readonly uid?: number; readonly gid?: number }
) => Effect.flatMap(start(what, file, times, options), ({ done }) => Effect.promise(() => done))

const until = (condition: () => boolean) =>
  Effect.promise(async () => {
    while (!condition()) await setTimeout(2)
  })

const lockOf = (file: string) => `${file}.agent-identity-lock`

const put = (file: string, count: number) =>
  Effect.gen(function*() {
    const store = yield* storeOf(file)
    const version = Option.map(yield* store.get(BINDING), (_) => _.version)
    assert.isTrue(yield* store.compareAndSwap(BINDING, version, Option.some(recordOf(count))))
  })

const isReferenceAgent = Schema.is(ReferenceAgent)

/** The number in the file, where all of it is as it was written. */
const assertWhole = (file: string): number => {
  const { agent_identity: member, agent_identity_provisioning: own, ...rest } = readJson(file)
  assert.deepStrictEqual(rest, JSON.parse(JSON.stringify(login())))
  if (!isReferenceAgent(member)) return assert.fail("the agent is not to the reference's grammar")
  const count = Number(member.task_id?.slice("task-".length))
  assert.deepStrictEqual({ ...member }, {
    ...agent({ email: "person@example.com" }),
    task_id: `task-${count}`
  } as never)
  assert.deepInclude(own, { task: { task_id: `task-${count}`, registered_at: count } })
  assert.strictEqual(modeOf(file), 0o600)
  return count
}

describe("AuthFile", () => {
  describe("with other processes", () => {
    live("16 processes that swap 50 times each lose nothing", () =>
      Effect.gen(function*() {
        const path = yield* file()
        yield* put(path, 0)
        const running = yield* Effect.fork(Effect.forEach(
          Array.from({ length: 16 }),
          () => linesOf("count", path, 50),
          { concurrency: "unbounded" }
        ))
        // Whoever reads finds a whole file at any time.
        let reads = 0
        while (Option.isNone(yield* Fiber.poll(running))) {
          assertWhole(path)
          reads++
          yield* Effect.promise(() => setTimeout(1))
        }
        const lines = (yield* Fiber.join(running)).flat()
        assert.isAbove(reads, 100)
        assert.deepStrictEqual(
          lines.map(Number).sort((a, b) => a - b),
          Array.from({ length: 800 }, (_, index) => index + 1)
        )
        assert.strictEqual(assertWhole(path), 800)
        assert.deepStrictEqual(leftovers(path), [])
      }))

    live("waits for the lock of another process, and goes on", () =>
      Effect.gen(function*() {
        const path = yield* file()
        const holder = yield* start("hold", path, 1000)
        yield* until(() => holder.lines.length === 1)
        yield* put(path, 1)
        assert.deepStrictEqual(holder.lines, ["held", "released"])
        assert.strictEqual(assertWhole(path), 1)
      }))

    live(
      "says Locked where the lock is held all the time, and can be interrupted before",
      () =>
        Effect.gen(function*() {
          const path = yield* file()
          const before = readText(path)
          yield* start("hold", path, 60_000)
          yield* until(() => Fs.existsSync(lockOf(path)))
          const store = yield* storeOf(path)
          const swap = store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          const impatient = yield* Effect.exit(Effect.timeout(swap, 300))
          assert.isTrue(Exit.isFailure(impatient))
          const [took, error] = yield* Effect.timed(Effect.flip(swap))
          assert.strictEqual(error.reason, "Locked")
          assert.include(error.message, lockOf(path))
          assert.approximately(Duration.toSeconds(took), 10, 2)
          assert.strictEqual(readText(path), before)
        })
    )

    live("takes over the lock of a process that was killed", () =>
      Effect.gen(function*() {
        const path = yield* file()
        const holder = yield* start("hold", path, 60_000)
        yield* until(() => holder.lines.length === 1)
        holder.process.kill("SIGKILL")
        yield* Effect.promise(() => holder.done)
        assert.isTrue(Fs.existsSync(lockOf(path)))
        yield* put(path, 1)
        assert.strictEqual(assertWhole(path), 1)
        assert.deepStrictEqual(leftovers(path), [])
      }))

    live("changes nothing after it was stopped for too long while it held the lock", () =>
      Effect.gen(function*() {
        let lost = 0
        for (let round = 0; round < 10 && lost < 2; round++) {
          const path = yield* file()
          yield* put(path, 0)
          const before = readText(path)
          const watcher = Fs.watch(Path.dirname(path))
          const child = yield* start("count", path)
          yield* Effect.promise(() =>
            new Promise<void>((resolve) =>
              watcher.on("change", (_, name) => {
                if (name !== Path.basename(lockOf(path))) return
                child.process.kill("SIGSTOP")
                watcher.close()
                resolve()
              })
            )
          )
          if (!Fs.existsSync(lockOf(path)) || readText(path) !== before) {
            child.process.kill("SIGKILL")
            continue
          }
          // Half of the time another has taken the lock over, and perhaps released it, by then.
          if (lost === 1) yield* put(path, 100)
          else yield* Effect.promise(() => setTimeout(3000))
          const meanwhile = readText(path)
          child.process.kill("SIGCONT")
          const lines = yield* Effect.promise(() => child.done)
          if (lost === 0) assert.deepStrictEqual(lines, ["LockLost"])
          // It has seen the other's change, and has begun anew.
          else assert.deepStrictEqual(lines, [101])
          if (lost === 0) assert.strictEqual(readText(path), meanwhile)
          assert.strictEqual(assertWhole(path), lost === 0 ? 0 : 101)
          lost++
        }
        assert.strictEqual(lost, 2)
      }))

    live("survives 60 kills at any moment, many of them while the lock is held", () =>
      Effect.gen(function*() {
        const watched = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () =>
            Effect.gen(function*() {
              const path = yield* file()
              yield* put(path, 0)
              let [inside, writing, last] = [0, 0, 0]
              for (let round = 0; round < 3; round++) {
                const random = yield* Random.nextIntBetween(1, 6)
                const child = yield* start("loop", path, 1_000_000)
                yield* Effect.promise(() => {
                  const watcher = Fs.watch(Path.dirname(path))
                  let swaps = 0
                  return new Promise<void>((resolve) =>
                    watcher.on("change", (_, name) => {
                      // Once it is taken over, and a few swaps later. Kill at once, while it is held, or a little later.
                      if (name !== Path.basename(lockOf(path)) || !Fs.existsSync(lockOf(path))) return
                      if (++swaps < random) return
                      watcher.close()
                      if (round % 3 !== 0) child.process.kill("SIGKILL")
                      else globalThis.setTimeout(() => child.process.kill("SIGKILL"), Math.random() * 6)
                      resolve()
                    })
                  )
                })
                yield* Effect.promise(() => child.done)
                if (Fs.existsSync(lockOf(path))) inside++
                const count = assertWhole(path)
                assert.isAtLeast(count, last)
                last = count
                const temporary = leftovers(path).filter((name) => name !== Path.basename(lockOf(path)))
                assert.isAtMost(temporary.length, 1)
                writing += temporary.length
                for (const name of temporary) assert.strictEqual(modeOf(Path.join(path, "..", name)), 0o600)
              }
              yield* put(path, last + 1)
              assert.strictEqual(assertWhole(path), last + 1)
              assert.deepStrictEqual(leftovers(path), [])
              return { inside, writing }
            }),
          { concurrency: "unbounded" }
        )
        const inside = watched.reduce((sum, count) => sum + count.inside, 0)
        const writing = watched.reduce((sum, count) => sum + count.writing, 0)
        assert.isAtLeast(inside, 20)
        assert.isAtLeast(writing, 1)
      }))
  })

  describe("where it cannot write", () => {
    const assertUntouched = (path: string, before: string) => {
      assert.strictEqual(readText(path), before)
      assert.deepStrictEqual(leftovers(path), [])
    }

    it.scopedLive.skipIf(!isRoot)("says DiskFull on a full file system", () =>
      Effect.gen(function*() {
        const path = yield* file()
        const before = readText(path)
        // In a mount namespace of its own, which goes with the process.
        const script = `
          set -e
          mkdir "$2/disk" && mount -t tmpfs -o size=64k tmpfs "$2/disk" && cp "$2/auth.json" "$2/disk"
          dd if=/dev/zero of="$2/disk/filler" 2>/dev/null || true
          "$1" "$3" count "$2/disk/auth.json"
          rm "$2/disk/filler"
          cmp "$2/auth.json" "$2/disk/auth.json" && ls -A "$2/disk" | sed 's/.*/"&"/'
          "$1" "$3" count "$2/disk/auth.json"`
        const { done } = run("unshare", [
          "-m",
          "sh",
          "-c",
          script,
          "sh",
          process.execPath,
          Path.dirname(path),
          worker
        ])
        assert.deepStrictEqual(yield* Effect.promise(() => done), ["DiskFull", "auth.json", 0])
        assert.strictEqual(readText(path), before)
      }), LIMIT)

    live("says DiskFull where a file may not grow", () =>
      Effect.gen(function*() {
        const path = yield* file()
        const before = readText(path)
        const { done } = run("sh", [
          "-c",
          "ulimit -f 0; exec \"$@\"",
          "sh",
          process.execPath,
          worker,
          "count",
          path
        ])
        assert.deepStrictEqual(yield* Effect.promise(() => done), ["DiskFull"])
        assertUntouched(path, before)
        yield* put(path, 1)
      }))

    it.scopedLive.skipIf(!isRoot)(
      "says Unwritable in a folder that is read-only, and Unreadable of another's file",
      () =>
        Effect.gen(function*() {
          const path = yield* file()
          const before = readText(path)
          const nobody = { uid: 65534, gid: 65534 }
          Fs.chmodSync(Path.dirname(path), 0o555)
          assert.deepStrictEqual(yield* linesOf("read", path, 1, nobody), ["Unreadable"])
          Fs.chownSync(path, nobody.uid, nobody.gid)
          assert.deepStrictEqual(yield* linesOf("read", path, 1, nobody), ["read"])
          const [took, lines] = yield* Effect.timed(linesOf("count", path, 1, nobody))
          assert.deepStrictEqual(lines, ["Unwritable"])
          assert.isBelow(Duration.toSeconds(took), 5)
          Fs.chmodSync(Path.dirname(path), 0)
          assert.deepStrictEqual(yield* linesOf("count", path, 1, nobody), ["Unreadable"])
          Fs.chmodSync(Path.dirname(path), 0o700)
          assertUntouched(path, before)
          // Another's file in a folder where it may write: it would become its own, so it does not.
          Fs.chownSync(path, 0, 0)
          Fs.chmodSync(path, 0o644)
          Fs.chmodSync(Path.dirname(path), 0o777)
          assert.deepStrictEqual(yield* linesOf("count", path, 1, nobody), ["Unwritable"])
          assertUntouched(path, before)
        }),
      LIMIT
    )
  })
})

/** Counts up once, whatever comes between. */
const countUp = (store: CredentialStore.Service) =>
  Effect.repeat(Effect.map(increment(store), Option.isSome), { until: (swapped) => swapped })

/** Lets the swap do some of its steps: a few, or any number up to all of them. */
const someSteps = Effect.gen(function*() {
  if (yield* Random.nextBoolean) return yield* Effect.promise(() => setTimeout(Math.random() * 12))
  const steps = yield* Random.nextIntBetween(0, 60)
  for (let step = 0; step < steps; step++) yield* Effect.promise(() => setImmediate())
})

// In this process: so the moment is any of a swap's steps, and never between its last look and its rename.
describe("AuthFile at any moment of a swap", () => {
  live("loses no refresh that the reference writes in place", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* put(path, 0)
      const store = yield* storeOf(path)
      for (let round = 1; round <= 150; round++) {
        const swap = yield* Effect.fork(countUp(store))
        yield* someSteps
        // It knows nothing of our own member, and writes the same number of bytes each time: empty, half, whole.
        const { agent_identity } = readJson(path)
        const text = JSON.stringify(
          { ...login({}, { access_token: `token-${10_000 + round}` }), agent_identity },
          null,
          2
        )
        const descriptor = Fs.openSync(path, "w")
        yield* someSteps
        Fs.writeSync(descriptor, text.slice(0, 400))
        yield* someSteps
        Fs.writeSync(descriptor, text.slice(400))
        Fs.closeSync(descriptor)
        yield* Fiber.join(swap)
        assert.deepInclude(readJson(path).tokens, { access_token: `token-${10_000 + round}` })
        assert.deepStrictEqual(leftovers(path), [])
      }
      // The reference, too, wrote back what it had read: our number is that of the last one to write.
      const { record } = Option.getOrThrow(yield* store.get(BINDING))
      assert.isAbove(countOf(record), 0)
    }))

  live("never brings a file back after a logout", () =>
    Effect.gen(function*() {
      let before = 0
      for (let round = 0; round < 250; round++) {
        const path = yield* file()
        const store = yield* storeOf(path)
        const swap = yield* Effect.fork(
          Effect.either(store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        )
        yield* someSteps
        Fs.rmSync(path)
        const result = yield* Fiber.join(swap)
        if (Either.isLeft(result)) {
          before++
          assert.strictEqual(result.left.reason, "StaleAuth")
        } else assert.isTrue(result.right)
        assert.isFalse(Fs.existsSync(path))
        assert.deepStrictEqual(leftovers(path), [])
      }
      assert.isAbove(before, 20)
      assert.isBelow(before, 250)
    }))

  live("puts no agent into the file of another account", () =>
    Effect.gen(function*() {
      const other = JSON.stringify(login({}, { account_id: "account-2" }))
      let before = 0
      for (let round = 0; round < 150; round++) {
        const path = yield* file()
        const store = yield* storeOf(path)
        const swap = yield* Effect.fork(
          Effect.either(store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        )
        yield* someSteps
        write(path, other)
        const result = yield* Fiber.join(swap)
        if (Either.isLeft(result)) {
          before++
          assert.strictEqual(result.left.reason, "StaleAuth")
          assertClean("the error", shown(result.left), [KEY, "secret"])
        } else assert.isTrue(result.right)
        assert.strictEqual(readText(path), other)
        assert.deepStrictEqual(leftovers(path), [])
      }
      assert.isAbove(before, 20)
      assert.isBelow(before, 150)
    }))

  live("changes nothing once its lock is gone", () =>
    Effect.gen(function*() {
      let lost = 0
      for (let round = 0; round < 100; round++) {
        const path = yield* file()
        const store = yield* storeOf(path)
        const before = readText(path)
        const swap = yield* Effect.fork(
          Effect.either(store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        )
        while (!Fs.existsSync(lockOf(path)) && Option.isNone(yield* Fiber.poll(swap))) {
          yield* Effect.promise(() => setImmediate())
        }
        if (round % 4 === 3) yield* someSteps
        // Taken away, and in every other round it is another's at once.
        Fs.rmSync(lockOf(path), { recursive: true, force: true })
        if (round % 2 === 0) Fs.mkdirSync(lockOf(path))
        const result = yield* Fiber.join(swap)
        if (Either.isLeft(result)) {
          lost++
          assert.strictEqual(result.left.reason, "LockLost")
          assert.strictEqual(readText(path), before)
          // It leaves the other's lock alone.
          assert.deepStrictEqual(leftovers(path), round % 2 === 0 ? [Path.basename(lockOf(path))] : [])
        } else {
          // It was done before, or it has begun anew and taken over the lock that nobody holds.
          assert.strictEqual(assertWhole(path), 1)
        }
      }
      assert.isAbove(lost, 20)
    }))

  live("releases the lock and leaves nothing where it is interrupted", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* put(path, 0)
      const store = yield* storeOf(path)
      for (let round = 0; round < 100; round++) {
        const swap = yield* Effect.fork(increment(store))
        yield* someSteps
        yield* Fiber.interrupt(swap)
        assert.deepStrictEqual(leftovers(path), [])
        assertWhole(path)
      }
      yield* countUp(store)
    }))
})
