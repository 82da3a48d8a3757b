/**
 * `npm run bench` runs every group and writes the results folder; `npm run bench -- NAME` runs one group, or the cases
 * whose names have NAME in them, beside the baselines of their groups. `--short` is for CI:
 * what has a target, in less time, and it fails where a ratio is over twice that, so that noise does not fail it and a
 * regression does.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import process from "node:process"
import { agents } from "./groups/agents.ts"
import { bundleSize } from "./groups/bundle.ts"
import { client } from "./groups/client.ts"
import { directory } from "./groups/directory.ts"
import { header } from "./groups/header.ts"
import { heap } from "./groups/heap.ts"
import { hitRate } from "./groups/hitRate.ts"
import { imports } from "./groups/imports.ts"
import { jwt } from "./groups/jwt.ts"
import { box, keys } from "./groups/keys.ts"
import { loopback } from "./groups/loopback.ts"
import { runStart } from "./groups/runStart.ts"
import { server } from "./groups/server.ts"
import { verify } from "./groups/verify.ts"
import * as Harness from "./harness.ts"
import * as Pages from "./pages.ts"
import * as Report from "./report.ts"

const GROUPS = [
  header,
  verify,
  client,
  loopback,
  jwt,
  keys,
  box,
  runStart,
  hitRate,
  agents,
  directory,
  server,
  imports,
  bundleSize,
  heap
]

/** Those with a target. */
const SHORT = [header, verify, client, runStart, imports, heap]

const machine = `Node ${process.versions.node}, ${Os.cpus()[0]?.model.trim()}, ${Os.cpus().length} cores`

const main = Effect.gen(function*() {
  const words = process.argv.slice(2)
  const form = words.includes("--short") ? Harness.SHORT : Harness.FULL
  const name = words.find((word) => !word.startsWith("--"))
  const isGroup = GROUPS.some((group) => group.name === name)
  const groups = isGroup
    ? GROUPS.filter((group) => group.name === name)
    : name === undefined && form.short
    ? SHORT
    : GROUPS
  const slack = form.short ? 2 : 1
  process.stdout.write(`${machine}\n`)

  const results: Array<Report.GroupResult> = []
  for (const group of groups) {
    const rows = yield* Harness.run(group, form, isGroup ? undefined : name)
    if (rows.length === 0) continue
    const result = { name: group.name, title: group.title, rows }
    process.stdout.write(Report.table(result, slack))
    results.push(result)
  }

  if (results.length === 0) {
    process.stderr.write(
      `No group and no case has the name ${name}. Groups: ${GROUPS.map((group) => group.name).join(", ")}\n`
    )
    process.exitCode = 1
    return
  }

  if (!form.short && name === undefined && (process.env.POSTGRES_URL ?? "") === "") {
    process.stdout.write("\nThe pages stay as they are: all of their rows need a PostgreSQL, named in POSTGRES_URL\n")
  } else if (!form.short && name === undefined) {
    const folder = new URL("../../results/", import.meta.url)
    Fs.mkdirSync(folder, { recursive: true })
    const json = { machine, date: new Date().toISOString(), groups: results }
    Fs.writeFileSync(new URL("results.json", folder), `${JSON.stringify(json, null, 2)}\n`)
    Fs.writeFileSync(new URL("results.svg", folder), Report.chart(results, machine))
    for (const path of Pages.PATHS) {
      const page = new URL(`../../../${path}`, folder)
      Fs.writeFileSync(page, Pages.update(Fs.readFileSync(page, "utf8"), results))
    }
  }

  const { failed, passed } = Harness.count(results.flatMap(({ rows }) => rows), slack)
  process.stdout.write(
    `\n${form.short ? "Within twice the targets" : "Targets"}:\n${passed} passed, ${failed} failed\n`
  )
  // A missed target is for people to see; only what is grossly over fails a build.
  if (form.short && failed > 0) process.exitCode = 1
})

await Effect.runPromise(main)
