import { FastCheck } from "effect"
import { inject } from "vitest"

declare module "vitest" {
  interface ProvidedContext {
    readonly globalNamespace: string
    readonly mode: "mutant" | "dry-run"
    readonly mutantActivation: "static" | "runtime"
  }
}

// A mutant survives today and tomorrow, or never.
FastCheck.configureGlobal({ seed: 42 })

// The worker is the one of the mutant before, which is active no longer, and whose runs do not count. Stryker puts the
// next one in now, if it is static, or else before the tests.
if (inject("mode") === "mutant") {
  Object.assign(Reflect.get(globalThis, inject("globalNamespace")) ?? {}, {
    hitCount: undefined,
    ...inject("mutantActivation") === "runtime" && { activeMutant: undefined }
  })
}
