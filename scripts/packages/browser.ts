/** Core in a browser: bundled with nothing of Node in it, and held against the vectors in a real one. */
import { Effect } from "effect"
import { build } from "esbuild"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { chromium } from "playwright-core"
import { all, check, CheckFailed, ensure } from "./run.ts"
import type { Tarball } from "./tarballs.ts"

const CHROMIUM = "/usr/bin/chromium"

/** Bundles this module as an app would, from what the app has installed. */
const bundle = (app: string, contents: string) =>
  Effect.gen(function*() {
    const node: Array<string> = []
    const builtins = builtinModules.flatMap((name) => [name, `node:${name}`])
    const result = yield* Effect.tryPromise({
      try: () =>
        build({
          stdin: { contents, resolveDir: app, loader: "ts" },
          bundle: true,
          write: false,
          minify: true,
          format: "esm",
          platform: "browser",
          target: "es2022",
          logLevel: "silent",
          plugins: [{
            name: "builtins",
            setup: ({ onResolve }) =>
              onResolve({ filter: /^[\w:/]+$/ }, ({ importer, path }) => {
                if (!builtins.includes(path)) return undefined
                node.push(`${path}, for ${importer}`)
                return { path, external: true }
              })
          }]
        }),
      catch: (error) => new CheckFailed({ detail: String(error) })
    })
    yield* ensure(node.length === 0, `the bundle wants modules of Node: ${node.join("; ")}`)
    return result.outputFiles[0]!.text
  })

const kilobytes = (bytes: number) => `${Math.round(bytes / 1000)} kB`

/** Every module of core. */
const core = (app: string, tarballs: ReadonlyArray<Tarball>) =>
  Effect.gen(function*() {
    const { modules } = tarballs.find(({ manifest }) => manifest.name === "@agent-identity/core")!
    const names = modules.map((_, index) => `module${index}`)
    const imports = modules.map((module, index) => `import * as module${index} from "${module}"`)
    const text = yield* bundle(app, `${imports.join("\n")}\nconsole.log(${names.join(", ")})`)
    return `${modules.length} modules, ${kilobytes(text.length)}, gzipped ${kilobytes(gzipSync(text).length)}`
  })

const vectors = (app: string) =>
  Effect.gen(function*() {
    const script = yield* bundle(app, readFileSync("scripts/packages/consumer/vectors.ts", "utf8"))
    if (!existsSync(CHROMIUM)) return `but only bundled: SKIPPED in a browser, for there is no ${CHROMIUM}`
    const folder = join(app, "node_modules/@agent-identity/testing/vectors")
    const files = Object.fromEntries(
      readdirSync(folder).filter((_) => _.endsWith(".json")).map((
        name
      ) => [name, readFileSync(join(folder, name), "utf8")])
    )
    const { succeeded, text } = yield* Effect.scoped(Effect.flatMap(page(script), (page) =>
      Effect.tryPromise({
        try: () => page.evaluate((files) => (globalThis as unknown as Vectors).run(files), files),
        catch: (error) => new CheckFailed({ detail: String(error) })
      })))
    yield* ensure(succeeded, text)
    return `${text.split("\n").at(-1)} of ${Object.keys(files).length} files`
  })

interface Vectors {
  readonly run: (files: Readonly<Record<string, string>>) => Promise<{ succeeded: boolean; text: string }>
}

/** A page of a secure origin that has this script, and no network. */
const page = (script: string) =>
  Effect.acquireRelease(
    Effect.promise(() => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] })),
    (browser) => Effect.promise(() => browser.close())
  ).pipe(Effect.flatMap((browser) =>
    Effect.promise(async () => {
      const page = await browser.newPage()
      await page.route("**", (route) => route.fulfill({ contentType: "text/html", body: "" }))
      await page.goto("https://vectors.test/")
      await page.addScriptTag({ type: "module", content: script })
      return page
    })
  ))

/** Wants an app with core and testing installed. */
export const checks = (app: string, tarballs: ReadonlyArray<Tarball>) =>
  all([
    check("browser: core, bundled", core(app, tarballs)),
    check("browser: vectors in Chromium", vectors(app))
  ])
