/** Files that cannot be renamed over: real mounts, other owners, kills at each step. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { setTimeout } from "node:timers/promises"
import * as File from "./authFile/files.ts"

let worker = ""
const scope = Effect.runSync(Scope.make())
beforeAll(async () => {
  worker = await Effect.runPromise(Scope.extend(File.bundle("worker.ts"), scope))
}, 30_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const isRoot = process.getuid?.() === 0
if (!isRoot) console.log("not root: the test of another owner's file is skipped")
const LIMIT = 110_000

/** More than a page, so that others may see the one half of it before the other. */
const big = File.login({ more: "x".repeat(9000) })

/** A file of the host, and where it is mounted: in a folder with an empty file in its place. */
const mounted = Effect.gen(function*() {
  const source = yield* File.file(big)
  const file = yield* File.file("")
  return { source, file, folder: Path.dirname(file) }
})

const mount = "mount --bind \"$0\" \"$1\"; shift;"

const start = (
  { file, source }: { readonly source: string; readonly file: string },
  script: string,
  environment: NodeJS.ProcessEnv = {}
) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      File.runMounted(`${mount} ${script}`, [source, file, process.execPath, worker, file], {
        env: { ...process.env, ...environment },
        detached: true
      })
    ),
    ({ process: child }) => Effect.sync(() => end(child.pid))
  )

/** The process and those that it has started. */
const end = (pid: number | undefined) => {
  try {
    process.kill(-pid!, "SIGKILL")
  } catch {
    // It has ended.
  }
}

const linesOf = (...args: Parameters<typeof start>) =>
  Effect.flatMap(start(...args), ({ done }) => Effect.promise(() => done))

const count = (times = 1) => `exec "$1" "$2" count "$3" ${times}`

const countIn = (source: string): number => {
  const { agent_identity: agent, agent_identity_provisioning: own, ...rest } = File.readJson(source)
  assert.deepStrictEqual(rest, JSON.parse(JSON.stringify(big)))
  const { task_id: task } = agent as { readonly task_id: string }
  const number = Number(task.slice("task-".length))
  assert.deepInclude(own, { task: { task_id: task, registered_at: number } })
  return number
}

