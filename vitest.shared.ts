import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

// Tests read `src` without a build: each package's `exports` carries this private condition.
const conditions = ["@agent-identity/source"]
export const resolution = { resolve: { conditions }, ssr: { resolve: { conditions } } }

/** Half as many again as there are cores: much here waits for sockets, files and processes rather than works. */
export const maxWorkers = Math.ceil(availableParallelism() * 1.5)

/** What `assert` means in all tests. */
export const setup = fileURLToPath(new URL("vitest.setup.ts", import.meta.url))

/** Fails a file that has shown a secret: `npm run test:leaks`. */
export const leaks = fileURLToPath(new URL("packages/hard/leaks/setup.ts", import.meta.url))

export default defineConfig({
  ...resolution,
  test: {
    include: ["test/**/*.test.ts"],
    // Hard tests take minutes: `npm run test:hard`.
    exclude: ["test/**/*.hard.test.ts"],
    // A busy machine is no failure, and a test that hangs still is one.
    testTimeout: 30_000,
    setupFiles: process.env.LEAKS === undefined ? [setup] : [setup, leaks]
  }
})
