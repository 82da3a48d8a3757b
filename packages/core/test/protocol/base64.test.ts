import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import * as Base64 from "../../src/protocol/base64.ts"

/** As in a runtime without `Buffer`. */
const portable = Base64.make(undefined)

const forms = ([["over Buffer", Base64], ["by itself", portable]] as const).flatMap(([by, base64]) => [
  {
    by,
    name: "standard, padded",
    encode: base64.encode,
    decode: base64.decode,
    node: "base64",
    chars: "AZ9f+/=-_ \n!é"
  } as const,
  {
    by,
    name: "url-safe, unpadded",
    encode: base64.encodeUrl,
    decode: base64.decodeUrl,
    node: "base64url",
    chars: "AZ9f-_+/= \n!é"
  } as const
])

it("writes the UTF-8 of a text", () => {
  for (const { encodeUrlText } of [Base64, portable]) {
    assert.strictEqual(encodeUrlText("{\"a\":\"ü🛰\"}"), Buffer.from("{\"a\":\"ü🛰\"}").toString("base64url"))
  }
})

const refused: Record<
  typeof forms[number]["name"],
  ReadonlyArray<readonly [why: string, texts: ReadonlyArray<string>]>
> = {
  "standard, padded": [
    ["missing padding", ["AA", "AAA", "AAA=AA", "A"]],
    ["too much padding", ["AA===", "AAA==", "AAAA=", "AAAA==", "AAAA====", "=", "==", "===", "===="]],
    ["padding inside", ["AA==AAAA", "A=AA", "=AAA", "AA=A"]],
    ["white space", [" AAAA", "AAAA ", "AAAA\n", "AA\r\nAA", "\tAAAA", "AA A=", "\ufeffAAAA"]],
    ["spare bits", ["AB==", "AP==", "A/==", "AAB=", "AAD="]],
    ["the other alphabet", ["-AAA", "_AAA", "--__"]],
    ["no alphabet at all", ["!AAA", "AAAé", "AAA\u0000", "ＡAAA", "🛰AA"]]
  ],
  "url-safe, unpadded": [
    ["padding", ["AA==", "AAA=", "AAAA====", "=", "=="]],
    ["an impossible length", ["A", "AAAAA"]],
    ["white space", [" AAAA", "AAAA ", "AAAA\n", "AA\r\nAA", "\tAAAA", "\ufeffAAAA"]],
    ["spare bits", ["AB", "AP", "A_", "AAB", "AAD"]],
    ["the other alphabet", ["+AAA", "/AAA", "++//"]],
    ["no alphabet at all", ["!AAA", "AAAé", "AAA\u0000", "ＡAAA", "🛰AA"]]
  ]
}

for (const { by, chars, decode, encode, name, node } of forms) {
  /** What Node makes of it, where it is the one spelling that Node writes. */
  const oracle = (text: string): Uint8Array | undefined => {
    const bytes = Buffer.from(text, node)
    return bytes.toString(node) === text ? new Uint8Array(bytes) : undefined
  }

  describe(`base64 ${by}, ${name}`, () => {
    for (const [why, texts] of refused[name]) {
      it(`refuses ${why}`, () => {
        for (const text of texts) assert.isUndefined(decode(text), JSON.stringify(text))
      })
    }

    it("reads nothing from nothing", () => assert.deepStrictEqual(decode(""), new Uint8Array(0)))

    it("agrees with Node on every text of up to four characters of both alphabets and others", () => {
      let [accepted, texts] = [0, [""]]
      for (let length = 0; length <= 4; length++) {
        for (const text of texts) {
          const bytes = decode(text)
          assert.deepStrictEqual(bytes, oracle(text), JSON.stringify(text))
          if (bytes !== undefined) accepted++
        }
        texts = texts.flatMap((text) => Array.from(chars, (char) => text + char))
      }
      assert.isAbove(accepted, 6 ** 4)
    })

    it.prop("writes what Node writes, and reads it back", [FastCheck.uint8Array({ maxLength: 200 })], ([bytes]) => {
      assert.strictEqual(encode(bytes), Buffer.from(bytes).toString(node))
      assert.deepStrictEqual(decode(encode(bytes)), bytes)
    })

    it.prop("has no second spelling: a changed character changes the bytes or is refused", [
      FastCheck.uint8Array({ minLength: 1, maxLength: 50 }),
      FastCheck.nat(),
      FastCheck.constantFrom(...chars)
    ], ([bytes, at, char]) => {
      const text = encode(bytes)
      const place = at % text.length
      const changed = text.slice(0, place) + char + text.slice(place + 1)
      if (changed !== text) assert.notDeepEqual(decode(changed), bytes)
      assert.deepStrictEqual(decode(changed), oracle(changed))
    })
  })
}
