/**
 * What an install of each published package brings, from the lock file: how many packages, of what size, under which
 * licences, with which install scripts. Every direct dependency has a reason here, and the README shows them. With
 * `--write` it is made so. Known vulnerabilities fail, where the registry tells them.
 */
import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { manifests, SCOPE } from "./packages/manifests.mjs"

const reasons = {
  "@effect/experimental": "`RateLimiter`, for the limits of registrations; asked for by the SQL clients too",
  "@effect/platform": "`HttpClient`, `HttpApi`, `FileSystem`: what our layers are made for",
  "@effect/platform-node": "Node's layers of it",
  "@effect/sql": "`SqlClient`: one directory for both databases",
  "@effect/sql-libsql": "`SqlClient` over a libsql file. Brings an older `@libsql/client` that is not used",
  "@effect/sql-pg": "`SqlClient` over PostgreSQL",
  "@libsql/client": "opens the file: with a busy timeout, which the older one lacks",
  "@noble/ciphers": "XSalsa20-Poly1305: task ids that are sealed",
  "@noble/curves": "Ed25519 and X25519 on any JavaScript runtime",
  "@noble/hashes": "SHA-512 and BLAKE2b under these two",
  effect: "Effect 3 itself",
  jose: "signed tokens: JWS, JWK and claims",
  pg: "the driver under it, whose connections are closed when they time out",
  "proper-lockfile": "one writer of `auth.json` at a time, among processes",
  ws: "WebSockets whose handshake carries a header"
}

/** Why these install scripts, denied by `allowScripts`, are not needed. */
const scripts = {
  "@parcel/watcher": "compiles where npm has no binary for the platform",
  "msgpackr-extract": "compiles where npm has no binary for the platform"
}

const licences = [
  "0BSD",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "BlueOak-1.0.0",
  "CC0-1.0",
  "ISC",
  "MIT",
  "Unlicense"
]

/** Where the numbers are taken: packages of other platforms do not count. */
const PLATFORM = { os: "linux", cpu: "x64", libc: "glibc" }

const { packages: lock } = JSON.parse(readFileSync("package-lock.json", "utf8"))
const { allowScripts } = JSON.parse(readFileSync("package.json", "utf8"))
const problems = []

/** Looks where Node would: in the package's own node_modules, then in those of every folder around it. */
const find = (from, name) => {
  const path = `${from === "" ? "" : `${from}/`}node_modules/${name}`
  if (lock[path] !== undefined || from === "") return lock[path]?.link ? lock[path].resolved : path
  return find(from.slice(0, Math.max(0, from.lastIndexOf("/node_modules/"))), name)
}

/** What npm may install for these names of this package: the packages, and all that they need in turn. */
const closure = (from, names, seen = new Set()) => {
  for (const name of names) {
    const path = find(from, name)
    const entry = lock[path]
    // Our own are counted by themselves; an optional one may be missing.
    if (name.startsWith(SCOPE) || entry === undefined || seen.has(path)) continue
    seen.add(path)
    closure(path, [
      ...Object.keys({ ...entry.dependencies, ...entry.optionalDependencies }),
      ...Object.keys(entry.peerDependencies ?? {}).filter((peer) => !entry.peerDependenciesMeta?.[peer]?.optional)
    ], seen)
  }
  return seen
}

const without = (paths, others) => new Set([...paths].filter((path) => !others.has(path)))

const trees = manifests().map(({ folder, manifest }) => {
  const peers = Object.keys(manifest.peerDependencies).filter((name) => !name.startsWith(SCOPE))
  const dependencies = Object.keys(manifest.dependencies ?? {})
  const brought = closure(folder, peers)
  return { folder, manifest, peers, dependencies, brought, own: without(closure(folder, dependencies), brought) }
})
const production = new Set(trees.flatMap(({ brought, own }) => [...brought, ...own]))
const nameOf = (path) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)

// Licences and install scripts.

const isAllowed = (licence) =>
  licence.replace(/[()]/g, "").split(" OR ").some((choice) => choice.split(" AND ").every((_) => licences.includes(_)))

for (const path of production) {
  const licence = String(lock[path].license)
  if (!isAllowed(licence)) {
    problems.push(`${path} has the licence ${licence}, which is not among ${licences.join(", ")}`)
  }
  if (lock[path].hasInstallScript && scripts[nameOf(path)] === undefined) {
    problems.push(`${path} has an install script, for which scripts/check-supply.mjs has no explanation`)
  }
}
for (const [path, entry] of Object.entries(lock)) {
  if (entry.hasInstallScript && allowScripts[nameOf(path)] !== false) {
    problems.push(`${path} has an install script that allowScripts of package.json does not deny`)
  }
}
for (const { folder, manifest } of trees) {
  if (manifest.scripts !== undefined) problems.push(`${folder} has scripts: nothing of ours runs at an install`)
}

