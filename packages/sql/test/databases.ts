/** Databases that last as long as a test. */
import { LibsqlFile, Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { Effect, Layer, Redacted } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { inject } from "vitest"

/** The path of a file that is not there, in a folder of its own. */
export const temporaryFile = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "agent-identity-sql-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
  ),
  (folder) => Path.join(folder, "agents.db")
)

export const postgresUrl = inject("postgresUrl")
export const hasPostgres = postgresUrl !== ""

/** The URL of a new database on the PostgreSQL of all tests. */
export const temporaryDatabase = Effect.suspend(() => {
  // Short: `npm run test:leaks` takes 20 characters of the URL for a part of a secret, and names of databases are shown.
  const name = `test_${globalThis.crypto.randomUUID().slice(0, 8)}`
  const execute = (statement: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement)).pipe(
      Effect.provide(Postgres.layer({ url: Redacted.make(postgresUrl), maxConnections: 1 }))
    )
  return Effect.acquireRelease(
    execute(`CREATE DATABASE ${name}`),
    () => Effect.orDie(execute(`DROP DATABASE ${name} WITH (FORCE)`))
  ).pipe(Effect.as(Redacted.make(postgresUrl.replace(/postgres$/, name))))
})

export const libsqlPlace = Effect.map(
  temporaryFile,
  (file) => (options: SqlAgentDirectory.Options) =>
    Layer.provide(SqlAgentDirectory.layerWith(options), LibsqlFile.layer({ file }))
)
export const postgresPlace = Effect.map(
  temporaryDatabase,
  (url) => (options: SqlAgentDirectory.Options) =>
    Layer.provide(SqlAgentDirectory.layerWith(options), Postgres.layer({ url }))
)
