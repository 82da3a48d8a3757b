/** Effect's own diagnostics for every package, without patching the compiler. */
import { spawnSync } from "node:child_process"

const projects = [
  "packages/core/tsconfig.src.json",
  "packages/node/tsconfig.src.json",
  "packages/server/tsconfig.src.json",
  "packages/sql/tsconfig.src.json",
  "packages/testing/tsconfig.src.json",
  "examples/tsconfig.json"
]

let failed = false
for (const project of projects) {
  console.log(`Effect diagnostics: ${project}`)
  const { status } = spawnSync(
    "effect-language-service",
    ["diagnostics", "--project", project, "--format", "text", "--strict"],
    { stdio: "inherit" }
  )
  failed ||= status !== 0
}
process.exit(failed ? 1 : 0)
