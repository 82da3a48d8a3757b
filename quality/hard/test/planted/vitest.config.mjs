import { defineConfig } from "vitest/config"
import { leaks, resolution } from "../../../../vitest.workspace.ts"

// All files in one process, as in `npm test`.
export default defineConfig({
  ...resolution,
  test: { setupFiles: [leaks], include: ["{planted,first,second,clean}.ts"], isolate: false, fileParallelism: false }
})
