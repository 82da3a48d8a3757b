/**
 * libsodium's `crypto_box_seal` for Ed25519 keys: how an AuthAPI may hide a task id from everyone but its agent.
 *
 * A sealed box is an ephemeral X25519 public key (32 bytes) and an XSalsa20-Poly1305 box (16 bytes of tag, then the
 * text) under a nonce that BLAKE2b makes of both public keys. The recipient's X25519 keys are those of its Ed25519
 * keys, converted.
 *
 * @since 0.1.0
 */
import type * as Salsa from "@noble/ciphers/salsa.js"
import type { blake2b as Blake2b } from "@noble/hashes/blake2.js"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Noble from "./noble.ts"

/**
 * `CannotOpen`: the bytes are no sealed box, are sealed for another key, or were changed on the way. `CannotSeal`: the
 * public key is none.
 *
 * @since 0.1.0
 * @category errors
 */
export class SealedBoxError extends Schema.TaggedError<SealedBoxError>("@agent-identity/core/SealedBoxError")(
  "SealedBoxError",
  { reason: Schema.Literal("CannotOpen", "CannotSeal") }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return this.reason === "CannotOpen"
      ? "The sealed box cannot be opened: it is damaged, or sealed for another key"
      : "Nothing can be sealed for this public key: it is no Ed25519 public key"
  }
}

/**
 * Opens a box that was sealed for the public key of this 32-byte Ed25519 seed. What was sealed is 48 bytes shorter.
 *
 * @internal
 */
export const open = (seed: Uint8Array, sealed: Uint8Array): Effect.Effect<Uint8Array, SealedBoxError> =>
  Effect.flatMap(Noble.sealing, ([{ ed25519, x25519 }, salsa, { blake2b }]) =>
    Effect.try({
      try: () => {
        const secretKey = ed25519.utils.toMontgomerySecret(seed)
        const ephemeral = sealed.subarray(0, 32)
        const key = boxKey(salsa, x25519.getSharedSecret(secretKey, ephemeral))
        const nonce = sealNonce(blake2b, ephemeral, x25519.getPublicKey(secretKey))
        return salsa.xsalsa20poly1305(key, nonce).decrypt(sealed.subarray(32))
      },
      catch: () => new SealedBoxError({ reason: "CannotOpen" })
    }))

/**
 * Seals bytes for the owner of this 32-byte Ed25519 public key, under a new ephemeral key each time. The box is 48
 * bytes longer.
 *
 * @since 0.1.0
 * @category encoding
 */
export const seal = (publicKey: Uint8Array, message: Uint8Array): Effect.Effect<Uint8Array, SealedBoxError> =>
  Effect.flatMap(Noble.sealing, ([{ ed25519, x25519 }, salsa, { blake2b }]) =>
    Effect.try({
      try: () => {
        const recipient = ed25519.utils.toMontgomery(publicKey)
        const ephemeral = x25519.keygen()
        const key = boxKey(salsa, x25519.getSharedSecret(ephemeral.secretKey, recipient))
        const box = salsa.xsalsa20poly1305(key, sealNonce(blake2b, ephemeral.publicKey, recipient)).encrypt(message)
        const sealed = new Uint8Array(32 + box.length)
        sealed.set(ephemeral.publicKey)
        sealed.set(box, 32)
        return sealed
      },
      catch: () => new SealedBoxError({ reason: "CannotSeal" })
    }))

/** `crypto_box_beforenm`: HSalsa20 of the shared secret with a nonce of zeros. */
const boxKey = (salsa: typeof Salsa, sharedSecret: Uint8Array): Uint8Array => {
  const sigma = words(new TextEncoder().encode("expand 32-byte k"))
  const key = new Uint32Array(8)
  salsa.hsalsa(sigma, words(sharedSecret), new Uint32Array(4), key)
  const out = new DataView(new ArrayBuffer(32))
  key.forEach((word, index) => out.setUint32(index * 4, word, true))
  return new Uint8Array(out.buffer)
}

/** Salsa20 reads its bytes as little-endian words, whatever the machine's order is. */
const words = (bytes: Uint8Array): Uint32Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Uint32Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true))
}

const sealNonce = (blake2b: typeof Blake2b, ephemeral: Uint8Array, recipient: Uint8Array): Uint8Array =>
  blake2b.create({ dkLen: 24 }).update(ephemeral).update(recipient).digest()
