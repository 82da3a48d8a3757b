/** Runs the cases of a family, each of a seed of its own, and says how to run a failed one again. */
import { assert } from "@effect/vitest"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Worker } from "node:worker_threads"
import * as Random from "./random.ts"

/** The seed of a run, `HARD_SEED`. */
export const SEED = process.env.HARD_SEED ?? "1"

/** How many cases all families have together, `HARD_CASES`. */
const TOTAL = 200_000
const cases = Number(process.env.HARD_CASES ?? TOTAL)

/** The one case that is run, `HARD_CASE`. */
const only = process.env.HARD_CASE === undefined ? undefined : Number(process.env.HARD_CASE)

export interface Family {
  readonly name: string
  /** Of 200,000 cases, those of this family. */
  readonly cases: number
  /** Makes a case and runs it; fails where the library and the oracle differ. */
  readonly run: (random: Random.Random, index: number) => Promise<"accepted" | "refused"> | "accepted" | "refused"
  /** In percent of the cases: fewer accepted ones, or more, would say that the mutations are no good. */
  readonly accepted: readonly [least: number, most: number]
}

/** For one case, which takes one or two: a machine may be busy with others. */
const MAX_CASE_MILLIS = 10_000
/** A case that never ends leaves no other way out. */
const MAX_HANG_MILLIS = 60_000
const MAX_HEAP_GROWTH = 24 * 1024 * 1024

export const run = async ({ accepted, cases: share, name, run }: Family): Promise<void> => {
  const again = (index: number) =>
    `HARD_SEED=${SEED} HARD_CASE=${index} npx vitest run --config quality/hard/vitest.config.ts quality/hard/test/mutations -t "${name}:"`
  const runCase = async (index: number) => {
    try {
      return await run(Random.make(`${name} ${SEED} ${index}`), index)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new Error(`${name}, seed ${SEED}, case ${index}: ${message}\nAgain: ${again(index)}`, { cause: error })
    }
  }
  if (only !== undefined) return void await runCase(only)

  const counts = { accepted: 0, refused: 0 }
  const total = Math.ceil(share * cases / TOTAL)
  const warm = Math.ceil(total / 4)
  const watch = startWatch(name, again)
  const start = process.cpuUsage()
  let heap = 0
  try {
    for (let index = 0; index < total; index++) {
      watch.begin(index)
      const before = performance.now()
      counts[await runCase(index)] += 1
      const millis = performance.now() - before
      if (millis > MAX_CASE_MILLIS) {
        assert.fail(`${name}, seed ${SEED}, case ${index} took ${millis} ms\nAgain: ${again(index)}`)
      }
      if (index === warm) heap = heapUsed()
    }
  } finally {
    await watch.end()
  }
  const { system, user } = process.cpuUsage(start)
  const growth = heapUsed() - heap
  const percent = 100 * counts.accepted / total
  console.log(
    `${name}: ${total} cases of seed ${SEED}, ${counts.accepted} accepted (${
      percent.toFixed(1)
    } %), ${counts.refused} refused, ` +
      `${((user + system) / 1e6).toFixed(1)} s of CPU, heap ${(growth / 1024 / 1024).toFixed(1)} MiB`
  )
  assert.isAtLeast(percent, accepted[0], `${name}: too few are accepted`)
  assert.isAtMost(percent, accepted[1], `${name}: too many are accepted`)
  assert.isBelow(growth, MAX_HEAP_GROWTH, `${name}: memory grows`)
}

setFlagsFromString("--expose-gc")
const collect = runInNewContext("gc") as () => void

export const heapUsed = (): number => {
  collect()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/** Another thread: whoever loops for ever cannot say so. */
const startWatch = (name: string, again: (index: number) => string) => {
  const shared = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const { writeSync } = require("node:fs")
    const { workerData: { again, limit, name, shared } } = require("node:worker_threads")
    let [last, since] = [-1, Date.now()]
    setInterval(() => {
      const now = Atomics.load(shared, 0)
      if (now !== last) [last, since] = [now, Date.now()]
      else if (Date.now() - since > limit) {
        writeSync(2, name + ", case " + now + " hangs\\nAgain: " + again.replace("INDEX", now) + "\\n")
        process.kill(process.pid, "SIGKILL")
      }
    }, 500)`,
    { eval: true, workerData: { again: again(-1).replace("-1", "INDEX"), limit: MAX_HANG_MILLIS, name, shared } }
  )
  return {
    begin: (index: number) => Atomics.store(shared, 0, index),
    end: () => worker.terminate()
  }
}
