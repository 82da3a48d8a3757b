import { AgentKey, SealedBox, Signing } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { assert, describe, it, layer } from "@effect/vitest"
import { ed25519, ED25519_TORSION_SUBGROUP } from "@noble/curves/ed25519.js"
import { Effect, Either, FastCheck, Redacted } from "effect"
import { createHash } from "node:crypto"
import { inspect } from "node:util"

const { Point } = ed25519
const hex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"))
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")
const utf8 = (text: string) => new TextEncoder().encode(text)
/** 32 bytes, little-endian, as Ed25519 writes numbers. */
const number = (bytes: Uint8Array) => BigInt(`0x${toHex(bytes.slice().reverse())}`)
const bytes = (number: bigint) => hex(number.toString(16).padStart(64, "0")).reverse()

/** 2^255 - 19 */
const P = 2n ** 255n - 19n
/** The order of the group that keys belong to. */
const L = Point.Fn.ORDER

const seed = hex("07".repeat(32))
const publicKey = hex("ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c")
const message = utf8("agent-123:task-123:2026-04-23T00:00:00Z")

const fromPkcs8 = (base64: string) => Either.getOrThrow(AgentKey.fromPkcs8(Redacted.make(base64)))
const fromSeed = (seed: Uint8Array): AgentKey.AgentKey => ({ seed: Redacted.make(seed), publicKey: undefined })

const importPrivateKey = (key: AgentKey.AgentKey) =>
  Effect.flatMap(Signing.Signing, (signing) => signing.importPrivateKey(key))

const importPublicKey = (publicKey: Uint8Array) =>
  Effect.flatMap(Signing.Signing, (signing) => signing.importPublicKey(publicKey))

const checkPublicKey = (publicKey: Uint8Array) =>
  Effect.flatMap(Signing.Signing, (signing) => signing.checkPublicKey(publicKey))

const verify = (publicKey: Uint8Array, payload: Uint8Array, signature: Uint8Array) =>
  Effect.flatMap(importPublicKey(publicKey), (verifier) => verifier.verify(payload, signature))

/**
 * A signature for which S·B = r·B + k·A holds, with any bytes in the place of R: made with the private scalar, as no
 * library makes it.
 */
const craft = (r: bigint, R: Uint8Array): Uint8Array => {
  const k = number(createHash("sha512").update(R).update(publicKey).update(message).digest()) // 64 bytes
  const { scalar } = ed25519.utils.getExtendedPublicKey(seed)
  return Uint8Array.of(...R, ...bytes((r + k % L * scalar) % L))
}

const torsion = ED25519_TORSION_SUBGROUP.map((encoded) => Point.fromHex(encoded))

const rfc8032 = [
  {
    seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    payload: "",
    signature:
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
  },
  {
    seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    payload: "72",
    signature:
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
  },
  {
    seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    payload: "af82",
    signature:
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
  }
]

const protocol = [
  [
    "agent-123:2026-04-23T00:00:00Z",
    "3HXOrVnOX7USh8WvXXCZnUyrvwUdaWFME6ZQv+foYCmk7QXzPpNPLR/Qe26X9XkHB2SGAZjnOifmm39FXjdACA=="
  ],
  [
    "agent-123:task-123:2026-04-23T00:00:00Z",
    "+GlrOKR/FHxxhkmOhg5hj19+5O7hM2MgxNrgTfRgIX8CYn13AJESv5yXkwwUC9jDd8cvQRMu1f8Pybf6/LBgDw=="
  ]
] as const

const v1 = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"
const v2 =
  "MFECAQEwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHgSEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="

/** The points of small order: eight, and six more spellings of them that a decoder must not take. */
const smallOrder = {
  canonical: [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
  ],
  other: [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
  ]
}

const ownPoint = Point.fromBytes(publicKey)
const negativeBit = (encoded: Uint8Array) => Uint8Array.of(...encoded.subarray(0, 31), encoded[31]! | 0x80)

/** What its bytes give away: an import refuses it. */
const refusedAtImport: Record<string, ReadonlyArray<Uint8Array>> = {
  "a point of small order": smallOrder.canonical.map(hex),
  "a point of small order in another spelling": smallOrder.other.map(hex),
  "a number that is not below 2^255 - 19": Array.from({ length: 19 }, (_, y) => bytes(P + BigInt(y)))
    .flatMap((encoded) => [encoded, negativeBit(encoded)]),
  "another length": [0, 31, 33, 64].map((length) => Uint8Array.from({ length }, (_, index) => publicKey[index % 32]!))
}

