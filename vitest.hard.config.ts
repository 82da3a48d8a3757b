/** The hard tests of all packages: long, hostile and seeded. `npm run test:hard`. */
import { defineConfig } from "vitest/config"
import { maxWorkers, resolution, setup } from "./vitest.shared.ts"

export default defineConfig({
  test: {
    projects: [{
      ...resolution,
      test: { name: "hard", include: ["packages/*/test/**/*.hard.test.ts"], setupFiles: [setup] }
    }],
    maxWorkers,
    minWorkers: 1
  }
})
