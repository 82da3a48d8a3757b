/** The Nodes and the compilers that the packages are for, from the registry. */
import { FileSystem } from "@effect/platform"
import { Effect } from "effect"
import { homedir } from "node:os"
import { join } from "node:path"
import { run } from "./run.ts"

/** The oldest that `engines` lets in, and the newest of the lines after it. */
const NODES = { "Node 20": "20.19.0", "Node 22": "22.23.3", "Node 24": "24.21.0" }
const TYPESCRIPT = "7.0.2"

/** They have 550 MB, so they are no dependencies of this repository, and they are kept. */
const folder = join(homedir(), ".cache", "agent-identity", ["toolbox", ...Object.values(NODES), TYPESCRIPT].join("-"))

export const nodes = Object.entries(NODES).map(([name, version]) => ({
  name,
  node: join(folder, `node_modules/node-${version}/bin/node`)
}))

export const compilers = [
  { name: "TypeScript 5.9", tsc: join(process.cwd(), "node_modules/.bin/tsc") },
  { name: "TypeScript 7.0", tsc: join(folder, "node_modules/.bin/tsc") }
]

export const install = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  // What npm writes last.
  if (yield* Effect.orDie(fs.exists(join(folder, "node_modules/.package-lock.json")))) return
  yield* Effect.orDie(fs.makeDirectory(folder, { recursive: true }))
  yield* Effect.orDie(fs.writeFileString(join(folder, "package.json"), "{ \"private\": true }\n"))
  const aliases = Object.values(NODES).map((version) =>
    `node-${version}@npm:node-${process.platform}-${process.arch}@${version}`
  )
  const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
  yield* run("npm", ["install", ...flags, ...aliases, `typescript@${TYPESCRIPT}`], { cwd: folder })
})
