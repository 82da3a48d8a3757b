import { AgentKey } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck, Redacted } from "effect"
import { hex, shown, toHex, vector, vectorKey } from "../fixtures.ts"

const read = (base64: string) => AgentKey.fromPkcs8(Redacted.make(base64))

const readDer = (der: Uint8Array) => read(Buffer.from(der).toString("base64"))

/** What reading gives, as text: the seed, and the public key where there is one; or the reason. */
const outcome = (key: Either.Either<AgentKey.AgentKey, AgentKey.AgentKeyError>): string =>
  Either.match(key, {
    onLeft: (error) => error.reason,
    onRight: ({ publicKey, seed }) => toHex(Redacted.value(seed)) + (publicKey ? ` ${toHex(publicKey)}` : "")
  })

const base64 = (der: string): string => Buffer.from(der, "hex").toString("base64")

/** One DER element around its contents. */
const element = (tag: string, ...contents: ReadonlyArray<string>): string => {
  const content = contents.join("")
  const length = content.length / 2
  const size = (digits: number) => length.toString(16).padStart(digits, "0")
  return tag + (length < 0x80 ? size(2) : length < 0x100 ? `81${size(2)}` : `82${size(4)}`) + content
}

const { publicKey, seed } = vector
const v1 = "020100"
const v2 = "020101"
const ed25519 = "300506032b6570"
const privateKey = `04220420${seed}`
const attribute = element("30", "06092a864886f70d010914", "310f", "0c0d4375726465204368616972730a")
const attributes = element("a0", attribute)
const publicElement = `812100${publicKey}`
const key = (...parts: ReadonlyArray<string>) => element("30", ...parts)

