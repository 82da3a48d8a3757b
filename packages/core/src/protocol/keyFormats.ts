/**
 * The formats of private keys: reads those that hold an Ed25519 key as it is, and says of others what they are and what
 * to do. Nothing of a key is in what it says.
 */
import * as Either from "effect/Either"
import * as Predicate from "effect/Predicate"
import * as Base64 from "./base64.ts"
import * as Pkcs8 from "./pkcs8.ts"
import * as Text from "./text.ts"

/** @internal */
export interface Refusal {
  readonly reason:
    | "Empty"
    | "Encrypted"
    | "PublicKey"
    | "OtherAlgorithm"
    | "OtherFormat"
    | "InvalidBase64"
    | "InvalidPkcs8"
    | "InvalidPem"
    | "InvalidJwk"
  readonly detail: string
}

type Parsed = Either.Either<Pkcs8.Key, Refusal>

/** A text, the bytes of a file, or a JWK. @internal */
export const parse = (value: string | object): Parsed => {
  if (typeof value === "string") return parseText(value)
  // A program without types may give anything, such as a variable that is not set.
  if (typeof value !== "object" || value === null) return refuse("Empty", `is not there. ${whatToGive}`)
  if (!(value instanceof Uint8Array)) return parseJwk(value)
  if (Pkcs8.isSequence(value)) return parseDer(value)
  if (Text.isUtf16(value)) return refuse("OtherFormat", "is a text in UTF-16. Save the file as UTF-8.")
  const text = Text.fromUtf8(value)
  return text === undefined ? parseRaw(value.length) : parseText(text)
}

/** @internal */
export const notRedacted: Parsed = Either.left({
  reason: "Empty",
  detail: "is not there as a Redacted value. Wrap the key in `Redacted.make`, or give the path of a file."
})

/** No key is longer, and to look for the parts of a PEM takes more than linear time. */
const maxLength = 64 * 1024

