/**
 * The account that an agent works for.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * 1 to 256 visible ASCII characters: it becomes the header `ChatGPT-Account-ID`.
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
 * @since 0.1.0
 * @category models
 */
export type AccountId = typeof AccountId.Type