describe("fromPkcs8", () => {
  const accepted: ReadonlyArray<readonly [name: string, base64: string, expected: string]> = [
    ["version 1", vector.pkcs8V1, seed],
    ["version 2 with the public key", vector.pkcs8V2, `${seed} ${publicKey}`],
    ["version 2 without it", base64(key(v2, ed25519, privateKey)), seed],
    ["version 1 with attributes", base64(key(v1, ed25519, privateKey, attributes)), seed],
    ["version 2 with attributes", base64(key(v2, ed25519, privateKey, attributes)), seed],
    [
      "version 2 with attributes and the public key",
      base64(key(v2, ed25519, privateKey, attributes, publicElement)),
      `${seed} ${publicKey}`
    ],
    [
      "version 2 with two attributes",
      base64(key(v2, ed25519, privateKey, element("a0", attribute, attribute), publicElement)),
      `${seed} ${publicKey}`
    ],
    [
      "attributes of 128 to 255 bytes",
      base64(key(v2, ed25519, privateKey, element("a0", element("30", "00".repeat(150))))),
      seed
    ],
    ...[0x7f, 0x80, 0xff, 0x100].map((length) =>
      [
        `an attribute of exactly ${length} bytes`,
        base64(key(v2, ed25519, privateKey, element("a0", element("30", "00".repeat(length))), publicElement)),
        `${seed} ${publicKey}`
      ] as const
    ),
    [
      "attributes of more than 255 bytes",
      base64(key(v2, ed25519, privateKey, element("a0", element("30", "00".repeat(999))), publicElement)),
      `${seed} ${publicKey}`
    ],
    ["white space around it", ` \t\r\n${vector.pkcs8V1}\n\n`, seed]
  ]
  for (const [name, text, expected] of accepted) {
    it(`reads ${name}`, () => assert.strictEqual(outcome(read(text)), expected))
  }

  const noBase64: Record<string, string> = {
    "the url-safe alphabet": vector.pkcs8V2.replaceAll("+", "-"),
    "white space inside": `${vector.pkcs8V1.slice(0, 32)}\n${vector.pkcs8V1.slice(32)}`,
    "missing padding": vector.pkcs8V2.replace("=", ""),
    "padding that is not needed": `${vector.pkcs8V1}====`,
    "spare bits that are set": vector.pkcs8V2.replace("w=", "x="),
    "hexadecimal": `${key(v1, ed25519, privateKey)}0`,
    "PEM": `-----BEGIN PRIVATE KEY-----\n${vector.pkcs8V1}\n-----END PRIVATE KEY-----`,
    "an SSH line": vector.ssh
  }
  for (const [name, text] of Object.entries(noBase64)) {
    it(`refuses ${name} as base64`, () => {
      assert.notStrictEqual(text, vector.pkcs8V2)
      assert.strictEqual(outcome(read(text)), "InvalidBase64")
    })
  }

  const noPkcs8: Record<string, string> = {
    "nothing": "",
    "one byte": "30",
    "a tag and a length": "3000",
    "the seed alone": seed,
    "seed and public key": seed + publicKey,
    "a public key (SPKI)": key(ed25519, `032100${publicKey}`),
    "a byte behind version 1": key(v1, ed25519, privateKey) + "00",
    "a byte behind version 2": key(v2, ed25519, privateKey, publicElement) + "00",
    "a byte inside behind the key": key(v1, ed25519, privateKey, "00"),
    "a byte inside behind the public key": key(v2, ed25519, privateKey, publicElement, "00"),
    "a second key behind": key(v1, ed25519, privateKey).repeat(2),
    "version 2 (RFC 5958 has 0 and 1)": key("020102", ed25519, privateKey),
    "a version of two bytes": key("02020001", ed25519, privateKey),
    "version 1 with a public key": key(v1, ed25519, privateKey, publicElement),
    "version 1 with attributes and a public key": key(v1, ed25519, privateKey, attributes, publicElement),
    "the public key before the attributes": key(v2, ed25519, privateKey, publicElement, attributes),
    "two public keys": key(v2, ed25519, privateKey, publicElement, publicElement),
    "attributes twice": key(v2, ed25519, privateKey, attributes, attributes),
    "X25519": key(v1, "300506032b656e", privateKey),
    "Ed448's name": key(v1, "300506032b6571", privateKey),
    "parameters behind the algorithm": key(v1, "300706032b65700500", privateKey),
    "a seed of 31 bytes": key(v1, ed25519, `0421041f${seed.slice(2)}`),
    "a seed of 33 bytes": key(v1, ed25519, `04230421${seed}07`),
    "a seed that is not wrapped twice": key(v1, ed25519, `0420${seed}`),
    "a seed that is cut, in lengths that fit": `302d${v1}${ed25519}04220420${seed.slice(2)}`,
    "an outer length that is one too small": `302d${v1}${ed25519}${privateKey}`,
    "an outer length that is one too large": `302f${v1}${ed25519}${privateKey}`,
    "a length of 4 GiB": `3084ffffffff${v1}${ed25519}${privateKey}`,
    "a length in a form longer than it needs": `30812e${v1}${ed25519}${privateKey}`,
    "a length in a still longer form": `3082002e${v1}${ed25519}${privateKey}`,
    "an indefinite length": `3080${v1}${ed25519}${privateKey}0000`,
    "an indefinite length in front of 128 bytes": `3080${v2}${ed25519}${privateKey}${
      element("a0", element("30", "00".repeat(78)))
    }`,
    "an inner length that lies": key(v1, ed25519, `04220421${seed}`),
    "a public key of 31 bytes": key(v2, ed25519, privateKey, `812000${publicKey.slice(2)}`),
    "a public key of 33 bytes": key(v2, ed25519, privateKey, `812200${publicKey}00`),
    "a public key with unused bits": key(v2, ed25519, privateKey, `812101${publicKey}`),
    "a constructed public key": key(v2, ed25519, privateKey, `a12100${publicKey}`),
    "a public key under another tag": key(v2, ed25519, privateKey, `032100${publicKey}`),
    "attributes whose length has three bytes": key(
      v2,
      ed25519,
      privateKey,
      `a083000104${element("30", "00".repeat(256))}`
    ),
    "a length of three bytes that reads as one": key(
      v2,
      ed25519,
      privateKey,
      `a08380${element("30", "00".repeat(126))}`
    ),
    "a length of four bytes that reads as two": key(
      v2,
      ed25519,
      privateKey,
      `a0840100${element("30", "00".repeat(253))}`
    ),
    "attributes that end inside their length": key(v2, ed25519, privateKey, "a082"),
    "attributes that are nothing but a length of three bytes": key(v2, ed25519, privateKey, "a0830000"),
    "attributes that are none": key(v2, ed25519, privateKey, element("a0", "0500"), publicElement),
    "attributes that end inside an attribute": key(v2, ed25519, privateKey, `a005${attribute}`, publicElement),
    "attributes that go on behind the end": key(v2, ed25519, privateKey, "a07f", attribute)
  }
  for (const [name, der] of Object.entries(noPkcs8)) {
    it(`refuses ${name} as PKCS#8`, () => assert.strictEqual(outcome(readDer(hex(der))), "InvalidPkcs8"))
  }

  it("refuses each form cut at any place", () => {
    for (
      const text of [vector.pkcs8V1, vector.pkcs8V2, base64(key(v2, ed25519, privateKey, attributes, publicElement))]
    ) {
      const der = hex(Buffer.from(text, "base64").toString("hex"))
      assert.notStrictEqual(outcome(readDer(der)), "InvalidPkcs8")
      for (let length = 0; length < der.length; length++) {
        assert.strictEqual(outcome(readDer(der.subarray(0, length))), "InvalidPkcs8", `${length} bytes`)
      }
    }
  })

  it("refuses each of the 21,165 changes of one byte that is neither of the seed nor of the public key", () => {
    const der = hex(key(v2, ed25519, privateKey, publicElement))
    for (let at = 0; at < der.length; at++) {
      const isKey = (at >= 16 && at < 48) || at >= 51
      for (let difference = 1; difference < 256; difference++) {
        const changed = der.slice()
        changed[at]! ^= difference
        const expected = isKey ? `${toHex(changed.slice(16, 48))} ${toHex(changed.slice(51))}` : "InvalidPkcs8"
        assert.strictEqual(outcome(readDer(changed)), expected, `byte ${at} ^ ${difference}`)
      }
    }
  })

  it.prop(
    "gives a 32-byte seed or refuses, whatever is written over, put into or cut out of a key",
    [
      FastCheck.array(
        FastCheck.tuple(FastCheck.nat(120), FastCheck.nat(3), FastCheck.uint8Array({ maxLength: 4 })),
        { minLength: 1, maxLength: 4 }
      )
    ],
    ([edits]) => {
      const der = Array.from(hex(key(v2, ed25519, privateKey, attributes, publicElement)))
      for (const [at, cut, put] of edits) der.splice(at, cut, ...put)
      const result = readDer(Uint8Array.from(der))
      if (Either.isLeft(result)) return assert.strictEqual(result.left.reason, "InvalidPkcs8")
      assert.strictEqual(Redacted.value(result.right.seed).length, 32)
      assert.include([32, undefined], result.right.publicKey?.length)
    },
    { fastCheck: { numRuns: 5000 } }
  )

  it.prop("refuses random text", [FastCheck.string({ unit: "binary" })], ([text]) => {
    assert.isTrue(Either.isLeft(read(text)))
  })

  it("an error shows nothing of what it refused", () => {
    for (const text of [vector.pkcs8V1 + "AAAA", vector.pkcs8V1 + "A", vector.pkcs8V2.replaceAll("+", "-")]) {
      const error = Either.getOrThrow(Either.flip(read(text)))
      assert.include(shown(error), error.message)
      for (const part of ["MC4C", "MFEC", "BwcH", "0707", "6kps"]) assert.notInclude(shown(error), part)
    }
  })
})