/** What takes arithmetic to find out: a check refuses it, where a key is registered. */
const refusedByCheck: Record<string, ReadonlyArray<Uint8Array>> = {
  "a key with a part of small order": torsion.filter((point) => !point.is0()).map((point) =>
    ownPoint.add(point).toBytes()
  ),
  "what is no point": [bytes(2n), negativeBit(bytes(2n)), bytes(7n)]
}

/** Signatures that the owner of a key with a part of small order can make: some fit without the cofactor, some do not. */
const signaturesWithTorsion = (key: Uint8Array, count: number) =>
  Array.from({ length: count }, (_, index) => {
    const payload = utf8(`agent-123:task-${index}:2026-04-23T00:00:00Z`)
    const r = BigInt(index + 1)
    const R = Point.BASE.multiply(r).add(torsion[index % 3]!).toBytes()
    const k = number(createHash("sha512").update(R).update(key).update(payload).digest())
    const { scalar } = ed25519.utils.getExtendedPublicKey(seed)
    return { payload, signature: Uint8Array.of(...R, ...bytes((r + k % L * scalar) % L)) }
  })

const layers = [["Signing.layer", Signing.layer], ["NodeSigning.layer", NodeSigning.layer]] as const

for (const [name, signing] of layers) {
  layer(signing)(name, (it) => {
    for (const [index, vector] of rfc8032.entries()) {
      it.effect(`signs and verifies vector ${index + 1} of RFC 8032`, () =>
        Effect.gen(function*() {
          const signer = yield* importPrivateKey(fromSeed(hex(vector.seed)))
          assert.strictEqual(toHex(signer.publicKey), vector.publicKey)
          assert.strictEqual(toHex(yield* signer.sign(hex(vector.payload))), vector.signature)
          assert.isTrue(yield* verify(hex(vector.publicKey), hex(vector.payload), hex(vector.signature)))
        }))
    }

    for (const [version, file] of [["1", v1], ["2", v2]] as const) {
      it.effect(`signs the protocol's payloads with a key file of version ${version}`, () =>
        Effect.gen(function*() {
          const signer = yield* importPrivateKey(fromPkcs8(file))
          assert.deepStrictEqual(signer.publicKey, publicKey)
          for (const [payload, signature] of protocol) {
            assert.strictEqual(Buffer.from(yield* signer.sign(utf8(payload))).toString("base64"), signature)
            assert.isTrue(
              yield* verify(publicKey, utf8(payload), hex(Buffer.from(signature, "base64").toString("hex")))
            )
          }
        }))
    }

    it.effect("opens what was sealed for the key", () =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromPkcs8(v2))
        const sealed = yield* SealedBox.seal(signer.publicKey, utf8("task-123"))
        assert.deepStrictEqual(yield* signer.openSealed(sealed), utf8("task-123"))
        sealed[40]! ^= 1
        assert.strictEqual((yield* Effect.flip(signer.openSealed(sealed))).reason, "CannotOpen")
      }))

    it.effect("refuses a key file that names the public key of another", () =>
      Effect.gen(function*() {
        for (const bit of [0, 100, 255]) {
          const other = publicKey.slice()
          other[bit >> 3]! ^= 1 << (bit & 7)
          const error = yield* Effect.flip(importPrivateKey({ ...fromSeed(seed), publicKey: other }))
          assert.strictEqual(error.reason, "PublicKeyMismatch")
        }
        const short = yield* Effect.flip(importPrivateKey({ ...fromSeed(seed), publicKey: publicKey.slice(0, 31) }))
        assert.strictEqual(short.reason, "PublicKeyMismatch")
      }))

    it.effect("refuses a seed of another length", () =>
      Effect.gen(function*() {
        for (const length of [0, 31, 33, 48, 64]) {
          const error = yield* Effect.flip(importPrivateKey(fromSeed(new Uint8Array(length).fill(7))))
          assert.strictEqual(error.reason, "InvalidPrivateKey", `${length} bytes`)
        }
      }))

    it.effect("an error and a signer show nothing of the key", () =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromPkcs8(v1))
        const error = yield* Effect.flip(importPrivateKey(fromSeed(new Uint8Array(33).fill(7))))
        for (const value of [signer, error]) {
          const shown = JSON.stringify(value) + inspect(value, { depth: Infinity, showHidden: true })
          for (const part of ["BwcH", "0707", "7,7", "7, 7", "07 07"]) assert.notInclude(shown, part)
        }
      }))

    for (const Bytes of [Uint8Array, Buffer]) {
      it.effect(`keeps no hold on the ${Bytes.name} that a key came in`, () =>
        Effect.gen(function*() {
          const [private_, public_] = [Bytes.from(seed), Bytes.from(publicKey)]
          const signer = yield* importPrivateKey(fromSeed(private_))
          const verifier = yield* importPublicKey(public_)
          const sealed = yield* SealedBox.seal(publicKey, message)
          private_.fill(0)
          public_.fill(0)
          assert.isTrue(yield* verifier.verify(message, yield* signer.sign(message)))
          assert.deepStrictEqual(verifier.publicKey, publicKey)
          assert.deepStrictEqual(yield* signer.openSealed(sealed), message)
        }))
    }

    for (const [kind, keys] of Object.entries(refusedAtImport)) {
      it.effect(`refuses ${kind} as a public key`, () =>
        Effect.gen(function*() {
          for (const key of keys) {
            assert.strictEqual((yield* Effect.flip(importPublicKey(key))).reason, "InvalidPublicKey", toHex(key))
          }
        }))
    }

    for (const [kind, keys] of Object.entries({ ...refusedAtImport, ...refusedByCheck })) {
      it.effect(`refuses ${kind} where a public key is registered`, () =>
        Effect.gen(function*() {
          for (const key of keys) {
            assert.strictEqual((yield* Effect.flip(checkPublicKey(key))).reason, "InvalidPublicKey", toHex(key))
          }
        }))
    }

    it.effect.prop("takes every generated key, at its registration and at an import", [
      FastCheck.uint8Array({ minLength: 32, maxLength: 32 })
    ], ([seed]) =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromSeed(seed))
        yield* checkPublicKey(signer.publicKey)
        yield* checkPublicKey(Buffer.from(signer.publicKey))
        assert.deepStrictEqual((yield* importPublicKey(signer.publicKey)).publicKey, signer.publicKey)
      }), { fastCheck: { numRuns: 20 } })

    it.effect("takes a key whose number is just below 2^255 - 19", () =>
      Effect.gen(function*() {
        const keys = Array.from({ length: 200 }, (_, below) => bytes(P - BigInt(below + 2))).filter((key) => {
          try {
            return Point.fromBytes(key).isTorsionFree()
          } catch {
            return false
          }
        })
        assert.isAbove(keys.length, 3)
        for (const key of keys) {
          yield* checkPublicKey(key)
          yield* importPublicKey(key)
        }
      }))

    it.effect("imports what is no point, as a key that verifies nothing", () =>
      Effect.gen(function*() {
        for (const key of refusedByCheck["what is no point"]!) {
          for (const R of [publicKey, hex(smallOrder.canonical[0]!)]) {
            assert.isFalse(yield* verify(key, message, Uint8Array.of(...R, ...bytes(1n))))
          }
        }
      }))

    it.effect("accepts a signature that is crafted by the book", () =>
      Effect.gen(function*() {
        for (const r of [5n, 2n ** 200n, L - 1n]) {
          assert.isTrue(yield* verify(publicKey, message, craft(r, Point.BASE.multiply(r).toBytes())))
        }
        // An R of zero is foolish and canonical: both implementations take it.
        assert.isTrue(yield* verify(publicKey, message, craft(0n, hex(smallOrder.canonical[0]!))))
      }))

    it.effect("refuses a signature whose R has a part of small order, though the cofactor would hide it", () =>
      Effect.gen(function*() {
        for (const point of torsion.filter((point) => !point.is0())) {
          for (const r of [0n, 5n]) {
            const R = r === 0n ? point : Point.BASE.multiply(r).add(point)
            const signature = craft(r, R.toBytes())
            assert.isTrue(ed25519.verify(signature, message, publicKey, { zip215: true }))
            assert.isFalse(yield* verify(publicKey, message, signature))
          }
        }
      }))

    it.effect("refuses a signature whose R is zero in another spelling", () =>
      Effect.gen(function*() {
        for (const R of [smallOrder.other[0]!, smallOrder.other[2]!, smallOrder.other[3]!]) {
          assert.isTrue(Point.fromHex(R, true).is0())
          assert.isFalse(yield* verify(publicKey, message, craft(0n, hex(R))))
        }
      }))

    it.effect("refuses a signature whose S has the group order added, as often as it fits", () =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromSeed(seed))
        const signature = yield* signer.sign(message)
        const S = number(signature.subarray(32))
        let added = 0
        for (let larger = S + L; larger < 2n ** 256n; larger += L) {
          added++
          assert.isFalse(
            yield* verify(publicKey, message, Uint8Array.of(...signature.subarray(0, 32), ...bytes(larger)))
          )
        }
        assert.isAtLeast(added, 14)
      }))

    it.effect("refuses a signature with any bit changed", () =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromSeed(seed))
        const verifier = yield* importPublicKey(publicKey)
        const signature = yield* signer.sign(message)
        assert.isTrue(yield* verifier.verify(message, signature))
        for (let bit = 0; bit < 512; bit++) {
          const changed = signature.slice()
          changed[bit >> 3]! ^= 1 << (bit & 7)
          assert.isFalse(yield* verifier.verify(message, changed), `bit ${bit}`)
        }
      }))

    it.effect("anything that is no signature is false and no defect", () =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromSeed(seed))
        const verifier = yield* importPublicKey(publicKey)
        const signature = yield* signer.sign(message)
        const none = [
          ...[0, 1, 32, 63].map((length) => signature.subarray(0, length)),
          Uint8Array.of(...signature, 0),
          Uint8Array.of(...signature, ...signature),
          ...[0, 1, 0xff].map((byte) => new Uint8Array(64).fill(byte)),
          ...[...smallOrder.canonical, ...smallOrder.other].map((R) => Uint8Array.of(...hex(R), ...new Uint8Array(32))),
          Uint8Array.of(...bytes(2n), ...signature.subarray(32)),
          undefined as never,
          "x".repeat(64) as never
        ]
        for (const value of none) assert.isFalse(yield* verifier.verify(message, value))
        assert.isFalse(yield* verifier.verify(undefined as never, signature))
      }))

    it.effect.prop("never throws, and takes no random bytes for a signature", [
      FastCheck.uint8Array({ maxLength: 100 }),
      FastCheck.oneof(FastCheck.uint8Array({ maxLength: 70 }), FastCheck.uint8Array({ minLength: 64, maxLength: 64 }))
    ], ([payload, signature]) =>
      Effect.gen(function*() {
        assert.isFalse(yield* verify(publicKey, payload, signature))
      }))

    it.effect.prop("verifies what it signed, for this key and this payload only", [
      FastCheck.uint8Array({ minLength: 32, maxLength: 32 }),
      FastCheck.uint8Array({ maxLength: 100 }),
      FastCheck.uint8Array({ maxLength: 100 })
    ], ([seed, payload, other]) =>
      Effect.gen(function*() {
        const signer = yield* importPrivateKey(fromSeed(seed))
        const signature = yield* signer.sign(payload)
        assert.isTrue(yield* verify(signer.publicKey, payload, signature))
        assert.strictEqual(yield* verify(signer.publicKey, other, signature), toHex(other) === toHex(payload))
        assert.isFalse(yield* verify(publicKey, payload, signature))
      }), { fastCheck: { numRuns: 50 } })
  })
}

