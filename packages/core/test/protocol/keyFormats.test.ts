/** `AgentKey.parse`: every format of one key reads as that key, and every other value is named. */
import { AgentKey } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Redacted } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import * as Crypto from "node:crypto"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { shown, toHex, vector } from "../fixtures.ts"

const parse = (value: string | object) => AgentKey.parse(Redacted.make(value))

const seedOf = (value: string | object) => toHex(Redacted.value(Either.getOrThrow(parse(value)).seed))

const refusal = (value: string | object) => Either.getOrThrow(Either.flip(parse(value)))

const pem = (label: string, base64: string) => `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`

const bytes = (base64: string) => Uint8Array.from(Buffer.from(base64, "base64"))

const vectorPem = pem("PRIVATE KEY", vector.pkcs8V1)
const vectorJwk = {
  kty: "OKP",
  crv: "Ed25519",
  d: Buffer.from(vector.seed, "hex").toString("base64url"),
  x: Buffer.from(vector.publicKey, "hex").toString("base64url")
}

describe("AgentKey.parse", () => {
  const accepted: Record<string, string | object> = {
    "base64 of version 1": vector.pkcs8V1,
    "base64 of version 2": vector.pkcs8V2,
    "base64 in several lines, with white space around it": `\n ${vector.pkcs8V2.replace(/.{40}/g, "$&\r\n")} \n`,
    "DER": bytes(vector.pkcs8V1),
    "DER of version 2": bytes(vector.pkcs8V2),
    "DER in a Buffer": Buffer.from(vector.pkcs8V1, "base64"),
    "PEM": vectorPem,
    "PEM of version 2": pem("PRIVATE KEY", vector.pkcs8V2),
    "PEM with the line ends of Windows and a byte order mark": `\ufeff${vectorPem.replaceAll("\n", "\r\n")}`,
    "PEM in one line, with \\n between its lines": vectorPem.replaceAll("\n", "\\n"),
    "PEM in one line, with \\r\\n between its lines": vectorPem.replaceAll("\n", "\\r\\n"),
    "PEM in one line, with spaces between its lines": vectorPem.replaceAll("\n", " "),
    "PEM with text around it": `Key of the agent\n${vectorPem}\nED25519 Private-Key:`,
    "PEM behind its certificate": pem("CERTIFICATE", "AAAA") + vectorPem,
    "PEM in front of its public key": vectorPem + pem("PUBLIC KEY", "AAAA"),
    "PEM in a value of 64 KiB": "x".repeat(65_536 - vectorPem.trim().length) + vectorPem,
    "the bytes of a PEM file": Buffer.from(vectorPem),
    "a JWK": vectorJwk,
    "a JWK without its public half": { ...vectorJwk, x: undefined },
    "a JWK with more members": { ...vectorJwk, kid: "key-1", use: "sig", alg: "EdDSA", key_ops: ["sign"], ext: true },
    "a JWK as JSON": `${JSON.stringify(vectorJwk, undefined, 2)}\n`,
    "the bytes of a JSON file": Buffer.from(JSON.stringify(vectorJwk)),
    "the bytes of a JSON file with a byte order mark": Buffer.from(`\ufeff${JSON.stringify(vectorJwk)}`),
    "PEM in quotes": `"${vectorPem}"`
  }
  for (const [format, value] of Object.entries(accepted)) {
    it(`reads ${format}`, () => assert.strictEqual(seedOf(value), vector.seed))
  }

  it("keeps the public key that a value names", () => {
    for (const value of [vector.pkcs8V2, vectorJwk]) {
      assert.strictEqual(toHex(Either.getOrThrow(parse(value)).publicKey!), vector.publicKey)
    }
    for (const value of [vector.pkcs8V1, { ...vectorJwk, x: undefined }]) {
      assert.isUndefined(Either.getOrThrow(parse(value)).publicKey)
    }
  })

  it.prop(
    "reads every format of a key as that key",
    [FastCheck.uint8Array({ minLength: 32, maxLength: 32 })],
    ([seed]) => {
      const key = { seed: Redacted.make(seed), publicKey: undefined }
      const base64 = Redacted.value(AgentKey.toPkcs8(key))
      const native = Crypto.createPrivateKey({ key: Buffer.from(base64, "base64"), format: "der", type: "pkcs8" })
      const publicKey = Crypto.createPublicKey(native).export({ format: "der", type: "spki" }).subarray(12)
      const v2 = Buffer.concat([
        Buffer.from("3051020101300506032b657004220420", "hex"),
        seed,
        Buffer.from("812100", "hex"),
        publicKey
      ])
      const jwk = native.export({ format: "jwk" })
      const pem = native.export({ format: "pem", type: "pkcs8" })
      const der = native.export({ format: "der", type: "pkcs8" })
      const formats = [base64, v2, v2.toString("base64"), jwk, JSON.stringify(jwk), pem, Buffer.from(pem), der]
      for (const format of formats) assert.strictEqual(seedOf(format), toHex(seed))
    }
  )

  const rsa = Crypto.generateKeyPairSync("rsa", { modulusLength: 2048 })
  const ec = Crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
  const own = Crypto.generateKeyPairSync("ed25519")
  const other = (type: "x25519" | "x448" | "ed448") => Crypto.generateKeyPairSync(type as "x25519").privateKey
  const dsa = Crypto.generateKeyPairSync("dsa", { modulusLength: 1024, divisorLength: 160 }).privateKey
  const pkcs8 = (key: Crypto.KeyObject) => key.export({ format: "pem", type: "pkcs8" })
  const base64Of = (pem: string | Buffer) => String(pem).replace(/-----.*-----|\n/g, "")
  const encrypted = own.privateKey.export({ format: "pem", type: "pkcs8", cipher: "aes-256-cbc", passphrase: "x" })
  const spki = own.publicKey.export({ format: "pem", type: "spki" })
  const jwkOf = (key: Crypto.KeyObject) => key.export({ format: "jwk" })
  const sec1 = ec.privateKey.export({ format: "pem", type: "sec1" })
  const pkcs1 = rsa.privateKey.export({ format: "pem", type: "pkcs1" })

  const refused: ReadonlyArray<
    readonly [what: string, reason: AgentKey.AgentKeyError["reason"], says: RegExp, ...values: Array<string | object>]
  > = [
    ["nothing", "Empty", /is empty\./, "", " \n", "\ufeff", new Uint8Array(0), Buffer.from("\n")],
    [
      "hexadecimal",
      "OtherFormat",
      /hexadecimal\. /,
      ...hexOf(own.privateKey)
    ],
    [
      "a file in UTF-16",
      "OtherFormat",
      /is a text in UTF-16\. /,
      Buffer.from(`\ufeff${vectorPem}`, "utf16le"),
      Buffer.from(`\ufeff${vectorPem}`, "utf16le").swap16()
    ],
    ["base64 in quotes", "OtherFormat", /stands in quotes\. /, `'${vector.pkcs8V1}'`, `"${vector.pkcs8V1}"`],
    ["hexadecimal behind 0x", "OtherFormat", /is hexadecimal\. /, `0x${Buffer.alloc(32, 7).toString("hex")}`],
    [
      "PKCS#8 in hexadecimal",
      "OtherFormat",
      /is PKCS#8 in hexadecimal\. Give the same bytes as base64\./,
      own.privateKey.export({ format: "der", type: "pkcs8" }).toString("hex")
    ],
    [
      "a raw seed in base64url",
      "OtherFormat",
      /is 32 bytes without a format/,
      String(jwkOf(own.privateKey).d),
      Buffer.alloc(32, 7).toString("base64").replace("=", "")
    ],
    ["a key object", "OtherFormat", /is a key object of the platform\. Export it/, own.privateKey],
    ["an API key", "OtherFormat", /is in an unknown format/, "sk-proj-abc_def-123"],
    ["a raw seed", "OtherFormat", /is 32 bytes without a format\. Of a seed/, ...rawOf(own.privateKey, 32)],
    [
      "a seed and its public key",
      "OtherFormat",
      /is 64 bytes without a format\. Of a seed/,
      ...rawOf(own.privateKey, 64)
    ],
    [
      "an RSA key",
      "OtherAlgorithm",
      /of the algorithm RSA\. Give an Ed25519 key; `openssl genpkey/,
      pkcs8(rsa.privateKey),
      base64Of(pkcs8(rsa.privateKey)),
      bytes(base64Of(pkcs8(rsa.privateKey))),
      pkcs8(Crypto.generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey),
      pkcs1,
      base64Of(pkcs1),
      rsa.privateKey.export({ format: "pem", type: "pkcs1", cipher: "aes-128-cbc", passphrase: "x" }),
      jwkOf(rsa.privateKey),
      JSON.stringify(jwkOf(rsa.publicKey))
    ],
    [
      "an EC key",
      "OtherAlgorithm",
      /of the algorithm EC\. /,
      pkcs8(ec.privateKey),
      sec1,
      base64Of(sec1),
      pem("EC PARAMETERS", "BggqhkjOPQMBBw==") + sec1,
      pem("EC PARAMETERS", "BggqhkjOPQMBBw=="),
      jwkOf(ec.privateKey)
    ],
    ["a DSA key", "OtherAlgorithm", /of the algorithm DSA\. /, pkcs8(dsa), pem("DSA PRIVATE KEY", "AAAA")],
    ["an X25519 key", "OtherAlgorithm", /of the algorithm X25519\. /, pkcs8(other("x25519"))],
    ["an X448 key", "OtherAlgorithm", /of the algorithm X448\. /, pkcs8(other("x448"))],
    ["an Ed448 key", "OtherAlgorithm", /of the algorithm Ed448\. /, base64Of(pkcs8(other("ed448")))],
    ["a JWK of another curve", "OtherAlgorithm", /is the JWK of another curve\. Give an Ed/, jwkOf(other("x25519"))],
    [
      "a public key",
      "PublicKey",
      /is a public key\. Give the private key/,
      spki,
      base64Of(spki),
      bytes(base64Of(spki)),
      rsa.publicKey.export({ format: "pem", type: "pkcs1" }),
      jwkOf(own.publicKey),
      vector.ssh,
      `${vector.ssh} agent@host\n`,
      "ssh-rsa AAAA",
      "ecdsa-sha2-nistp256 AAAA",
      "sk-ssh-ed25519@openssh.com AAAA",
      "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----"
    ],
    ["an encrypted key", "Encrypted", /is encrypted\. Decrypt it with `openssl/, encrypted, bytes(base64Of(encrypted))],
    [
      "a certificate",
      "OtherFormat",
      /is a certificate\. Give the private key/,
      pem("CERTIFICATE", "AAAA"),
      certificate()
    ],
    [
      "OpenSSH's format",
      "OtherFormat",
      /in OpenSSH's format, which/,
      pem("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjE=")
    ],
    ["PuTTY's format", "OtherFormat", /in PuTTY's format\. /, "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none"],
    ["a PEM of something else", "OtherFormat", /is a PEM without a private key\. /, pem("X509 CRL", "AAAA")],
    ["several keys", "OtherFormat", /with several private keys\. /, vectorPem + vectorPem, vectorPem + pkcs1],
    [
      "a token",
      "OtherFormat",
      /is a token\. .*CODEX_ACCESS_TOKEN/,
      "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
      "Bearer eyJh.e30.c2ln"
    ],
    ["a key set", "OtherFormat", /is a key set\. /, { keys: [vectorJwk] }, JSON.stringify({ keys: [] })],
    [
      "a path",
      "OtherFormat",
      /is the path of a file\. /,
      "/run/secrets/key",
      "./key",
      "../key",
      "~/key",
      "agent.pem",
      "agent.key.old"
    ],
    [
      "a value of any other kind",
      "OtherFormat",
      /is in an unknown format\. Give an Ed25519 key as PKCS#8/,
      "correct horse battery staple",
      vector.pkcs8V1.slice(1),
      `"${vector.pkcs8V1}`,
      Uint8Array.of(0xff, 0x2d, 0x00)
    ],
    [
      "a long value",
      "OtherFormat",
      /is longer than any key\. /,
      "x".repeat(65_537),
      `${"x".repeat(65_536)}${vectorPem}`
    ],
    [
      "damaged PKCS#8",
      "InvalidPkcs8",
      /is not PKCS#8/,
      "MC4C",
      pem("PRIVATE KEY", vector.pkcs8V1.replace("MC4C", "MC4D"))
    ],
    ["PKCS#8 with a byte too much", "InvalidPkcs8", /is not PKCS#8/, `${vector.pkcs8V1}AAAA`],
    ["Ed25519 in another structure", "InvalidPkcs8", /is not PKCS#8/, bytes(`MC4CAQIw${vector.pkcs8V1.slice(8)}`)],
    [
      "another DER",
      "InvalidPkcs8",
      /is not PKCS#8/,
      Buffer.from("3000", "hex").toString("base64"),
      unknownAlgorithm(),
      unknownStructure()
    ],
    [
      "a PEM without its end",
      "InvalidPem",
      /is a PEM without its end\. /,
      "-----BEGIN PRIVATE KEY-----",
      vectorPem.replace("END PRIVATE", "END PUBLIC")
    ],
    ["a PEM with damaged base64", "InvalidPem", /whose base64 is damaged\. /, pem("PRIVATE KEY", `${vector.pkcs8V1}=`)],
    ["damaged JSON", "InvalidJwk", /is damaged JSON\. /, "{", JSON.stringify(vectorJwk).slice(0, -1)],
    ["JSON of another kind", "InvalidJwk", /is not the JWK of an Ed25519 key\. /, "{}", { kty: "oct", k: "AAAA" }],
    [
      "a JWK whose numbers are damaged",
      "InvalidJwk",
      /whose `d` or `x` is not/,
      ...["d", "x"].flatMap((member) =>
        ["", vectorJwk.d.slice(1), `${vectorJwk.d}A`, `${vectorJwk.d}=`, 7, null].map((value) => ({
          ...vectorJwk,
          [member]: value
        }))
      )
    ]
  ]
  for (const [what, reason, says, ...values] of refused) {
    it(`says of ${what} what it is and what to do, and shows nothing of it`, () => {
      for (const value of values) {
        const error = refusal(value)
        assert.strictEqual(error.reason, reason, error.message)
        assert.match(error.message, says)
        assert.match(error.message, /^The agent private key .*\. .*\.$/)
        for (const part of partsOf(value)) assert.notInclude(shown(error), part)
      }
    })
  }

  it.prop(
    "never throws, and shows nothing of random text",
    [FastCheck.string({ minLength: 12, unit: "binary" })],
    ([text]) => {
      const key = parse(text)
      if (Either.isLeft(key)) assert.notInclude(shown(key.left), text)
    }
  )
})

/** The seed, and a whole PKCS#8, as people write them. */
function hexOf(key: Crypto.KeyObject): Array<string> {
  const der = key.export({ format: "der", type: "pkcs8" })
  const seed = der.subarray(16).toString("hex")
  return [seed, seed.toUpperCase(), seed.replace(/..(?=.)/g, "$&:"), `${seed}\n`, der.toString("hex")]
}

function rawOf(key: Crypto.KeyObject, length: 32 | 64): Array<string | object> {
  const seed = key.export({ format: "der", type: "pkcs8" }).subarray(16)
  // Its last bytes are no text in UTF-8.
  const raw = Buffer.concat([seed, seed]).subarray(0, length).fill(0xff, length - 2)
  return [raw, raw.toString("base64"), `${raw.toString("base64")}\n`]
}

/** The outer structure of a certificate: what is certified, an algorithm, a signature. */
function certificate(): string {
  return Buffer.from("3012" + "3005a003020102" + "300506032b6570" + "03020000", "hex").toString("base64")
}

function unknownAlgorithm(): Uint8Array {
  return Uint8Array.from(Buffer.from("300e020100" + "300506032b6599" + "04020000", "hex"))
}

function unknownStructure(): Uint8Array {
  return Uint8Array.from(Buffer.from("3009" + "300506032b6570" + "0500", "hex"))
}

/** Pieces of a value that no message of ours has by chance. */
function partsOf(value: string | object): ReadonlyArray<string> {
  const text = value instanceof Uint8Array
    ? Buffer.from(value).toString("base64")
    : typeof value === "string"
    ? value
    : JSON.stringify(value)
  return text.replace(/-----.*?-----/g, "").match(/[\w+/=]{12}/g)?.filter((part) => part !== "x".repeat(12)) ?? []
}

const installed = (command: string, ...args: ReadonlyArray<string>) =>
  spawnSync(command, args, { stdio: "ignore" }).error === undefined

const inFolder = (use: (path: (name: string) => string) => void) => {
  const folder = mkdtempSync(join(tmpdir(), "agent-key-"))
  try {
    use((name) => join(folder, name))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

describe.skipIf(!installed("openssl", "version"))("keys of OpenSSL", () => {
  const openssl = (...args: ReadonlyArray<string>) =>
    execFileSync("openssl", args, { stdio: ["ignore", "pipe", "ignore"] })

  it("read alike as PEM, DER, base64 and with text, as the commands in our messages and pages write them", () =>
    inFolder((path) => {
      openssl("genpkey", "-algorithm", "ed25519", "-out", path("key.pem"))
      const pem = readFileSync(path("key.pem"))
      const der = openssl("pkey", "-in", path("key.pem"), "-outform", "DER")
      const seed = toHex(der.subarray(16))
      const text = openssl("pkey", "-in", path("key.pem"), "-text")
      for (const value of [pem, String(pem), der, der.toString("base64"), String(text)]) {
        assert.strictEqual(seedOf(value), seed)
      }
    }))

  it("are read once they are decrypted as the error says", () =>
    inFolder((path) => {
      const { privateKey } = Crypto.generateKeyPairSync("ed25519")
      const encrypted = privateKey.export({ format: "pem", type: "pkcs8", cipher: "aes-256-cbc", passphrase: "x" })
      writeFileSync(path("encrypted.pem"), encrypted)
      const [, command] = /`openssl (.*)`/.exec(refusal(encrypted).message)!
      const args = command!.split(" ").map((word) => word.endsWith(".pem") ? path(word) : word)
      openssl(...args, "-passin", "pass:x")
      assert.strictEqual(
        seedOf(readFileSync(path("key.pem"))),
        toHex(privateKey.export({ format: "der", type: "pkcs8" }).subarray(16))
      )
    }))

  it("are refused as certificates", () =>
    inFolder((path) => {
      openssl("genpkey", "-algorithm", "ed25519", "-out", path("key.pem"))
      const request = ["req", "-x509", "-key", path("key.pem"), "-subj", "/CN=agent"]
      for (const certificate of [openssl(...request), openssl(...request, "-outform", "DER")]) {
        assert.match(refusal(certificate).message, /is a certificate/)
      }
    }))
})

describe.skipIf(!installed("ssh-keygen", "-?"))("keys of ssh-keygen", () => {
  it("are named, with and without a password, and ssh-keygen leaves them as they are", () =>
    inFolder((path) => {
      for (const passphrase of ["", "hunter22"]) {
        const file = path(`key${passphrase}`)
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", passphrase, "-f", file])
        const convert = ["-p", "-m", "PKCS8", "-P", passphrase, "-N", passphrase, "-f", file]
        spawnSync("ssh-keygen", convert, { stdio: "ignore" })
        for (const value of [readFileSync(file), readFileSync(file, "utf8")]) {
          assert.strictEqual(refusal(value).reason, "OtherFormat")
          assert.match(refusal(value).message, /in OpenSSH's format.*Give an Ed25519 key; `openssl genpkey/)
        }
        assert.strictEqual(refusal(readFileSync(`${file}.pub`)).reason, "PublicKey")
      }
    }))
})
