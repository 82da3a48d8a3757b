/**
 * The directory of agents and tasks in an SQL database: SQLite or PostgreSQL, whichever the `SqlClient` is for. With
 * PostgreSQL all server processes share it.
 *
 * @since 0.1.0
 */
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import { TaskId } from "@agent-identity/core/TaskId"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
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
import { encode } from "./internal/asciiJson.ts"
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
 * A directory over tables that are there: `Migrations.run` makes them. Expired tasks are removed, a thousand at most,
 * when a new one is issued. Within a `withTransaction` it is part of that transaction, as everything over
 * `@effect/sql`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<AgentDirectory.Service, never, SqlClient.SqlClient> =>
  Effect.map(SqlClient.SqlClient, (client): AgentDirectory.Service => {
    const sql = client.withoutTransforms()
    const lifetime = Math.min(
      Math.ceil(Duration.toMillis(options.taskLifetime ?? AgentDirectory.defaultTaskLifetime)),
      longestLifetime
    )
    const timeout = Duration.decode(options.timeout ?? "10 seconds")
    // Two processes that remove the same tasks in different orders would deadlock.
    const skipLocked = sql.literal(sql.onDialectOrElse({ pg: () => "FOR UPDATE SKIP LOCKED", orElse: () => "" }))

    const answer = <A>(
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
          duration: timeout,
          onTimeout: () => unavailable(`no answer within ${Duration.format(timeout)}`)
        })
      )

    return {
      check: Effect.asVoid(answer(sql`SELECT 1 FROM agent_identity_agents, agent_identity_tasks LIMIT 0`)),

      putAgent: (agent) =>
        answer(sql`
          INSERT INTO agent_identity_agents (agent_runtime_id, public_key, owner)
          VALUES (
            ${encode(agent.agentRuntimeId)},
            ${Encoding.encodeBase64Url(agent.publicKey)},
            ${agent.owner === undefined ? null : encode(agent.owner)}
          )
          ON CONFLICT (agent_runtime_id) DO UPDATE SET public_key = excluded.public_key, owner = excluded.owner
        `),

      findAgent: (agentRuntimeId) =>
        answer(
          sql`SELECT public_key, owner FROM agent_identity_agents WHERE agent_runtime_id = ${encode(agentRuntimeId)}`
            .pipe(
              Effect.flatMap(decodeAgents),
              Effect.map((rows) =>
                Option.map(Array.head(rows), ({ owner, public_key: publicKey }): AgentDirectory.Agent =>
                  owner === null ? { agentRuntimeId, publicKey } : { agentRuntimeId, publicKey, owner })
              )
            )
        ),

      removeAgent: (agentRuntimeId) => {
        const id = encode(agentRuntimeId)
        return answer(
          sql.withTransaction(
            Effect.zipLeft(
              sql`DELETE FROM agent_identity_agents WHERE agent_runtime_id = ${id} RETURNING agent_runtime_id`,
              sql`DELETE FROM agent_identity_tasks WHERE agent_runtime_id = ${id}`
            )
          ).pipe(Effect.map((removed) => removed.length > 0))
        )
      },

      issueTask: (agentRuntimeId) =>
        answer(Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const task: AgentDirectory.Task = {
            taskId: TaskId.make(`task-${globalThis.crypto.randomUUID()}`),
            agentRuntimeId,
            expiresAt: now + lifetime
          }
          yield* sql`DELETE FROM agent_identity_tasks WHERE task_id IN (
            SELECT task_id FROM agent_identity_tasks WHERE expires_at <= ${now - lifetime}
            ORDER BY expires_at LIMIT 1000 ${skipLocked}
          )`
          yield* sql`
            INSERT INTO agent_identity_tasks (task_id, agent_runtime_id, expires_at)
            VALUES (${encode(task.taskId)}, ${encode(agentRuntimeId)}, ${task.expiresAt})
          `
          return task
        })),

      findTask: (taskId) =>
        answer(
          sql`SELECT agent_runtime_id, expires_at FROM agent_identity_tasks WHERE task_id = ${encode(taskId)}`.pipe(
            Effect.flatMap(decodeTasks),
            Effect.map((rows) =>
              Option.map(Array.head(rows), (row): AgentDirectory.Task => ({
                taskId,
                agentRuntimeId: row.agent_runtime_id,
                expiresAt: row.expires_at
              }))
            )
          )
        )
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
  Layer.fresh(Layer.effect(AgentDirectory.AgentDirectory, Effect.zipRight(Migrations.run, make(options))))

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

const unavailable = (detail: string) => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail })

const decodeAgents = Schema.decodeUnknown(Schema.Array(Schema.Struct({
  public_key: Schema.Uint8ArrayFromBase64Url,
  owner: Schema.NullOr(Schema.parseJson(Schema.String))
})))

/** PostgreSQL's driver gives 64-bit integers as strings, or as whatever the app has told it to. */
const Millis = Schema.transform(Schema.Union(Schema.Number, Schema.String, Schema.BigIntFromSelf), Schema.Int, {
  decode: Number,
  encode: (millis) => millis
})

const decodeTasks = Schema.decodeUnknown(Schema.Array(Schema.Struct({
  agent_runtime_id: Schema.parseJson(AgentRuntimeId),
  expires_at: Millis
})))
