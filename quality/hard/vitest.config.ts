/** The hard tests of all packages: long, hostile and seeded. `npm run test:hard`. */
import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"
import { limits, resolution, setup } from "../../vitest.workspace.ts"

export default defineConfig({
  ...resolution,
  test: {
    include: ["{packages,quality,scripts}/**/test/**/*.hard.test.ts"],
    setupFiles: [setup],
    ...limits,
    maxWorkers: availableParallelism(),
    minWorkers: 1
  }
})
