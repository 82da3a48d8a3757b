/**
 * The names of ChatGPT plans, as they stand in an agent identity JWT.
 *
 * @since 0.1.0
 */

/**
 * A plan. `raw` is how the token spelled it; a plan that is not known is kept, under the name `unknown` and with `raw`
 * for its display name.
 *
 * @since 0.1.0
 * @category models
 */
export interface PlanType {
  readonly name: string
  readonly raw: string
  readonly displayName: string
  /** Whether the account belongs to an organisation. */
  readonly workspace: boolean
}

/**
 * The plans that are known and the other spellings of two, from the reference client (openai/codex,
 * codex-rs/protocol/src/auth.rs and account.rs). Case counts.
 *
 * @internal
 */
export const knownPlans: ReadonlyArray<Omit<PlanType, "raw"> & { readonly aliases: ReadonlyArray<string> }> = [
  { name: "free", aliases: [], displayName: "Free", workspace: false },
  { name: "go", aliases: [], displayName: "Go", workspace: false },
  { name: "plus", aliases: [], displayName: "Plus", workspace: false },
  { name: "pro", aliases: [], displayName: "Pro", workspace: false },
  { name: "prolite", aliases: [], displayName: "Pro Lite", workspace: false },
  { name: "team", aliases: [], displayName: "Team", workspace: true },
  {
    name: "self_serve_business_usage_based",
    aliases: [],
    displayName: "Self Serve Business Usage Based",
    workspace: true
  },
  { name: "business", aliases: [], displayName: "Business", workspace: true },
  { name: "ent26", aliases: [], displayName: "Enterprise", workspace: true },
  { name: "enterprise_cbp_usage_based", aliases: [], displayName: "Enterprise CBP Usage Based", workspace: true },
  { name: "enterprise", aliases: ["hc"], displayName: "Enterprise", workspace: true },
  { name: "edu", aliases: ["education"], displayName: "Edu", workspace: true }
]

/**
 * The plan that the claim `plan_type` names. Whatever it is, there is one.
 *
 * @example
 * import { PlanType } from "@agent-identity/core"
 *
 * assert.deepStrictEqual(PlanType.fromClaim("hc").name, "enterprise")
 * assert.deepStrictEqual(PlanType.fromClaim("galactic").name, "unknown")
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromClaim = (raw: string): PlanType => {
  const known = knownPlans.find(({ aliases, name }) => name === raw || aliases.includes(raw))
  return known === undefined
    ? { name: "unknown", raw, displayName: raw, workspace: false }
    : { name: known.name, raw, displayName: known.displayName, workspace: known.workspace }
}
