import { PlanType } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"

/** As the reference client knows them, written apart from the source. */
const rows: ReadonlyArray<
  readonly [raw: ReadonlyArray<string>, name: string, displayName: string, workspace: boolean]
> = [
  [["free"], "free", "Free", false],
  [["go"], "go", "Go", false],
  [["plus"], "plus", "Plus", false],
  [["pro"], "pro", "Pro", false],
  [["prolite"], "prolite", "Pro Lite", false],
  [["team"], "team", "Team", true],
  [["self_serve_business_usage_based"], "self_serve_business_usage_based", "Self Serve Business Usage Based", true],
  [["business"], "business", "Business", true],
  [["ent26"], "ent26", "Enterprise", true],
  [["enterprise_cbp_usage_based"], "enterprise_cbp_usage_based", "Enterprise CBP Usage Based", true],
  [["enterprise", "hc"], "enterprise", "Enterprise", true],
  [["edu", "education"], "edu", "Edu", true]
]

describe("PlanType", () => {
  for (const [spellings, name, displayName, workspace] of rows) {
    for (const raw of spellings) {
      it(`${raw} is ${displayName}, ${workspace ? "" : "not "}of a workspace`, () =>
        assert.deepStrictEqual(PlanType.fromClaim(raw), { name, raw, displayName, workspace }))
    }
  }

  it("knows no other names and spellings", () =>
    assert.sameMembers(
      PlanType.knownPlans.flatMap(({ aliases, name }) => [name, ...aliases]),
      rows.flatMap(([spellings]) => spellings)
    ))

  const unknown = [
    "galactic",
    "Pro",
    "PRO",
    "HC",
    "Hc",
    "Education",
    "Enterprise",
    " pro",
    "pro ",
    "Pro Lite",
    "unknown",
    "",
    "__proto__",
    "constructor",
    "toString"
  ]
  for (const raw of unknown) {
    it(`keeps ${JSON.stringify(raw)} as a plan that is not known, in its own spelling`, () =>
      assert.deepStrictEqual(PlanType.fromClaim(raw), {
        name: "unknown",
        raw,
        displayName: raw,
        workspace: false
      }))
  }
})
