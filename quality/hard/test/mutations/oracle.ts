/**
 * What may be accepted, written anew from the protocol's grammar and from the RFCs, without a line of the library: base64
 * (RFC 4648), UTF-8 (RFC 3629), JSON (RFC 8259), DER (X.690) and PKCS#8 (RFC 5958, RFC 8410), times (RFC 3339), ids, URLs
 * (RFC 3986). Slow and plain on purpose. Undefined is a refusal.
 *
 * It is as lenient as the library in these things, and each of them is meant to be:
 *
 * - an object of a token or of an answer may name a member twice, and the last one counts (RFC 7519, section 4)
 * - a whole number may be written as `1.0` or `1e0`
 * - white space may stand around a token and around a key's base64: variables and files have line ends
 * - the members of an assertion may stand in any order
 * - the attributes of a PKCS#8 document are elements, whatever is in them
 * - escapes of a path are undone once, not twice
 * - a host is the one that the WHATWG's URL parser makes of it: that is where a request goes
 */
import type * as Sodium from "libsodium-wrappers"
import { createRequire } from "node:module"
import { domainToASCII } from "node:url"

// The ES module of libsodium-wrappers 0.7.16 imports a file that is in another package.
export const sodium = createRequire(import.meta.url)("libsodium-wrappers") as typeof Sodium
await sodium.ready

// ---------------------------------------------------------------------------------------------------------------------
// Base64, UTF-8
// ---------------------------------------------------------------------------------------------------------------------

const COMMON = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
const tableOf = (last: string) => new Map([...COMMON, ...last].map((char, value) => [char.charCodeAt(0), value]))
const STANDARD = tableOf("+/")
const URL_SAFE = tableOf("-_")

const fromBase64 = (text: string, table: ReadonlyMap<number, number>): Uint8Array | undefined => {
  if (text.length % 4 === 1) return undefined
  const bytes: Array<number> = []
  let [bits, count] = [0, 0]
  for (let at = 0; at < text.length; at++) {
    const value = table.get(text.charCodeAt(at))
    if (value === undefined) return undefined
    bits = (bits << 6) | value
    count += 6
    if (count >= 8) {
      count -= 8
      bytes.push((bits >> count) & 0xff)
    }
    bits &= (1 << count) - 1
  }
  return bits === 0 ? Uint8Array.from(bytes) : undefined
}

/** Padded, in one spelling. */
export const base64 = (text: string): Uint8Array | undefined => {
  const padding = text.length % 4 !== 0 ? undefined : text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0
  return padding === undefined ? undefined : fromBase64(text.slice(0, text.length - padding), STANDARD)
}

/** Not padded, in one spelling. */
export const base64Url = (text: string): Uint8Array | undefined => fromBase64(text, URL_SAFE)

export const fromUtf8 = (bytes: Uint8Array): string | undefined => {
  const points: Array<string> = []
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at++]!
    const more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ?
      2
      : first >= 0xf0 && first < 0xf5
      ? 3
      : undefined
    if (more === undefined) return undefined
    let point = more === 0 ? first : first & (0x3f >> more)
    for (let count = 0; count < more; count++) {
      const next = bytes[at++]
      if (next === undefined || next >> 6 !== 0b10) return undefined
      point = (point << 6) | (next & 0x3f)
    }
    if (point < [0, 0x80, 0x800, 0x10000][more]! || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) {
      return undefined
    }
    points.push(String.fromCodePoint(point))
  }
  return points.join("")
}

const isWellFormed = (text: string): boolean => {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit >= 0xdc00 && unit < 0xe000) return false
    if (unit >= 0xd800 && unit < 0xdc00) {
      const next = text.charCodeAt(++at)
      if (!(next >= 0xdc00 && next < 0xe000)) return false
    }
  }
  return true
}

/** ECMAScript's white space and line ends. */
const SPACES = "[\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]"
const BLANK = new RegExp(`^${SPACES}*$`)
const trim = (text: string) => {
  const isSpace = (char: string) => BLANK.test(char)
  let [from, to] = [0, text.length]
  while (from < to && isSpace(text[from]!)) from++
  while (to > from && isSpace(text[to - 1]!)) to--
  return text.slice(from, to)
}

