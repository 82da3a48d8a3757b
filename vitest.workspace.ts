/** The projects of `npm test`. One of them alone: `npx vitest run --project core`. */
import { fileURLToPath } from "node:url"
import type { TestProjectInlineConfiguration } from "vitest/config"

const pathOf = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// Tests read `src` without a build: each package's `exports` carries this private condition.
const conditions = ["@agent-identity/source"]
export const resolution = { resolve: { conditions }, ssr: { resolve: { conditions } } }

/** What `assert` means in all tests. */
export const setup = pathOf("quality/assert.ts")

/** Fails a file that has shown a secret: `npm run test:leaks`. */
export const leaks = pathOf("quality/hard/leaks/setup.ts")

/** Only a test that hangs takes so long, on a busy machine too. */
export const limits = { testTimeout: 120_000, hookTimeout: 120_000 }

const setupFiles = process.env.LEAKS === undefined ? [setup] : [setup, leaks]
const include = ["test/**/*.test.ts"]

const project = (
  folder: string,
  options: TestProjectInlineConfiguration["test"] = {}
): TestProjectInlineConfiguration => ({
  ...resolution,
  root: pathOf(folder),
  test: {
    name: folder.split("/").at(-1)!,
    include,
    // Hard tests take minutes: `npm run test:hard`.
    exclude: ["**/*.hard.test.ts", "**/node_modules/**"],
    setupFiles,
    ...limits,
    ...options
  }
})

const globalSetup = pathOf("packages/sql/test/postgres.ts")

export default [
  project("packages/core"),
  project("packages/login"),
  project("packages/node"),
  project("packages/server"),
  project("packages/sql", { globalSetup }),
  project("packages/authapi", { globalSetup }),
  project("packages/testing"),
  project("examples", { include: ["*.test.ts", "agent-cli/agent.test.ts"] }),
  // Alone in its processes: `layer` of @effect/vitest leaves its TestClock behind, which stands where that file left it.
  project("examples/agent-cli", { include: ["swap-fakes.test.ts"] }),
  project("docs", { include: ["code/*.test.ts"] }),
  project("scripts"),
  project("quality/benchmarks"),
  // Always with the leak scan, which is tested here.
  project("quality/hard", { setupFiles: [setup, leaks] })
]