describe("AuthFile in place", () => {
  const live = it.scopedLive.skipIf(!File.canMount)

  live("a mounted file keeps its inode, is private, and nothing stays beside it", () =>
    Effect.gen(function*() {
      const home = yield* mounted
      Fs.chmodSync(home.source, 0o644)
      const { ino } = Fs.statSync(home.source)
      assert.deepStrictEqual(yield* linesOf(home, count(12)), Array.from({ length: 12 }, (_, index) => index))
      assert.strictEqual(countIn(home.source), 11)
      assert.strictEqual(Fs.statSync(home.source).ino, ino)
      assert.strictEqual(File.modeOf(home.source), 0o600)
      assert.deepStrictEqual(File.leftovers(home.file), [])
      assert.strictEqual(File.readText(home.file), "")
    }), LIMIT)

  live("a text that is shorter leaves nothing of the longer one", () =>
    Effect.gen(function*() {
      const home = yield* mounted
      yield* linesOf(home, count(2))
      // By other separators it is longer than what is written next.
      Fs.writeFileSync(
        home.source,
        JSON.stringify(File.readJson(home.source), null, 8).replace("{", "{" + " ".repeat(500))
      )
      yield* linesOf(home, count())
      assert.strictEqual(countIn(home.source), 2)
      assert.match(File.readText(home.source), /\}$/)
    }), LIMIT)

  live(
    "4 processes that swap 25 times each lose nothing, and whoever reads by us sees whole records",
    () =>
      Effect.gen(function*() {
        const home = yield* mounted
        yield* linesOf(home, count())
        const writers = Array.from({ length: 4 }, () => `"$1" "$2" count "$3" 25 &`).join(" ")
        const lines = yield* linesOf(home, `${writers} "$1" "$2" watch "$3" 4000; wait`)
        const watched = lines.filter((line) => typeof line !== "number")
        assert.deepStrictEqual(watched, [{ reads: 4000, torn: [] }])
        assert.deepStrictEqual(
          lines.filter((line) => typeof line === "number").sort((a, b) => a - b),
          Array.from({ length: 100 }, (_, index) => index + 1)
        )
        assert.strictEqual(countIn(home.source), 100)
        assert.deepStrictEqual(File.leftovers(home.file), [])
      }),
    LIMIT
  )

  live("a process that is killed at any step loses nothing: the next one goes on", () =>
    Effect.gen(function*() {
      const home = yield* mounted
      const changed: Array<number> = []
      let step = 1
      for (;; step++) {
        // Without an agent, so that the next text is longer, and the one after it is as long.
        File.write(home.source, big)
        const before = File.readText(home.source)
        const lines = yield* linesOf(home, count(2), { KILL_AT: String(step) })
        const after = File.readText(home.source)
        if (after !== before && lines.length < 2) changed.push(step)
        // A process that only reads sees the one or the other, before anybody has mended it.
        const [watched] = yield* linesOf(home, "exec \"$1\" \"$2\" watch \"$3\" 1")
        assert.deepStrictEqual(watched, { reads: 1, torn: [] }, `step ${step}`)
        assert.strictEqual(File.readText(home.source), after)
        const [next] = yield* linesOf(home, count())
        // Of what it had said nothing is lost, and at most one is there that it had no time to say.
        assert.include([lines.length, lines.length + 1], next, `step ${step}`)
        assert.strictEqual(countIn(home.source), next)
        assert.deepStrictEqual(File.leftovers(home.file), [], `step ${step}`)
        if (lines.length === 2) break
      }
      assert.isAbove(step, 20)
      assert.isAtLeast(changed.length, 4)
    }), 2 * LIMIT)

  live("40 kills at any moment leave a file that the next process mends", () =>
    Effect.gen(function*() {
      let inside = 0
      yield* Effect.forEach(Array.from({ length: 4 }), () =>
        Effect.gen(function*() {
          const home = yield* mounted
          let [last] = yield* linesOf(home, count())
          for (let round = 0; round < 10; round++) {
            const { done, process: child } = yield* start(home, "exec \"$1\" \"$2\" loop \"$3\" 1000000")
            yield* Effect.promise(async () => {
              await setTimeout(400 + Math.random() * 600)
              end(child.pid)
              await done
            })
            if (File.leftovers(home.file).length > 0) inside++
            const [next] = yield* linesOf(home, count())
            assert.isAbove(Number(next), Number(last))
            assert.strictEqual(countIn(home.source), next)
            assert.deepStrictEqual(File.leftovers(home.file), [])
            last = next
          }
        }), { concurrency: "unbounded" })
      assert.isAbove(inside, 10)
    }), LIMIT)

  live(
    "says Unwritable for a file that the host has replaced, and for one that is mounted read-only",
    () =>
      Effect.gen(function*() {
        const home = yield* mounted
        const before = File.readText(home.source)
        const other = `${home.source}.new`
        Fs.copyFileSync(home.source, other)
        assert.deepStrictEqual(yield* linesOf(home, `mv "${other}" "${home.source}"; ${count()}`), ["Unwritable"])
        assert.strictEqual(File.readText(home.source), before)
        assert.deepStrictEqual(yield* linesOf(home, `mount -o remount,bind,ro "$3"; ${count()}`), ["Unwritable"])
        assert.strictEqual(File.readText(home.source), before)
        assert.deepStrictEqual(File.leftovers(home.file), [])
      }),
    LIMIT
  )

  live(
    "says DiskFull where there is no space for the longer text, and leaves the file as it was",
    () =>
      Effect.gen(function*() {
        const home = yield* mounted
        // It ends just before the end of a page, so that a longer one needs another.
        const { length } = File.readText(home.source)
        File.write(home.source, { ...big, more: "x".repeat(9000 + 4096 - length % 4096 - 1) })
        const before = File.readText(home.source)
        const disk = yield* File.folder
        const script = `
        mount -t tmpfs -o size=64k tmpfs ${disk}; cp "$0" ${disk}/auth.json
        dd if=/dev/zero of=${disk}/filler 2>/dev/null || true
        mount --bind ${disk}/auth.json "$1"
        "$2" "$3" count "$1"; cmp "$0" "$1"
        rm ${disk}/filler; "$2" "$3" count "$1"`
        const { done } = File.runMounted(script, [home.source, home.file, process.execPath, worker])
        assert.deepStrictEqual(yield* Effect.promise(() => done), ["DiskFull", 0])
        assert.strictEqual(File.readText(home.source), before)
        assert.deepStrictEqual(File.leftovers(home.file), [])
      }),
    LIMIT
  )

  it.scopedLive.skipIf(!isRoot)(
    "writes another owner's file that its group may write, and leaves it that owner's",
    () =>
      Effect.gen(function*() {
        const path = yield* File.file(big)
        const group = { uid: 65534, gid: 65533 }
        Fs.chownSync(path, 0, group.gid)
        Fs.chmodSync(path, 0o660)
        Fs.chownSync(Path.dirname(path), 0, group.gid)
        Fs.chmodSync(Path.dirname(path), 0o770)
        const { done } = File.run(process.execPath, [worker, "count", path, "3"], group)
        assert.deepStrictEqual(yield* Effect.promise(() => done), [0, 1, 2])
        assert.strictEqual(countIn(path), 2)
        assert.deepInclude(Fs.statSync(path), { uid: 0, gid: group.gid })
        assert.strictEqual(File.modeOf(path), 0o660)
        assert.deepStrictEqual(File.leftovers(path), [])
        // The owner replaces it, and leaves it to the group.
        const owner = File.run(process.execPath, [worker, "count", path, "2"])
        yield* Effect.promise(() => owner.done)
        assert.deepInclude(Fs.statSync(path), { uid: 0, gid: group.gid })
        assert.strictEqual(File.modeOf(path), 0o660)
      }),
    LIMIT
  )
})
