/**
 * An agent's Ed25519 key, in and out: PKCS#8 for the private half, OpenSSH's line for the public half.
 *
 * Runtimes refuse the RFC 5958 form that the Rust client writes (Node 20 and Bun among them), so the reader of the one
 * fixed grammar is ours.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Base64 from "./base64.ts"
import * as Noble from "./noble.ts"
import * as Text from "./text.ts"

/**
 * Why a key was refused. It shows nothing of the key.
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentKeyError extends Schema.TaggedError<AgentKeyError>("@agent-identity/core/AgentKeyError")(
  "AgentKeyError",
  { reason: Schema.Literal("InvalidBase64", "InvalidPkcs8", "InvalidSshPublicKey", "EntropyFailed") }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return explanations[this.reason]
  }
}

/**
 * A private key: its 32-byte seed (RFC 8032), and the public key where the file named one. Whether the two belong
 * together is checked by `Signing.importPrivateKey`.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentKey {
  readonly seed: Redacted.Redacted<Uint8Array>
  readonly publicKey: Uint8Array | undefined
}

/**
 * Reads standard base64 of PKCS#8 DER, version 1 (RFC 5208) or 2 (RFC 5958). White space around the base64 is allowed,
 * nothing else is.
 *
 * @example
 * import { AgentKey } from "@agent-identity/core"
 * import { Either, Redacted } from "effect"
 *
 * const pkcs8 = Redacted.make("MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH")
 * const key = Either.getOrThrow(AgentKey.fromPkcs8(pkcs8))
 *
 * assert.deepStrictEqual(Redacted.value(key.seed), new Uint8Array(32).fill(7))
 * assert.deepStrictEqual(Redacted.value(AgentKey.toPkcs8(key)), Redacted.value(pkcs8))
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromPkcs8 = (pkcs8: Redacted.Redacted<string>): Either.Either<AgentKey, AgentKeyError> => {
  const der = Base64.decode(Redacted.value(pkcs8).trim())
  if (der === undefined) return refuse("InvalidBase64")
  const key = readDer(der)
  return key === undefined ? refuse("InvalidPkcs8") : Either.right(key)
}

/**
 * Standard base64 of PKCS#8 version 1, 48 bytes: the form that every reader accepts.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toPkcs8 = (key: AgentKey): Redacted.Redacted<string> =>
  Redacted.make(Base64.encode(concat(PKCS8_V1, Redacted.value(key.seed))))

/**
 * The 32-byte public key as OpenSSH writes it (RFC 8709), without a comment and a line end: the form in which it is
 * registered.
 *
 * @example
 * import { AgentKey } from "@agent-identity/core"
 * import { Either } from "effect"
 *
 * const publicKey = new Uint8Array(32).fill(1)
 * const line = AgentKey.toSshPublicKey(publicKey)
 *
 * assert.match(line, /^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI/)
 * assert.deepStrictEqual(Either.getOrThrow(AgentKey.fromSshPublicKey(line)), publicKey)
 *
 * @since 0.1.0
 * @category encoding
 */
export const toSshPublicKey = (publicKey: Uint8Array): string =>
  `ssh-ed25519 ${Base64.encode(concat(SSH_PREFIX, publicKey))}`

/**
 * Reads what `toSshPublicKey` writes.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromSshPublicKey = (line: string): Either.Either<Uint8Array, AgentKeyError> => {
  const blob = line.startsWith("ssh-ed25519 ") ? Base64.decode(line.slice(12)) : undefined
  return blob?.length === SSH_PREFIX.length + 32 && startsWith(blob, 0, SSH_PREFIX)
    ? Either.right(blob.slice(SSH_PREFIX.length))
    : refuse("InvalidSshPublicKey")
}

/**
 * A new key, derived as the Rust client does it (openai/codex, `generate_agent_key_material`): the seed is the first
 * half of SHA-512 over a context string and 64 random bytes. `entropy` stands in for the platform's secure random
 * source.
 *
 * @example
 * import { AgentKey } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const key = await Effect.runPromise(AgentKey.generate())
 *
 * assert.deepStrictEqual(String(key.seed), "<redacted>")
 *
 * @since 0.1.0
 * @category constructors
 */
export const generate = (
  entropy: (bytes: number) => Uint8Array = (bytes) => globalThis.crypto.getRandomValues(new Uint8Array(bytes))
): Effect.Effect<AgentKey, AgentKeyError> =>
  Effect.gen(function*() {
    const { sha512 } = yield* Noble.sha2
    const random = yield* Effect.try({
      try: () => entropy(64),
      catch: () => new AgentKeyError({ reason: "EntropyFailed" })
    })
    if (!(random instanceof Uint8Array) || random.length !== 64) {
      return yield* new AgentKeyError({ reason: "EntropyFailed" })
    }
    return { seed: Redacted.make(sha512(concat(DERIVATION_CONTEXT, random)).slice(0, 32)), publicKey: undefined }
  })

const explanations: Record<AgentKeyError["reason"], string> = {
  InvalidBase64: "The agent private key is not standard base64 with padding. Give base64 of its PKCS#8 DER.",
  InvalidPkcs8:
    "The agent private key is not PKCS#8 (RFC 5208 or RFC 5958) of an Ed25519 key. Give base64 of its DER, not of its PEM.",
  InvalidSshPublicKey: "The agent public key is not an `ssh-ed25519` line without a comment. Leave its comment out.",
  EntropyFailed: "No agent key was made: the random source did not give 64 bytes."
}

const refuse = (reason: AgentKeyError["reason"]) => Either.left(new AgentKeyError({ reason }))

const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g)!, (byte) => Number.parseInt(byte, 16))

const concat = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const whole = new Uint8Array(left.length + right.length)
  whole.set(left)
  whole.set(right, left.length)
  return whole
}

const startsWith = (whole: Uint8Array, at: number, part: Uint8Array): boolean =>
  part.every((byte, index) => whole[at + index] === byte)

const DERIVATION_CONTEXT = Text.toUtf8("codex-agent-identity-ed25519-v1")

/** SEQUENCE (46 bytes), then as below with version 0. */
const PKCS8_V1 = bytes("302e020100300506032b657004220420")
/** AlgorithmIdentifier 1.3.101.112 without parameters (RFC 8410), OCTET STRING in OCTET STRING of 32 bytes. */
const ED25519_SEED = bytes("300506032b657004220420")
/** u32 11, `ssh-ed25519`, u32 32 (RFC 8709). */
const SSH_PREFIX = bytes("0000000b7373682d6564323535313900000020")

/** SEQUENCE { version 0 | 1, Ed25519, seed, [0] attributes OPTIONAL, [1] public key OPTIONAL }, and not a byte more. */
const readDer = (der: Uint8Array): AgentKey | undefined => {
  const body = readElement(der, 0, 0x30)
  if (body === undefined || body.end !== der.length) return undefined
  let at = body.start
  const version = der[at + 2]
  if (der[at] !== 0x02 || der[at + 1] !== 0x01 || (version !== 0 && version !== 1)) return undefined
  at += 3
  if (!startsWith(der, at, ED25519_SEED)) return undefined
  at += ED25519_SEED.length
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
    seed: Redacted.make(seed),
    publicKey: publicKey === undefined ? undefined : der.slice(publicKey.start + 1, publicKey.end)
  }
}

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