// ---------------------------------------------------------------------------------------------------------------------
// JSON
// ---------------------------------------------------------------------------------------------------------------------

export type Json = null | boolean | number | string | ReadonlyArray<Json> | Members

/** The members of an object by name, the last one of a name; `twice` where a name came again. */
export interface Members {
  readonly twice: boolean
  readonly members: ReadonlyMap<string, Json>
}

const isMembers = (json: Json | undefined): json is Members =>
  typeof json === "object" && json !== null && "members" in json

const ESCAPES: Readonly<Record<string, string>> = {
  "\"": "\"",
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t"
}
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y

/** Without recursion, so that depth is none of its troubles. */
export const parseJson = (text: string): Json | undefined => {
  let at = 0
  const space = () => {
    while (at < text.length && "\t\n\r ".includes(text[at]!)) at++
  }
  const string = (): string | undefined => {
    if (text[at++] !== "\"") return undefined
    const parts: Array<string> = []
    for (;;) {
      const char = text[at++]
      if (char === undefined || char < " ") return undefined
      if (char === "\"") return parts.join("")
      if (char !== "\\") parts.push(char)
      else if (text[at] === "u") {
        const hex = text.slice(at + 1, at + 5)
        if (!/^[0-9a-fA-F]{4}$/.test(hex)) return undefined
        parts.push(String.fromCharCode(Number.parseInt(hex, 16)))
        at += 5
      } else {
        const escape = text[at++] ?? ""
        if (!Object.hasOwn(ESCAPES, escape)) return undefined
        parts.push(ESCAPES[escape]!)
      }
    }
  }
  const scalar = (): Json | undefined => {
    if (text[at] === "\"") return string()
    for (const [word, value] of [["null", null], ["true", true], ["false", false]] as const) {
      if (text.startsWith(word, at)) {
        at += word.length
        return value
      }
    }
    NUMBER.lastIndex = at
    const number = NUMBER.exec(text)?.[0]
    if (number === undefined) return undefined
    at += number.length
    return Number(number)
  }

  type Open =
    | { readonly list: Array<Json>; readonly object?: undefined }
    | {
      readonly object: { twice: boolean; readonly members: Map<string, Json> }
      name: string
      readonly list?: undefined
    }
  const open: Array<Open> = []
  const memberName = (into: Open): boolean => {
    if (into.object === undefined) return true
    space()
    const name = string()
    space()
    if (name === undefined || text[at++] !== ":") return false
    into.name = name
    return true
  }
  for (;;) {
    space()
    let value: Json | undefined
    if (text[at] === "[" || text[at] === "{") {
      const inner: Open = text[at++] === "[" ? { list: [] } : { object: { twice: false, members: new Map() }, name: "" }
      space()
      if (text[at] !== (inner.list === undefined ? "}" : "]")) {
        if (!memberName(inner)) return undefined
        open.push(inner)
        continue
      }
      at++
      value = inner.list ?? inner.object
    } else value = scalar()
    if (value === undefined) return undefined
    // It goes into what is open, which may end with it, and then goes into what is open.
    for (;;) {
      space()
      const into = open.at(-1)
      if (into === undefined) return at === text.length ? value : undefined
      if (into.object === undefined) into.list.push(value)
      else {
        if (into.object.members.has(into.name)) into.object.twice = true
        into.object.members.set(into.name, value)
      }
      const next = text[at++]
      if (next === ",") {
        if (!memberName(into)) return undefined
        break
      }
      if (next !== (into.object === undefined ? "]" : "}")) return undefined
      value = into.list ?? into.object
      open.pop()
    }
  }
}

/** A string as the most compact JSON has it: escapes where there have to be, in one spelling. */
const compactString = (text: string): string =>
  `"${
    [...text].map((char) => {
      const short =
        { "\"": "\\\"", "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char]
      const point = char.codePointAt(0)!
      return short ??
        (point < 0x20 || (point >= 0xd800 && point < 0xe000) ? `\\u${point.toString(16).padStart(4, "0")}` : char)
    }).join("")
  }"`

