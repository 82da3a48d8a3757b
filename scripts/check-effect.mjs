/** Effect's own diagnostics for the examples and for all that they are made of, without patching the compiler. */
import { spawnSync } from "node:child_process"
import { readdirSync } from "node:fs"

const { error, status, stdout } = spawnSync(
  "effect-language-service",
  ["diagnostics", "--project", "examples/tsconfig.json", "--format", "text", "--strict"],
  { encoding: "utf8", stdio: ["inherit", "pipe", "inherit"] }
)
if (error !== undefined) throw error
console.log(stdout)

// The examples use every layer, and with it every module; if one is left out some day, nobody would see it.
const sources = ["core", "login", "node", "server", "sql", "authapi", "testing"].flatMap((name) =>
  readdirSync(`packages/${name}/src`, { recursive: true }).filter((file) => file.endsWith(".ts"))
)
const checked = Number(/Checked (\d+) files/.exec(stdout)?.[1])
if (!(checked > sources.length)) {
  console.error(`Only ${checked} files were checked, and ${sources.length} of the packages should be among them`)
  process.exit(1)
}
process.exit(status ?? 1)
