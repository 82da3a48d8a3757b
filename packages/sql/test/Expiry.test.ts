/** What is over leaves the tables, in a fiber of the directory's layer. */
import { AgentRuntimeId, TaskId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Option, type Scope } from "effect"
import * as Expiry from "../src/internal/expiry.ts"
import { hasPostgres, temporaryDatabase, temporaryFile } from "./databases.ts"

const agentOf = (id: string): AgentDirectory.Agent => ({
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(id),
  publicKey: new Uint8Array(32)
})
const agent = agentOf("agent-1")

/** So many tasks of this agent, `prefix-1` and so on. */
const insertTasks = (sql: SqlClient.SqlClient, count: number, expiresAt: number, prefix = "old", id = "agent-1") =>
  Effect.gen(function*() {
    const batch = 25_000
    const integer = (value: number) => sql.literal(String(value))
    for (let from = 0; from < count; from += batch) {
      yield* sql`
        WITH RECURSIVE number (n) AS (
          SELECT ${integer(from + 1)} UNION ALL SELECT n + 1 FROM number WHERE n < ${
        integer(Math.min(from + batch, count))
      }
        )
        INSERT INTO agent_identity_tasks (task_id, agent_runtime_id, expires_at)
        SELECT ${`"${prefix}-`} || n || '"', ${`"${id}"`}, ${expiresAt} FROM number
      `
    }
  })

const count = (sql: SqlClient.SqlClient, table: "agents" | "tasks") =>
  Effect.map(
    sql.unsafe<{ readonly n: unknown }>(`SELECT count(*) AS n FROM agent_identity_${table}`),
    (rows) => Number(rows[0]!.n)
  )

const isEventually = (expected: number, actual: Effect.Effect<number, unknown>, millis = 15_000) =>
  Effect.gen(function*() {
    const started = performance.now()
    while ((yield* actual) !== expected) {
      assert.isBelow(performance.now() - started, millis, `${yield* actual} are not ${expected}`)
      yield* Effect.sleep("100 millis")
    }
  })

/**
 * The turns of the event loop while this runs: how many, and the processor time in milliseconds of those that do
 * something, since nothing else is done as long. By processor time, because a busy machine takes the processor away for
 * longer than that; and without one in ten, because a collection of garbage counts too.
 */
const turnsOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const turns: Array<number> = []
      let before = process.cpuUsage()
      const next = (): void => {
        const { system, user } = process.cpuUsage(before)
        turns.push((system + user) / 1000)
        before = process.cpuUsage()
        immediate = setImmediate(next)
      }
      let immediate = setImmediate(next)
      return { turns, stop: () => clearImmediate(immediate) }
    }),
    ({ turns }) =>
      Effect.map(effect, () => {
        const busy = turns.filter((millis) => millis > 1).sort((a, b) => b - a)
        return { count: turns.length, millis: busy[Math.floor(busy.length / 10)] ?? 0 }
      }),
    ({ stop }) => Effect.sync(stop)
  )

const suite = (
  name: string,
  database: Effect.Effect<Layer.Layer<SqlClient.SqlClient, unknown>, unknown, Scope.Scope>
) =>
  describe(`What is over: ${name}`, () => {
    const open = (options: SqlAgentDirectory.Options) =>
      Effect.gen(function*() {
        const context = yield* Layer.build(Layer.provideMerge(SqlAgentDirectory.layerWith(options), yield* database))
        return {
          directory: Context.get(context, AgentDirectory.AgentDirectory),
          sql: Context.get(context, SqlClient.SqlClient)
        }
      })

    it.scopedLive("leaves the tables where nobody registers anything", () =>
      Effect.gen(function*() {
        const { directory, sql } = yield* open({ taskLifetime: "1 second" })
        const now = Date.now()
        yield* directory.putAgent(agent)
        yield* directory.putAgent({ ...agentOf("expiring"), expiresAt: now + 500 })
        yield* insertTasks(sql, 2500, now - 60_000, "old")
        yield* insertTasks(sql, 1500, now + 3_600_000, "of-expiring", "expiring")
        yield* insertTasks(sql, 3, now + 3_600_000, "live")
        yield* isEventually(3, count(sql, "tasks"))
        yield* isEventually(1, count(sql, "agents"))
        assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
        assert.isTrue(Option.isSome(yield* directory.findTask(TaskId.TaskId.make("live-1"))))
      }))

    it.scopedLive("leaves them after an agent with 200,000 tasks was removed, which takes no time", () =>
      Effect.gen(function*() {
        const { directory, sql } = yield* open({ taskLifetime: "1 second" })
        yield* directory.putAgent(agent)
        yield* directory.putAgent(agentOf("other"))
        yield* insertTasks(sql, 200_000, Date.now() + 3_600_000, "task")
        yield* insertTasks(sql, 1, Date.now() + 3_600_000, "others", "other")
        const started = performance.now()
        assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
        const took = performance.now() - started
        assert.isBelow(took, 500)
        assert.isTrue(Option.isNone(yield* directory.findAgent(agent.agentRuntimeId)))
        assert.isTrue(Option.isNone(yield* directory.findTask(TaskId.TaskId.make("task-200000"))))
        const { millis } = yield* turnsOf(isEventually(1, count(sql, "tasks"), 60_000))
        yield* isEventually(1, count(sql, "agents"))
        assert.isTrue(Option.isSome(yield* directory.findTask(TaskId.TaskId.make("others-1"))))
        assert.isBelow(millis, 20)
      }))

    it.scopedLive("goes in batches, between which the event loop turns", () =>
      Effect.gen(function*() {
        const { sql } = yield* open({ taskLifetime: "1 hour" })
        yield* insertTasks(sql, 50_000, 0)
        const { count: turns } = yield* turnsOf(Expiry.make(sql, 1000).pass)
        assert.strictEqual(yield* count(sql, "tasks"), 0)
        assert.isAtLeast(turns, 50)
      }))

    it.scopedLive("is not what has come back meanwhile", () =>
      Effect.gen(function*() {
        const { directory, sql } = yield* open({ taskLifetime: "1 hour" })
        const { pass } = Expiry.make(sql, 3_600_000)
        // Removed, put in again and given tasks while passes are made.
        const passes = yield* Effect.fork(Effect.forever(pass))
        for (let round = 0; round < 20; round++) {
          yield* directory.putAgent(agent)
          const tasks = yield* Effect.replicateEffect(directory.issueTask(agent.agentRuntimeId), 20, { concurrency: 5 })
          for (const { taskId } of tasks) assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
          assert.isTrue(Option.isSome(yield* directory.findAgent(agent.agentRuntimeId)))
          assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
          for (const { taskId } of tasks) assert.isTrue(Option.isNone(yield* directory.findTask(taskId)))
        }
        yield* Fiber.interrupt(passes)
      }))

    it.scopedLive("is not deleted by requests", () =>
      Effect.gen(function*() {
        const { directory, sql } = yield* open({ taskLifetime: "1 hour" })
        yield* insertTasks(sql, 5, 0)
        yield* directory.issueTask(agent.agentRuntimeId)
        assert.strictEqual(yield* count(sql, "tasks"), 6)
        assert.isTrue(Option.isNone(yield* directory.findTask(TaskId.TaskId.make("old-1"))))
      }))

    it.scopedLive("is tried again after a failure, which is logged", () =>
      Effect.gen(function*() {
        const logged: Array<string> = []
        const logger = Logger.make(({ cause, message }) => void logged.push(`${message} ${JSON.stringify(cause)}`))
        const { sql } = yield* Effect.provide(
          open({ taskLifetime: "1 second" }),
          Logger.replace(Logger.defaultLogger, logger)
        )
        yield* sql`ALTER TABLE agent_identity_tasks RENAME TO away`
        yield* insertTasks(sql, 5, 0, "secret").pipe(Effect.ignore)
        yield* Effect.sleep("1500 millis")
        yield* sql`ALTER TABLE away RENAME TO agent_identity_tasks`
        yield* insertTasks(sql, 5, 0, "secret")
        yield* isEventually(0, count(sql, "tasks"))
        assert.match(logged.join(), /were not removed .*Unavailable/)
        assert.notInclude(logged.join(), "secret")
      }))
  })

suite("libsql file", Effect.map(temporaryFile, (file) => LibsqlFile.layer({ file })))

describe.skipIf(!hasPostgres)("PostgreSQL", () => {
  suite("PostgreSQL", Effect.map(temporaryDatabase, (url) => Postgres.layer({ url })))

  const migrated = Effect.gen(function*() {
    const url = yield* temporaryDatabase
    const context = yield* Layer.build(Layer.provideMerge(SqlAgentDirectory.layer, Postgres.layer({ url })))
    const sql = Context.get(context, SqlClient.SqlClient)
    return { sql, pass: Expiry.make(sql, 1000).pass, directory: Context.get(context, AgentDirectory.AgentDirectory) }
  })

  it.scopedLive("leaves what is over to the process that is at it", () =>
    Effect.gen(function*() {
      const { directory, pass, sql } = yield* migrated
      yield* insertTasks(sql, 5, 0)
      yield* directory.putAgent({ ...agent, expiresAt: 1 })
      const [held, done] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
      const other = yield* Effect.fork(
        sql.withTransaction(
          sql`SELECT pg_advisory_xact_lock(1634167140)`.pipe(
            Effect.zipRight(held.open),
            Effect.zipRight(done.await)
          )
        )
      )
      yield* held.await
      yield* pass
      assert.deepStrictEqual([yield* count(sql, "tasks"), yield* count(sql, "agents")], [5, 1])
      yield* done.open
      yield* Fiber.join(other)
      yield* pass
      assert.deepStrictEqual([yield* count(sql, "tasks"), yield* count(sql, "agents")], [0, 0])
    }))

  it.scopedLive("waits for nobody who has locked what is over, and leaves no lock behind", () =>
    Effect.gen(function*() {
      const { pass, sql } = yield* migrated
      yield* insertTasks(sql, 5, 0)
      const [deleted, done] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
      const other = yield* Effect.fork(
        sql.withTransaction(
          sql`DELETE FROM agent_identity_tasks WHERE task_id = '"old-1"'`.pipe(
            Effect.zipRight(deleted.open),
            Effect.zipRight(done.await)
          )
        )
      )
      yield* deleted.await
      yield* Effect.timeout(pass, "2 seconds")
      assert.strictEqual(yield* count(sql, "tasks"), 1)
      assert.isEmpty(yield* sql`SELECT 1 FROM pg_locks WHERE locktype = 'advisory'`)
      yield* done.open
      yield* Fiber.join(other)
      assert.strictEqual(yield* count(sql, "tasks"), 0)
    }))

  it.scopedLive("holds up no request", () =>
    Effect.gen(function*() {
      const { directory, pass, sql } = yield* migrated
      yield* directory.putAgent(agent)
      yield* insertTasks(sql, 100_000, 0)
      const cleaning = yield* Effect.fork(pass)
      const times: Array<number> = []
      while (Option.isNone(yield* Fiber.poll(cleaning))) {
        const started = performance.now()
        const { taskId } = yield* directory.issueTask(agent.agentRuntimeId)
        assert.isTrue(Option.isSome(yield* directory.findTask(taskId)))
        times.push(performance.now() - started)
      }
      yield* Fiber.join(cleaning)
      times.sort((a, b) => a - b)
      assert.isAbove(times.length, 50)
      assert.isBelow(times[Math.floor(times.length * 0.95)]!, 200)
    }))
})