// ---------------------------------------------------------------------------------------------------------------------
// Ids and times
// ---------------------------------------------------------------------------------------------------------------------

export const isAgentRuntimeId = (id: unknown): id is string =>
  typeof id === "string" && id.length >= 1 && id.length <= 256 && isWellFormed(id) && !BLANK.test(id) &&
  !/[:\u0000-\u001f\u007f-\u009f]/.test(id) && id !== "." && id !== ".."

export const isTaskId = (id: unknown): id is string =>
  typeof id === "string" && id.length >= 1 && id.length <= 1024 && isWellFormed(id) && !BLANK.test(id)

const isAccountId = (id: unknown): id is string =>
  typeof id === "string" && id.length >= 1 && id.length <= 256 && [...id].every((char) => char > " " && char < "\x7f")

/** Seconds since the Unix epoch of the one form of time, by counting days. */
export const seconds = (text: string): number | undefined => {
  if (text.length !== 20) return undefined
  const digits = (from: number, to: number) => {
    const part = text.slice(from, to)
    return [...part].every((char) => char >= "0" && char <= "9") ? Number(part) : NaN
  }
  const [year, month, day] = [digits(0, 4), digits(5, 7), digits(8, 10)]
  const [hour, minute, second] = [digits(11, 13), digits(14, 16), digits(17, 19)]
  if (
    text[4] !== "-" || text[7] !== "-" || text[10] !== "T" || text[13] !== ":" || text[16] !== ":" || text[19] !== "Z"
  ) {
    return undefined
  }
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1]!)) return undefined
  if (!(hour < 24 && minute < 60 && second < 60) || Number.isNaN(year)) return undefined
  const leaps = (before: number) => Math.ceil(before / 4) - Math.ceil(before / 100) + Math.ceil(before / 400)
  const whole = year * 365 + leaps(year) + days.slice(0, month - 1).reduce((sum, length) => sum + length, 0) + day - 1
  return ((whole - 719_528) * 24 + hour) * 3600 + minute * 60 + second
}

// ---------------------------------------------------------------------------------------------------------------------
// Assertions
// ---------------------------------------------------------------------------------------------------------------------

export interface Assertion {
  readonly agentRuntimeId: string
  readonly taskId: string
  readonly timestamp: string
  readonly signature: Uint8Array
}

const ASSERTION_MEMBERS = ["agent_runtime_id", "signature", "task_id", "timestamp"]

export const assertion = (header: string): Assertion | undefined => {
  const [, token] =
    /^[Aa][Gg][Ee][Nn][Tt][Aa][Ss][Ss][Ee][Rr][Tt][Ii][Oo][Nn] ([A-Za-z0-9_-]{1,12288})$/.exec(header) ?? []
  const bytes = token === undefined ? undefined : base64Url(token)
  const text = bytes === undefined ? undefined : fromUtf8(bytes)
  const json = text === undefined ? undefined : parseJson(text)
  if (!isMembers(json) || json.twice || json.members.size !== 4) return undefined
  const parts: Array<string> = []
  for (const [name, value] of json.members) {
    if (!ASSERTION_MEMBERS.includes(name) || typeof value !== "string") return undefined
    parts.push(`${compactString(name)}:${compactString(value)}`)
  }
  if (text !== `{${parts.join(",")}}`) return undefined
  const [agentRuntimeId, signatureText, taskId, timestamp] = ASSERTION_MEMBERS.map((name) =>
    json.members.get(name) as string
  )
  const signature = base64(signatureText!)
  if (!isAgentRuntimeId(agentRuntimeId) || !isTaskId(taskId) || signature?.length !== 64) return undefined
  return seconds(timestamp!) === undefined ? undefined : { agentRuntimeId, taskId, timestamp: timestamp!, signature }
}

/** By libsodium, which refuses all that is not canonical. */
export const isSigned = (payload: string, signature: Uint8Array, publicKey: Uint8Array): boolean =>
  sodium.crypto_sign_verify_detached(signature, payload, publicKey)

