/**
 * Makes the next version of the packages from their changesets.
 *
 * Before 1.0 a minor version leaves the range of every peer, for which `changeset version` makes all packages 1.0.0. So it
 * does not get to see the peers that are packages of ours, and they follow the version that it made.
 *
 * npm run release:version
 */
import { execSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { manifests, SCOPE } from "./packages/manifests.mjs"

const run = (command) => execSync(command, { stdio: "inherit" })

const write = (file, manifest, peerDependencies) =>
  writeFileSync(file, `${JSON.stringify({ ...manifest, peerDependencies }, null, 2)}\n`)

const isOurs = (name) => name.startsWith(SCOPE)

const before = manifests()
for (const { file, manifest } of before) {
  const others = Object.entries(manifest.peerDependencies).filter(([name]) => !isOurs(name))
  write(file, manifest, Object.fromEntries(others))
}
try {
  run("npx changeset version")
} finally {
  for (const [index, { file, manifest }] of manifests().entries()) {
    const peers = Object.entries(before[index].manifest.peerDependencies)
    write(
      file,
      manifest,
      Object.fromEntries(peers.map(([name, range]) => [
        name,
        isOurs(name) ? `^${manifest.version}` : range
      ]))
    )
  }
}
// What a request says of its sender.
const caller = "packages/core/src/run/caller.ts"
const [{ manifest: { version } }] = manifests()
if (existsSync(caller)) {
  writeFileSync(caller, readFileSync(caller, "utf8").replace(/version = ".*"/, `version = "${version}"`))
}
run("npm install --package-lock-only --ignore-scripts --no-audit --no-fund")
