import { defineConfig } from "vitest/config"
import { leaks, resolution } from "../../../../vitest.workspace.ts"

export default defineConfig({ ...resolution, test: { setupFiles: [leaks], include: ["planted.ts"] } })