describe("both layers", () => {
  it.effect.prop("give the same public key and the same signature", [
    FastCheck.uint8Array({ minLength: 32, maxLength: 32 }),
    FastCheck.uint8Array({ maxLength: 2000 })
  ], ([seed, payload]) =>
    Effect.gen(function*() {
      const signed = layers.map(([, signing]) =>
        Effect.gen(function*() {
          const signer = yield* importPrivateKey(fromSeed(seed))
          return { publicKey: toHex(signer.publicKey), signature: toHex(yield* signer.sign(payload)) }
        }).pipe(Effect.provide(signing))
      )
      const [portable, native] = yield* Effect.all(signed)
      assert.deepStrictEqual(native, portable)
    }))

  it.effect("agree about every signature by a key with a part of small order, which no check has seen", () =>
    Effect.gen(function*() {
      const counts = { accepted: 0, refused: 0 }
      for (const key of refusedByCheck["a key with a part of small order"]!) {
        for (const { payload, signature } of signaturesWithTorsion(key, 30)) {
          const [portable, native] = yield* Effect.all(
            layers.map(([, signing]) => Effect.provide(verify(key, payload, signature), signing))
          )
          assert.strictEqual(portable, native)
          counts[native! ? "accepted" : "refused"]++
        }
      }
      assert.isAbove(counts.accepted, 10)
      assert.isAbove(counts.refused, 100)
    }))
})

