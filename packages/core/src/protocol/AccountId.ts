/**
 * The account that an agent works for.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * 1 to 256 visible ASCII characters: it becomes the header `ChatGPT-Account-ID`.
 *
 * @example
 * import { AccountId } from "@agent-identity/core"
 * import { Schema } from "effect"
 *
 * const isAccountId = Schema.is(AccountId.AccountId)
 *
 * assert.deepStrictEqual(isAccountId("2f6c1c9e-7a52-4a0f-9a4e-0f6d0c1b8d11"), true)
 * assert.deepStrictEqual(isAccountId("an account"), false)
 *
 * @since 0.1.0
 * @category schemas
 */
export const AccountId = Schema.String.pipe(
  Schema.pattern(/^[\x21-\x7e]{1,256}$/, {
    message: () => "an account id has 1 to 256 visible ASCII characters"
  }),
  Schema.brand("@agent-identity/core/AccountId"),
  Schema.annotations({ identifier: "AccountId" })
)

/**
 * An account id that was checked.
 *
 * @since 0.1.0
 * @category models
 */
export type AccountId = typeof AccountId.Type