// The README.

const isHere = (path) =>
  Object.entries(PLATFORM).every(([key, here]) => {
    const wanted = lock[path][key] ?? [here]
    return wanted.includes(here) || (wanted.every((_) => _.startsWith("!")) && !wanted.includes(`!${here}`))
  })

const sorted = (names) => [...new Set(names)].sort()
const peerNames = sorted(trees.flatMap(({ peers }) => peers))
const names = new Set([...peerNames, ...sorted(trees.flatMap(({ dependencies }) => dependencies))])
for (const name of names) if (reasons[name] === undefined) problems.push(`${name} has no reason to be a dependency`)
for (const name of Object.keys(reasons)) {
  if (!names.has(name)) problems.push(`${name} has a reason, and nobody needs it`)
}

const sizeOf = (folder) =>
  readdirSync(folder, { withFileTypes: true }).reduce((size, file) => {
    const path = join(folder, file.name)
    if (file.isDirectory()) return file.name === "node_modules" ? size : size + sizeOf(path)
    return size + statSync(path).size
  }, 0)

const cost = (paths) => {
  if (paths.size === 0) return "comes with the peers"
  // Our lock file may hold one version in two places, for another one that a tool of ours wants.
  const versions = new Map([...paths].filter(isHere).map((path) => [`${nameOf(path)}@${lock[path].version}`, path]))
  const size = [...versions.values()].reduce((sum, path) => sum + sizeOf(path), 0)
  return `${versions.size}, ${size < 1e6 ? `${Math.round(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`}`
}

const table = (head, rows) =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n").replace(/ --- /g, "---")

const short = (name) => name.slice(SCOPE.length)

const render = () => {
  const packages = trees.map(({ brought, dependencies, manifest, own }) => [
    `\`${short(manifest.name)}\``,
    dependencies.length,
    cost(own),
    cost(brought)
  ])
  const direct = [...names].map((name) => {
    const needed = trees.filter(({ dependencies, peers }) => [...dependencies, ...peers].includes(name))
    const isPeer = peerNames.includes(name)
    const { brought, folder } = needed[0]
    const paths = closure(folder, [name])
    return [
      `\`${name}\`${isPeer ? ", peer" : ""}`,
      needed.map(({ manifest }) => short(manifest.name)).join(", "),
      cost(isPeer ? paths : without(paths, brought)),
      lock[find(folder, name)].license,
      reasons[name]
    ]
  })
  return [
    table(["package", "dependencies", "all that they bring", "its peers, and all that they bring"], packages),
    table(["dependency", "of", "with all that it brings", "licence", "why"], direct)
  ].join("\n\n")
}

const absent = [...production].filter((path) => isHere(path) && !existsSync(path))
if (absent.length > 0) {
  console.log(`README.md not compared: sizes are those of Linux on x64, and ${absent.join(", ")} is not here`)
} else if (problems.length === 0) {
  const readme = readFileSync("README.md", "utf8")
  const written = readme.replace(
    /<!-- scripts\/check-supply.mjs -->\n[\s\S]*?\n<!-- end -->/,
    () => `<!-- scripts/check-supply.mjs -->\n${render()}\n<!-- end -->`
  )
  if (process.argv.includes("--write")) writeFileSync("README.md", written)
  else if (written !== readme) {
    problems.push("README.md shows other dependencies: node scripts/check-supply.mjs --write")
  }
}

// Known vulnerabilities.

const audit = JSON.parse(
  spawnSync("npm", ["audit", "--json", "--fetch-retries=0"], { encoding: "utf8" }).stdout || "{}"
)
if (audit.vulnerabilities === undefined) {
  console.log(`NOT AUDITED: the registry answers no npm audit (${audit.message ?? "nothing came"})`)
} else {
  const found = Object.values(audit.vulnerabilities)
  const ours = found.filter(({ nodes }) => nodes.some((path) => production.has(path)))
  for (const { name, severity } of ours) problems.push(`${name} has a known vulnerability (${severity}): npm audit`)
  console.log(`npm audit: ${ours.length} in what is published, ${found.length - ours.length} in tools`)
}

for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log(`${production.size} packages stand behind ours: licences and install scripts are in order`)
