import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

// Tests read `src` without a build: each package's `exports` carries this private condition.
const conditions = ["@agent-identity/source"]
export const resolution = { resolve: { conditions }, ssr: { resolve: { conditions } } }

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
    setupFiles: process.env.LEAKS === undefined ? [setup] : [setup, leaks]
  }
})
