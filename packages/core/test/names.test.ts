import * as Core from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Context, Option, Schema, SchemaAST } from "effect"

/** What Effect knows an export by, over all packages of a program, and by its short name. */
const names = (value: unknown): ReadonlyArray<unknown> | undefined => {
  if (Context.isTag(value)) return [value.key, /[^/]*$/.exec(value.key)![0]]
  if (!Schema.isSchema(value)) return undefined
  if ("_tag" in value) return [(value as { readonly identifier?: unknown }).identifier, value._tag]
  const brands = Option.getOrElse(SchemaAST.getBrandAnnotation(value.ast), () => [])
  // What has no brand has no name: a record's schema.
  return brands.length === 0
    ? undefined
    : [...brands, Option.getOrUndefined(SchemaAST.getIdentifierAnnotation(value.ast))]
}

describe("what Effect calls an export", () => {
  for (const [module, exports] of Object.entries(Core)) {
    for (const [name, value] of Object.entries(exports)) {
      const found = names(value)
      if (found === undefined) continue
      it(`${module}.${name} has its own name, and this package's`, () =>
        assert.deepStrictEqual(found, [`@agent-identity/core/${name}`, name]))
    }
  }
})