// ---------------------------------------------------------------------------------------------------------------------
// Keys
// ---------------------------------------------------------------------------------------------------------------------

interface Tlv {
  readonly tag: number
  readonly content: Uint8Array
}

/** All elements side by side, each with its shortest definite length. */
const elements = (bytes: Uint8Array): ReadonlyArray<Tlv> | undefined => {
  const found: Array<Tlv> = []
  let rest = bytes
  while (rest.length > 0) {
    const [tag, first] = rest
    if (first === undefined) return undefined
    const long = first < 0x80 ? 0 : first & 0x7f
    if (first === 0x80 || long > 4 || rest.length < 2 + long) return undefined
    const length = first < 0x80 ? first : rest.subarray(2, 2 + long).reduce((sum, byte) => sum * 256 + byte, 0)
    if (long > 0 && (rest[2] === 0 || length < 0x80)) return undefined
    if (rest.length < 2 + long + length) return undefined
    found.push({ tag: tag!, content: rest.subarray(2 + long, 2 + long + length) })
    rest = rest.subarray(2 + long + length)
  }
  return found
}

const isEqual = (left: Uint8Array, right: ReadonlyArray<number> | Uint8Array): boolean =>
  left.length === right.length && left.every((byte, at) => byte === right[at])

export interface Key {
  readonly seed: Uint8Array
  readonly publicKey: Uint8Array | undefined
}

/** PKCS#8, version 1 or 2, of an Ed25519 key. */
export const pkcs8 = (text: string): Key | undefined => {
  const der = base64(trim(text))
  const roots = der === undefined ? undefined : elements(der)
  if (roots?.length !== 1 || roots[0]!.tag !== 0x30) return undefined
  const [version, algorithm, privateKey, ...more] = elements(roots[0]!.content) ?? []
  if (version?.tag !== 0x02 || version.content.length !== 1 || version.content[0]! > 1) return undefined
  if (algorithm?.tag !== 0x30 || !isEqual(algorithm.content, [0x06, 0x03, 0x2b, 0x65, 0x70])) return undefined
  if (privateKey?.tag !== 0x04) return undefined
  const [inner, ...none] = elements(privateKey.content) ?? []
  if (inner?.tag !== 0x04 || inner.content.length !== 32 || none.length > 0) return undefined
  if (more[0]?.tag === 0xa0) {
    if (elements(more.shift()!.content)?.every(({ tag }) => tag === 0x30) !== true) return undefined
  }
  const publicKey = version.content[0] === 1 && more[0]?.tag === 0x81 ? more.shift()!.content : undefined
  if (more.length > 0) return undefined
  if (publicKey !== undefined && (publicKey.length !== 33 || publicKey[0] !== 0)) return undefined
  return { seed: inner.content, publicKey: publicKey?.subarray(1) }
}

/** The public key of a private one; undefined where the one beside the seed is another. */
export const publicKeyOf = ({ publicKey, seed }: Key): Uint8Array | undefined => {
  const own = sodium.crypto_sign_seed_keypair(seed).publicKey
  return publicKey === undefined || isEqual(publicKey, own) ? own : undefined
}

/** A canonical point of the prime-order group: libsodium converts no other, but does not look at the spelling. */
export const isPublicKey = (bytes: Uint8Array): boolean => {
  if (bytes.length !== 32) return false
  const y = bytes.reduceRight((sum, byte, at) => sum * 256n + BigInt(at === 31 ? byte & 0x7f : byte), 0n)
  if (y >= 2n ** 255n - 19n) return false
  try {
    sodium.crypto_sign_ed25519_pk_to_curve25519(bytes)
    return true
  } catch {
    return false
  }
}