const parseText = (given: string): Parsed => {
  const text = given.trim()
  if (text === "") return refuse("Empty", `is empty. ${whatToGive}`)
  if (text.length > maxLength) return refuse("OtherFormat", `is longer than any key. ${whatToGive}`)
  if (text.includes("-----BEGIN ")) return parsePem(text)
  if (/^(["'`]).*\1$/s.test(text)) return refuse("OtherFormat", "stands in quotes. Give it without them.")
  if (text.startsWith("{")) return parseJwk(Text.parseJson(text))
  if (/^(?:ssh-|ecdsa-sha2-|sk-(?:ssh|ecdsa)-|---- BEGIN SSH2 PUBLIC KEY)/.test(text)) return refuseKind("PublicKey")
  if (text.startsWith("PuTTY-User-Key-File")) return refuse("OtherFormat", `is in PuTTY's format. ${whatToGive}`)
  if (/eyJ[\w-]*\.[\w-]*\./.test(text)) {
    return refuse("OtherFormat", "is a token. Give it as the token of the run, for example in CODEX_ACCESS_TOKEN.")
  }
  if (/^(?:0x)?[0-9a-f\s:]+$/i.test(text)) return parseHex(text.replace(/^0x|[\s:]/gi, ""))
  const base64 = text.replace(/\s/g, "")
  const der = Base64.decode(base64)
  const raw = der ?? Base64.decodeUrl(base64) ?? Base64.decode(base64 + "=".repeat(-base64.length & 3))
  if (raw !== undefined && isRaw(raw.length)) return parseRaw(raw.length)
  if (/^[~.]{0,2}\/|\.(?:pem|key|der|jwk|json)/i.test(text)) {
    return refuse("OtherFormat", "is the path of a file. Give what the file holds, or give the path as the key file.")
  }
  return der === undefined ? refuse("OtherFormat", `is in an unknown format. ${whatToGive}`) : parseDer(der)
}

const parseHex = (hex: string): Parsed =>
  /^30(?:2e|51|72)0201/i.test(hex)
    ? refuse("OtherFormat", "is PKCS#8 in hexadecimal. Give the same bytes as base64.")
    : refuse("OtherFormat", `is hexadecimal. ${whatToDoWithASeed}`)

/** A file may hold more than the key: its public key, a certificate, text. */
const parsePem = (text: string): Parsed => {
  const blocks = Array.from(text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----/gs))
  const keys = blocks.filter(([, label]) => label!.endsWith("PRIVATE KEY"))
  if (keys.length > 1) return refuse("OtherFormat", "is a file with several private keys. Give one of them.")
  const block = keys[0] ?? blocks[0]
  if (block === undefined) return refuse("InvalidPem", "is a PEM without its end. Give it whole, from BEGIN to END.")
  const [label, body] = [block[1]!, block[2]!]
  if (label === "OPENSSH PRIVATE KEY") {
    return refuse("OtherFormat", `is in OpenSSH's format, which \`ssh-keygen\` does not convert. ${howToMakeOne}`)
  }
  const kind = labels.get(label)
  if (kind !== undefined) return refuseKind(kind)
  if (label !== "PRIVATE KEY") return refuse("OtherFormat", `is a PEM without a private key. ${whatToGive}`)
  // A variable may hold its lines with `\n`, as two characters, between them.
  const der = Base64.decode(body.replace(/\\[nr]|\s/g, ""))
  return der === undefined
    ? refuse("InvalidPem", "is a PEM whose base64 is damaged. Give the file as it was made.")
    : parseDer(der)
}

const labels: ReadonlyMap<string, Pkcs8.Kind> = new Map([
  ["ENCRYPTED PRIVATE KEY", "Encrypted"],
  ["RSA PRIVATE KEY", "RSA"],
  ["EC PRIVATE KEY", "EC"],
  ["EC PARAMETERS", "EC"],
  ["DSA PRIVATE KEY", "DSA"],
  ["PUBLIC KEY", "PublicKey"],
  ["RSA PUBLIC KEY", "PublicKey"],
  ["CERTIFICATE", "Certificate"]
])

const parseDer = (der: Uint8Array): Parsed => {
  const key = Pkcs8.read(der)
  if (key !== undefined) return Either.right(key)
  const kind = Pkcs8.kindOf(der)
  return kind === undefined ? Either.left(invalidPkcs8) : refuseKind(kind)
}

const parseJwk = (jwk: unknown): Parsed => {
  if (!Predicate.isReadonlyRecord(jwk)) return refuse("InvalidJwk", `is damaged JSON. ${whatToGive}`)
  if (typeof jwk.export === "function" || (jwk.type !== undefined && jwk.algorithm !== undefined)) {
    return refuse("OtherFormat", "is a key object of the platform. Export it, as a JWK or as PKCS#8.")
  }
  if (Array.isArray(jwk.keys)) return refuse("OtherFormat", "is a key set. Give one of its keys, with its `d`.")
  if (jwk.kty === "RSA" || jwk.kty === "EC") return refuseKind(jwk.kty)
  if (jwk.kty !== "OKP") return refuse("InvalidJwk", `is not the JWK of an Ed25519 key. ${whatToGive}`)
  if (jwk.crv !== "Ed25519") return refuse("OtherAlgorithm", `is the JWK of another curve. ${howToMakeOne}`)
  if (jwk.d === undefined) return refuseKind("PublicKey")
  const seed = decode32(jwk.d)
  const publicKey = decode32(jwk.x)
  return seed === undefined || (jwk.x !== undefined && publicKey === undefined)
    ? refuse("InvalidJwk", "is a JWK whose `d` or `x` is not base64url of 32 bytes. Give it as it was made.")
    : Either.right({ seed, publicKey })
}

const decode32 = (member: unknown): Uint8Array | undefined => {
  const decoded = typeof member === "string" ? Base64.decodeUrl(member) : undefined
  return decoded?.length === 32 ? decoded : undefined
}

/** A seed, or a seed and its public key. */
const isRaw = (length: number): boolean => length === 32 || length === 64

const parseRaw = (length: number): Parsed =>
  isRaw(length)
    ? refuse("OtherFormat", `is ${length} bytes without a format. ${whatToDoWithASeed}`)
    : refuse("OtherFormat", `is in an unknown format. ${whatToGive}`)

const refuse = (reason: Refusal["reason"], what: string): Parsed =>
  Either.left({ reason, detail: `The agent private key ${what}` })

const refuseKind = (kind: Pkcs8.Kind): Parsed =>
  kind === "PublicKey"
    ? refuse("PublicKey", "is a public key. Give the private key of its pair.")
    : kind === "Encrypted"
    ? refuse("Encrypted", "is encrypted. Decrypt it with `openssl pkey -in encrypted.pem -out key.pem`.")
    : kind === "Certificate"
    ? refuse("OtherFormat", "is a certificate. Give the private key that belongs to it.")
    : refuse("OtherAlgorithm", `is of the algorithm ${kind}. ${howToMakeOne}`)

const howToMakeOne = "Give an Ed25519 key; `openssl genpkey -algorithm ed25519 -out key.pem` makes one."

const whatToGive =
  "Give an Ed25519 key as PKCS#8, in PEM or base64, or as a JWK; `openssl genpkey -algorithm ed25519 -out key.pem` makes one."

const whatToDoWithASeed =
  "Of a seed, which is the first 32 bytes, `AgentKey.toPkcs8({ seed: Redacted.make(bytes), publicKey: undefined })` makes PKCS#8."

/** @internal */
export const invalidBase64: Refusal = {
  reason: "InvalidBase64",
  detail: "The agent private key is not standard base64 with padding. Give base64 of its PKCS#8 DER."
}

/** @internal */
export const invalidPkcs8: Refusal = {
  reason: "InvalidPkcs8",
  detail: `The agent private key is not PKCS#8 (RFC 5208 or RFC 5958) of an Ed25519 key. ${howToMakeOne}`
}
