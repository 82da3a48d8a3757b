/** Packs the packages, and looks into what npm would publish. */
import { Effect } from "effect"
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { type Manifest, manifests, SCOPE } from "./manifests.mjs"
import { all, check, CheckFailed, ensure, run } from "./run.ts"

export interface Tarball {
  readonly manifest: Manifest
  /** Its name without the scope. */
  readonly short: string
  readonly file: string
  /** Where it is unpacked. */
  readonly folder: string
  /** Its files, as paths in the package. */
  readonly paths: ReadonlyArray<string>
  /** The modules that may be imported, and those that may not. */
  readonly modules: ReadonlyArray<string>
  readonly internals: ReadonlyArray<string>
}

export const pack = (folder: string) =>
  Effect.gen(function*() {
    const published = manifests()
    const args = published.map(({ folder }) => `--workspace=${folder}`)
    yield* run("npm", ["pack", `--pack-destination=${folder}`, ...args], { cwd: process.cwd() })
    return yield* Effect.forEach(published, ({ manifest }) => unpack(folder, manifest))
  })

const unpack = (folder: string, manifest: Manifest) =>
  Effect.gen(function*() {
    const short = manifest.name.slice(SCOPE.length)
    const unpacked = join(folder, "unpacked", short)
    mkdirSync(unpacked, { recursive: true })
    const file = join(folder, `agent-identity-${short}-${manifest.version}.tgz`)
    yield* run("tar", ["-xzf", file, "--strip-components=1", "-C", unpacked], { cwd: folder })
    const paths = readdirSync(unpacked, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(unpacked.length + 1))
      .sort()
    const modules = paths.filter((path) => /^dist\/.*\.js$/.test(path)).map((path) => path.slice(5, -3))
    const specifiers = new Map(
      modules.map((module) => [module, specifierOf(manifest, module)] as const)
    )
    const tarball: Tarball = {
      manifest,
      short,
      file,
      folder: unpacked,
      paths,
      modules: modules.flatMap((module) => specifiers.get(module) ?? []),
      internals: modules.filter((module) => specifiers.get(module) === undefined).map((_) => `${manifest.name}/${_}`)
    }
    return tarball
  })

/** By which name a module is imported; undefined for one that the package keeps to itself. */
const specifierOf = ({ exports, name }: Manifest, module: string): string | undefined => {
  if (module === "index") return name
  const listed = Object.entries(exports).find(([, target]) =>
    target !== null && typeof target === "object" && target.default === `./dist/${module}.js`
  )
  if (listed !== undefined) return name + listed[0].slice(1)
  return "./*" in exports && !module.includes("/") ? `${name}/${module}` : undefined
}

export const checks = (tarballs: ReadonlyArray<Tarball>) =>
  all(tarballs.flatMap((tarball) => {
    const { file, folder, manifest: { name }, modules } = tarball
    const tool = (tool: string, ...args: Array<string>) =>
      run(join(process.cwd(), "node_modules/.bin", tool), args, { cwd: folder })
    const entrypoints = modules.map((module) => module === name ? "." : module.slice(name.length + 1))
    return [
      check(`${name}: contents`, contents(tarball)),
      check(`${name}: publint`, Effect.asVoid(tool("publint", "--strict", file))),
      check(
        `${name}: are the types wrong?`,
        Effect.as(
          tool("attw", "--profile=esm-only", "--no-definitely-typed", "--entrypoints", ...entrypoints, "--", file),
          `${entrypoints.length} entry points`
        )
      ),
      check(`${name}: npm publish --dry-run`, dryRun(tarball))
    ]
  }))

const contents = ({ folder, manifest, paths }: Tarball) =>
  Effect.gen(function*() {
    const text = (path: string) => readFileSync(join(folder, path), "utf8")
    const known =
      /^(package\.json|LICENSE|README\.md|src\/[\w/]+\.ts|dist\/[\w/]+\.(js|d\.ts)(\.map)?|vectors\/.*\.(json|md))$/
    const strange = paths.filter((path) => !known.test(path))
    yield* ensure(strange.length === 0, `has no business in a package: ${strange.join(", ")}`)

    const sources = paths.filter((path) => path.startsWith("src/")).map((path) => path.slice(4, -3))
    const built = sources.flatMap((_) => [".js", ".js.map", ".d.ts", ".d.ts.map"].map((end) => `dist/${_}${end}`))
      .sort()
    const present = paths.filter((path) => path.startsWith("dist/"))
    const odd = [...built.filter((_) => !present.includes(_)), ...present.filter((_) => !built.includes(_))]
    yield* ensure(odd.length === 0, `dist is not what src builds to, remove it and npm run build: ${odd.join(", ")}`)

    yield* ensure(text("LICENSE") === readFileSync("LICENSE", "utf8"), "its LICENSE is not that of the repository")
    yield* ensure(text("README.md").startsWith(`# ${manifest.name}\n`), "its README.md is not its own")

    for (const path of paths) {
      yield* ensure(!text(path).includes(process.cwd()), `${path} has a path of this machine in it`)
      if (!path.endsWith(".map")) continue
      for (const source of (JSON.parse(text(path)) as { readonly sources: ReadonlyArray<string> }).sources) {
        const target = normalize(join(folder, dirname(path), source))
        yield* ensure(target.startsWith(folder) && existsSync(target), `${path} names ${source}, which is not there`)
      }
    }

    const [first] = manifests()
    yield* ensure(
      manifest.version === first!.manifest.version && manifest.homepage === first!.manifest.homepage
        && manifest.bugs === first!.manifest.bugs && manifest.repository.url === first!.manifest.repository.url,
      `differs from ${first!.file} in version, homepage, bugs or repository`
    )
    for (const [peer, range] of Object.entries(manifest.peerDependencies)) {
      const wrong = peer.startsWith(SCOPE) && range !== `^${manifest.version}`
      yield* ensure(!wrong, `wants ${peer}@${range}, and all packages have one version, ${manifest.version}`)
    }
    return `${paths.length} files`
  })

/** Everything but the upload. A login is the one thing that it may miss. */
const dryRun = ({ file, folder, manifest }: Tarball) =>
  Effect.gen(function*() {
    const { access, provenance } = manifest.publishConfig
    yield* ensure(access === "public" && provenance, "publishConfig wants access \"public\" and provenance")
    const args = ["publish", "--dry-run", "--loglevel=warn", file]
    const output = yield* run("sh", ["-c", "npm \"$@\" 2>&1", "sh", ...args], { cwd: folder })
    const warnings = output.split("\n").filter((line) => line.startsWith("npm warn") && !line.includes("be logged in"))
    if (warnings.length > 0) return yield* new CheckFailed({ detail: warnings.join("\n") })
  })
