/**
 * Apps that know nothing of this repository: installed by the README's own lines, compiled by every TypeScript, run by
 * every Node that we say. What they run is what the README shows, against a backend in this process.
 */
import { UrlDerivation } from "@agent-identity/core"
import { FileSystem } from "@effect/platform"
import { Effect, Redacted } from "effect"
import { homedir } from "node:os"
import { join } from "node:path"
import { environmentOf, makeAgent } from "../../examples/backend.ts"
import { all, check, ensure, execute, run } from "./run.ts"
import type { Tarball } from "./tarballs.ts"

/** The oldest that `engines` lets in, and the newest of the lines after it. */
const NODES = { "node-20": "20.19.0", "node-22": "22.23.3", "node-24": "24.21.0" }
const TYPESCRIPT = "7.0.2"

const repository = process.cwd()

interface Consumer {
  readonly name: string
  /** The lines of the README that install it. */
  readonly lines: ReadonlyArray<number>
  /** Its files, and what they are here. */
  readonly files: Readonly<Record<string, string>>
}

const app: Consumer = {
  name: "app",
  lines: [0, 1],
  files: {
    "app.ts": "examples/02-your-own-app.ts",
    "fakes.test.ts": "examples/03-swap-fakes.test.ts",
    "commonjs.cts": "scripts/packages/consumer/commonjs.cts",
    "modules.mjs": "scripts/packages/consumer/modules.mjs"
  }
}

const server: Consumer = {
  name: "server",
  lines: [2],
  files: { "server.ts": "examples/16-directory-in-a-file.ts", "modules.mjs": "scripts/packages/consumer/modules.mjs" }
}

/** Installs the app beside the tarballs; it is a folder of this name. */
const install = (folder: string, { files, lines, name }: Consumer, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const cwd = join(folder, name)
    const readme = yield* Effect.orDie(fs.readFileString("README.md"))
    const installs = readme.match(/^npm install .*\.tgz.*$/gm) ?? []
    yield* ensure(installs.length === 3, `README.md has ${installs.length} lines that install the packages, and not 3`)
    yield* Effect.orDie(Effect.gen(function*() {
      yield* fs.makeDirectory(cwd)
      for (const [file, from] of Object.entries(files)) yield* fs.copyFile(from, join(cwd, file))
      yield* fs.writeFileString(join(cwd, "package.json"), JSON.stringify({ name, private: true, type: "module" }))
      for (const [resolution, module] of [["nodenext", "nodenext"], ["bundler", "esnext"]]) {
        yield* fs.writeFileString(
          join(cwd, `tsconfig.${resolution}.json`),
          JSON.stringify({
            compilerOptions: {
              strict: true,
              target: "es2022",
              module,
              moduleResolution: resolution,
              typeRoots: [join(repository, "node_modules/@types")],
              types: ["node"]
            },
            files: ["modules.ts", ...Object.keys(files)]
              .filter((_) => _.endsWith(".ts") || (_.endsWith(".cts") && module === "nodenext"))
          })
        )
      }
    }))
    // Nothing is run that a package brings, and what the cache has is taken from there.
    const env = { npm_config_ignore_scripts: "true", npm_config_prefer_offline: "true", npm_config_audit: "false" }
    for (const line of lines) yield* run("bash", ["-c", installs[line]!], { cwd, env })
    const installed = tarballs.filter(({ manifest }) =>
      installs.some((line, index) =>
        lines.includes(index) && new RegExp(`[{,]${manifest.name.split("/")[1]}[,}]`).test(line)
      )
    )
    const all = { modules: installed.flatMap((_) => _.modules), internals: installed.flatMap((_) => _.internals) }
    const imports = all.modules.map((module, index) => `export * as module${index} from "${module}"\n`)
    yield* Effect.orDie(fs.writeFileString(join(cwd, "modules.json"), JSON.stringify(all)))
    yield* Effect.orDie(fs.writeFileString(join(cwd, "modules.ts"), imports.join("")))
    return yield* npmLs(cwd)
  })

/** One copy of each of ours, and of Effect. */
const npmLs = (cwd: string) =>
  Effect.gen(function*() {
    const lock = yield* run("npm", ["ls", "--all", "--parseable"], { cwd })
    const paths = lock.trim().split("\n").map((path) => path.slice(path.lastIndexOf("node_modules/") + 13))
    for (const name of new Set(paths)) {
      const isOne = paths.filter((_) => _ === name).length === 1
      yield* ensure(
        isOne || !/^(effect|@effect\/.*|@agent-identity\/.*)$/.test(name),
        `there are two copies of ${name}`
      )
    }
    return `${paths.length - 1} packages`
  })

/** Nodes and a compiler, from the registry: 550 MB, so they are no dependencies of this repository, and they are kept. */
const toolbox = join(homedir(), ".cache", "agent-identity", ["tools", ...Object.values(NODES), TYPESCRIPT].join("-"))