/** The key of an OpenSSH line without a comment. */
export const sshPublicKey = (line: string): Uint8Array | undefined => {
  const [, text] = /^ssh-ed25519 ([A-Za-z0-9+/=]+)$/.exec(line) ?? []
  const blob = text === undefined || /\n/.test(line) ? undefined : base64(text)
  if (blob?.length !== 51) return undefined
  const head = [0, 0, 0, 11, ..."ssh-ed25519"].map((part) => typeof part === "number" ? part : part.charCodeAt(0))
  return isEqual(blob.subarray(0, 19), [...head, 0, 0, 0, 32]) ? blob.subarray(19) : undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// Tokens
// ---------------------------------------------------------------------------------------------------------------------

export interface Claims {
  readonly issuer: string
  readonly audience: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly agentRuntimeId: string
  readonly accountId: string
  readonly chatgptUserId: string
  readonly email: string | undefined
  readonly plan: string
  readonly fedramp: boolean
}

export interface Token {
  readonly header: ReadonlyMap<string, Json>
  /** What is signed, and by what. */
  readonly input: string
  readonly signature: Uint8Array
  readonly payload: ReadonlyMap<string, Json>
  readonly claims: Claims
}

const object = (part: string): ReadonlyMap<string, Json> | undefined => {
  const bytes = base64Url(part)
  const text = bytes === undefined ? undefined : fromUtf8(bytes)
  const json = text === undefined ? undefined : parseJson(text)
  return isMembers(json) ? json.members : undefined
}

const isSeconds = (value: Json | undefined): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 53

/** A token as it stands; nothing is verified. */
export const token = (text: string): Token | undefined => {
  const trimmed = trim(text)
  const parts = trimmed.split(".")
  if (trimmed.length > 16_384 || parts.length !== 3 || parts.includes("")) return undefined
  const [header, payload] = [object(parts[0]!), object(parts[1]!)]
  const signature = base64Url(parts[2]!)
  if (header === undefined || payload === undefined || signature === undefined) return undefined
  const claim = (name: string) => payload.get(name)
  const [issuer, audience, plan, chatgptUserId] = ["iss", "aud", "plan_type", "chatgpt_user_id"].map(claim)
  const [issuedAt, expiresAt, agentRuntimeId, accountId] = ["iat", "exp", "agent_runtime_id", "account_id"].map(claim)
  const [email, fedramp] = [claim("email") ?? undefined, claim("chatgpt_account_is_fedramp")]
  if (
    typeof issuer !== "string" || typeof audience !== "string" || typeof plan !== "string" ||
    typeof chatgptUserId !== "string" || !isSeconds(issuedAt) || !isSeconds(expiresAt) ||
    !isAgentRuntimeId(agentRuntimeId) || !isAccountId(accountId) || typeof claim("agent_private_key") !== "string" ||
    (email !== undefined && typeof email !== "string") || typeof fedramp !== "boolean"
  ) return undefined
  return {
    header,
    input: `${parts[0]}.${parts[1]}`,
    signature,
    payload,
    claims: { issuer, audience, issuedAt, expiresAt, agentRuntimeId, accountId, chatgptUserId, email, plan, fedramp }
  }
}

/** Whether the claims, the header and the times are those of a good token at `now`, in seconds, with a minute of leeway. */
export const isInForce = ({ claims, header, payload }: Token, now: number): boolean => {
  const nbf = payload.get("nbf")
  const crit = header.get("crit")
  // The one extension that jose knows, and then only where it changes nothing.
  const isKnown = Array.isArray(crit) && crit.length > 0 && crit.every((name) => name === "b64") &&
    header.get("b64") === true
  return header.get("alg") === "RS256" && (crit === undefined || isKnown) &&
    claims.issuer === "https://chatgpt.com/codex-backend/agent-identity" && claims.audience === "codex-app-server" &&
    claims.issuedAt <= now + 60 && claims.expiresAt + 60 > now &&
    (nbf === undefined || (typeof nbf === "number" && nbf <= now + 60))
}

// ---------------------------------------------------------------------------------------------------------------------
// Answers to a task registration
// ---------------------------------------------------------------------------------------------------------------------

/** The task id in the body of a 2xx. `open` opens a sealed box. */
export const taskId = (body: Uint8Array, open: (sealed: Uint8Array) => Uint8Array | undefined): string | undefined => {
  const text = body.length > 65_536 ? undefined : fromUtf8(body)
  // A byte order mark in front says nothing.
  const json = text === undefined ? undefined : parseJson(text.startsWith("\ufeff") ? text.slice(1) : text)
  if (!isMembers(json)) return undefined
  for (const name of ["task_id", "taskId", "encrypted_task_id", "encryptedTaskId"]) {
    const value = json.members.get(name) ?? undefined
    if (value === undefined) continue
    if (typeof value !== "string") return undefined
    if (!name.startsWith("encrypted")) return isTaskId(value) ? value : undefined
    const sealed = base64(value)
    const opened = sealed === undefined ? undefined : open(sealed)
    const id = opened === undefined ? undefined : fromUtf8(opened)
    return isTaskId(id) ? id : undefined
  }
  return undefined
}

export const openSealed = (seed: Uint8Array) => {
  const { privateKey, publicKey } = sodium.crypto_sign_seed_keypair(seed)
  const recipient = sodium.crypto_sign_ed25519_pk_to_curve25519(publicKey)
  const secret = sodium.crypto_sign_ed25519_sk_to_curve25519(privateKey)
  return (sealed: Uint8Array): Uint8Array | undefined => {
    try {
      return sodium.crypto_box_seal_open(sealed, recipient, secret)
    } catch {
      return undefined
    }
  }
}

/** Seconds to wait; none without the header; undefined where it is neither of the two forms that HTTP writes. */
export const retryAfter = (value: string | null, now: number): number | "none" | undefined => {
  if (value === null) return "none"
  if (/^[0-9]+(?:\.[0-9]+)?$/.test(value)) return Number(value)
  const [, day, month, year, time] =
    /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2}) GMT$/.exec(
      value
    ) ?? []
  const number = month === undefined ? 0 : "JanFebMarAprMayJunJulAugSepOctNovDec".indexOf(month) / 3 + 1
  const at = seconds(`${year}-${String(number).padStart(2, "0")}-${day}T${time}Z`)
  return at === undefined ? undefined : Math.max(0, at - now)
}

