/** What can be wrong with an input, by its form: bytes, text, base64, JSON, DER, URLs. Every mutation is made of random choices. */
import type { Random } from "./random.ts"

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Some of the mutations, one after the other; in one of eight cases none at all. */
export const stacked = <A>(random: Random, value: A, mutations: ReadonlyArray<(random: Random, value: A) => A>): A => {
  const times = random.oneIn(8) ? 0 : random.pick([1, 1, 1, 1, 2, 2, 3, 5])
  let mutated = value
  for (let time = 0; time < times; time++) mutated = random.pick(mutations)(random, mutated)
  return mutated
}

// ---------------------------------------------------------------------------------------------------------------------
// Bytes
// ---------------------------------------------------------------------------------------------------------------------

const splice = (random: Random, bytes: Uint8Array, insert: Uint8Array, remove: number): Uint8Array => {
  const at = random.below(bytes.length + 1)
  const rest = bytes.subarray(Math.min(bytes.length, at + remove))
  const whole = new Uint8Array(at + insert.length + rest.length)
  whole.set(bytes.subarray(0, at))
  whole.set(insert, at)
  whole.set(rest, at + insert.length)
  return whole
}

const randomBytes = (random: Random, length: number) => Uint8Array.from({ length }, () => random.below(256))

/** Bytes that are no UTF-8: alone, overlong, a surrogate, beyond Unicode, cut off. */
const NO_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80]]

export const bytesMutations: ReadonlyArray<(random: Random, bytes: Uint8Array) => Uint8Array> = [
  (random, bytes) => {
    const copy = Uint8Array.from(bytes)
    if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
    return copy
  },
  (random, bytes) => {
    const copy = Uint8Array.from(bytes)
    if (copy.length > 0) copy[random.below(copy.length)] = random.below(256)
    return copy
  },
  (random, bytes) => bytes.slice(0, random.below(bytes.length + 1)),
  (random, bytes) => bytes.slice(random.below(bytes.length + 1)),
  (random, bytes) => splice(random, bytes, randomBytes(random, 1 + random.below(4)), random.below(4)),
  (random, bytes) => splice(random, bytes, Uint8Array.from(random.pick(NO_UTF8)), 0),
  (random, bytes) => {
    const from = random.below(bytes.length + 1)
    return splice(random, bytes, bytes.slice(from, from + random.below(16)), 0)
  }
]

// ---------------------------------------------------------------------------------------------------------------------
// Text
// ---------------------------------------------------------------------------------------------------------------------

/** Characters that some parser drops, turns, or takes for others: controls, spaces, look-alikes, halves of pairs. */
export const HOSTILE = [
  ..."\0\t\n\v\f\r \x1b\x7f\x85\xa0\u1680\u2003\u2028\u3000\ufeff\u200b\u202e\u00ad\ufffd\ufffe",
  ..."\"\\/:;,.@?#%&=+-_~!*'()[]{}<>|^`$",
  ..."\uff0e\u3002\uff0f\u2024\uff1a\uff20\u0130\u0131\u017f\u212aé日🛰",
  "\ud800",
  "\udfff",
  "\udc00\ud800",
  "a",
  "0",
  "A"
]

const replaceAt = (text: string, at: number, remove: number, insert: string) =>
  text.slice(0, at) + insert + text.slice(at + remove)

export const textMutations: ReadonlyArray<(random: Random, text: string) => string> = [
  (random, text) => replaceAt(text, random.below(text.length + 1), 0, random.pick(HOSTILE)),
  (random, text) => replaceAt(text, random.below(text.length + 1), 1, random.pick(HOSTILE)),
  (random, text) => replaceAt(text, random.below(text.length + 1), 1 + random.below(4), ""),
  (random, text) => {
    const from = random.below(text.length + 1)
    return replaceAt(text, random.below(text.length + 1), 0, text.slice(from, from + random.below(16)))
  },
  (random, text) => text.slice(0, random.below(text.length + 1)),
  (random, text) => {
    const at = random.below(text.length + 1)
    const char = text.charAt(at)
    return replaceAt(text, at, 1, char === char.toLowerCase() ? char.toUpperCase() : char.toLowerCase())
  },
  (random, text) => random.pick([" ", "\n", "\t", "\ufeff", "\u2003"]) + text,
  (random, text) => text + random.pick([" ", "\n", "\r\n", "\0", "\ufeff"]),
  (random, text) => random.oneIn(2) ? text.toUpperCase() : text.toLowerCase()
]

