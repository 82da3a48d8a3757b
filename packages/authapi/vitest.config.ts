import { defineConfig, mergeConfig } from "vitest/config"
import shared from "../../vitest.shared.ts"

export default mergeConfig(
  shared,
  defineConfig({ test: { name: "@agent-identity/authapi", globalSetup: "../sql/test/postgres.ts" } })
)