const installToolbox = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  // What npm writes last.
  if (yield* Effect.orDie(fs.exists(join(toolbox, "node_modules/.package-lock.json")))) return
  yield* Effect.orDie(fs.makeDirectory(toolbox, { recursive: true }))
  yield* Effect.orDie(fs.writeFileString(join(toolbox, "package.json"), "{ \"private\": true }\n"))
  const nodes = Object.entries(NODES).map(([name, version]) =>
    `${name}@npm:node-${process.platform}-${process.arch}@${version}`
  )
  const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
  yield* run("npm", ["install", ...flags, ...nodes, `typescript@${TYPESCRIPT}`], { cwd: toolbox })
})

const compilers = [
  { name: "TypeScript 5.9", tsc: join(repository, "node_modules/.bin/tsc") },
  { name: "TypeScript 7.0", tsc: join(toolbox, "node_modules/.bin/tsc") }
]

/** The first compilation makes the JavaScript that the Nodes run, too. */
const compiles = (folder: string, consumer: Consumer) =>
  compilers.flatMap(({ name, tsc }, index) =>
    ["nodenext", "bundler"].map((resolution) => {
      const emits = index === 0 && resolution === "nodenext"
      // As most apps do it; and the compiler that is fast enough looks into all declarations.
      const flags = [`--skipLibCheck`, String(index === 0), ...emits ? [] : ["--noEmit"]]
      const cwd = join(folder, consumer.name)
      return check(
        `${consumer.name}: ${name}, ${resolution}`,
        Effect.flatMap(
          execute(tsc, ["-p", `tsconfig.${resolution}.json`, ...flags], { cwd }),
          ({ exitCode, output }) => {
            // Those of vitest and of platform-node are not without errors.
            const errors = output.match(/^(?!node_modules\/(?!@agent-identity\/)).*error TS.*$/gm) ?? []
            return ensure(errors.length === 0 && (exitCode === 0 || /error TS/.test(output)), output)
          }
        )
      )
    })
  )

/** What the README's programs do on a Node. */
const runs = (folder: string, environment: Record<string, string>) =>
  Object.keys(NODES).flatMap((name) => {
    const node = join(toolbox, "node_modules", name, "bin/node")
    const cwd = (consumer: Consumer) => join(folder, consumer.name)
    const prints = (
      consumer: Consumer,
      args: ReadonlyArray<string>,
      pattern: RegExp,
      env: Record<string, string> = {}
    ) =>
      Effect.gen(function*() {
        const output = yield* run(node, args, { cwd: cwd(consumer), env })
        yield* ensure(pattern.test(output), `${args.join(" ")} did not print ${pattern}, but\n${output}`)
      })
    const modules = (consumer: Consumer) =>
      Effect.map(run(node, ["modules.mjs"], { cwd: cwd(consumer) }), (output) => output.trim())
    return [
      check(`${name}: import and require, app`, modules(app)),
      check(`${name}: import and require, server`, modules(server)),
      check(`${name}: a CommonJS program`, prints(app, ["commonjs.cjs"], /^AgentAssertion \S+$/m)),
      check(
        `${name}: the README's app`,
        prints(app, ["app.js"], /^200 \{"agent":"agent-demo","task":"task-[\w-]+"\}$/m, environment)
      ),
      check(`${name}: the README's app without a token`, refuses(node, cwd(app))),
      check(
        `${name}: the README's tests`,
        prints(app, ["node_modules/vitest/vitest.mjs", "run", "fakes.test.ts"], /Tests .*3 passed/)
      ),
      check(`${name}: the README's server`, prints(server, ["server.js"], /^the task is still there$/m))
    ]
  })

/** It says what to do. */
const refuses = (node: string, cwd: string) =>
  Effect.gen(function*() {
    const env = { HOME: cwd, CODEX_ACCESS_TOKEN: "", CODEX_AGENT_IDENTITY: "", CODEX_HOME: "" }
    const { exitCode, output } = yield* execute(node, ["app.js"], { cwd, env })
    yield* ensure(exitCode !== 0, "the app ran without a token")
    yield* ensure(output.includes("CODEX_ACCESS_TOKEN is not set"), `the app did not say what it lacks, but\n${output}`)
  })

/** What a client of the backend finds in its environment. */
const environment = Effect.gen(function*() {
  const { token } = yield* makeAgent("agent-demo")
  const urls = yield* UrlDerivation.UrlDerivation
  return { CODEX_ACCESS_TOKEN: Redacted.value(token), ...environmentOf(urls.environment) }
}).pipe(Effect.orDie)

export const checks = (folder: string, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    yield* Effect.all([
      check("app: npm install", install(folder, app, tarballs)),
      check("server: npm install", install(folder, server, tarballs)),
      check("Node 20, 22 and 24, TypeScript 7.0", installToolbox)
    ], { concurrency: "unbounded" })
    yield* all([...compiles(folder, app), ...compiles(folder, server)])
    yield* all(runs(folder, yield* environment))
  })
