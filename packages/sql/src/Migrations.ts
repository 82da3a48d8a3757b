/**
 * The tables, the same in every database.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
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
 * Brings the tables up to date. Where they are, it only reads the version: beside a backup, on a read replica, and as a
 * role that may only read. Else one process changes the tables and the others wait for it, 20 seconds at most, which is
 * also how long it waits for another program that has locked them. Meanwhile it holds requests up for half a second at a
 * time at most.
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
 *   assert.deepStrictEqual((yield* sql`SELECT * FROM ${sql(Migrations.tableName)}`).length, 3)
 * })
 *
 * const file = `${mkdtempSync(`${tmpdir()}/example-`)}/agents.db`
 * await Effect.runPromise(Effect.provide(program, LibsqlFile.layer({ file })))
 *
 * @since 0.1.0
 * @category constructors
 */
export const run: Effect.Effect<void, MigrationsError, SqlClient.SqlClient> = Effect.suspend(() => upToDate).pipe(
  Effect.catchSomeDefect((defect) =>
    SqlFailure.isSqlError(defect) ? Option.some(Effect.fail(new Failure({ during: "", cause: defect }))) : Option.none()
  ),
  Effect.retry({
    while: (failure) => isContended(failure),
    schedule: Schedule.exponential("50 millis").pipe(
      Schedule.union(Schedule.spaced("1 second")),
      Schedule.upTo("20 seconds")
    )
  }),
  // Other processes, and their locks, are in real time.
  Effect.withClock(Clock.make()),
  Effect.mapError((failure) => {
    const why = isContended(failure) ? "; another program has had its tables locked for 20 seconds" : ""
    return new MigrationsError({ detail: `${failure.during}${SqlFailure.describe(failure.cause)}${why}` })
  })
)

/**
 * Brings the tables up to date when it is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never, MigrationsError, SqlClient.SqlClient> = Layer.effectDiscard(run)

/*
 * What is written here works in SQLite and in PostgreSQL. A migration that was released is never changed. Its statements
 * must end within the `queryTimeout` of a connection, and it must not rewrite a table.
 *
 * In a rolling update version N brings the tables up to date while version N-1 still runs, and N-1 may be started again.
 * So a migration may add a table, an index, or a column that may be NULL. It may not rename, drop, retype or forbid
 * anything that N-1 reads or writes, and N must read what N-1 writes, which is NULL in the new columns. What was dropped
 * from the code can be dropped from the tables one version later. Version N-1 changes nothing when it finds migrations
 * that it does not know.
 *
 * 3, to code that knows 2: it does not look at `expires_at`. It goes on to accept an agent that has expired, until the row
 * is removed; one that was removed it refuses, since the row has no key. An agent that registers again there keeps the end
 * that it had, and one that has expired stays so to newer code.
 */
const migrations: ReadonlyArray<
  readonly [name: string, migration: Effect.Effect<unknown, SqlError, SqlClient.SqlClient>]
> = [
  [
    "agent_directory",
    Effect.gen(function*() {
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
    })
  ],
  [
    "credential_store",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE agent_identity_credentials (
        account_id TEXT NOT NULL,
        chatgpt_user_id TEXT NOT NULL,
        version TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (account_id, chatgpt_user_id)
      )`
    })
  ],
  [
    "agent_expiry",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`ALTER TABLE agent_identity_agents ADD COLUMN expires_at BIGINT`
      yield* sql`CREATE INDEX agent_identity_agents_expiry ON agent_identity_agents (expires_at)
        WHERE expires_at IS NOT NULL`
    })
  ]
]

class Failure extends Data.Error<{ readonly during: string; readonly cause: SqlError }> {}

const upToDate = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  if ((yield* failingAs("", version)) < migrations.length) yield* failingAs("", sql.withTransaction(migrate))
})

const failingAs = <A, R>(
  during: string,
  effect: Effect.Effect<A, SqlError | Failure, R>
): Effect.Effect<A, Failure, R> =>
  Effect.mapError(effect, (error) => error instanceof Failure ? error : new Failure({ during, cause: error }))

/** The number of the last migration that the database has had. */
const version = Effect.gen(function*() {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const found = yield* sql.onDialectOrElse({
    pg: () => sql`SELECT 1 WHERE to_regclass(${tableName}) IS NOT NULL`,
    orElse: () => sql`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ${tableName}`
  })
  if (found.length === 0) return 0
  const [row] = yield* sql<{ readonly version: unknown }>`SELECT max(migration_id) AS version FROM ${sql(tableName)}`
  return Number(row?.version ?? 0)
})

/*
 * The lock of PostgreSQL holds up other migrations, those of version 2 too, and no backup and nobody who only reads the
 * version. The table is the one that @effect/sql's `Migrator` makes, which locks everybody out.
 */
const migrate = Effect.gen(function*() {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const table = sql(tableName)
  yield* sql.onDialectOrElse({
    pg: () => sql`SET LOCAL lock_timeout = '500ms'`,
    orElse: () => Effect.void
  })
  yield* sql.onDialectOrElse({
    pg: () =>
      sql`CREATE TABLE IF NOT EXISTS ${table} (
        migration_id integer primary key,
        created_at timestamp with time zone not null default now(),
        name text not null
      )`,
    orElse: () =>
      sql`CREATE TABLE IF NOT EXISTS ${table} (
        migration_id integer PRIMARY KEY NOT NULL,
        created_at datetime NOT NULL DEFAULT current_timestamp,
        name VARCHAR(255) NOT NULL
      )`
  })
  yield* sql.onDialectOrElse({
    pg: () => sql`LOCK TABLE ${table} IN SHARE ROW EXCLUSIVE MODE`,
    orElse: () => Effect.void
  })
  const latest = yield* version
  for (const [index, [name, migration]] of migrations.entries()) {
    const id = index + 1
    if (id <= latest) continue
    yield* failingAs(
      `migration ${id}_${name}: `,
      Effect.zipRight(migration, sql`INSERT INTO ${table} (migration_id, name) VALUES (${id}, ${name})`)
    )
  }
})

/** A lock that is held, by a migration of another process or by a backup; or a table that another process makes now. */
const isContended = ({ cause }: Failure): boolean =>
  ["55P03", "40P01", "23505", "42P07", "42710", "SQLITE_BUSY"].includes(SqlFailure.codeOf(cause.cause) ?? "")
