import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"
import LeakReporter from "./quality/hard/leaks/reporter.ts"
import projects from "./vitest.workspace.ts"

export default defineConfig({
  test: {
    projects,
    // Files of a project share their processes, and with them what they import; projects share none.
    isolate: false,
    reporters: process.env.LEAKS === undefined ? ["dot"] : [new LeakReporter(), "dot"],
    silent: "passed-only",
    maxWorkers: availableParallelism(),
    minWorkers: 1,
    coverage: { include: ["packages/*/src/**/*.ts"] }
  }
})
