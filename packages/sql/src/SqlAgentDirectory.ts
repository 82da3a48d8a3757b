/**
 * The directory of agents and tasks in an SQL database: SQLite or PostgreSQL, whichever the `SqlClient` is for. With
 * PostgreSQL all server processes share it.
 *
 * @since 0.1.0
 */
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { TaskId } from "@agent-identity/core/TaskId"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as Maintenance from "@agent-identity/server/maintenance"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { encode } from "./internal/asciiJson.ts"
import * as Expiry from "./internal/expiry.ts"
import * as SqlFailure from "./internal/sqlFailure.ts"
import * as Migrations from "./Migrations.ts"

/**
 * How long a task lives, and how long a call may take.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a task lives: 24 hours by default. */
  readonly taskLifetime?: Duration.DurationInput | undefined
  /** How long a call waits for the database: 10 seconds by default. A change may still happen after that. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Makes a directory over tables that are there: `Migrations.run` makes them. While the scope is open a fiber removes
 * agents that have expired and tasks that did a lifetime ago, in small batches; over PostgreSQL one process at a time.
 * Within a `withTransaction` a call is part of that transaction, as everything over `@effect/sql`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<AgentDirectory.Service, never, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const lifetime = Math.min(
      Math.ceil(Duration.toMillis(options.taskLifetime ?? AgentDirectory.defaultTaskLifetime)),
      longestLifetime
    )
    const timeout = Duration.decode(options.timeout ?? "10 seconds")
    const expiry = Expiry.make(sql, lifetime)

    const answerWithin = (duration: Duration.Duration) =>
    <A>(
      query: Effect.Effect<A, SqlError | ParseResult.ParseError>
    ): Effect.Effect<A, AgentDirectory.AgentDirectoryError> =>
      query.pipe(
        Effect.catchSomeDefect((defect) =>
          SqlFailure.isSqlError(defect) ? Option.some(Effect.fail(defect)) : Option.none()
        ),
        Effect.mapError((error) =>
          unavailable(
            error._tag === "SqlError" ? SqlFailure.describe(error) : "it has a row that this version cannot read"
          )
        ),
        // BEGIN and COMMIT cannot be interrupted; nobody has to wait for them.
        Effect.disconnect,
        Effect.timeoutFail({
          duration,
          onTimeout: () => unavailable(`no answer within ${Duration.format(duration)}`)
        })
      )
    const answer = answerWithin(timeout)

    /** Not the row of an agent that has expired: its tasks go before it comes back. */
    const put = (agent: AgentDirectory.Agent, now: number) =>
      sql`
        INSERT INTO agent_identity_agents AS known (agent_runtime_id, public_key, owner, expires_at)
        VALUES (
          ${encode(agent.agentRuntimeId)},
          ${Encoding.encodeBase64Url(agent.publicKey)},
          ${agent.owner === undefined ? null : encode(agent.owner)},
          ${agent.expiresAt === undefined ? null : Math.min(Math.ceil(agent.expiresAt), latestMillis)}
        )
        ON CONFLICT (agent_runtime_id) DO UPDATE
        SET public_key = excluded.public_key, owner = excluded.owner, expires_at = excluded.expires_at
        WHERE known.expires_at IS NULL OR known.expires_at > ${now}
        RETURNING agent_runtime_id
      `

    // Disconnected, so that the end of the scope does not wait for a database that gives no answer.
    const pass = Effect.mapError(Effect.disconnect(expiry.pass), (error) => unavailable(SqlFailure.describe(error)))
    yield* Maintenance.forkPasses(lifetime, pass)

    return {
      check: Effect.asVoid(
        answerWithin(Duration.min(timeout, "2 seconds"))(
          sql`SELECT 1 FROM agent_identity_agents, agent_identity_tasks LIMIT 0`
        )
      ),

      putAgent: (agent) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          for (let attempt = 0; attempt < 5; attempt++) {
            if ((yield* put(agent, now)).length > 0) return true
            yield* expiry.removeExpired(encode(agent.agentRuntimeId), now)
          }
          return false
        }).pipe(
          answer,
          Effect.filterOrFail(
            (isPut) => isPut,
            () => unavailable("the former tasks of this agent are still being removed")
          ),
          Effect.asVoid
        ),

      findAgent: (agentRuntimeId) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          answer(
            sql`
              SELECT public_key, owner, expires_at FROM agent_identity_agents
              WHERE agent_runtime_id = ${encode(agentRuntimeId)} AND (expires_at IS NULL OR expires_at > ${now})
            `.pipe(
              Effect.flatMap(decodeAgents),
              Effect.map((rows) =>
                Option.map(Array.head(rows), (row): AgentDirectory.Agent => ({
                  agentRuntimeId,
                  publicKey: row.public_key,
                  ...(row.owner === null ? {} : { owner: row.owner }),
                  ...(row.expires_at === null ? {} : { expiresAt: row.expires_at })
                }))
              )
            )
          )),

      removeAgent: (agentRuntimeId) =>
        answer(Effect.flatMap(Clock.currentTimeMillis, (now) => expiry.remove(encode(agentRuntimeId), now))),

      issueTask: (agentRuntimeId) =>
        answer(Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const task: AgentDirectory.Task = {
            taskId: TaskId.make(`task-${globalThis.crypto.randomUUID()}`),
            agentRuntimeId,
            expiresAt: now + lifetime
          }
          yield* sql`
            INSERT INTO agent_identity_tasks (task_id, agent_runtime_id, expires_at)
            VALUES (${encode(task.taskId)}, ${encode(agentRuntimeId)}, ${task.expiresAt})
          `
          return task
        })),

      findTask: (taskId) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          answer(
            sql`
              SELECT task.agent_runtime_id, task.expires_at FROM agent_identity_tasks AS task
              LEFT JOIN agent_identity_agents AS agent ON agent.agent_runtime_id = task.agent_runtime_id
              WHERE task.task_id = ${encode(taskId)} AND task.expires_at > ${now - lifetime}
              AND (agent.expires_at IS NULL OR agent.expires_at > ${now})
            `.pipe(
              Effect.flatMap(decodeTasks),
              Effect.map((rows) =>
                Option.map(Array.head(rows), (row): AgentDirectory.Task => ({
                  taskId,
                  agentRuntimeId: row.agent_runtime_id,
                  expiresAt: row.expires_at
                }))
              )
            )
          ))
    }
  })

