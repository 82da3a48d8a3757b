import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, Migrations, Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, Option, Redacted, type Scope } from "effect"
import { hasPostgres, temporaryDatabase, temporaryFile } from "./databases.ts"
import * as PreviousVersion from "./fixtures/previousVersion.ts"

const agent: AgentDirectory.Agent = {
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"),
  publicKey: new Uint8Array(32).fill(1),
  owner: "owner"
}
const agentId = "\"agent-1\""
const [key, otherKey] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString("base64url")) as [string, string]

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
          yield* sql`INSERT INTO agent_identity_agents (agent_runtime_id, public_key) VALUES ('a', 'b')`
          yield* Migrations.run
          yield* Effect.provide(Effect.void, Migrations.layer)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_agents`).length, 1)
          assert.deepStrictEqual(
            (yield* sql`SELECT migration_id, name FROM agent_identity_migrations`).map((_) => ({ ..._ })),
            [
              { migration_id: 1, name: "agent_directory" },
              { migration_id: 2, name: "credential_store" },
              { migration_id: 3, name: "agent_expiry" }
            ]
          )
        }).pipe(Effect.provide(client))))

    it.scopedLive("bring a database of an older version up to date, with what it holds", () =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Migrations.run
          // As the version left it that had the directory only.
          yield* sql`DROP TABLE agent_identity_credentials`
          yield* sql`DROP INDEX agent_identity_agents_expiry`
          yield* sql`ALTER TABLE agent_identity_agents DROP COLUMN expires_at`
          yield* sql`DELETE FROM agent_identity_migrations WHERE migration_id > 1`
          yield* sql`INSERT INTO agent_identity_agents (agent_runtime_id, public_key) VALUES ('a', 'b')`
          yield* Migrations.run
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_agents`).length, 1)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_credentials`).length, 0)
          assert.strictEqual((yield* sql`SELECT * FROM agent_identity_migrations`).length, 3)
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

    it.scopedLive("leave the previous version working beside the new one, and startable", () =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          yield* PreviousVersion.start
          const previous = yield* PreviousVersion.directory
          yield* previous.putAgent(agentId, key, "\"owner\"")
          yield* previous.issueTask("\"task-1\"", agentId, Date.now(), 60_000)
          yield* Migrations.run
          const directory = yield* SqlAgentDirectory.make({ taskLifetime: "1 minute" })
          const isKnown = Effect.map(previous.findAgent(agentId), (_) => _.length === 1)

          // What the previous one wrote, before and after.
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
          assert.isTrue(Option.isSome(yield* directory.findTask(TaskId.TaskId.make("task-1"))))
          yield* previous.issueTask("\"task-2\"", agentId, Date.now(), 60_000)
          assert.isTrue(Option.isSome(yield* directory.findTask(TaskId.TaskId.make("task-2"))))
          yield* previous.putAgent(agentId, otherKey, null)
          assert.deepStrictEqual(
            yield* directory.findAgent(agent.agentRuntimeId),
            Option.some({ agentRuntimeId: agent.agentRuntimeId, publicKey: new Uint8Array(32).fill(2) })
          )
          // What the new one writes.
          yield* directory.putAgent(agent)
          assert.deepStrictEqual(
            (yield* previous.findAgent(agentId)).map((_) => ({ ..._ })),
            [{ public_key: key, owner: "\"owner\"" }]
          )
          const { taskId } = yield* directory.issueTask(agent.agentRuntimeId)
          assert.strictEqual((yield* previous.findTask(JSON.stringify(taskId))).length, 1)
          // It starts again, and changes nothing.
          assert.deepStrictEqual(yield* PreviousVersion.start, [])
          assert.strictEqual((yield* previous.removeAgent(agentId)).length, 1)
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.none())
          assert.deepStrictEqual(yield* directory.findTask(taskId), Option.none())

          // It does not see that an agent has expired, and renews none.
          yield* directory.putAgent({ ...agent, expiresAt: Date.now() + 100 })
          yield* Effect.sleep("150 millis")
          assert.isTrue(yield* isKnown)
          yield* previous.putAgent(agentId, key, "\"owner\"")
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.none())
          yield* directory.putAgent(agent)
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))

          // One that was removed has no key there, until its tasks are gone too.
          yield* Effect.replicateEffect(directory.issueTask(agent.agentRuntimeId), 1500, { concurrency: 10 })
          assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
          assert.deepStrictEqual((yield* previous.findAgent(agentId)).map((_) => _.public_key), [""])
        }).pipe(Effect.scoped, Effect.provide(client))))
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

    it.scopedLive("succeed at the same time as those of the previous version", () =>
      Effect.gen(function*() {
        for (let round = 0; round < 3; round++) {
          const url = yield* temporaryDatabase
          yield* Effect.forEach(
            Array.from(
              { length: 8 },
              (_, n): Effect.Effect<unknown, unknown, SqlClient.SqlClient> =>
                n % 2 === 0 ? Migrations.run : PreviousVersion.start
            ),
            (start) => Effect.provide(start, Postgres.layer({ url, maxConnections: 1 })),
            { concurrency: "unbounded", discard: true }
          )
        }
      }))

    /** As `pg_dump` has them for as long as it takes. */
    const locked = (mode: string) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const [begun, end] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
        const tables =
          "agent_identity_agents, agent_identity_tasks, agent_identity_credentials, agent_identity_migrations"
        const fiber = yield* Effect.forkScoped(
          sql.withTransaction(
            sql.unsafe(`LOCK TABLE ${tables} IN ${mode} MODE`).pipe(
              Effect.zipRight(begun.open),
              Effect.zipRight(end.await)
            )
          )
        )
        yield* Effect.addFinalizer(() => end.open)
        yield* begun.await
        return Effect.zipRight(end.open, Fiber.join(fiber))
      })

    it.scopedLive("do nothing where the tables are up to date: beside a backup, read-only, as a role that may only read", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const directory = yield* Effect.provide(AgentDirectory.AgentDirectory, SqlAgentDirectory.layer)
          yield* directory.putAgent(agent)
          const starts = (url: Redacted.Redacted<string>) =>
            Effect.gen(function*() {
              const context = yield* Layer.build(Layer.provide(SqlAgentDirectory.layer, Postgres.layer({ url })))
              const directory = Context.get(context, AgentDirectory.AgentDirectory)
              assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
              yield* directory.check
              return directory
            }).pipe(Effect.timeout("3 seconds"))

          const release = yield* locked("ACCESS SHARE")
          yield* starts(url)
          yield* release

          const role = `reader_${globalThis.crypto.randomUUID().slice(0, 8)}`
          yield* Effect.acquireRelease(
            sql.unsafe(`CREATE ROLE ${role} LOGIN`),
            () => Effect.orDie(Effect.zipRight(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
          )
          yield* sql.unsafe(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}`)
          const reader = yield* starts(Redacted.make(Redacted.value(url).replace("//postgres:", `//${role}:`)))
          assert.include((yield* Effect.flip(reader.putAgent(agent))).message, "42501")

          const name = new URL(Redacted.value(url)).pathname.slice(1)
          yield* sql.unsafe(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
          const readOnly = yield* starts(url)
          assert.include((yield* Effect.flip(readOnly.putAgent(agent))).message, "25006")
        }).pipe(Effect.scoped, Effect.provide(Postgres.layer({ url })))
      }))

    it.scopedLive("wait for a backup to end where the tables are behind, and hold up nobody else", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        yield* Effect.gen(function*() {
          yield* PreviousVersion.start
          const previous = yield* PreviousVersion.directory
          const release = yield* locked("ACCESS SHARE")
          const migration = yield* Effect.fork(Effect.provide(Migrations.run, Postgres.layer({ url })))
          let longest = 0
          const started = performance.now()
          while (performance.now() - started < 4000) {
            const [took] = yield* Effect.timed(previous.findAgent(agentId))
            longest = Math.max(longest, Duration.toMillis(took))
            yield* Effect.sleep("10 millis")
          }
          // Its half second, and what a busy machine adds.
          assert.isBelow(longest, 1000)
          assert.isTrue(Option.isNone(yield* Fiber.poll(migration)))
          yield* release
          yield* Effect.timeout(Fiber.join(migration), "5 seconds")
        }).pipe(Effect.provide(Postgres.layer({ url })))
      }))

    it.scopedLive("give up after 20 seconds where another program does not let go of the tables", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        yield* Effect.gen(function*() {
          yield* PreviousVersion.start
          yield* locked("ACCESS SHARE")
          const started = performance.now()
          const error = yield* Effect.flip(Effect.provide(Migrations.run, Postgres.layer({ url })))
          const seconds = (performance.now() - started) / 1000
          assert.isTrue(seconds > 15 && seconds < 25, `${seconds} s`)
          assert.include(error.message, "3_agent_expiry")
          assert.include(error.message, "55P03")
          assert.include(error.message, "another program")
        }).pipe(Effect.provide(Postgres.layer({ url })))
      }))
  })
})
