/** The start of an answer, fit for an error: without what we sent and without anything that looks like a credential. */
import * as Text from "../protocol/text.ts"

const maxLength = 512

/** So many characters in a row of what was sent are a piece of it. */
const pieceLength = 16

/** At most 512 characters. `sent` is what must not be shown, whole or in pieces. @internal */
export const make = (body: Uint8Array, sent: ReadonlyArray<string>): string => {
  const text = withoutSent(readable(new TextDecoder().decode(body)), sent)
    .replace(/\b(Bearer|AgentAssertion)(?:\s|\\[nrt"]|["':])+[^\s"',;\\]+/gi, "$1 <redacted>")
    // Base64 of JSON begins with `eyJ`, a personal access token with `at-`. Whole words, so that it stays linear.
    .replace(/[\w.~-]+/g, (word) => word.startsWith("at-") || word.includes("eyJ") ? "<redacted>" : word)
    // A terminal would obey them.
    .replace(/\p{Cc}/gu, " ")
  return Text.truncate(text, maxLength)
}

/** Without the escapes of JSON, of URLs and of HTML, in which a secret is spelled in another way. */
const readable = (text: string): string =>
  text
    .replaceAll("\\/", "/")
    .replace(/(?:\\u00|%)([2-7][0-9a-f])|&#x([2-7][0-9a-f]);|&#(\d{2,3});/gi, (escape, hex, htmlHex, decimal) => {
      const code = decimal === undefined ? Number.parseInt(hex ?? htmlHex, 16) : Number(decimal)
      return code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : escape
    })

/** Hides each word that has a piece of a secret in it, in one pass: a page may be long, and so may a token. */
const withoutSent = (text: string, sent: ReadonlyArray<string>): string => {
  const pieces = new Set<string>()
  const lengths = new Set<number>()
  for (const value of sent.map(inOneAlphabet)) {
    const length = Math.min(value.length, pieceLength)
    if (length === 0) continue
    lengths.add(length)
    for (let at = 0; at + length <= value.length; at++) pieces.add(value.slice(at, at + length))
  }
  if (lengths.size === 0) return text

  const plain = inOneAlphabet(text)
  const isSecret = new Uint8Array(text.length)
  for (const length of lengths) {
    let end = 0
    for (let at = 0; at < plain.length; at++) {
      if (pieces.has(plain.slice(at, at + length))) end = at + length
      if (at < end) isSecret[at] = 1
    }
  }
  return text.replace(
    /[\w+/=.~-]+|[^\w+/=.~-]/g,
    (part, at) => isSecret.subarray(at, at + part.length).includes(1) ? "<redacted>" : part
  ).replace(/(?:<redacted>)+/g, "<redacted>")
}

/** Both alphabets of base64 as one. */
const inOneAlphabet = (text: string): string => text.replaceAll("-", "+").replaceAll("_", "/")
