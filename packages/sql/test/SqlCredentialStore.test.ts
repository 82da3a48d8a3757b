import { CredentialStore } from "@agent-identity/login"
import { LibsqlFile, Postgres, SqlCredentialStore } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigError,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Redacted,
  Schedule,
  type Scope,
  String
} from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { assertClean, observer, shown } from "../../core/test/leaks.ts"
import {
  BINDING,
  bindingOf,
  countOf,
  increment,
  KEY,
  type Place,
  plain,
  recordOf,
  suite
} from "../../login/test/credentialStoreSuite.ts"
import { hasPostgres, temporaryDatabase, temporaryFile } from "./databases.ts"
import * as PostgresServer from "./postgres.ts"
import { proxyOf } from "./proxy.ts"

const open = <E, R>(layer: Layer.Layer<CredentialStore.CredentialStore, E, R>) =>
  Effect.map(Layer.build(layer), Context.get(CredentialStore.CredentialStore))

type Database = Effect.Effect<Layer.Layer<SqlClient.SqlClient>, unknown, Scope.Scope>

const libsqlDatabase: Database = temporaryFile.pipe(
  Effect.flatMap((file) => Layer.build(LibsqlFile.layer({ file }))),
  Effect.map(Layer.succeedContext)
)
const postgresDatabase: Database = temporaryDatabase.pipe(
  Effect.flatMap((url) => Layer.build(Postgres.layer({ url }))),
  Effect.map(Layer.succeedContext)
)

/** The file is open once. */
const libsqlPlace: Place = Effect.map(libsqlDatabase, (client) => {
  const layer = Layer.provide(SqlCredentialStore.layer, client)
  return { layer, again: layer }
})
const postgresPlace: Place = Effect.map(temporaryDatabase, (url) => {
  const layer = Layer.provide(SqlCredentialStore.layer, Postgres.layer({ url }))
  return { layer, again: layer }
})

/** Every call fails with the port's own error, which shows nothing of what it was called with, nor of the URL. */
const assertUnavailable = (store: CredentialStore.Service) =>
  Effect.gen(function*() {
    const calls: ReadonlyArray<Effect.Effect<unknown, CredentialStore.CredentialStoreError>> = [
      store.get(bindingOf("account-secret", "user-secret")),
      store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))),
      store.compareAndSwap(BINDING, Option.some("version-secret"), Option.some(recordOf(1))),
      store.compareAndSwap(BINDING, Option.some("version-secret"), Option.none()),
      store.compareAndSwap(BINDING, Option.none(), Option.none())
    ]
    for (const exit of yield* Effect.forEach(calls, Effect.exit)) {
      assert.isTrue(
        Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error._tag === "CredentialStoreError" &&
          exit.cause.error.reason === "Unavailable"
      )
      assertClean("an error", shown(exit), [KEY, "secret", "agent-1", "account-1", "user-1", PostgresServer.PASSWORD])
    }
  })

