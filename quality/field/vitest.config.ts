/**
 * The client in the field: `npm run field`. What was built runs as an app of its own, a process, against plain servers that
 * answer as edges, proxies and services do.
 */
import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"
import { setup } from "../../vitest.workspace.ts"

export default defineConfig({
  test: {
    include: ["quality/field/test/*.test.ts"],
    setupFiles: [setup],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: availableParallelism(),
    minWorkers: 1
  }
})
