/**
 * Every optional package that the lock file names has an entry of its own. Without one `npm ci` refuses the lock file
 * on every machine; npm writes such a file when a registry lacks binaries of other platforms.
 */
import { readFileSync } from "node:fs"

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"))

/** Looks where Node would: in the package's own node_modules, then in those of every folder around it. */
const isLocked = (from, name) => {
  const folders = [from]
  while (folders.at(-1) !== "") {
    const folder = folders.at(-1)
    folders.push(folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/"))))
  }
  return folders.some((folder) => packages[`${folder === "" ? "" : `${folder}/`}node_modules/${name}`] !== undefined)
}

const named = Object.entries(packages).flatMap(([from, entry]) =>
  Object.keys(entry.optionalDependencies ?? {}).map((name) => ({ from, name }))
)
const missing = named.filter(({ from, name }) => !isLocked(from, name))

for (const { from, name } of missing) console.error(`package-lock.json has no entry for ${name}, named by ${from}`)
if (missing.length > 0) process.exit(1)
console.log(`package-lock.json: all ${named.length} optional packages have entries`)