const sqlSuite = (name: string, database: Database) =>
  describe(`SqlCredentialStore: ${name}`, () => {
    const withStore = <A, E>(
      use: (
        store: CredentialStore.Service,
        sql: SqlClient.SqlClient
      ) => Effect.Effect<A, E, Scope.Scope | SqlClient.SqlClient>
    ) =>
      Effect.flatMap(database, (client) =>
        Effect.gen(function*() {
          const store = yield* open(SqlCredentialStore.layer)
          return yield* use(store, yield* SqlClient.SqlClient)
        }).pipe(Effect.provide(client)))

    it.scopedLive("leaves a row alone that it cannot read, and shows nothing of it", () =>
      withStore((store, sql) =>
        Effect.gen(function*() {
          yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          const key = `"privateKey":"${KEY}"`
          const rows = [
            "",
            KEY,
            "null",
            "{}",
            `"${KEY}"`,
            `{"state":"ready",${key}`,
            `{"state":"done",${key}}`,
            `{"state":"registered",${key}}`,
            `{"state":"registered","agentRuntimeId":"a:b",${key}}`,
            `{"state":"ready","agentRuntimeId":"agent-1","taskId":" ",${key}}`,
            `{"state":"key-made","privateKey":["${KEY}"]}`,
            `{"state":"key-made",${key},"lease":{"holder":"h","expiresAt":null}}`
          ]
          const assertInvalid = Effect.gen(function*() {
            const [before] = yield* sql`SELECT * FROM agent_identity_credentials`
            const error = yield* Effect.flip(store.get(BINDING))
            assert.strictEqual(error.reason, "Invalid")
            assertClean("an error", shown(error), [KEY, "agent-1", "account-1", "user-1"])
            assert.isFalse(yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(2))))
            assert.isFalse(yield* store.compareAndSwap(BINDING, Option.none(), Option.none()))
            assert.isFalse(yield* store.compareAndSwap(BINDING, Option.some("v"), Option.none()))
            assert.deepStrictEqual((yield* sql`SELECT * FROM agent_identity_credentials`)[0], before)
          })
          for (const record of rows) {
            yield* sql`UPDATE agent_identity_credentials SET record = ${record}`
            yield* assertInvalid
          }
          yield* sql`UPDATE agent_identity_credentials SET version = 'v', record = ${`{"state":"key-made",${key}}`}`
          yield* assertInvalid
          yield* sql`UPDATE agent_identity_credentials SET version = ${"\"v\""}`
          assert.isTrue(yield* store.compareAndSwap(BINDING, Option.some("v"), Option.none()))
        })
      ))

    it.scopedLive("does not write what it could not read", () =>
      withStore((store) =>
        Effect.gen(function*() {
          yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          const version = Option.map(yield* store.get(BINDING), (_) => _.version)
          for (const number of [Infinity, NaN]) {
            for (const record of [recordOf(number), { ...recordOf(2), lease: { holder: "h", expiresAt: number } }]) {
              const error = yield* Effect.flip(store.compareAndSwap(BINDING, version, Option.some(record)))
              assert.strictEqual(error.reason, "Invalid")
              assertClean("an error", shown(error), [KEY])
              assert.deepStrictEqual(Option.map(yield* store.get(BINDING), (_) => _.version), version)
            }
          }
        })
      ))

    it.scopedLive("answers with an error while its table is gone, and recovers", () =>
      withStore((store, sql) =>
        Effect.gen(function*() {
          yield* sql`ALTER TABLE agent_identity_credentials RENAME TO away`
          yield* assertUnavailable(store)
          yield* sql`ALTER TABLE away RENAME TO agent_identity_credentials`
          assert.isTrue(yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        })
      ))

    it.scopedLive("is part of the transaction that it is in", () =>
      withStore((store, sql) =>
        Effect.gen(function*() {
          const put = store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          assert.isTrue(yield* Effect.flip(sql.withTransaction(Effect.flatMap(put, Effect.fail))))
          assert.deepStrictEqual(yield* store.get(BINDING), Option.none())
          assert.isTrue(yield* sql.withTransaction(put))
          assert.isTrue(Option.isSome(yield* store.get(BINDING)))
        })
      ))

    it.scopedLive("keeps text in ASCII, and the key in the clear", () =>
      withStore((store, sql) =>
        Effect.gen(function*() {
          const record = { ...recordOf(1), lease: { holder: "日\0\u007f", expiresAt: 1 } }
          yield* store.compareAndSwap(bindingOf("account-1", "é"), Option.none(), Option.some(record))
          const [row] = yield* sql<Record<string, string>>`SELECT * FROM agent_identity_credentials`
          assert.strictEqual(row!.account_id, "\"account-1\"")
          assert.strictEqual(row!.chatgpt_user_id, "\"\\u00e9\"")
          assert.match(row!.version!, /^"[0-9a-f-]{36}"$/)
          assert.match(row!.record!, /^[\x20-\x7e]+$/)
          assert.deepStrictEqual(JSON.parse(row!.record!), plain(record))
          assert.include(row!.record, KEY)
        })
      ))

    it.scopedLive("shows no key to logs and traces", () => {
      const { lines, observe, spans } = observer()
      return withStore((store, sql) =>
        Effect.gen(function*() {
          yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          yield* increment(store)
          yield* sql`ALTER TABLE agent_identity_credentials RENAME TO away`
          yield* Effect.ignoreLogged(store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
          assert.isAbove(spans.length, 4)
          assertClean("a trace", spans.join("\n"), [KEY])
          assertClean("a log", lines.join("\n"), [KEY])
        }).pipe(observe, Effect.provide(Logger.remove(Logger.defaultLogger)))
      )
    })
  })

suite("libsql file", libsqlPlace, { manyBindings: true })
sqlSuite("libsql file", libsqlDatabase)

