/** Text rules that several ids share. */

/** A lone surrogate has no UTF-8 form: two different ones would become the same bytes. @internal */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text)

/** @internal */
export const isBlank = (text: string): boolean => text.trim().length === 0

/** At most `max` UTF-16 code units, never half a surrogate pair. @internal */
export const truncate = (text: string, max: number): string =>
  text.length <= max ? text : text.slice(0, max).replace(/[\uD800-\uDBFF]$/, "") + "..."

/** Escapes what a terminal or a log reader would obey: control characters, and those that turn or break lines. @internal */
export const printable = (text: string): string =>
  text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`
  )

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** @internal */
export const toUtf8 = (text: string): Uint8Array => encoder.encode(text)

/** Undefined for bytes that are not UTF-8. @internal */
export const fromUtf8 = (bytes: Uint8Array): string | undefined => {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

/** Windows writes texts so. @internal */
export const isUtf16 = ([first, second]: Uint8Array): boolean =>
  (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)

/** What people paste together with a token, and what to do; undefined where there is nothing. @internal */
export const aroundToken = (token: string): string | undefined =>
  /^["'`\p{Pi}\p{Pf}]|["'`\p{Pi}\p{Pf}]$/u.test(token)
    ? "it stands in quotes; remove them"
    : /^(?:authorization\s*:\s*)?bearer[\s:]/i.test(token)
    ? "it begins with the word `Bearer`; give the token alone"
    : /^(?:export\s+)?[A-Z][A-Z_]+=[^=]/.test(token)
    ? "it begins with the name of a variable; give what stands behind the `=`"
    : undefined

/** Of what others wrote: a byte order mark in front is skipped. Undefined for bytes that are not JSON. @internal */
export const readJson = (bytes: Uint8Array): unknown => parseJson((fromUtf8(bytes) ?? "").replace(/^\uFEFF/, ""))

/** Undefined for text that is not JSON. @internal */
export const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