/**
 * A directory in the database of the `SqlClient`, whose tables it brings up to date.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<AgentDirectory.AgentDirectory, Migrations.MigrationsError, SqlClient.SqlClient> =>
  // All that it keeps is in the database. A memoized layer over two databases would be one over the first.
  Layer.fresh(Layer.scoped(AgentDirectory.AgentDirectory, Effect.zipRight(Migrations.run, make(options))))

/**
 * A directory in the database of the `SqlClient`, whose tables it brings up to date, with tasks that live 24 hours.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<AgentDirectory.AgentDirectory, Migrations.MigrationsError, SqlClient.SqlClient> =
  layerWith({})

/** 10,000 years in milliseconds, so that `infinity` and everything near it is a number that a column can hold. */
const longestLifetime = 10_000 * 365 * 86_400_000

/** The last time that a `Date` can hold. */
const latestMillis = 8_640_000_000_000_000

const unavailable = (detail: string) => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail })

/** PostgreSQL's driver gives 64-bit integers as strings, or as whatever the app has told it to. */
const Millis = Schema.transform(Schema.Union(Schema.Number, Schema.String, Schema.BigIntFromSelf), Schema.Int, {
  decode: Number,
  encode: (millis) => millis
})

const decodeAgents = Schema.decodeUnknown(Schema.Array(Schema.Struct({
  public_key: Schema.Uint8ArrayFromBase64Url,
  owner: Schema.NullOr(Schema.parseJson(Schema.String)),
  expires_at: Schema.NullOr(Millis)
})))

const decodeTasks = Schema.decodeUnknown(Schema.Array(Schema.Struct({
  agent_runtime_id: Schema.parseJson(AgentRuntimeId),
  expires_at: Millis
})))
