/** The hard tests of all packages: long, hostile and seeded. `npm run test:hard`. */
import { defineConfig } from "vitest/config"
import { resolution } from "./vitest.shared.ts"

export default defineConfig({
  test: {
    projects: [{ ...resolution, test: { name: "hard", include: ["packages/*/test/**/*.hard.test.ts"] } }],
    maxWorkers: "100%",
    minWorkers: 1
  }
})
