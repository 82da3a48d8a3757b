/**
 * Base64 that has one spelling for each sequence of bytes: no white space, the padding of its kind, spare bits zero.
 * What a decoder refuses it drops: the input may be a secret.
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"

/** Standard alphabet, padded (RFC 4648, section 4). @internal */
export const encode = (bytes: Uint8Array): string => Encoding.encodeBase64(bytes)

/** URL alphabet, not padded (RFC 4648, section 5). @internal */
export const encodeUrl = (bytes: Uint8Array): string => Encoding.encodeBase64Url(bytes)

/** @internal */
export const decode = (text: string): Uint8Array | undefined => strict(text, Encoding.decodeBase64(text), encode)

/** @internal */
export const decodeUrl = (text: string): Uint8Array | undefined =>
  strict(text, Encoding.decodeBase64Url(text), encodeUrl)

const strict = (
  text: string,
  decoded: Either.Either<Uint8Array, Encoding.DecodeException>,
  encodeAgain: (bytes: Uint8Array) => string
): Uint8Array | undefined => {
  if (Either.isLeft(decoded)) return undefined
  return encodeAgain(decoded.right) === text ? decoded.right : undefined
}