/** A value that no id should have, or just may have. */
export const hostileText = (random: Random, text: string): string =>
  random.pick([
    () => "",
    () => text,
    () => stacked(random, text, textMutations),
    () => random.pick(HOSTILE),
    () => random.pick(HOSTILE) + random.pick(HOSTILE),
    () => random.pick([".", "..", "%2e", "%2e%2e", "...", "a/b", "a%2fb", "a\\b", "a:b", "__proto__", "constructor"]),
    () => "x".repeat(random.oneIn(20) ? 20_000 : random.pick([255, 256, 257, 1023, 1024, 1025])),
    () => "🛰".repeat(random.pick([127, 128, 129, 512, 513]))
  ])()

// ---------------------------------------------------------------------------------------------------------------------
// Base64
// ---------------------------------------------------------------------------------------------------------------------

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"

/** Base64 of the bytes in one of its many spellings: mostly the one that is wanted. */
export const base64 = (random: Random, bytes: Uint8Array, wanted: "base64" | "base64url"): string => {
  const good = Buffer.from(bytes).toString(wanted)
  if (!random.oneIn(6)) return good
  return random.pick([
    () => Buffer.from(bytes).toString(wanted === "base64" ? "base64url" : "base64"),
    () => `${good}=`,
    () => `${good}==`,
    () => good.replace(/=+$/, ""),
    () => good.replace(/=$/, ""),
    // Its spare bits, if any.
    () => good.replace(/.(=*)$/, (_, padding: string) => random.pick([...ALPHABET]) + padding),
    () => replaceAt(good, random.below(good.length + 1), 0, random.pick(["\n", " ", "=", "-", "+", "\0", "é"])),
    () => replaceAt(good, random.below(good.length + 1), 1, random.pick([...ALPHABET]))
  ])()
}

// ---------------------------------------------------------------------------------------------------------------------
// JSON
// ---------------------------------------------------------------------------------------------------------------------

/** The members of an object: names and values as they stand, each a piece of JSON or of something like it. */
export type Members = ReadonlyArray<readonly [name: string, value: string]>

export const membersOf = (object: Readonly<Record<string, unknown>>): Members =>
  Object.entries(object).map(([name, value]) => [JSON.stringify(name), JSON.stringify(value)])

const nested = (random: Random) => {
  const depth = random.oneIn(20) ? random.pick([130, 1000, 4000]) : random.pick([1, 2, 10])
  return random.oneIn(2)
    ? "[".repeat(depth) + "]".repeat(random.oneIn(8) ? depth - 1 : depth)
    : "{\"a\":".repeat(depth) + "0" + "}".repeat(depth)
}

const NUMBERS = ["0", "-0", "1", "1.0", "1e0", "1E+2", "0.5", "-1", "1e400", "-1e400", "1e-400", "01", "+1", ".5", "1."]
const BIG_NUMBERS = ["9007199254740991", "9007199254740993", "18446744073709551616", "1".repeat(400), "Infinity", "NaN"]
const NO_STRINGS = [
  "\"\n\"",
  "\"\\x41\"",
  "\"\\u12\"",
  "'a'",
  "\"\\ud800\"",
  "\"\\udc00\\ud800\"",
  "\"\\u0000\"",
  "\"a",
  "\""
]

const anyValue = (random: Random): string =>
  random.pick([
    () => random.pick(NUMBERS),
    () => random.pick(BIG_NUMBERS),
    () => random.pick(NO_STRINGS),
    () => random.pick(["null", "true", "false", "undefined", "{}", "[]", "\"\"", "", "[\"a\"]", "{\"a\":1}", "tru"]),
    () => nested(random),
    () => JSON.stringify(hostileText(random, "value")),
    () => JSON.stringify("x".repeat(random.oneIn(20) ? random.pick([1000, 12_000, 70_000]) : 10))
  ])()