// ---------------------------------------------------------------------------------------------------------------------
// URLs
// ---------------------------------------------------------------------------------------------------------------------

const unescape = (segment: string): string | undefined => {
  const bytes: Array<number> = []
  for (let at = 0; at < segment.length;) {
    if (segment[at] === "%") {
      const hex = segment.slice(at + 1, at + 3)
      if (!/^[0-9a-fA-F]{2}$/.test(hex)) return undefined
      bytes.push(Number.parseInt(hex, 16))
      at += 3
    } else {
      const char = String.fromCodePoint(segment.codePointAt(at)!)
      bytes.push(...new TextEncoder().encode(char))
      at += char.length
    }
  }
  return fromUtf8(Uint8Array.from(bytes))
}

interface Where {
  readonly scheme: string
  readonly host: string
  readonly port: number
  readonly path: string
}

/** What a URL as it goes on the wire leads to; undefined for one with user information. */
const wire = (href: string): Where | undefined => {
  const [, scheme, host, port, path] =
    /^(https?):\/\/(\[[0-9a-f:.]+\]|[^/?#@:\\]+)(?::([0-9]+))?(\/[^?#]*)(?:\?[^#]*)?(?:#.*)?$/s.exec(href) ?? []
  if (scheme === undefined) return undefined
  return { scheme, host: host!, port: port === undefined ? (scheme === "https" ? 443 : 80) : Number(port), path: path! }
}

/** The names on the way of a path; undefined where two servers may see two ways. */
const names = (path: string): ReadonlyArray<string> | undefined => {
  const found: Array<string> = []
  for (const segment of path.replace(/\/$/, "").split("/").slice(1)) {
    const name = unescape(segment)
    if (name === undefined) return undefined
    for (const part of name.split(/[/\\]/)) {
      const [plain] = part.split(";")
      if (plain === "" || plain === "." || plain === "..") return undefined
    }
    found.push(name)
  }
  return found
}

/** In lower case, without parameters, cut at every slash: the most careless reading. */
const careless = (names: ReadonlyArray<string>) =>
  names.flatMap((name) => name.split(/[/\\]/)).map((part) => part.split(";")[0]!.toLowerCase())

const begins = (whole: ReadonlyArray<string>, start: ReadonlyArray<string>) =>
  start.every((name, at) => whole[at] === name)

export interface Deployment {
  readonly providers: ReadonlyArray<string>
  /** The AuthAPI and the key sets. */
  readonly never: ReadonlyArray<string>
  readonly bearerOnly: ReadonlyArray<string>
  /** Further first-party URLs, whose key sets are never. */
  readonly further: ReadonlyArray<string>
}

export type Party = "FirstParty" | "BearerOnly" | "Ambiguous" | "Foreign"

/** Whether a URL as it goes on the wire is below a provider base. */
export const party = (href: string, { bearerOnly, further, never, providers }: Deployment): Party => {
  const to = wire(href)
  if (to === undefined) return "Foreign"
  const [bases, nevers, without, others] = [providers, never, bearerOnly, further].map((urls) =>
    urls.map((url) => wire(url)!).filter((base) =>
      base.scheme === to.scheme && base.host === to.host && base.port === to.port
    )
  ) as [Array<Where>, Array<Where>, Array<Where>, Array<Where>]
  const way = names(to.path)
  if (way === undefined) {
    return [...bases, ...others].some((base) => to.path.startsWith(`${base.path}/`)) ? "Ambiguous" : "Foreign"
  }
  const ofKeySet = careless(way).join("/").includes("agent-identities/jwks")
  const ours = ofKeySet ? bases : [...bases, ...others]
  if (!ours.some((base) => begins(way, names(base.path)!))) return "Foreign"
  const isBelow = (base: Where) => begins(careless(way), careless(names(base.path)!))
  return nevers.some(isBelow) ? "Foreign" : without.some(isBelow) ? "BearerOnly" : "FirstParty"
}

/** The host that a name stands for, however it is written. */
const hostOf = (raw: string): string | undefined => domainToASCII(raw) || undefined

export interface Base {
  readonly scheme: string
  readonly host: string
  readonly port: string
  readonly path: string
  /** Whether nothing in it can be read in two ways: letters, digits, hyphens, and dots in the host. */
  readonly plain: boolean
}

/** A base URL as it was configured: https, no more than a host, a port and a path. Where it leads is told by `url`. */
export const base = (raw: string): Base | undefined => {
  const [, scheme, authority, path] = /^(https?):\/\/([^/?#\\\s\p{Cc}]*)((?:\/[^/?#\\\s\p{Cc}]*)*)$/iu.exec(raw) ?? []
  if (scheme === undefined || authority!.includes("@")) return undefined
  const [, rawHost, port] = /^(\[[^\]]*\]|[^:[\]]*)(?::([0-9]*))?$/.exec(authority!) ?? []
  if (rawHost === undefined || rawHost === "" || Number(port ?? 0) > 65_535) return undefined
  const host = rawHost.startsWith("[") ? rawHost : hostOf(rawHost)
  const trimmed = path!.replace(/\/+$/, "")
  const segments = trimmed === "" ? [] : trimmed.split("/").slice(1)
  const way = names(trimmed)
  if (host === undefined || way === undefined || way.some((name) => /[/\\]/.test(name))) return undefined
  return {
    scheme: scheme.toLowerCase(),
    host,
    port: port ?? "",
    path: trimmed,
    plain: /^[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*$/.test(rawHost) && !/xn--|--/.test(rawHost) &&
      segments.every((segment) => /^[A-Za-z0-9_-]+$/.test(segment))
  }
}

/** An id as one segment of a path, by RFC 3986 and the four marks that JavaScript leaves alone. */
export const segment = (id: string): string | undefined =>
  isWellFormed(id) && id !== "" && id !== "." && id !== ".."
    ? Array.from(new TextEncoder().encode(id), (byte) => {
      const char = String.fromCharCode(byte)
      return /[A-Za-z0-9\-._~!*'()]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
    }).join("")
    : undefined