describe("what an import costs", () => {
  it.effect("at most a fifth of a verification, by node:crypto", () =>
    Effect.gen(function*() {
      const verifier = yield* importPublicKey(publicKey)
      const signer = yield* importPrivateKey(fromSeed(seed))
      const signature = yield* signer.sign(message)
      const cases = { import: importPublicKey(publicKey), verify: verifier.verify(message, signature) }
      const slices: Record<keyof typeof cases, Array<number>> = { import: [], verify: [] }
      // The first rounds are for the compiler.
      for (let slice = -20; slice < 40; slice++) {
        for (const name of ["import", "verify"] as const) {
          const began = process.cpuUsage()
          for (let times = 0; times < 50; times++) yield* cases[name]
          const { system, user } = process.cpuUsage(began)
          if (slice >= 0) slices[name].push(system + user)
        }
      }
      const median = (times: Array<number>) => times.sort((left, right) => left - right)[20]!
      // 0.12 as a rule, and above 1 with any arithmetic on the curve.
      assert.isBelow(median(slices.import) / median(slices.verify), 0.2)
    }).pipe(Effect.provide(NodeSigning.layer)))
})

describe("an implementation of one's own", () => {
  const broken = (): never => {
    throw new Error("c2VjcmV0")
  }
  const make = (ed25519: Partial<Signing.Ed25519>) =>
    Signing.make(Effect.succeed({
      signer: () => ({ publicKey, sign: broken }),
      verifier: () => broken,
      ...ed25519
    }))

  it.effect("fails with a typed error where it throws, and verifies nothing", () =>
    Effect.gen(function*() {
      const errors = [
        yield* Effect.flip(make({ signer: broken }).importPrivateKey(fromSeed(seed))),
        yield* Effect.flip(make({ verifier: broken }).importPublicKey(publicKey)),
        yield* Effect.flip(
          Effect.flatMap(make({}).importPrivateKey(fromSeed(seed)), (signer) => signer.sign(message))
        )
      ]
      assert.deepStrictEqual(errors.map((error) => error.reason), [
        "InvalidPrivateKey",
        "InvalidPublicKey",
        "SigningFailed"
      ])
      for (const error of errors) assert.notInclude(inspect(error, { depth: Infinity }), "c2VjcmV0")
      const verifier = yield* make({}).importPublicKey(publicKey)
      assert.isFalse(yield* verifier.verify(message, new Uint8Array(64)))
    }))

  it.effect("is not asked about a signature that has not 64 bytes", () =>
    Effect.gen(function*() {
      const verifier = yield* make({ verifier: () => () => true }).importPublicKey(publicKey)
      assert.isTrue(yield* verifier.verify(message, new Uint8Array(64)))
      for (const length of [0, 63, 65]) assert.isFalse(yield* verifier.verify(message, new Uint8Array(length)))
    }))
})

describe("fixtures", () => {
  it("the list of small-order points is whole", () => {
    assert.deepStrictEqual([...smallOrder.canonical].sort(), [...ED25519_TORSION_SUBGROUP].sort())
    const others = [0n, 1n, P - 1n].flatMap((y) => [y, y + P]).filter((y) => y < 2n ** 255n)
      .flatMap((y) => [bytes(y), negativeBit(bytes(y))]).map(toHex).filter((text) =>
        !smallOrder.canonical.includes(text)
      )
    assert.deepStrictEqual([...smallOrder.other].sort(), others.sort())
  })
})
