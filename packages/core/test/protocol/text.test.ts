import { assert, describe, it } from "@effect/vitest"
import * as Text from "../../src/protocol/text.ts"

describe("text", () => {
  it("is well-formed unless a surrogate stands alone", () => {
    for (const text of ["", "a", "é", "🛰", "a🛰b"]) assert.isTrue(Text.isWellFormed(text), JSON.stringify(text))
    for (const text of ["\ud83d", "a\udef0", "\udef0\ud83d", "🛰\ud83d"]) {
      assert.isFalse(Text.isWellFormed(text), JSON.stringify(text))
    }
  })

  it("is blank if it is nothing but white space", () => {
    for (const text of ["", " ", "\t\r\n", "\u00a0\u3000"]) assert.isTrue(Text.isBlank(text), JSON.stringify(text))
    for (const text of ["a", " a ", "\u0000"]) assert.isFalse(Text.isBlank(text), JSON.stringify(text))
  })

  it("is cut behind as many characters as fit, never inside of one, and says so", () => {
    const cut: ReadonlyArray<readonly [text: string, max: number, expected: string]> = [
      ["", 0, ""],
      ["abc", 4, "abc"],
      ["abc", 3, "abc"],
      ["abc", 2, "ab..."],
      ["a🛰b", 2, "a..."],
      ["a🛰b", 3, "a🛰..."],
      ["🛰🛰", 3, "🛰..."],
      ["\ud83dab", 2, "\ud83da..."]
    ]
    for (const [text, max, expected] of cut) assert.strictEqual(Text.truncate(text, max), expected, text)
  })

  it("is read from UTF-8 as it was written, byte order mark included, and from nothing else", () => {
    for (const text of ["", "aé日🛰", "\ufeffa"]) assert.strictEqual(Text.fromUtf8(Text.toUtf8(text)), text)
    assert.deepStrictEqual(Text.toUtf8("é"), Uint8Array.of(0xc3, 0xa9))
    for (const bytes of [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80]]) {
      assert.isUndefined(Text.fromUtf8(Uint8Array.from(bytes)), String(bytes))
    }
  })

  it("is read as JSON, or is undefined", () => {
    assert.deepStrictEqual(Text.parseJson("{\"a\":[1]}"), { a: [1] })
    for (const text of ["", "{", "undefined", "{} {}"]) assert.isUndefined(Text.parseJson(text), text)
  })
})
