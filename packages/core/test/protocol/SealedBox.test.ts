import { SealedBox } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import type * as Sodium from "libsodium-wrappers"
import { createRequire } from "node:module"
import { hex, shown, utf8, vector } from "../fixtures.ts"

// The ES module of libsodium-wrappers 0.7.16 imports a file that is in another package.
const sodium = createRequire(import.meta.url)("libsodium-wrappers") as typeof Sodium

/** libsodium's view of an Ed25519 seed: its public key, and the X25519 pair that boxes are sealed for. */
const pair = (seed: Uint8Array) =>
  Effect.map(Effect.promise(() => sodium.ready), () => {
    const { privateKey, publicKey } = sodium.crypto_sign_seed_keypair(seed)
    return {
      publicKey,
      x25519Public: sodium.crypto_sign_ed25519_pk_to_curve25519(publicKey),
      x25519Secret: sodium.crypto_sign_ed25519_sk_to_curve25519(privateKey)
    }
  })

const seed = hex(vector.seed)
const sealed = hex(Buffer.from(vector.sealed, "base64").toString("hex"))

const seeds = FastCheck.uint8Array({ minLength: 32, maxLength: 32 })
const messages = FastCheck.oneof(
  FastCheck.uint8Array({ maxLength: 200 }),
  FastCheck.constant(new Uint8Array(2000).fill(7))
)

describe("SealedBox", () => {
  it.effect("opens the protocol's vector", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* SealedBox.open(seed, sealed), utf8("task-123"))
    }))

  it.effect("opens a box that lies inside a larger buffer, at an odd place", () =>
    Effect.gen(function*() {
      const larger = new Uint8Array(sealed.length + 4)
      larger.set(sealed, 1)
      assert.deepStrictEqual(yield* SealedBox.open(seed, larger.subarray(1, 1 + sealed.length)), utf8("task-123"))
    }))

  it.effect.prop("opens what libsodium sealed", [seeds, messages], ([seed, message]) =>
    Effect.gen(function*() {
      const { x25519Public } = yield* pair(seed)
      assert.deepStrictEqual(yield* SealedBox.open(seed, sodium.crypto_box_seal(message, x25519Public)), message)
    }), { fastCheck: { numRuns: 40 } })

  it.effect.prop("seals what libsodium opens", [seeds, messages], ([seed, message]) =>
    Effect.gen(function*() {
      const { publicKey, x25519Public, x25519Secret } = yield* pair(seed)
      const sealed = yield* SealedBox.seal(publicKey, message)
      assert.strictEqual(sealed.length, message.length + 48)
      assert.deepStrictEqual(sodium.crypto_box_seal_open(sealed, x25519Public, x25519Secret), message)
    }), { fastCheck: { numRuns: 40 } })

  it.effect("seals the same message differently each time", () =>
    Effect.gen(function*() {
      const { publicKey } = yield* pair(seed)
      const [left, right] = yield* Effect.all([
        SealedBox.seal(publicKey, utf8("task-123")),
        SealedBox.seal(publicKey, utf8("task-123"))
      ])
      assert.notDeepEqual(left, right)
      assert.notDeepEqual(left.subarray(0, 32), right.subarray(0, 32))
    }))

  const cannotOpen = (seed: Uint8Array, sealed: Uint8Array, name?: string) =>
    Effect.map(Effect.flip(SealedBox.open(seed, sealed)), (error) => {
      assert.strictEqual(error.reason, "CannotOpen", name)
      return error
    })

  it.effect("does not open with any bit changed, of the ephemeral key, the tag or the text", () =>
    Effect.gen(function*() {
      for (let bit = 0; bit < sealed.length * 8; bit++) {
        const changed = sealed.slice()
        changed[bit >> 3]! ^= 1 << (bit & 7)
        yield* cannotOpen(seed, changed, `bit ${bit}`)
      }
    }))

  it.effect("does not open for another key", () =>
    Effect.gen(function*() {
      for (let bit = 0; bit < 256; bit += 15) {
        const other = seed.slice()
        other[bit >> 3]! ^= 1 << (bit & 7)
        yield* cannotOpen(other, sealed, `bit ${bit}`)
      }
    }))

  it.effect("does not open with bytes missing or added", () =>
    Effect.gen(function*() {
      for (let length = 0; length < sealed.length; length++) yield* cannotOpen(seed, sealed.subarray(0, length))
      yield* cannotOpen(seed, Uint8Array.of(...sealed, 0))
      yield* cannotOpen(seed, sealed.subarray(1))
    }))

  it.effect("does not open a box whose ephemeral key is of small order, nor with a seed of another length", () =>
    Effect.gen(function*() {
      for (const first of [0, 1]) {
        const weak = sealed.slice()
        weak.fill(0, 0, 32)
        weak[0] = first
        yield* cannotOpen(seed, weak)
      }
      for (const length of [0, 31, 33, 64]) yield* cannotOpen(new Uint8Array(length).fill(7), sealed)
    }))

  it.effect("seals nothing for what is no Ed25519 public key", () =>
    Effect.gen(function*() {
      const keys = {
        "no point": `02${"00".repeat(31)}`,
        "31 bytes": vector.publicKey.slice(2),
        "33 bytes": `${vector.publicKey}00`,
        "the identity": `01${"00".repeat(31)}`,
        "nothing": ""
      }
      for (const [name, key] of Object.entries(keys)) {
        const error = yield* Effect.flip(SealedBox.seal(hex(key), utf8("task-123")))
        assert.strictEqual(error.reason, "CannotSeal", name)
      }
    }))

  it("an error says what could not be done, and why it may be", () => {
    const says = {
      CannotOpen: "cannot be opened: it is damaged, or sealed",
      CannotSeal: "no Ed25519 public key"
    } as const
    for (const reason of ["CannotOpen", "CannotSeal"] as const) {
      assert.include(new SealedBox.SealedBoxError({ reason }).message, says[reason])
    }
  })

  it.effect("an error shows nothing of the key and the box", () =>
    Effect.gen(function*() {
      const error = yield* cannotOpen(seed, sealed.subarray(1))
      assert.include(shown(error), error.message)
      for (const part of ["0707", "7,7", "7, 7", "db4b", "219, 75"]) assert.notInclude(shown(error), part)
    }))
})
