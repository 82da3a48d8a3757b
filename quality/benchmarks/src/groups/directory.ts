/**
 * What a look-up of an agent costs by how many there are: in memory, in a libsql file, and, where `POSTGRES_URL` says where
 * one is, in PostgreSQL. Databases work in threads and processes of their own, so this is time on the clock, with ten at a
 * time.
 */
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as LibsqlFile from "@agent-identity/sql/LibsqlFile"
import * as Postgres from "@agent-identity/sql/Postgres"
import * as SqlAgentDirectory from "@agent-identity/sql/SqlAgentDirectory"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import process from "node:process"
import * as Harness from "../harness.ts"

const AT_A_TIME = 10
const PUBLIC_KEY = new Uint8Array(32).fill(1)
const idOf = (agent: number) => AgentRuntimeId.make(`agent-0192f0c1-5e0c-7d3a-b1a2-${String(agent).padStart(12, "0")}`)

/** Each size adds to the agents of the one before. */
const measure = (
  name: string,
  directory: AgentDirectory.Service,
  sizes: ReadonlyArray<number>,
  lookups: number
) =>
  Effect.gen(function*() {
    const rows: Array<Harness.Row> = []
    let [agents, baseline] = [0, [1]]
    for (const size of sizes) {
      yield* Effect.forEach(
        Array.from({ length: size - agents }, (_, index) => idOf(agents + index)),
        (agentRuntimeId) => directory.putAgent({ agentRuntimeId, publicKey: PUBLIC_KEY }),
        { concurrency: AT_A_TIME, discard: true }
      )
      agents = size
      const values: Array<number> = []
      for (let round = 0; round < 9; round++) {
        // All over the directory, in an order that no cache guesses.
        const ids = Array.from({ length: lookups }, (_, index) => idOf((index * 7919 + round * 104_729) % size))
        const start = performance.now()
        yield* Effect.forEach(ids, (id) => directory.findAgent(id), { concurrency: AT_A_TIME, discard: true })
        values.push((performance.now() - start) * 1e6 / lookups)
      }
      if (rows.length === 0) baseline = values
      rows.push(Harness.row({ name: `${name}, ${size.toLocaleString("en")} agents`, unit: "ns", values, baseline }))
    }
    return rows
  })

const run = Effect.scoped(Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "agent-identity-bench-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )
  const sizes = [1_000, 10_000, 40_000]
  const over = <E>(layer: Layer.Layer<AgentDirectory.AgentDirectory, E>) =>
    Effect.map(Layer.build(layer), Context.get(AgentDirectory.AgentDirectory))
  const rows = [
    ...yield* measure("memory", AgentDirectory.makeMemory(), [...sizes, 1_000_000], 20_000),
    ...yield* measure(
      "libsql file",
      yield* over(Layer.provide(SqlAgentDirectory.layer, LibsqlFile.layer({ file: Path.join(folder, "agents.db") }))),
      sizes,
      2_000
    )
  ]
  const url = process.env.POSTGRES_URL
  if (url === undefined || url === "") return rows
  const postgres = yield* over(
    Layer.provide(SqlAgentDirectory.layer, Postgres.layer({ url: Redacted.make(url), maxConnections: AT_A_TIME }))
  )
  return [...rows, ...yield* measure("PostgreSQL", postgres, sizes, 2_000)]
})).pipe(Effect.orDie)

export const directory: Harness.Group = {
  name: "directory",
  title: "A look-up of an agent, ten at a time, against the smallest directory of its kind",
  rows: () => run
}