describe("AgentKeyError", () => {
  const says: ReadonlyArray<readonly [key: Either.Either<unknown, AgentKey.AgentKeyError>, message: string]> = [
    [read("?"), "The agent private key is not standard base64 with padding. Give base64 of its PKCS#8 DER."],
    [
      read("MC4C"),
      "The agent private key is not PKCS#8 (RFC 5208 or RFC 5958) of an Ed25519 key. Give an Ed25519 key; `openssl genpkey -algorithm ed25519 -out key.pem` makes one."
    ],
    [
      AgentKey.fromSshPublicKey("ssh-rsa"),
      "The agent public key is not an `ssh-ed25519` line without a comment. Leave its comment out."
    ]
  ]
  for (const [key, message] of says) {
    it(`says: ${message}`, () => assert.strictEqual(Either.getOrThrow(Either.flip(key)).message, message))
  }

  it.effect("says that the random source did not give 64 bytes", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(AgentKey.generate(() => new Uint8Array(63)))
      assert.strictEqual(error.message, "No agent key was made: the random source did not give 64 bytes.")
    }))
})

describe("toPkcs8", () => {
  it("writes version 1 whichever version was read", () => {
    for (const text of [vector.pkcs8V1, vector.pkcs8V2]) {
      const pkcs8 = AgentKey.toPkcs8(Either.getOrThrow(read(text)))
      assert.strictEqual(Redacted.value(pkcs8), vector.pkcs8V1)
      assert.strictEqual(String(pkcs8), "<redacted>")
    }
  })

  it.prop("writes what fromPkcs8 reads", [FastCheck.uint8Array({ minLength: 32, maxLength: 32 })], ([seed]) => {
    const key = { seed: Redacted.make(seed), publicKey: undefined }
    assert.strictEqual(outcome(AgentKey.fromPkcs8(AgentKey.toPkcs8(key))), toHex(seed))
  })
})

