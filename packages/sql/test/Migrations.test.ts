import { LibsqlFile, Migrations, Postgres } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, type Scope } from "effect"
import { hasPostgres, temporaryDatabase, temporaryFile } from "./databases.ts"

const suite = (
  name: string,
  database: Effect.Effect<Layer.Layer<SqlClient.SqlClient, unknown>, unknown, Scope.Scope>
) =>
  describe(name, () => {
    it.scopedLive("make the tables, once", () =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Migrations.run
          yield* sql`INSERT INTO agent_identity_agents VALUES ('a', 'b', NULL)`
          yield* Migrations.run
          yield* Effect.provide(Effect.void, Migrations.layer)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_agents`).length, 1)
          assert.deepStrictEqual(
            (yield* sql`SELECT migration_id, name FROM agent_identity_migrations`).map((_) => ({ ..._ })),
            [{ migration_id: 1, name: "agent_directory" }, { migration_id: 2, name: "credential_store" }]
          )
        }).pipe(Effect.provide(client))))

    it.scopedLive("bring a database of an older version up to date, with what it holds", () =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Migrations.run
          // As the version left it that had the directory only.
          yield* sql`DROP TABLE agent_identity_credentials`
          yield* sql`DELETE FROM agent_identity_migrations WHERE migration_id = 2`
          yield* sql`INSERT INTO agent_identity_agents VALUES ('a', 'b', NULL)`
          yield* Migrations.run
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_agents`).length, 1)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_credentials`).length, 0)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_migrations`).length, 2)
        }).pipe(Effect.provide(client))))

    it.scopedLive("happen in whole or not at all", () =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`CREATE TABLE agent_identity_tasks (something TEXT)`
          const error = yield* Effect.flip(Migrations.run)
          assert.strictEqual(error._tag, "MigrationsError")
          assert.include(error.message, "1_agent_directory")
          yield* sql`DROP TABLE agent_identity_tasks`
          yield* Migrations.run
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_agents`).length, 0)
        }).pipe(Effect.provide(client))))
  })

describe("Migrations", () => {
  suite("libsql file", Effect.map(temporaryFile, (file) => LibsqlFile.layer({ file })))

  describe.skipIf(!hasPostgres)("with a server", () => {
    suite("PostgreSQL", Effect.map(temporaryDatabase, (url) => Postgres.layer({ url })))

    it.scopedLive("succeed in many processes at the same time", () =>
      Effect.gen(function*() {
        for (let round = 0; round < 3; round++) {
          const url = yield* temporaryDatabase
          yield* Effect.all(
            Array.from({ length: 8 }, () => Effect.provide(Migrations.run, Postgres.layer({ url, maxConnections: 1 }))),
            { concurrency: "unbounded", discard: true }
          )
        }
      }))
  })
})
