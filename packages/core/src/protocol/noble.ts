/** The primitives of @noble, loaded when first needed: most programs that import us never use them. */
import * as Effect from "effect/Effect"

/** @internal */
export const ed25519 = Effect.promise(() => import("@noble/curves/ed25519.js"))

/** @internal */
export const sha2 = Effect.promise(() => import("@noble/hashes/sha2.js"))

/** @internal */
export const sealing = Effect.promise(() =>
  Promise.all([
    import("@noble/curves/ed25519.js"),
    import("@noble/ciphers/salsa.js"),
    import("@noble/hashes/blake2.js")
  ])
)
