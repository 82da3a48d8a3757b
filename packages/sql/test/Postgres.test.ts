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
  Fiber,
  Layer,
  Option,
  Redacted,
  Schedule,
  String
} from "effect"
import * as Net from "node:net"
import { inspect } from "node:util"
import { hasPostgres, temporaryDatabase } from "./databases.ts"
import { assertUnavailable } from "./directorySuite.ts"
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

    it.scopedLive("does not wait for a process that is removing the same tasks", () =>
      Effect.gen(function*() {
        const url = yield* temporaryDatabase
        const directory = yield* open(url, { taskLifetime: "200 millis", timeout: "2 seconds" })
        const old = yield* Effect.replicateEffect(directory.issueTask(agent.agentRuntimeId), 3)
        yield* Effect.sleep("500 millis")
        const [deleted, done] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
        const other = yield* Effect.flatMap(SqlClient.SqlClient, (sql) =>
          sql.withTransaction(
            sql`DELETE FROM agent_identity_tasks WHERE task_id = ${JSON.stringify(old[0]!.taskId)}`.pipe(
              Effect.zipRight(deleted.open),
              Effect.zipRight(done.await)
            )
          )).pipe(Effect.provide(Postgres.layer({ url })), Effect.fork)
        yield* deleted.await
        yield* directory.issueTask(agent.agentRuntimeId)
        yield* done.open
        yield* Fiber.join(other)
        for (const { taskId } of old) assert.deepStrictEqual(yield* directory.findTask(taskId), Option.none())
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
  })
})
