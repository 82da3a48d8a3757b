/**
 * Ed25519, as a service: a key goes in, a `Signer` or a `Verifier` comes out.
 *
 * Keys are imported once; signing is then as fast as the platform's cryptography. `layer` here runs everywhere;
 * `@agent-identity/node` has one over `node:crypto` that is many times faster.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { AgentKey } from "../protocol/AgentKey.ts"
import * as Noble from "../protocol/noble.ts"
import * as SealedBox from "../protocol/SealedBox.ts"

/**
 * What went wrong with a key or a signature. It shows nothing of either.
 *
 * - `InvalidPrivateKey`: the seed is not 32 bytes
 * - `InvalidPublicKey`: not 32 bytes, not canonical, of small order or, for `checkPublicKey`, outside of the prime-order
 *   group
 * - `PublicKeyMismatch`: the public key beside a seed is another key's
 * - `SigningFailed`: the implementation threw
 *
 * @since 0.1.0
 * @category errors
 */
export class SigningError extends Schema.TaggedError<SigningError>("@agent-identity/core/SigningError")(
  "SigningError",
  { reason: Schema.Literal("InvalidPrivateKey", "InvalidPublicKey", "PublicKeyMismatch", "SigningFailed") }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return explanations[this.reason]
  }
}

/**
 * An imported private key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /**
   * Ed25519 (RFC 8032): 64 bytes, the same for the same payload. A key in this process signs when this is called, and
   * returns what is ready.
   */
  readonly sign: (payload: Uint8Array) => Effect.Effect<Uint8Array, SigningError>
  /** Opens a box that was sealed for this key (module SealedBox). */
  readonly openSealed: (sealed: Uint8Array) => Effect.Effect<Uint8Array, SealedBox.SealedBoxError>
}

/**
 * An imported public key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Verifier {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Whether the signature is this key's over this payload. Anything that is no signature is false. */
  readonly verify: (payload: Uint8Array, signature: Uint8Array) => Effect.Effect<boolean>
}

/**
 * Imports keys.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Fails where the public key beside the seed is not the seed's. */
  readonly importPrivateKey: (key: AgentKey) => Effect.Effect<Signer, SigningError>
  /**
   * Takes the 32 bytes of a key that `checkPublicKey` has accepted. Compares bytes only: fails for another length,
   * for an encoding that is not canonical, and for a point of small order. Other bytes are imported, and a key that is not on
   * the curve verifies nothing.
   */
  readonly importPublicKey: (publicKey: Uint8Array) => Effect.Effect<Verifier, SigningError>
  /**
   * Succeeds for a canonical point of the prime-order group that is not of small order. Call it once, where a key is
   * registered: it costs as much as several verifications.
   */
  readonly checkPublicKey: (publicKey: Uint8Array) => Effect.Effect<void, SigningError>
}

/**
 * Ed25519, over whatever the platform has. `layer` is portable; `NodeSigning.layer` of `@agent-identity/node` is
 * native.
 *
 * @since 0.1.0
 * @category tags
 */
export class Signing extends Context.Tag("@agent-identity/core/Signing")<Signing, Service>() {}

/**
 * What an implementation has to bring. Both functions may throw.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ed25519 {
  /** Of a seed, 32 bytes. */
  readonly signer: (seed: Uint8Array) => {
    readonly publicKey: Uint8Array
    readonly sign: (payload: Uint8Array) => Uint8Array
  }
  /**
   * Of a public key: 32 bytes, canonical and not of small order, but possibly no point. It is asked about signatures of
   * 64 bytes only. True where S is canonical and S·B - k·A has the bytes of R, without the cofactor, as OpenSSL does it.
   */
  readonly verifier: (publicKey: Uint8Array) => (payload: Uint8Array, signature: Uint8Array) => boolean
}

