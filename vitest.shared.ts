import { defineConfig } from "vitest/config"

// Tests read `src` without a build: each package's `exports` carries this private condition.
const conditions = ["@agent-identity/source"]

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: { include: ["test/**/*.test.ts"] }
})
