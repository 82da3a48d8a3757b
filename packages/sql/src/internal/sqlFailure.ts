/** What of a database's error may be shown. */
import type { SqlError } from "@effect/sql/SqlError"
import * as Predicate from "effect/Predicate"

/**
 * What was tried and the error's code: an SQLSTATE, an SQLite or a system code. Nothing else, because a database's own
 * messages quote values, and a driver's may quote the URL.
 *
 * @internal
 */
export const describe = (error: SqlError): string => {
  const code = codeOf(error.cause)
  return `${error.message ?? "SQL error"}${code === undefined ? "" : ` (${code})`}`
}

/** @internal */
export const codeOf = (cause: unknown): string | undefined =>
  Predicate.hasProperty(cause, "code") && typeof cause.code === "string" && /^[A-Z0-9_]{1,64}$/.test(cause.code)
    ? cause.code
    : undefined

/**
 * `withTransaction` dies of a COMMIT or ROLLBACK that fails, as it does on a connection that broke.
 *
 * @internal
 */
export const isSqlError = (defect: unknown): defect is SqlError => Predicate.isTagged(defect, "SqlError")