/**
 * The whole service over the bare primitives, so that all implementations check keys alike.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (ed25519: Effect.Effect<Ed25519>): Service => ({
  importPrivateKey: (key) =>
    Effect.gen(function*() {
      // A copy: the caller may wipe its own. And OpenSSL reads no further than 32 bytes, so the length is checked here.
      const seed = Uint8Array.from(Redacted.value(key.seed))
      if (seed.length !== 32) return yield* new SigningError({ reason: "InvalidPrivateKey" })
      const { signer } = yield* ed25519
      const { publicKey, sign } = yield* Effect.try({
        try: () => signer(seed),
        catch: () => new SigningError({ reason: "InvalidPrivateKey" })
      })
      if (key.publicKey !== undefined && !equals(key.publicKey, publicKey)) {
        return yield* new SigningError({ reason: "PublicKeyMismatch" })
      }
      return {
        publicKey,
        sign: (payload) => {
          try {
            return Effect.succeed(sign(payload))
          } catch {
            return Effect.fail(new SigningError({ reason: "SigningFailed" }))
          }
        },
        openSealed: (sealed) => SealedBox.open(seed, sealed)
      }
    }),
  importPublicKey: (publicKey) =>
    Effect.flatMap(ed25519, ({ verifier }) => {
      try {
        // Not `slice`, which shares the bytes of a Buffer.
        const copy = new Uint8Array(publicKey)
        if (!isPlausible(copy)) return Effect.fail(new SigningError({ reason: "InvalidPublicKey" }))
        const verify = verifier(copy)
        return Effect.succeed({
          publicKey: copy,
          verify: (payload: Uint8Array, signature: Uint8Array) =>
            Effect.sync(() => {
              try {
                return signature.length === 64 && verify(payload, signature)
              } catch {
                return false
              }
            })
        })
      } catch {
        return Effect.fail(new SigningError({ reason: "InvalidPublicKey" }))
      }
    }),
  checkPublicKey: (publicKey) =>
    Effect.flatMap(Noble.ed25519, ({ ed25519 }) =>
      Effect.try({
        try: () => {
          if (!isPlausible(publicKey) || !ed25519.Point.fromBytes(publicKey).isTorsionFree()) throw new Error()
        },
        catch: () => new SigningError({ reason: "InvalidPublicKey" })
      }))
})

/**
 * Over @noble/curves: any JavaScript runtime. It is loaded when the first key is imported.
 *
 * @example
 * import { AgentKey, Signing } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const signing = yield* Signing.Signing
 *   const signer = yield* signing.importPrivateKey(yield* AgentKey.generate())
 *   const verifier = yield* signing.importPublicKey(signer.publicKey)
 *   const payload = new TextEncoder().encode("agent-123:task-1:2026-04-23T00:00:00Z")
 *   assert.deepStrictEqual(yield* verifier.verify(payload, yield* signer.sign(payload)), true)
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Signing.layer))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Signing> = Layer.succeed(
  Signing,
  make(Effect.map(Effect.all([Noble.ed25519, Noble.sha2]), ([{ ed25519 }, { sha512 }]) => ({
    signer: (seed) => ({ publicKey: ed25519.getPublicKey(seed), sign: (payload) => ed25519.sign(payload, seed) }),
    verifier: (publicKey) => (payload, signature) => {
      const { BASE, Fn } = ed25519.Point
      const R = signature.subarray(0, 32)
      // Not by `ed25519.verify`, which multiplies by the cofactor: OpenSSL does not, and a key that has a part of small
      // order would be one that they disagree about.
      const k = Fn.create(littleEndian(sha512.create().update(R).update(publicKey).update(payload).digest()))
      const point = BASE.multiplyUnsafe(littleEndian(signature.subarray(32))) // throws for what is not below the order
        .subtract(ed25519.Point.fromBytes(publicKey).multiplyUnsafe(k))
      return equals(point.toBytes(), R)
    }
  })))
)

/**
 * What costs nothing to find out. A point of small order makes signatures that fit any message, and a number that is not
 * canonical is a second spelling of a key.
 */
const isPlausible = (publicKey: Uint8Array): boolean => {
  if (publicKey.length !== 32) return false
  const y = new Uint8Array(publicKey)
  y[31]! &= 0x7f // without the sign of x
  const isBelowP = y[0]! < 0xed || y[31]! < 0x7f || y.subarray(1, 31).some((byte) => byte < 0xff)
  return isBelowP && !smallOrder.some((point) => equals(point, y))
}

/** The y of the eight points of small order, which are five: 1 and -1, and of the others each with two signs of x. */
const smallOrder: ReadonlyArray<Uint8Array> = [
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
].map((hex) => Either.getOrThrow(Encoding.decodeHex(hex)))

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${Encoding.encodeHex(Uint8Array.from(bytes).reverse())}`)

const equals = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && left.every((byte, index) => byte === right[index])

const explanations: Record<SigningError["reason"], string> = {
  InvalidPrivateKey: "The agent private key cannot be imported: its seed is not 32 bytes; take it from AgentKey",
  InvalidPublicKey:
    "The agent public key is refused: not 32 bytes, not canonical, or not of the prime-order group; give the key of a pair that was generated",
  PublicKeyMismatch: "The agent private key holds the public key of another key; give it as it was made",
  SigningFailed: "The signing implementation failed; see that this platform has Ed25519, or use Signing.layer"
}
