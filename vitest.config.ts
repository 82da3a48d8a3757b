import { defineConfig } from "vitest/config"
import LeakReporter from "./packages/hard/leaks/reporter.ts"
import projects from "./vitest.workspace.ts"

export default defineConfig({
  test: {
    projects,
    reporters: process.env.LEAKS === undefined ? ["default"] : [new LeakReporter(), "default"],
    // The default leaves one core free: on a machine with two that is half of it, and much here waits rather than works.
    maxWorkers: "100%",
    minWorkers: 1,
    coverage: { include: ["packages/*/src/**/*.ts"] }
  }
})
