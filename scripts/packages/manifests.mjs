/** The packages that are published: every one of `packages` that is not private. */
import { readdirSync, readFileSync } from "node:fs"

export const SCOPE = "@agent-identity/"

export const manifests = () =>
  readdirSync("packages").sort()
    .map((folder) => ({ folder: `packages/${folder}`, file: `packages/${folder}/package.json` }))
    .map((_) => ({ ..._, manifest: JSON.parse(readFileSync(_.file, "utf8")) }))
    .filter(({ manifest }) => !manifest.private)