/** The same text in other escapes, as any JSON may have it. */
const escaped = (random: Random, json: string): string =>
  json.replace(
    /[A-Za-z0-9/_]/g,
    (char) =>
      random.oneIn(4)
        ? random.pick([`\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`, char === "/" ? "\\/" : char])
        : char
  )

const withMember = (
  random: Random,
  members: Members,
  change: (member: Members[number]) => ReadonlyArray<Members[number]>
) => {
  const at = random.below(members.length)
  return members.flatMap((member, index) => index === at ? change(member) : [member])
}

export const membersMutations: ReadonlyArray<(random: Random, members: Members) => Members> = [
  (random, members) => withMember(random, members, () => []),
  (random, members) => withMember(random, members, (member) => [member, member]),
  (random, members) => withMember(random, members, (member) => [[member[0], anyValue(random)], member]),
  (random, members) => withMember(random, members, (member) => [member, [member[0], anyValue(random)]]),
  (random, members) => withMember(random, members, ([name]) => [[name, anyValue(random)]]),
  (random, members) => withMember(random, members, ([name, value]) => [[escaped(random, name), value]]),
  (random, members) => withMember(random, members, ([name, value]) => [[name, escaped(random, value)]]),
  (random, members) =>
    withMember(random, members, ([name, value]) => [[random.pick(textMutations)(random, name), value]]),
  (random, members) =>
    withMember(random, members, ([name, value]) => [[name, random.pick(textMutations)(random, value)]]),
  (random, members) =>
    withMember(
      random,
      members,
      (member) => [member, [random.pick(["\"x\"", "\"__proto__\"", "\"\"", "x"]), anyValue(random)]]
    ),
  (random, members) => [...members].sort(() => random.below(3) - 1),
  (random, members) => withMember(random, members, ([name]) => [[name, random.pick(members)[1]]])
]

/** The object's text: mostly compact, and mostly with nothing around it. */
export const render = (random: Random, members: Members): string => {
  const space = () => random.oneIn(40) ? random.pick([" ", "\n", "\t", "\r", "\ufeff", "\u00a0", "/**/", ","]) : ""
  const body = members.map(([name, value]) => space() + name + space() + ":" + space() + value + space()).join(",")
  return random.oneIn(20)
    ? random.pick([
      `[{${body}}]`,
      `{${body}}}`,
      `{${body}`,
      `\ufeff{${body}}`,
      `{${body},}`,
      ` {${body}}`,
      `{${body}} `,
      `{${body}}\0`
    ])
    : `${space()}{${body}}${space()}`
}

// ---------------------------------------------------------------------------------------------------------------------
// DER
// ---------------------------------------------------------------------------------------------------------------------

/** An element, and how its length is written: as DER has it, or another way, or wrong by so many. */
export interface Element {
  readonly tag: number
  readonly content: Uint8Array | ReadonlyArray<Element>
  readonly form?: "short" | "long1" | "long2" | "long4" | "indefinite" | undefined
  readonly off?: number
}

export const encodeDer = (element: Element): Uint8Array => {
  const content = element.content instanceof Uint8Array
    ? element.content
    : Buffer.concat(element.content.map(encodeDer))
  const length = Math.max(0, content.length + (element.off ?? 0))
  const bytes = (count: number) => Array.from({ length: count }, (_, at) => (length >>> (8 * (count - 1 - at))) & 0xff)
  const shortest = length < 0x80 ? [length] : length < 0x100 ? [0x81, ...bytes(1)] : [0x82, ...bytes(2)]
  const header = {
    short: [length & 0x7f],
    long1: [0x81, ...bytes(1)],
    long2: [0x82, ...bytes(2)],
    long4: [0x84, ...bytes(4)],
    indefinite: [0x80]
  }
  return Buffer.concat([
    Uint8Array.from([element.tag, ...element.form === undefined ? shortest : header[element.form]]),
    content
  ])
}

