import { defineConfig } from "vitest/config"
import shared, { leaks } from "../../vitest.shared.ts"

export default defineConfig({
  ...shared,
  // Always here, where the scan itself is tested.
  test: { ...shared.test, name: "@agent-identity/hard", setupFiles: [leaks] }
})
