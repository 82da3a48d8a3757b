/** Finds secrets in texts: any of thousands of them, in the spellings that printers give them, whole or in part. */

/** A run of this many characters of a secret is a leak, or all of one that is shorter. */
const RUN = 20

/** Characters that are looked up at once, and the length of the shortest secret. */
const WINDOW = 8

/** So many secrets of a file are spelled in all ways, and so many only as they are: property tests make more. */
const SPELLED = 1000
const MAX_SECRETS = 5000

/** A longer text is looked for as it is: tokens, whose secret parts are looked for by themselves. */
const MAX_SPELLED_LENGTH = 256

/** Names of headers and members that stand beside a secret and are none. */
const PUBLIC = new Set(["chatgpt-account-id", "x-openai-fedramp", "agent_runtime_id", "task_id", "timestamp"])

/** Where a text shows a secret. */
export interface Match {
  readonly from: number
  readonly to: number
  readonly secret: string
}

interface Needle {
  readonly text: string
  readonly secret: string
}

export const make = () => {
  const known = new Set<string>()
  const windows = new Map<string, Array<{ readonly needle: Needle; readonly at: number }>>()
  /** One bit for each hash of a window: most places of a text are passed by it alone. */
  const bits = new Uint8Array(1 << 21)

  /** We tell platform to hide an account's id, which is a name all the same: the spans of a test's server show it. */
  const isName = (value: string) => /^acc(?:oun)?t-[\w-]+$/.test(value)

  const addText = (secret: string, text: string) => {
    // Such as a key of zeros: nobody can tell it from any other zeros.
    if (text.length < WINDOW || new Set(text).size < 4) return
    const needle: Needle = { text, secret }
    for (let at = 0; at + WINDOW <= text.length; at += WINDOW) {
      const window = text.slice(at, at + WINDOW)
      const hash = hashOf(window, 0)
      bits[hash >>> 3]! |= 1 << (hash & 7)
      const found = windows.get(window)
      if (found === undefined) windows.set(window, [{ needle, at }])
      else found.push({ needle, at })
    }
  }

  const addBytes = (secret: string, bytes: Uint8Array) => {
    const buffer = Buffer.from(bytes)
    const hex = buffer.toString("hex")
    if (!isNew(hex)) return
    if (known.size > SPELLED) return addText(secret, hex)
    const numbers = Array.from(bytes)
    const spellings = new Set([
      hex,
      hex.toUpperCase(),
      // As a Buffer is inspected, an array of bytes joined or inspected, and a Uint8Array in JSON.
      hex.replace(/..(?=.)/g, "$& "),
      numbers.join(","),
      numbers.join(", "),
      numbers.map((byte, index) => `"${index}":${byte}`).join(","),
      ...alignments(buffer).flatMap((base64) => [base64, base64.replaceAll("+", "-").replaceAll("/", "_")])
    ])
    for (const spelling of spellings) addText(secret, spelling)
  }

  const addString = (secret: string, text: string) => {
    addText(secret, text)
    if (known.size > SPELLED || text.length > MAX_SPELLED_LENGTH) return
    if (encodeURIComponent(text) !== text) addText(secret, encodeURIComponent(text))
    if (JSON.stringify(text) !== `"${text}"`) addText(secret, JSON.stringify(text).slice(1, -1))
    if (text.length >= WINDOW) addBytes(secret, Buffer.from(text))
  }

  /** What of a value is secret: of keys, tokens and headers only that part which nobody else could write. */
  const add = (value: unknown, depth = 0): void => {
    if (value instanceof Uint8Array) {
      const name = `${value.length} bytes`
      addBytes(name, value)
    } else if (typeof value === "string") {
      if (isName(value) || !isNew(value)) return
      const name = `a text of ${value.length} characters`
      const word = /^[A-Za-z]+ +(\S+)$/.exec(value)?.[1] ?? value
      const seed = seedOf(word)
      if (seed !== undefined) {
        addBytes("a private key", seed)
        // Within other base64, such as a token, it is spelled by these characters.
        return addString("a private key", word.slice(22, 64))
      }
      const members = membersOf(word)
      if (members === undefined) return addString(name, word)
      add(members, depth + 1)
      const signature = word.split(".")[2]
      if (signature !== undefined) addString("the signature of a token", signature)
    } else if (typeof value === "object" && value !== null && depth < 4) {
      const plain = Object.getPrototypeOf(value) === Object.prototype
      if (!plain && !Array.isArray(value)) return
      for (const [name, member] of Object.entries(value)) {
        // Of an assertion or the claims of a token.
        const secret = depth === 0 || /signature|key|authorization|token|secret/i.test(name)
        if (secret && !PUBLIC.has(name.toLowerCase())) add(member, depth + 1)
      }
    }
  }

  const isNew = (value: string): boolean => {
    if (known.has(value)) return false
    known.add(value)
    return known.size <= MAX_SECRETS
  }

  const find = (text: string): ReadonlyArray<Match> => {
    const matches: Array<Match> = []
    for (let at = 0; at + WINDOW <= text.length; at++) {
      const hash = hashOf(text, at)
      if ((bits[hash >>> 3]! & (1 << (hash & 7))) === 0) continue
      const found = windows.get(text.slice(at, at + WINDOW))
      if (found === undefined) continue
      for (const { at: inNeedle, needle } of found) {
        let from = 0
        while (from < inNeedle && text[at - from - 1] === needle.text[inNeedle - from - 1]) from++
        let to = WINDOW
        while (inNeedle + to < needle.text.length && text[at + to] === needle.text[inNeedle + to]) to++
        if (from + to >= Math.min(RUN, needle.text.length)) {
          matches.push({ from: at - from, to: at + to, secret: needle.secret })
          at += to - 1
          break
        }
      }
    }
    return matches
  }

  return {
    add,
    find,
    counts: () => ({ secrets: known.size, skipped: Math.max(0, known.size - MAX_SECRETS) })
  }
}

/** FNV-1a of eight characters, to 24 bits. */
const hashOf = (text: string, at: number): number => {
  let hash = 0x811c9dc5
  for (let next = at; next < at + WINDOW; next++) hash = Math.imul(hash ^ text.charCodeAt(next), 0x01000193)
  return (hash ^ (hash >>> 8)) & 0xffffff
}

/** Base64 of bytes as they stand within other bytes: at three offsets, without the characters that they share. */
const alignments = (bytes: Buffer): ReadonlyArray<string> =>
  [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes]).toString("base64").replace(/=+$/, "")
    const end = (bytes.length + offset) % 3 === 0 ? text.length : text.length - 1
    return text.slice(offset === 0 ? 0 : offset + 1, end)
  })

/** The 32 secret bytes of an Ed25519 key in PKCS#8: all else of it is the same for everybody. */
const seedOf = (text: string): Uint8Array | undefined => {
  if (!/^M[CF][4E]CAQ[AE][wB]/.test(text)) return undefined
  const der = Buffer.from(text, "base64")
  return der.length >= 48 && der.subarray(9, 16).includes(0x22) ? der.subarray(16, 48) : undefined
}

/** What an assertion or the claims of a token say. */
const membersOf = (text: string): unknown => {
  const parts = text.split(".")
  if (parts.length !== 1 && parts.length !== 3) return undefined
  const json = parts.length === 3 ? parts[1]! : parts[0]!
  if (!json.startsWith("eyJ")) return undefined
  try {
    const members: unknown = JSON.parse(Buffer.from(json, "base64url").toString())
    return typeof members === "object" && members !== null ? members : undefined
  } catch {
    return undefined
  }
}
