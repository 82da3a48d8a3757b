/**
 * Ed25519 over `node:crypto`, with the imported key kept.
 *
 * @since 0.1.0
 */
import * as AgentKey from "@agent-identity/core/AgentKey"
import * as Signing from "@agent-identity/core/Signing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Crypto from "node:crypto"

/**
 * `Signing` by OpenSSL. It takes and refuses the same keys as the portable layer, and makes the same signatures.
 *
 * @example
 * import { AgentKey, Signing } from "@agent-identity/core"
 * import { NodeSigning } from "@agent-identity/node"
 * import { Effect } from "effect"
 *
 * const payload = new TextEncoder().encode("agent-123:task-1:2026-04-23T00:00:00Z")
 * const sign = (key: AgentKey.AgentKey) =>
 *   Effect.flatMap(Signing.Signing, ({ importPrivateKey }) => importPrivateKey(key)).pipe(
 *     Effect.flatMap((signer) => signer.sign(payload))
 *   )
 *
 * const key = await Effect.runPromise(AgentKey.generate())
 * const [native, portable] = await Effect.runPromise(
 *   Effect.all([Effect.provide(sign(key), NodeSigning.layer), Effect.provide(sign(key), Signing.layer)])
 * )
 * assert.deepStrictEqual(Uint8Array.from(native), portable)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Signing.Signing> = Layer.succeed(
  Signing.Signing,
  Signing.make(Effect.succeed({
    signer: (seed) => {
      const pkcs8 = AgentKey.toPkcs8({ seed: Redacted.make(seed), publicKey: undefined })
      const privateKey = Crypto.createPrivateKey({
        key: Buffer.from(Redacted.value(pkcs8), "base64"),
        format: "der",
        type: "pkcs8"
      })
      const { x } = Crypto.createPublicKey(privateKey).export({ format: "jwk" })
      return {
        publicKey: new Uint8Array(Buffer.from(x!, "base64url")),
        sign: (payload) => Crypto.sign(null, payload, privateKey)
      }
    },
    verifier: (publicKey) => {
      const x = Buffer.from(publicKey).toString("base64url")
      const key = Crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" })
      return (payload, signature) => Crypto.verify(null, payload, key, signature)
    }
  }))
)
