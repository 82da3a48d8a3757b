/** `@effect/schema` was merged into `effect/Schema`; the README gives the bridge for those who still hold old schemas. */
import * as OldSchema from "@effect/schema/Schema"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, type SchemaAST } from "effect"

const old = OldSchema.Struct({ id: OldSchema.NumberFromString })

describe("a schema of @effect/schema", () => {
  it("is no schema of effect/Schema as it is", () => {
    assert.isFalse(Schema.isSchema(old))
    // @ts-expect-error its type does not fit either
    Schema.Struct({ old })
  })

  it.effect("is one behind the bridge of the README", () =>
    Effect.gen(function*() {
      const bridged = Schema.make<typeof old.Type, typeof old.Encoded>(old.ast as SchemaAST.AST)
      assert.isTrue(Schema.isSchema(bridged))
      const decoded = yield* Schema.decodeUnknown(Schema.Struct({ bridged }))({ bridged: { id: "7" } })
      assert.deepStrictEqual(decoded, { bridged: { id: 7 } })
      const error = yield* Effect.flip(Schema.decodeUnknown(bridged)({ id: "x" }))
      assert.strictEqual(error._tag, "ParseError")
    }))
})
