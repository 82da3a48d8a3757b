import { defineConfig } from "vitest/config"
import shared, { leaks, setup } from "../../vitest.shared.ts"

export default defineConfig({
  ...shared,
  // Always here, where the scan itself is tested.
  test: { ...shared.test, name: "@agent-identity/hard", setupFiles: [setup, leaks] }
})
