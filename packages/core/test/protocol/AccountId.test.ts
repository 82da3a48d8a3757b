import { AccountId } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either, FastCheck, Schema } from "effect"

const decode = Schema.decodeUnknownEither(AccountId.AccountId)

const isVisibleAscii = (char: string): boolean => char > " " && char <= "~"

describe("AccountId", () => {
  it("refuses in the words of its rule what is no header value of 1 to 256 visible ASCII characters", () => {
    for (
      const id of [
        "",
        "x".repeat(257),
        " ",
        "a b",
        "acct-1 ",
        "acct-1\n",
        "acct\r\nx: y",
        "\u007f",
        "é",
        "日",
        "🛰",
        "\ud83d"
      ]
    ) {
      const result = decode(id)
      assert.isTrue(Either.isLeft(result), JSON.stringify(id))
      if (Either.isLeft(result)) {
        assert.include(result.left.message, "an account id has 1 to 256 visible ASCII characters")
      }
    }
  })

  it("is a string", () => {
    for (const value of [undefined, null, 1, {}, ["acct-1"]]) assert.isTrue(Either.isLeft(decode(value)))
  })

  it("takes every visible ASCII character, and exactly those", () => {
    for (let code = 0; code < 0x180; code++) {
      const char = String.fromCharCode(code)
      assert.strictEqual(Either.isRight(decode(`a${char}b`)), isVisibleAscii(char), `U+${code.toString(16)}`)
    }
    assert.isTrue(Either.isRight(decode("~".repeat(256))))
  })

  it.prop("generates allowed ids, which HTTP takes as header values", [AccountId.AccountId], ([id]) => {
    assert.isTrue(id.length >= 1 && id.length <= 256 && Array.from(id).every(isVisibleAscii))
    assert.strictEqual(new Headers({ "chatgpt-account-id": id }).get("chatgpt-account-id"), id)
  })

  it.prop(
    "refuses an id with one other character in it",
    [AccountId.AccountId, FastCheck.string({ unit: "binary", minLength: 1, maxLength: 1 })],
    ([id, char]) => {
      const changed = id.slice(0, -1) + char
      assert.strictEqual(Either.isRight(decode(changed)), isVisibleAscii(char) && char.length === 1)
    }
  )
})
