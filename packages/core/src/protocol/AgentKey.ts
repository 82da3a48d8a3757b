/**
 * An agent's Ed25519 key, in and out: PKCS#8 or a JWK for the private half, OpenSSH's line for the public half.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Base64 from "./base64.ts"
import * as KeyFormats from "./keyFormats.ts"
import * as Noble from "./noble.ts"
import * as Pkcs8 from "./pkcs8.ts"
import * as Text from "./text.ts"

/**
 * Why a key was refused. The message says what the value is and what to do; it shows nothing of the key.
 *
 * - `Empty`: nothing was given
 * - `Encrypted`: the key is behind a password
 * - `PublicKey`: the public half
 * - `OtherAlgorithm`: not Ed25519
 * - `OtherFormat`: neither PKCS#8 nor a JWK
 * - `InvalidBase64`, `InvalidPkcs8`, `InvalidPem`, `InvalidJwk`, `InvalidSshPublicKey`: damaged
 * - `EntropyFailed`: no key was made
 *
 * @since 0.1.0
 * @category errors
 */
export class AgentKeyError extends Schema.TaggedError<AgentKeyError>("@agent-identity/core/AgentKeyError")(
  "AgentKeyError",
  {
    reason: Schema.Literal(
      "Empty",
      "Encrypted",
      "PublicKey",
      "OtherAlgorithm",
      "OtherFormat",
      "InvalidBase64",
      "InvalidPkcs8",
      "InvalidPem",
      "InvalidJwk",
      "InvalidSshPublicKey",
      "EntropyFailed"
    ),
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return this.detail
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
 * Reads a private key in any of these formats:
 *
 * - PKCS#8, version 1 (RFC 5208) or 2 (RFC 5958), in PEM, in base64, or as the bytes of its DER
 * - a JWK (RFC 8037), as JSON or as an object
 *
 * A text may come as the bytes of a file. The lines of a PEM may be separated by `\n`, as in some variables.
 *
 * @example
 * import { AgentKey } from "@agent-identity/core"
 * import { Either, Redacted } from "effect"
 *
 * const pem = [
 *   "-----BEGIN PRIVATE KEY-----",
 *   "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH",
 *   "-----END PRIVATE KEY-----"
 * ].join("\n")
 * const key = Either.getOrThrow(AgentKey.parse(Redacted.make(pem)))
 * assert.deepStrictEqual(Redacted.value(key.seed), new Uint8Array(32).fill(7))
 *
 * const error = Either.getOrThrow(Either.flip(AgentKey.parse(Redacted.make({ kty: "RSA", n: "sXch…", e: "AQAB" }))))
 * assert.match(error.message, /^The agent private key is of the algorithm RSA/)
 *
 * @since 0.1.0
 * @category decoding
 */
export const parse = (key: Redacted.Redacted<string | object>): Either.Either<AgentKey, AgentKeyError> =>
  // A program without types may give anything.
  Either.mapBoth(Redacted.isRedacted(key) ? KeyFormats.parse(Redacted.value(key)) : KeyFormats.notRedacted, {
    onLeft: (refusal) => new AgentKeyError(refusal),
    onRight: toAgentKey
  })

/**
 * Reads what `toPkcs8` writes, and version 2 (RFC 5958): the form that stands in tokens and records. White space around
 * the base64 is allowed. `parse` reads other formats.
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
  const key = der === undefined ? undefined : Pkcs8.read(der)
  return key === undefined
    ? Either.left(new AgentKeyError(der === undefined ? KeyFormats.invalidBase64 : KeyFormats.invalidPkcs8))
    : Either.right(toAgentKey(key))
}

/**
 * Standard base64 of PKCS#8 version 1, 48 bytes: the form that every reader accepts.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toPkcs8 = (key: AgentKey): Redacted.Redacted<string> =>
  Redacted.make(Base64.encode(Pkcs8.write(Redacted.value(key.seed))))

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
  `ssh-ed25519 ${Base64.encode(Pkcs8.concat(sshPrefix, publicKey))}`

/**
 * Reads what `toSshPublicKey` writes.
 *
 * @since 0.1.0
 * @category decoding
 */
export const fromSshPublicKey = (line: string): Either.Either<Uint8Array, AgentKeyError> => {
  const blob = line.startsWith("ssh-ed25519 ") ? Base64.decode(line.slice(12)) : undefined
  return blob?.length === sshPrefix.length + 32 && Pkcs8.startsWith(blob, 0, sshPrefix)
    ? Either.right(blob.slice(sshPrefix.length))
    : Either.left(
      new AgentKeyError({
        reason: "InvalidSshPublicKey",
        detail: "The agent public key is not an `ssh-ed25519` line without a comment. Leave its comment out."
      })
    )
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
      catch: () => noEntropy()
    })
    if (!(random instanceof Uint8Array) || random.length !== 64) {
      return yield* noEntropy()
    }
    return { seed: Redacted.make(sha512(Pkcs8.concat(derivationContext, random)).slice(0, 32)), publicKey: undefined }
  })

const toAgentKey = ({ publicKey, seed }: Pkcs8.Key): AgentKey => ({ seed: Redacted.make(seed), publicKey })

const noEntropy = () =>
  new AgentKeyError({
    reason: "EntropyFailed",
    detail: "No agent key was made: the random source did not give 64 bytes."
  })

const derivationContext = Text.toUtf8("codex-agent-identity-ed25519-v1")

/** u32 11, `ssh-ed25519`, u32 32 (RFC 8709). */
const sshPrefix = Pkcs8.bytes("0000000b7373682d6564323535313900000020")
