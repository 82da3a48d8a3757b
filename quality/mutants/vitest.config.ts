/** For mutation testing: the tests of what is mutated, over the copy that Stryker has changed. `npm run test:mutants`. */
import { readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Tinypool } from "tinypool"
import type { RunnerTestCase } from "vitest"
import { defineConfig } from "vitest/config"
import type { Reporter } from "vitest/node"
import { resolution } from "../../vitest.workspace.ts"

const core = fileURLToPath(new URL("../../packages/core/src", import.meta.url))

/** `import { A } from` the package is `import * as A from` its module: most of the time goes into imports. */
const deepImports = {
  name: "deep-imports",
  enforce: "pre" as const,
  transform: (code: string) =>
    code.replaceAll(
      /import \{([^}]*)\} from "@agent-identity\/core"/g,
      (_, names: string) =>
        names.split(",").map((name) => name.trim()).filter((name) => name !== "").map((name) => {
          const module = name.replace(/^type /, "")
          return `import ${name === module ? "" : "type "}* as ${module} from "@agent-identity/core/${module}"`
        }).join("; ")
    )
}

/** Stryker's runner looks at tests only, and would take a file that fails before it has any for one that passes. */
const failureToLoad: Reporter = {
  onFinished: (files = []) => {
    for (const file of files.filter(({ result, tasks }) => result?.state === "fail" && tasks.length === 0)) {
      file.tasks.push({ type: "test", name: "loads", mode: "run", file, result: file.result } as RunnerTestCase)
    }
  }
}

// A project, for otherwise vitest takes those of vitest.workspace.ts.
const mutants = {
  plugins: [deepImports],
  resolve: {
    ...resolution.resolve,
    // By its name the package would be the one in `node_modules`, which is not the copy.
    alias: [
      { find: /^@agent-identity\/core$/, replacement: `${core}/index.ts` },
      ...["protocol", "run", "provider", "token"].flatMap((folder) =>
        readdirSync(`${core}/${folder}`).map((file) => ({
          find: `@agent-identity/core/${file.slice(0, -3)}`,
          replacement: `${core}/${folder}/${file}`
        }))
      )
    ]
  },
  ssr: resolution.ssr,
  test: {
    name: "mutants",
    include: process.env.MUTANTS_TESTS?.split(",") ?? ["packages/core/test/**/*.test.ts"],
    setupFiles: fileURLToPath(new URL("setup.ts", import.meta.url)),
    pool: "threads" as const,
    poolOptions: { threads: { isolate: true } },
    // A busy machine is no reason to call a change noticed.
    testTimeout: 60_000
  }
}

// One worker for all mutants, ten times faster: what is in `node_modules` it loads once, and what is ours anew for each
// file, as for any isolated project. The class is that of vitest's own pool.
Tinypool.prototype.recycleWorkers = () => Promise.resolve()

export default defineConfig({ test: { projects: [mutants], isolate: false, reporters: [failureToLoad] } })
