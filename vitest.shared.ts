import { defineConfig } from "vitest/config"

// Tests read `src` without a build: each package's `exports` carries this private condition.
const conditions = ["@agent-identity/source"]
export const resolution = { resolve: { conditions }, ssr: { resolve: { conditions } } }

export default defineConfig({
  ...resolution,
  // Hard tests take minutes: `npm run test:hard`.
  test: { include: ["test/**/*.test.ts"], exclude: ["test/**/*.hard.test.ts"] }
})