describe("SqlCredentialStore over a libsql file", () => {
  it.scopedLive("knows its agents after a restart", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const restarted = <A, E>(use: (store: CredentialStore.Service) => Effect.Effect<A, E>) =>
        Effect.provide(
          Effect.flatMap(CredentialStore.CredentialStore, use),
          Layer.provide(SqlCredentialStore.layer, LibsqlFile.layer({ file }))
        )
      yield* restarted((_) => _.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
      yield* restarted(increment)
      const entry = Option.getOrThrow(yield* restarted((_) => _.get(BINDING)))
      assert.deepStrictEqual(plain(entry.record), plain(recordOf(2)))
      assert.strictEqual(Fs.statSync(file).mode & 0o777, 0o600)
      const closed = yield* Effect.provide(
        CredentialStore.CredentialStore,
        Layer.provide(SqlCredentialStore.layerWith({ timeout: "1 second" }), LibsqlFile.layer({ file }))
      )
      yield* assertUnavailable(closed)
    }))
})

describe("SqlCredentialStore", () => {
  it.scopedLive("is configured", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const configured = Config.duration("TIMEOUT").pipe(
        Effect.map((timeout) => SqlCredentialStore.layerWith({ timeout })),
        Layer.unwrapEffect
      )
      const libsql = Layer.provide(
        configured,
        LibsqlFile.layerConfig({ file: Config.string("FILE"), busyTimeout: Config.succeed(undefined) })
      )
      const postgres = Layer.provide(
        configured,
        Postgres.layerConfig({
          url: Config.redacted("URL"),
          connectTimeout: Config.succeed(undefined),
          maxConnections: Config.succeed(undefined)
        })
      )
      const provider = ConfigProvider.fromMap(
        new Map([["FILE", file], ["TIMEOUT", "1 second"], ["URL", "postgres://127.0.0.1:1/db"]])
      )
      const nothing = ConfigProvider.fromMap(new Map())
      yield* Effect.withConfigProvider(open(libsql), provider)
      assert.isTrue(Fs.existsSync(file))
      assert.isTrue(ConfigError.isConfigError(yield* Effect.flip(Effect.withConfigProvider(open(libsql), nothing))))
      const error = yield* Effect.flip(Effect.withConfigProvider(open(postgres), provider))
      assert.strictEqual(error._tag, "PostgresError")
      assert.isTrue(ConfigError.isConfigError(yield* Effect.flip(Effect.withConfigProvider(open(postgres), nothing))))
    }))
})

/** A process that counts; what it says at the end. */
const counter = (url: Redacted.Redacted<string>, times: number) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(process.execPath, [
          "--import=tsx",
          "--conditions=@agent-identity/source",
          fileURLToPath(new URL("fixtures/counter.ts", import.meta.url)),
          globalThis.String(times)
        ], { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, DATABASE_URL: Redacted.value(url) } })
        let said = ""
        const opened = new Promise<void>((resolve) =>
          child.stdout.on("data", (data) => {
            said += data
            if (said.startsWith("open")) resolve()
          })
        )
        const ended = new Promise<string>((resolve, reject) => {
          child.once("error", reject)
          child.once(
            "close",
            (code) => code === 0 ? resolve(said) : reject(new Error(`the process ended with ${code}`))
          )
        })
        return { child, opened, ended }
      }),
      ({ child, ended }) =>
        Effect.promise(() => {
          child.kill("SIGKILL")
          return ended.catch(() => {})
        })
    ),
    ({ child, ended, opened }) => ({
      opened: Effect.promise(() => Promise.race([opened, ended])),
      count: Effect.promise(() => {
        child.stdin.end()
        return ended
      })
    })
  )