/** Changes one element somewhere in the tree. */
const somewhere = (
  random: Random,
  element: Element,
  change: (element: Element) => ReadonlyArray<Element>
): ReadonlyArray<Element> => {
  if (element.content instanceof Uint8Array || random.oneIn(4)) return change(element)
  const at = random.below(element.content.length)
  return [{
    ...element,
    content: element.content.flatMap((inner, index) => index === at ? somewhere(random, inner, change) : [inner])
  }]
}

const derChange =
  (change: (random: Random, element: Element) => ReadonlyArray<Element>) => (random: Random, root: Element): Element =>
    somewhere(random, root, (element) => change(random, element))[0] ?? root

export const derMutations: ReadonlyArray<(random: Random, root: Element) => Element> = [
  derChange((
    random,
    element
  ) => [{ ...element, tag: random.oneIn(2) ? element.tag ^ (1 << random.below(8)) : random.below(256) }]),
  derChange((random, element) => [{ ...element, off: random.pick([-2, -1, 1, 2, 32, 100, 0xffff]) }]),
  derChange((
    random,
    element
  ) => [{ ...element, form: random.pick(["short", "long1", "long2", "long4", "indefinite"] as const) }]),
  derChange(() => []),
  derChange((_, element) => [element, element]),
  derChange((
    random,
    element
  ) => [element, {
    tag: random.pick([0xa0, 0xa1, 0x81, 0x05, 0x30, 0x00]),
    content: randomBytes(random, random.below(40))
  }]),
  derChange((
    random,
    element
  ) => [element, { tag: 0xa0, content: [{ tag: 0x30, content: randomBytes(random, random.pick([0, 8, 130, 300])) }] }]),
  derChange((random, element) => [{
    ...element,
    content: element.content instanceof Uint8Array
      ? stacked(random, element.content, bytesMutations)
      : [...element.content].reverse()
  }])
]

// ---------------------------------------------------------------------------------------------------------------------
// URLs
// ---------------------------------------------------------------------------------------------------------------------

export interface Parts {
  readonly scheme: string
  readonly userinfo: string
  readonly host: string
  readonly port: string
  readonly segments: ReadonlyArray<string>
  readonly tail: string
}

