/**
 * Private keys in DER: reads and writes PKCS#8 of Ed25519, and says what other DER is.
 *
 * Runtimes refuse the RFC 5958 form that the Rust client writes (Node 20 and Bun among them), so the reader of the one
 * fixed grammar is ours.
 */

/** @internal */
export interface Key {
  readonly seed: Uint8Array
  readonly publicKey: Uint8Array | undefined
}

/** @internal */
export const bytes = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16))

/** @internal */
export const concat = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(left.length + right.length)
  whole.set(left)
  whole.set(right, left.length)
  return whole
}

/** @internal */
export const startsWith = (whole: Uint8Array, at: number, part: Uint8Array): boolean =>
  part.every((byte, index) => whole[at + index] === byte)

/** AlgorithmIdentifier 1.3.101.112 without parameters (RFC 8410), OCTET STRING in OCTET STRING of 32 bytes. */
const ed25519Seed = bytes("300506032b657004220420")
/** SEQUENCE (46 bytes), version 0, and that. */
const version1 = bytes("302e020100300506032b657004220420")

/** Version 1, 48 bytes. @internal */
export const write = (seed: Uint8Array): Uint8Array => concat(version1, seed)

/** SEQUENCE { version 0 | 1, Ed25519, seed, [0] attributes OPTIONAL, [1] public key OPTIONAL }, and not a byte more. @internal */
export const read = (der: Uint8Array): Key | undefined => {
  const body = readElement(der, 0, 0x30)
  if (body === undefined || body.end !== der.length) return undefined
  let at = body.start
  const version = der[at + 2]
  if (der[at] !== 0x02 || der[at + 1] !== 0x01 || (version !== 0 && version !== 1)) return undefined
  at += 3
  if (!startsWith(der, at, ed25519Seed)) return undefined
  at += ed25519Seed.length
  const seed = der.slice(at, at + 32)
  at += 32
  const attributes = readElement(der, at, 0xa0)
  if (attributes !== undefined) {
    for (at = attributes.start; at < attributes.end;) {
      const attribute = readElement(der, at, 0x30)
      if (attribute === undefined || attribute.end > attributes.end) return undefined
      at = attribute.end
    }
  }
  const publicKey = version === 1 ? readElement(der, at, 0x81) : undefined
  // A BIT STRING begins with the number of its unused bits.
  if (publicKey !== undefined && (publicKey.end - publicKey.start !== 33 || der[publicKey.start] !== 0)) {
    return undefined
  }
  if ((publicKey?.end ?? at) !== body.end) return undefined
  return {
    seed,
    publicKey: publicKey === undefined ? undefined : der.slice(publicKey.start + 1, publicKey.end)
  }
}

/** @internal */
export type Kind =
  | "RSA"
  | "EC"
  | "DSA"
  | "X25519"
  | "X448"
  | "Ed448"
  | "PublicKey"
  | "Encrypted"
  | "Certificate"

/** Object identifiers of other algorithms. */
const algorithms: ReadonlyMap<string, Kind> = new Map([
  ["2b6571", "Ed448"],
  ["2b656e", "X25519"],
  ["2b656f", "X448"],
  ["2a864886f70d010101", "RSA"],
  ["2a864886f70d01010a", "RSA"],
  ["2a8648ce3d0201", "EC"],
  ["2a8648ce380401", "DSA"]
])

/** Whether these bytes are one DER SEQUENCE, as all keys are. @internal */
export const isSequence = (der: Uint8Array): boolean => readElement(der, 0, 0x30)?.end === der.length

/** What a DER SEQUENCE is, by its first elements; undefined where it is none of these. @internal */
export const kindOf = (der: Uint8Array): Kind | undefined => {
  const body = readElement(der, 0, 0x30)
  if (body === undefined) return undefined
  const version = readElement(der, body.start, 0x02)
  const algorithm = readElement(der, version?.end ?? body.start, 0x30)
  if (algorithm === undefined) {
    // RSAPrivateKey and RSAPublicKey (RFC 8017) begin with two numbers, ECPrivateKey (RFC 5915) with a number and bytes.
    const next = version === undefined ? undefined : der[version.end]
    return next === 0x02 ? "RSA" : next === 0x04 ? "EC" : undefined
  }
  const identifier = readElement(der, algorithm.start, 0x06)
  if (version !== undefined) {
    return identifier && algorithms.get(Array.from(der.subarray(identifier.start, identifier.end), toHex).join(""))
  }
  // SubjectPublicKeyInfo and EncryptedPrivateKeyInfo begin with an algorithm, a certificate with what it certifies.
  return identifier === undefined
    ? "Certificate"
    : der[algorithm.end] === 0x03
    ? "PublicKey"
    : der[algorithm.end] === 0x04
    ? "Encrypted"
    : undefined
}

const toHex = (byte: number): string => byte.toString(16).padStart(2, "0")

/** One DER element with that tag at that place: where its content begins and ends. */
const readElement = (
  der: Uint8Array,
  at: number,
  tag: number
): { readonly start: number; readonly end: number } | undefined => {
  // A byte that is not there makes no length, and what has no length ends nowhere.
  const [first = NaN, second = NaN, third = NaN] = der.subarray(at + 1, at + 4)
  // The long form: two bytes are more than any key of ours needs, and DER wants the shortest.
  const [start, length] = first < 0x80
    ? [at + 2, first]
    : first === 0x81 && second >= 0x80
    ? [at + 3, second]
    : first === 0x82 && second > 0
    ? [at + 4, second * 256 + third]
    : [at, NaN]
  return der[at] === tag && start + length <= der.length ? { start, end: start + length } : undefined
}
