/**
 * The tables, the same in every database.
 *
 * @since 0.1.0
 */
import * as Migrator from "@effect/sql/Migrator"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SqlFailure from "./internal/sqlFailure.ts"

/**
 * The tables could not be brought up to date.
 *
 * @since 0.1.0
 * @category errors
 */
export class MigrationsError extends Schema.TaggedError<MigrationsError>("@agent-identity/sql/MigrationsError")(
  "MigrationsError",
  { detail: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `The database cannot be migrated: ${this.detail}`
  }
}

/**
 * Where it stands which migrations a database has had. A name of its own, so that an app's own migrations can live in
 * the same database.
 *
 * @since 0.1.0
 * @category constants
 */
export const tableName = "agent_identity_migrations"

/**
 * Brings the tables up to date. With nothing to do it changes nothing; in several processes at the same time one of
 * them does it and the others wait for it.
 *
 * @example
 * import { LibsqlFile, Migrations } from "@agent-identity/sql"
 * import { SqlClient } from "@effect/sql"
 * import { Effect } from "effect"
 * import { mkdtempSync } from "node:fs"
 * import { tmpdir } from "node:os"
 *
 * const program = Effect.gen(function*() {
 *   yield* Migrations.run
 *   yield* Migrations.run
 *   const sql = yield* SqlClient.SqlClient
 *   assert.deepStrictEqual((yield* sql`SELECT * FROM ${sql(Migrations.tableName)}`).length, 2)
 * })
 *
 * const file = `${mkdtempSync(`${tmpdir()}/example-`)}/agents.db`
 * await Effect.runPromise(Effect.provide(program, LibsqlFile.layer({ file })))
 *
 * @since 0.1.0
 * @category constructors
 */
export const run: Effect.Effect<void, MigrationsError, SqlClient.SqlClient> = Effect.suspend(() => migrate).pipe(
  // The migrations run under a lock on that table; only its own creation can race. Whoever lost finds it there.
  Effect.retry({ times: 1, while: (error) => error._tag === "SqlError" }),
  Effect.catchSomeDefect((defect) => isFailure(defect) ? Option.some(Effect.fail(defect)) : Option.none()),
  Effect.mapError((error) => new MigrationsError({ detail: detailOf(error) })),
  Effect.asVoid
)

/**
 * Brings the tables up to date when it is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, MigrationsError, SqlClient.SqlClient> = Layer.effectDiscard(run)

/*
 * What is written here works in SQLite and in PostgreSQL. A migration that was released is never changed, and an older
 * version of this package must be able to work with the tables that a newer one has made.
 */
const migrate = Migrator.make({})({
  table: tableName,
  loader: Migrator.fromRecord({
    "1_agent_directory": Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE agent_identity_agents (
        agent_runtime_id TEXT NOT NULL PRIMARY KEY,
        public_key TEXT NOT NULL,
        owner TEXT
      )`
      yield* sql`CREATE TABLE agent_identity_tasks (
        task_id TEXT NOT NULL PRIMARY KEY,
        agent_runtime_id TEXT NOT NULL,
        expires_at BIGINT NOT NULL
      )`
      yield* sql`CREATE INDEX agent_identity_tasks_agent ON agent_identity_tasks (agent_runtime_id)`
      yield* sql`CREATE INDEX agent_identity_tasks_expiry ON agent_identity_tasks (expires_at)`
    }),
    "2_credential_store": Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE agent_identity_credentials (
        account_id TEXT NOT NULL,
        chatgpt_user_id TEXT NOT NULL,
        version TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (account_id, chatgpt_user_id)
      )`
    })
  })
})

type Failure = Migrator.MigrationError | SqlError

/** A migration that fails is a defect of `Migrator`, and so is a transaction that does not end. */
const isFailure = (defect: unknown): defect is Failure =>
  SqlFailure.isSqlError(defect) || Predicate.isTagged(defect, "MigrationError")

const detailOf = (error: Failure): string => {
  if (error._tag === "SqlError") return SqlFailure.describe(error)
  return SqlFailure.isSqlError(error.cause) ? `${error.message}: ${SqlFailure.describe(error.cause)}` : error.message
}
