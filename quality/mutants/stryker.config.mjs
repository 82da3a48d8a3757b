/** Mutation testing, by `npm run test:mutants`: main.ts says which file and which tests. */
export default {
  plugins: ["@stryker-mutator/vitest-runner"],
  testRunner: "vitest",
  // Which of the files import which is no help: that is known already.
  vitest: { configFile: "quality/mutants/vitest.config.ts", related: false },
  // What runs once, as modules load, counts: tables, patterns and schemas are half of these modules.
  ignoreStatic: false,
  ignorePatterns: ["dist", "build", "coverage"],
  reporters: ["progress-append-only"],
  logLevel: "warn",
  warnings: { slow: false },
  // A mutant that never ends is found by how often its code runs; the time is for a busy machine.
  timeoutMS: 60_000,
  concurrency: 2
}
