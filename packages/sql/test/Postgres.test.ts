import { AgentRuntimeId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigError,
  ConfigProvider,
  Context,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Redacted,
  Schedule,
  String
} from "effect"
import * as Net from "node:net"
import { inspect } from "node:util"
import type Pg from "pg"
import { PgClient as Client } from "../src/internal/pgClient.ts"
import { hasPostgres, temporaryDatabase } from "./databases.ts"
import { assertUnavailable } from "./directorySuite.ts"
import { hasPgBouncer, pgBouncer } from "./pgbouncer.ts"
import * as PostgresServer from "./postgres.ts"
import { proxyOf } from "./proxy.ts"

const agent: AgentDirectory.Agent = {
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"),
  publicKey: new Uint8Array(32),
  owner: "owner"
}

const open = (url: Redacted.Redacted<string>, options: Partial<Postgres.Options> & SqlAgentDirectory.Options = {}) =>
  Effect.map(
    Layer.build(Layer.provide(SqlAgentDirectory.layerWith(options), Postgres.layer({ url, ...options }))),
    Context.get(AgentDirectory.AgentDirectory)
  )

describe("Postgres", () => {
  it.live("says why it has no connection, without the password", () =>
    Effect.gen(function*() {
      const errorOf = (url: string) => Effect.flip(Effect.scoped(open(Redacted.make(url))))
      const cases = [
        ["", "InvalidUrl"],
        [PostgresServer.PASSWORD, "InvalidUrl"],
        [`mysql://u:${PostgresServer.PASSWORD}@127.0.0.1/db`, "InvalidUrl"],
        [`postgres://u:${PostgresServer.PASSWORD}@127.0.0.1:1/db`, "Unavailable"],
        [`postgres://u:${PostgresServer.PASSWORD}@127.0.0.1:99999/db`, "Unavailable"],
        [`postgres://u:${PostgresServer.PASSWORD}/#?@[127.0.0.1/db`, "Unavailable"]
      ] as const
      for (const [url, reason] of cases) {
        const error = yield* errorOf(url)
        assert.strictEqual(error._tag === "PostgresError" && error.reason, reason)
        assert.notInclude(
          inspect(error, { depth: 20 }) + JSON.stringify(error) + error.message,
          PostgresServer.PASSWORD
        )
      }
      assert.include((yield* errorOf("postgres://127.0.0.1:1/db")).message, "ECONNREFUSED")
    }))

  it.live("does not wait for a server that never answers", () =>
    Effect.acquireUseRelease(
      Effect.promise(() =>
        new Promise<Net.Server>((resolve) => {
          const server = Net.createServer(() => {}).listen(0, "127.0.0.1", () => resolve(server))
        })
      ),
      (server) =>
        Effect.gen(function*() {
          const { port } = server.address() as Net.AddressInfo
          const url = Redacted.make(`postgres://u:p@127.0.0.1:${port}/db`)
          const error = yield* Effect.scoped(open(url, { connectTimeout: "300 millis" })).pipe(
            Effect.flip,
            Effect.timeout("5 seconds")
          )
          assert.strictEqual(error._tag, "PostgresError")
        }),
      (server) => Effect.sync(() => server.close())
    ))

  it.live("is configured", () =>
    Effect.gen(function*() {
      const config = { url: Config.redacted("URL"), connectTimeout: Config.duration("TIMEOUT") }
      const provider = ConfigProvider.fromMap(new Map([["URL", "postgres://127.0.0.1:1/db"], ["TIMEOUT", "1 second"]]))
      const errorOf = (layer: Layer.Layer<never, unknown>) => Effect.flip(Effect.scoped(Layer.build(layer)))
      const database = Postgres.layerConfig({ ...config, maxConnections: Config.succeed(undefined) })
      const layers: ReadonlyArray<Layer.Layer<never, unknown>> = [
        Layer.discard(database),
        Layer.discard(Layer.provide(SqlAgentDirectory.layer, database))
      ]
      for (const layer of layers) {
        assert.instanceOf(yield* Effect.withConfigProvider(errorOf(layer), provider), Postgres.PostgresError)
        const error = yield* Effect.withConfigProvider(errorOf(layer), ConfigProvider.fromMap(new Map()))
        assert.isTrue(ConfigError.isConfigError(error))
      }
    }))

  describe.skipIf(!hasPostgres)("with a server", () => {
    it.scopedLive("is refused without the password being seen", () =>
      Effect.gen(function*() {
        const url = Redacted.make(Redacted.value(yield* temporaryDatabase).replace("//postgres:", "//nobody:"))
        const error = yield* Effect.flip(open(url))
        assert.include(error.message, "28000")
        assert.notInclude(inspect(error, { depth: 20 }), PostgresServer.PASSWORD)
      }))

    it.scopedLive("is shared by several server processes", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        const [one, other] = yield* Effect.all([open(url), open(url)], { concurrency: 2 })
        yield* one.putAgent(agent)
        assert.deepStrictEqual(yield* other.findAgent(agent.agentRuntimeId), Option.some(agent))
        const tasks = yield* Effect.all(
          [one, other].flatMap((_) => Array.from({ length: 50 }, () => _.issueTask(agent.agentRuntimeId))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(tasks.map((_) => _.taskId)).size, 100)
        for (const task of [tasks[0]!, tasks[99]!]) {
          assert.deepStrictEqual(yield* one.findTask(task.taskId), Option.some(task))
          assert.deepStrictEqual(yield* other.findTask(task.taskId), Option.some(task))
        }
        const removals = yield* Effect.all(
          Array.from({ length: 10 }, (_, n) => (n % 2 === 0 ? one : other).removeAgent(agent.agentRuntimeId)),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(removals.filter((_) => _).length, 1)
        assert.deepStrictEqual(yield* one.findTask(tasks[99]!.taskId), Option.none())
      }))

    it.scopedLive("works with the client of an app, whatever that makes of names and numbers", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        const client = PgClient.layer({
          url,
          transformQueryNames: String.camelToSnake,
          transformResultNames: String.snakeToCamel,
          types: { getTypeParser: (id: number) => (value: string) => id === 20 ? BigInt(value) : value } as never
        })
        yield* Effect.gen(function*() {
          const directory = yield* AgentDirectory.AgentDirectory
          yield* directory.putAgent(agent)
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
          const task = yield* directory.issueTask(agent.agentRuntimeId)
          assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
          assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
        }).pipe(Effect.provide(Layer.provide(SqlAgentDirectory.layer, client)))
      }))

    it.scopedLive(
      "answers with an error when the server does not, and goes on when it does",
      () =>
        Effect.gen(function*() {
          const proxy = yield* proxyOf(yield* temporaryDatabase)
          const directory = yield* open(proxy.url, { timeout: "300 millis", connectTimeout: "300 millis" })
          yield* directory.putAgent(agent)
          proxy.freeze(true)
          const started = performance.now()
          yield* assertUnavailable(directory)
          // Five calls, each of which waits for 5 seconds or more by default.
          assert.isBelow(performance.now() - started, 5 * 5000 / 2)
          proxy.freeze(false)
          const found = yield* directory.findAgent(agent.agentRuntimeId).pipe(
            Effect.retry(Schedule.spaced("100 millis").pipe(Schedule.upTo("10 seconds")))
          )
          assert.deepStrictEqual(found, Option.some(agent))
        })
    )

    it.scopedLive("answers with an error or as asked while connections break", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        const directory = yield* open(proxy.url)
        yield* directory.putAgent(agent)
        let failures = 0
        for (let round = 0; round < 10; round++) {
          const [results] = yield* Effect.all([
            Effect.all(
              Array.from({ length: 30 }, (_, n): Effect.Effect<unknown, AgentDirectory.AgentDirectoryError> =>
                n % 2 === 0 ? directory.removeAgent(agent.agentRuntimeId) : directory.issueTask(agent.agentRuntimeId)),
              { concurrency: "unbounded", mode: "either" }
            ),
            Effect.zipRight(Effect.sleep(round), Effect.sync(proxy.cut))
          ], { concurrency: 2 })
          failures += results.filter(Either.isLeft).length
        }
        assert.isAbove(failures, 0)
        yield* directory.putAgent(agent)
        assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
      }))

    it.scopedLive("answers with an error while the server is down, and recovers", () =>
      Effect.gen(function*() {
        const server = yield* Effect.acquireRelease(
          Effect.promise(PostgresServer.make),
          (server) => Effect.promise(server.remove)
        )
        const directory = yield* open(Redacted.make(server.url))
        yield* directory.putAgent(agent)
        const task = yield* directory.issueTask(agent.agentRuntimeId)
        const [results] = yield* Effect.all([
          Effect.all(Array.from({ length: 200 }, () => directory.removeAgent("other" as typeof agent.agentRuntimeId)), {
            concurrency: "unbounded",
            mode: "either"
          }),
          Effect.promise(server.stop)
        ], { concurrency: 2 })
        assert.strictEqual(results.length, 200)
        yield* assertUnavailable(directory)
        yield* Effect.promise(server.start)
        assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
        assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
        assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
      }))

    it.scopedLive("closes connections that have gone silent, and is back within 10 seconds", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const backends = Effect.all(
            Array.from({ length: 10 }, () => sql`SELECT pg_backend_pid() AS pid, pg_sleep(0.2)`),
            { concurrency: "unbounded" }
          )
          const before = new Set((yield* backends).map((_) => _[0]!.pid))
          assert.strictEqual(before.size, 10)
          proxy.silence()
          const started = performance.now()
          const exits = yield* Effect.all(Array.from({ length: 30 }, () => Effect.exit(sql`SELECT 1`)), {
            concurrency: "unbounded"
          })
          // Ten calls were lost with their connections; who came after them got new ones.
          assert.strictEqual(exits.filter(Exit.isFailure).length, 10)
          assert.isBelow(performance.now() - started, 10_000)
          const after = (yield* backends).map((_) => _[0]!.pid)
          assert.isFalse(after.some((pid) => before.has(pid)))
        }).pipe(Effect.provide(Postgres.layer({ url: proxy.url })))
      }))

    it.scopedLive("closes the connection of a transaction that has gone silent", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const exit = yield* Effect.exit(
            sql.withTransaction(
              Effect.zipRight(sql`SELECT 1`, Effect.zipRight(Effect.sync(proxy.silence), sql`SELECT 1`))
            )
          )
          assert.isTrue(Exit.isFailure(exit))
          const started = performance.now()
          yield* sql`SELECT 1`
          assert.isBelow(performance.now() - started, 1000)
        }).pipe(Effect.provide(Postgres.layer({ url: proxy.url, maxConnections: 1, queryTimeout: "500 millis" })))
      }))

    it.scopedLive("is given up in both forms of the driver's calls, and only where the server has not answered", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        const forms: ReadonlyArray<(client: Pg.Client, text: string) => Promise<unknown>> = [
          (client, text) => client.query(text),
          (client, text) => client.query({ text }),
          (client, text) => client.query(text, []),
          (client, text) =>
            new Promise((resolve, reject) =>
              client.query(text, (error: unknown, result: unknown) => error ? reject(error) : resolve(result))
            ),
          (client, text) =>
            new Promise((resolve, reject) =>
              client.query(text, [], (error: unknown, result: unknown) => error ? reject(error) : resolve(result))
            )
        ]
        for (const form of forms) {
          yield* Effect.promise(async () => {
            const client = new Client({ connectionString: Redacted.value(proxy.url), query_timeout: 300 })
            const errors: Array<unknown> = []
            client.on("error", (error) => errors.push(error))
            await client.connect()
            const codeOf = (text: string) => form(client, text).then(() => "none", (error) => error.code)
            assert.deepStrictEqual([await codeOf("SELECT 1"), await codeOf("nonsense")], ["none", "42601"])
            assert.isEmpty(errors)
            proxy.silence()
            assert.strictEqual(await codeOf("SELECT 1"), "ETIMEDOUT")
            assert.strictEqual(errors.length, 1)
            assert.isTrue((client as unknown as { readonly connection: Pg.Connection }).connection.stream.destroyed)
            assert.notStrictEqual(await codeOf("SELECT 1"), "none")
          })
        }
      }))

    it.scopedLive("fails its check within 2 seconds when it gives no answer", () =>
      Effect.gen(function*() {
        const proxy = yield* proxyOf(yield* temporaryDatabase)
        const directory = yield* open(proxy.url)
        yield* directory.check
        proxy.freeze(true)
        const started = performance.now()
        yield* Effect.flip(directory.check)
        assert.isBelow(performance.now() - started, 2500)
      }))

    it.scopedLive("lets the server end a slow statement, and keeps its connection", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const pid = sql`SELECT pg_backend_pid() AS pid`
          const before = yield* pid
          const { cause } = yield* Effect.flip(sql`SELECT pg_sleep(10)`)
          assert.strictEqual((cause as { readonly code?: string }).code, "57014")
          assert.deepStrictEqual(yield* pid, before)
        }).pipe(Effect.provide(Postgres.layer({ url, maxConnections: 1, queryTimeout: "800 millis" })))
      }))

    it.scopedLive("fails within its time-outs when all connections are in use, and goes on when one is free", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const busy = yield* Effect.fork(sql`SELECT pg_sleep(1)`)
          yield* Effect.sleep("100 millis")
          const started = performance.now()
          yield* Effect.flip(sql`SELECT 1`)
          assert.isBelow(performance.now() - started, 800)
          yield* Fiber.join(busy)
          yield* sql`SELECT 1`
        }).pipe(Effect.provide(Postgres.layer({ url, maxConnections: 1, connectTimeout: "300 millis" })))
      }))

    describe.skipIf(!hasPgBouncer)("behind PgBouncer", () => {
      const everyCall = (directory: AgentDirectory.Service) =>
        Effect.gen(function*() {
          yield* directory.check
          yield* directory.putAgent(agent)
          const task = yield* directory.issueTask(agent.agentRuntimeId)
          assert.deepStrictEqual(yield* directory.findTask(task.taskId), Option.some(task))
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
          assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
        })

      // In session mode each connection has one of the server's for itself.
      for (const [mode, size] of [["session", 10], ["transaction", 3]] as const) {
        it.scopedLive(`works in ${mode} mode, and says that the server ends no statement`, () =>
          Effect.gen(function*() {
            const url = yield* pgBouncer(yield* temporaryDatabase, `pool_mode = ${mode}\ndefault_pool_size = ${size}`)
            const logged: Array<unknown> = []
            const logger = Logger.make(({ message }) => void logged.push(message))
            const directory = yield* open(url).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
            assert.match(logged.join(), /PgBouncer refuses statement_timeout/)
            yield* Effect.all(Array.from({ length: 20 }, () => directory.issueTask(agent.agentRuntimeId)), {
              concurrency: "unbounded"
            })
            yield* everyCall(directory)
          }))
      }

      it.scopedLive("gives up by itself, and is told nothing where PgBouncer ignores the parameter", () =>
        Effect.gen(function*() {
          const url = yield* pgBouncer(
            yield* temporaryDatabase,
            "pool_mode = transaction\nignore_startup_parameters = statement_timeout"
          )
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            const { cause } = yield* Effect.flip(sql`SELECT pg_sleep(3)`)
            assert.strictEqual((cause as { readonly code?: string }).code, "ETIMEDOUT")
            yield* sql`SELECT 1`
          }).pipe(Effect.provide(Postgres.layer({ url, queryTimeout: "500 millis" })))
        }))
    })
  })
})
