/** What an import costs a process that does nothing else, from what is built. */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import process from "node:process"
import * as Harness from "../harness.ts"

const BASELINE = "@effect/platform/HttpClient"

const ENTRIES: ReadonlyArray<{ readonly entry: string; readonly target?: number }> = [
  { entry: BASELINE },
  { entry: "@agent-identity/core", target: 1.15 },
  { entry: "@agent-identity/node" },
  { entry: "@agent-identity/server" },
  { entry: "@agent-identity/sql" },
  { entry: "@agent-identity/testing" },
  { entry: "effect" },
  { entry: "@effect/platform" },
  { entry: "jose" }
]

const folder = new URL("../..", import.meta.url)

/** Nanoseconds of a process that imports it; an empty one without. */
const start = (entry: string | undefined): number => {
  const program = entry === undefined ? "" : `import ${JSON.stringify(entry)}`
  const begin = performance.now()
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { cwd: folder })
  const nanos = (performance.now() - begin) * 1e6
  if (status !== 0) throw new Error(`import ${entry} has failed: ${stderr}`)
  return nanos
}

const run = (form: Harness.Form) =>
  Effect.sync(() => {
    const measured = form.short
      ? ENTRIES.filter(({ entry, target }) => entry === BASELINE || target !== undefined)
      : ENTRIES
    const entries = [undefined, ...measured.map(({ entry }) => entry)]
    const samples = entries.map((): Array<number> => [])
    const rounds = form.short ? 5 : 15
    // The first round is for the file system's cache.
    for (let round = -1; round < rounds; round++) {
      for (const [index, entry] of entries.entries()) {
        const nanos = start(entry)
        if (round >= 0) samples[index]!.push(nanos)
      }
    }
    const [empty, ...others] = samples
    // Not per round: a difference of two single processes is mostly noise.
    const nothing = Harness.quantile(empty!, 0.5)
    const own = (values: ReadonlyArray<number>) => Harness.quantile(values, 0.5) - nothing
    return [
      Harness.row({ name: "control: an empty process", unit: "ns", values: empty! }),
      ...measured.map(({ entry, target }, index): Harness.Row => ({
        ...Harness.row({ name: `import ${entry}`, unit: "ns", values: others[index]!, target }),
        ratio: own(others[index]!) / own(others[0]!)
      }))
    ]
  })

export const imports: Harness.Group = {
  name: "imports",
  title: `Whole processes with one import; ratios are of what is more than an empty one, against ${BASELINE}`,
  rows: run
}
