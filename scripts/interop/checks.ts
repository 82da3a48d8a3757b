/** What is checked, and how it is shown. */
import { Console, Effect } from "effect"
import type { Seen } from "./backend.ts"
import type { Output } from "./client.ts"

export interface Check {
  readonly what: string
  readonly passed: boolean
}

/** One check for each of a kind, and that there is one at all. */
export const signed = (seen: ReadonlyArray<Seen>, kind: Seen["kind"]): ReadonlyArray<Check> => {
  const all = seen.filter((_) => _.kind === kind)
  return [
    { what: `there is a ${kind}`, passed: all.length > 0 },
    ...all.map(({ method, path, verified }) => ({
      what: `${kind} of ${method} ${path} verifies`,
      passed: verified === true
    }))
  ]
}

/** Prints what was checked and what was sent, and where something failed what the client has said. */
export const report = (
  name: string,
  checks: ReadonlyArray<Check>,
  seen: ReadonlyArray<Seen>,
  outputs: ReadonlyArray<Output> = []
) =>
  Effect.gen(function*() {
    const failed = checks.filter(({ passed }) => !passed)
    yield* Console.log(`\n${name}: ${checks.length - failed.length} of ${checks.length} checks`)
    if (seen.length > 0) yield* Console.log(table(seen))
    for (const { what } of failed) yield* Console.log(`FAILED: ${what}`)
    if (failed.length > 0) { for (const { stderr, stdout } of outputs) yield* Console.log(`${stdout}\n${stderr}`) }
  })

/** Equal requests in one line, as often as they were sent. */
const table = (seen: ReadonlyArray<Seen>): string => {
  const counts = new Map<string, number>()
  for (const { encoding, method, path, scheme, status, verified } of seen) {
    const verdict = verified === undefined ? "-" : verified ? "verified" : "NOT VERIFIED"
    const key = JSON.stringify([`${method} ${path}`, status, scheme, encoding, verdict].map(String))
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const rows = [
    ["request", "status", "scheme", "encoding", "signature", "times"],
    ...Array.from(counts, ([key, count]) => [...JSON.parse(key) as ReadonlyArray<string>, String(count)]).sort()
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => "  " + row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
    .join("\n")
}
