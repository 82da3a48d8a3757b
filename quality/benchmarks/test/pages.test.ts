import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import * as Pages from "../src/pages.ts"
import type { GroupResult } from "../src/report.ts"

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8")
const { groups } = JSON.parse(read("quality/benchmarks/results/results.json")) as {
  readonly groups: ReadonlyArray<GroupResult>
}

describe("pages with numbers", () => {
  for (const path of Pages.PATHS) {
    it(`${path} shows the results as they are: \`npm run bench\` writes both`, () => {
      assert.strictEqual(Pages.update(read(path), groups), read(path))
    })
  }

  it("are not made of results that lack what they show", () => {
    const page = "<!-- bench:hits -->\n<!-- /bench:hits -->"
    assert.throws(() => Pages.update(page, []), /no group hitRate/)
  })

  it("have no part that nobody makes", () => {
    assert.throws(() => Pages.update("<!-- bench:other -->\n<!-- /bench:other -->", groups), /no part other/)
  })
})
