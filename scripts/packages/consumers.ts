/**
 * Apps that know nothing of this repository: installed by the README's own lines, compiled by every TypeScript, run by
 * every Node that we say. What they run is what the README shows, against a backend in this process.
 */
import { UrlDerivation } from "@agent-identity/core"
import { Effect, Redacted } from "effect"
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { environmentOf, makeAgent } from "../../examples/backend.ts"
import { all, check, ensure, execute, run } from "./run.ts"
import type { Tarball } from "./tarballs.ts"
import * as Toolbox from "./toolbox.ts"

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

const readmeLines = readFileSync("README.md", "utf8").match(/^npm install .*\.tgz.*$/gm) ?? []

/** Installs it beside the tarballs, in a folder of its name. */
const install = (folder: string, { files, lines, name }: Consumer, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    const cwd = join(folder, name)
    mkdirSync(cwd)
    for (const [file, from] of Object.entries(files)) copyFileSync(from, join(cwd, file))
    const writeJson = (file: string, value: unknown) => writeFileSync(join(cwd, file), JSON.stringify(value))
    writeJson("package.json", { name, private: true, type: "module" })

    yield* ensure(readmeLines.length === 3, `README.md has ${readmeLines.length} lines that install us, and not 3`)
    const installs = lines.map((line) => readmeLines[line]!)
    // Nothing is run that a package brings, and what the cache has is taken from there.
    const env = { npm_config_ignore_scripts: "true", npm_config_prefer_offline: "true", npm_config_audit: "false" }
    for (const line of installs) yield* run("bash", ["-c", line], { cwd, env })

    const installed = tarballs.filter(({ short }) => installs.some((line) => line.split(/[{,}]/).includes(short)))
    const modules = installed.flatMap((_) => _.modules)
    writeJson("modules.json", { modules, internals: installed.flatMap((_) => _.internals) })
    writeFileSync(
      join(cwd, "modules.ts"),
      modules.map((module, index) => `export * as module${index} from "${module}"\n`).join("")
    )
    const sources = ["modules.ts", ...Object.keys(files)]
    writeJson("tsconfig.nodenext.json", tsconfig("nodenext", "nodenext", sources.filter((_) => /\.c?ts$/.test(_))))
    writeJson("tsconfig.bundler.json", tsconfig("esnext", "bundler", sources.filter((_) => _.endsWith(".ts"))))
    return yield* oneCopyOfEach(cwd)
  })

const tsconfig = (module: string, moduleResolution: string, files: ReadonlyArray<string>) => ({
  compilerOptions: {
    strict: true,
    target: "es2022",
    module,
    moduleResolution,
    typeRoots: [join(process.cwd(), "node_modules/@types")],
    types: ["node"]
  },
  files
})

/** Of ours, and of Effect. */
const oneCopyOfEach = (cwd: string) =>
  Effect.gen(function*() {
    const listed = yield* run("npm", ["ls", "--all", "--parseable"], { cwd })
    const paths = listed.trim().split("\n").map((path) => path.slice(path.lastIndexOf("node_modules/") + 13))
    for (const name of new Set(paths)) {
      const isOne = paths.filter((_) => _ === name).length === 1
      yield* ensure(
        isOne || !/^(effect|@effect\/.*|@agent-identity\/.*)$/.test(name),
        `there are two copies of ${name}`
      )
    }
    return `${paths.length - 1} packages`
  })

/** The first compilation makes the JavaScript that the Nodes run, too. */
const compiles = (folder: string, consumer: Consumer) =>
  Toolbox.compilers.flatMap(({ name, tsc }, index) =>
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
  Toolbox.nodes.flatMap(({ name, node }) => {
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

/** The peers keep Effect 4 out, which is npm's `latest`. */
const refusesEffect4 = (folder: string, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    const cwd = join(folder, "effect-4")
    mkdirSync(cwd)
    writeFileSync(join(cwd, "package.json"), "{ \"private\": true }\n")
    const args = ["install", "--package-lock-only", "--prefer-offline", "effect@4", tarballs[0]!.file]
    // `npm run --silent` would silence this one too.
    const { exitCode, output } = yield* execute("npm", args, { cwd, env: { npm_config_loglevel: "error" } })
    yield* ensure(exitCode !== 0 && output.includes("ERESOLVE"), `npm installed effect@4 beside core, or\n${output}`)
  })

export const checks = (folder: string, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    yield* Effect.all([
      check("npm install with Effect 4: refused", refusesEffect4(folder, tarballs)),
      check("app: npm install", install(folder, app, tarballs)),
      check("server: npm install", install(folder, server, tarballs)),
      check("Node 20, 22 and 24, TypeScript 7.0", Toolbox.install)
    ], { concurrency: "unbounded" })
    yield* all([...compiles(folder, app), ...compiles(folder, server)])
    yield* all(runs(folder, yield* environment))
  })