describe("a key", () => {
  it("prints as <redacted>", () => {
    assert.include(shown(vectorKey), "<redacted>")
    for (const part of ["MC4C", "BwcH", "0707", "7, 7", "7,7"]) assert.notInclude(shown(vectorKey), part)
  })
})

describe("the SSH line", () => {
  it("is the protocol's vector, and reads back", () => {
    assert.strictEqual(AgentKey.toSshPublicKey(hex(publicKey)), vector.ssh)
    assert.deepStrictEqual(AgentKey.fromSshPublicKey(vector.ssh), Either.right(hex(publicKey)))
  })

  it.prop("reads back for every 32 bytes", [FastCheck.uint8Array({ minLength: 32, maxLength: 32 })], ([bytes]) => {
    assert.deepStrictEqual(AgentKey.fromSshPublicKey(AgentKey.toSshPublicKey(bytes)), Either.right(bytes))
  })

  const blob = Buffer.from(vector.ssh.slice(12), "base64").toString("hex")
  const line = (blob: string) => `ssh-ed25519 ${base64(blob)}`
  const refused: Record<string, string> = {
    "nothing": "",
    "a comment": `${vector.ssh} agent@host`,
    "a line end": `${vector.ssh}\n`,
    "two spaces": vector.ssh.replace(" ", "  "),
    "another type": vector.ssh.replace("ssh-ed25519", "ssh-rsa"),
    "another type of the same length": vector.ssh.replace("ssh-ed25519", "ssh-ed25518"),
    "another type inside": line(blob.replace("39", "38")),
    "the key alone": `ssh-ed25519 ${base64(publicKey)}`,
    "a length that lies": line(blob.replace("00000020", "00000021")),
    "31 bytes": line(blob.slice(0, -2)),
    "33 bytes": line(`${blob}00`),
    "the url-safe alphabet": vector.ssh.replaceAll("+", "-").replaceAll("/", "_").replace("AAAI", "AAA_"),
    "no type": vector.ssh.slice(12)
  }
  for (const [name, text] of Object.entries(refused)) {
    it(`is refused with ${name}`, () => {
      const error = Either.getOrThrow(Either.flip(AgentKey.fromSshPublicKey(text)))
      assert.strictEqual(error.reason, "InvalidSshPublicKey")
    })
  }
})

describe("generate", () => {
  it.effect("derives the protocol's vector from its 64 bytes, and asks for no others", () =>
    Effect.gen(function*() {
      const asked: Array<number> = []
      const key = yield* AgentKey.generate((bytes) => {
        asked.push(bytes)
        return Uint8Array.from({ length: bytes }, (_, index) => index)
      })
      assert.deepStrictEqual(asked, [64])
      assert.strictEqual(
        outcome(Either.right(key)),
        "0cfd871cb3f3fe583e0294410f5bef1781902cb95a360edb1af451da6823c53e"
      )
    }))

  it.effect("makes another key each time, which can be written and read", () =>
    Effect.gen(function*() {
      const keys = yield* Effect.all(Array.from({ length: 20 }, () => AgentKey.generate()))
      assert.strictEqual(new Set(keys.map((key) => outcome(Either.right(key)))).size, 20)
      for (const key of keys) {
        assert.strictEqual(outcome(AgentKey.fromPkcs8(AgentKey.toPkcs8(key))), outcome(Either.right(key)))
      }
    }))

  const sources: Record<string, (bytes: number) => Uint8Array> = {
    "throws": () => {
      throw new Error("c2VjcmV0")
    },
    "gives too few bytes": (bytes) => new Uint8Array(bytes - 1),
    "gives too many bytes": (bytes) => new Uint8Array(bytes + 1),
    "gives nothing": () => undefined as never,
    "gives other numbers": (bytes) => new Uint16Array(bytes) as never
  }
  for (const [name, source] of Object.entries(sources)) {
    it.effect(`fails with EntropyFailed where the random source ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(AgentKey.generate(source))
        assert.strictEqual(error.reason, "EntropyFailed")
        assert.notInclude(shown(error), "c2VjcmV0")
      }))
  }
})

describe("fixtures", () => {
  it("the grammar above writes the protocol's two forms", () => {
    assert.strictEqual(base64(key(v1, ed25519, privateKey)), vector.pkcs8V1)
    assert.strictEqual(base64(key(v2, ed25519, privateKey, publicElement)), vector.pkcs8V2)
  })
})
