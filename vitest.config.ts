import { defineConfig } from "vitest/config"
import LeakReporter from "./packages/hard/leaks/reporter.ts"
import { maxWorkers } from "./vitest.shared.ts"
import projects from "./vitest.workspace.ts"

export default defineConfig({
  test: {
    projects,
    reporters: process.env.LEAKS === undefined ? ["default"] : [new LeakReporter(), "default"],
    maxWorkers,
    minWorkers: 1,
    coverage: { include: ["packages/*/src/**/*.ts"] }
  }
})