describe.skipIf(!hasPostgres)("PostgreSQL", () => {
  suite("PostgreSQL", postgresPlace, { manyBindings: true })
  sqlSuite("PostgreSQL", postgresDatabase)

  describe("SqlCredentialStore over PostgreSQL", () => {
    it.scopedLive("makes its tables, in many clients at the same time", () =>
      Effect.gen(function*() {
        for (let round = 0; round < 3; round++) {
          const url = yield* temporaryDatabase
          const created = yield* Effect.all(
            Array.from({ length: 8 }, (_, index) =>
              Effect.provide(
                Effect.flatMap(
                  CredentialStore.CredentialStore,
                  (_) => _.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(index)))
                ),
                Layer.provide(SqlCredentialStore.layer, Postgres.layer({ url, maxConnections: 1 }))
              )),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(created.filter((_) => _).length, 1)
        }
      }))

    it.scopedLive(
      "loses nothing of what several processes count up, from an empty database on",
      () =>
        Effect.gen(function*() {
          const url = yield* temporaryDatabase
          const counters = yield* Effect.replicateEffect(counter(url, 100), 4)
          yield* Effect.forEach(counters, (_) => _.opened)
          const said = yield* Effect.forEach(counters, (_) => _.count, { concurrency: "unbounded" })
          assert.isAbove(said.map((_) => Number(/lost (\d+)/.exec(_)![1])).reduce((a, b) => a + b), 0)
          const store = yield* open(Layer.provide(SqlCredentialStore.layer, Postgres.layer({ url })))
          assert.strictEqual(countOf(Option.getOrThrow(yield* store.get(BINDING)).record), 400)
        })
    )

    it.scopedLive("works with the client of an app, whatever that makes of names", () =>
      Effect.gen(function*() {
        const client = PgClient.layer({
          url: yield* temporaryDatabase,
          transformQueryNames: String.camelToSnake,
          transformResultNames: String.snakeToCamel
        })
        const store = yield* open(Layer.provide(SqlCredentialStore.layer, client))
        assert.isTrue(yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
        yield* increment(store)
        assert.strictEqual(countOf(Option.getOrThrow(yield* store.get(BINDING)).record), 2)
      }))

    it.scopedLive(
      "answers with an error when the server does not, and goes on when it does",
      () =>
        Effect.gen(function*() {
          const proxy = yield* proxyOf(yield* temporaryDatabase)
          const store = yield* open(
            SqlCredentialStore.layerWith({ timeout: "300 millis" }).pipe(
              Layer.provide(Postgres.layer({ url: proxy.url, connectTimeout: "300 millis" }))
            )
          )
          yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          proxy.freeze(true)
          const started = performance.now()
          yield* assertUnavailable(store)
          // Five calls, each of which waits for 5 seconds or more by default.
          assert.isBelow(performance.now() - started, 5 * 5000 / 2)
          proxy.freeze(false)
          const found = yield* store.get(BINDING).pipe(
            Effect.retry(Schedule.spaced("100 millis").pipe(Schedule.upTo("10 seconds")))
          )
          assert.isTrue(Option.isSome(found))
        })
    )

    it.scopedLive("does not wait for a transaction that holds the row", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        const store = yield* open(
          Layer.provide(SqlCredentialStore.layerWith({ timeout: "300 millis" }), Postgres.layer({ url }))
        )
        yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
        const [locked, done] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
        const other = yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
          sql.withTransaction(
            sql`UPDATE agent_identity_credentials SET record = record`.pipe(
              Effect.zipRight(locked.open),
              Effect.zipRight(done.await)
            )
          )).pipe(Effect.provide(Postgres.layer({ url })), Effect.fork)
        yield* locked.await
        const error = yield* Effect.flip(increment(store))
        assert.strictEqual(
          error.message,
          "The agent in the SQL database is out of reach: no answer within 300ms"
        )
        assert.strictEqual(countOf(Option.getOrThrow(yield* store.get(BINDING)).record), 1)
        // The server hears a moment later that it is to give up.
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
          Effect.repeat(sql`SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`, {
            until: (waiting) =>
              waiting.length === 0
          })).pipe(Effect.provide(Postgres.layer({ url })))
        yield* done.open
        yield* Fiber.join(other)
        yield* increment(store)
        assert.strictEqual(countOf(Option.getOrThrow(yield* store.get(BINDING)).record), 2)
      }))

    it.scopedLive("loses no swap that it has acknowledged while connections break", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        const store = yield* open(Layer.provide(SqlCredentialStore.layer, Postgres.layer({ url: proxy.url })))
        yield* store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(0)))
        let acknowledged = 0
        let unknown = 0
        for (let round = 0; round < 10; round++) {
          yield* Effect.all([
            Effect.forEach(
              Array.from({ length: 30 }),
              () =>
                Effect.match(increment(store), {
                  onFailure: () => void unknown++,
                  onSuccess: () => void acknowledged++
                }),
              { concurrency: 8 }
            ),
            Effect.zipRight(Effect.sleep(2 + 3 * round), Effect.sync(proxy.cut))
          ], { concurrency: 2 })
        }
        const count = countOf(Option.getOrThrow(yield* store.get(BINDING)).record)
        assert.isAbove(unknown, 0)
        assert.isAtLeast(count, acknowledged)
        assert.isAtMost(count, acknowledged + unknown)
      }))
  })
})