export const partsOf = (url: string): Parts => {
  const [, scheme, host, port, path, tail] = /^([a-z]+):\/\/(\[[^\]]*\]|[^:/]*)(:\d+)?([^?#]*)(.*)$/.exec(url)!
  return {
    scheme: `${scheme}://`,
    userinfo: "",
    host: host!,
    port: port ?? "",
    segments: path!.split("/").slice(1),
    tail: tail!
  }
}

const percent = (random: Random, text: string) =>
  replaceOne(random, text, (char) => [...utf8(char)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""))

const replaceOne = (random: Random, text: string, change: (char: string) => string) => {
  const at = random.below(Math.max(1, text.length))
  return replaceAt(text, at, 1, change(text.charAt(at)))
}

const withSegment = (random: Random, parts: Parts, change: (segment: string) => ReadonlyArray<string>): Parts => {
  const at = random.below(Math.max(1, parts.segments.length))
  const segments = parts.segments.length === 0 ? [""] : parts.segments
  return { ...parts, segments: segments.flatMap((segment, index) => index === at ? change(segment) : [segment]) }
}

const SEGMENTS = [
  ".",
  "..",
  "%2e",
  "%2E%2e",
  ".%2e",
  "",
  "",
  "a;b",
  ";",
  "..;x",
  "%2f",
  "a%2fb",
  "%5c..",
  "\\",
  "%00",
  "%ff",
  "%",
  "%zz",
  "%25",
  "%252e%252e",
  "...",
  "responses",
  "v1"
]
const OWN_SEGMENTS = [
  "wham",
  "agent-identities",
  "jwks",
  "accounts",
  "analytics-events",
  "backend-api",
  "codex",
  "WHAM",
  "Accounts",
  "%77ham",
  "a%63counts"
]
const HOSTS = [
  "chatgpt.com",
  "chat.openai.com",
  "gov.chatgpt.com",
  "chatgpt-staging.com",
  "provider.test",
  "evil.example",
  "localhost",
  "127.0.0.1",
  "127.1",
  "0x7f.0.0.1",
  "2130706433",
  "[::1]",
  "[0:0:0:0:0:0:0:1]",
  "[::ffff:127.0.0.1]",
  "[::1%25lo]",
  "[::",
  "",
  "a..b",
  "xn--",
  "chatgpt.com.evil.example"
]

export const urlMutations: ReadonlyArray<(random: Random, parts: Parts) => Parts> = [
  (random, parts) => ({
    ...parts,
    scheme: random.pick([
      "https://",
      "http://",
      "HTTPS://",
      "hTTp://",
      "https:/",
      "https:",
      "https:\\\\",
      "https:///",
      "//",
      "",
      "ws://",
      "wss://",
      "file://",
      "javascript:",
      " https://",
      "ht\ntps://"
    ])
  }),
  (random, parts) => ({
    ...parts,
    userinfo: random.pick(["user@", "user:pass@", "@", ":@", `${parts.host}@`, "a%40b@", "a@b@"])
  }),
  (random, parts) => ({ ...parts, host: random.pick(HOSTS) }),
  (random, parts) => ({
    ...parts,
    host: random.pick([
      `${parts.host}.`,
      `${parts.host}..`,
      `.${parts.host}`,
      parts.host.toUpperCase(),
      `${parts.host}\t`,
      `${parts.host}\\`,
      `${parts.host}%00`
    ])
  }),
  (random, parts) => ({ ...parts, host: percent(random, parts.host) }),
  (random, parts) => ({ ...parts, host: random.pick(textMutations)(random, parts.host) }),
  (random, parts) => ({
    ...parts,
    host: parts.host.replaceAll(".", random.pick(["\u3002", "\uff0e", "\uff61", "%2e", "."]))
  }),
  (_, parts) => ({
    ...parts,
    host: parts.host.replace(/[a-z]/, (char) => String.fromCharCode(char.charCodeAt(0) + 0xfee0))
  }),
  (random, parts) => ({
    ...parts,
    port: random.pick([
      "",
      ":",
      ":443",
      ":0443",
      ":80",
      ":8443",
      ":0",
      ":65535",
      ":65536",
      ":-1",
      ":4 43",
      ":443@x",
      ":９"
    ])
  }),
  (random, parts) => withSegment(random, parts, (segment) => [segment, random.pick(SEGMENTS)]),
  (random, parts) => withSegment(random, parts, (segment) => [random.pick(SEGMENTS), segment]),
  (random, parts) => withSegment(random, parts, (segment) => [segment, random.pick(OWN_SEGMENTS)]),
  (random, parts) => withSegment(random, parts, () => [random.pick(OWN_SEGMENTS)]),
  (random, parts) => withSegment(random, parts, () => []),
  (random, parts) => withSegment(random, parts, (segment) => [percent(random, segment)]),
  (random, parts) => withSegment(random, parts, (segment) => [random.pick(textMutations)(random, segment)]),
  (random, parts) => ({
    ...parts,
    segments: [
      ...parts.segments,
      random.pick(["", "responses", "responses/compact", "a b", "日本", "x;y=1", "x".repeat(random.pick([10, 5000]))])
    ]
  }),
  (random, parts) => ({
    ...parts,
    tail: random.pick([
      "?",
      "#",
      "?a=b",
      "#/../x",
      "?@evil.example",
      "/",
      "//",
      "\\",
      "/?x",
      ";a",
      " ",
      "\n",
      "?\ud800"
    ])
  })
]

export const renderUrl = ({ host, port, scheme, segments, tail, userinfo }: Parts): string =>
  scheme + userinfo + host + port + segments.map((segment) => `/${segment}`).join("") + tail
