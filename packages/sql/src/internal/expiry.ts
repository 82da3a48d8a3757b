/**
 * What is over leaves the tables in batches: one is a statement of its own, holds nobody up, and stops the event loop for
 * some milliseconds where the database is in this process.
 */
import * as Maintenance from "@agent-identity/server/maintenance"
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as SqlFailure from "./sqlFailure.ts"

/** @internal */
export const make = (sql: SqlClient, lifetime: number) => {
  // In SQLite 400 tasks take about 5 ms.
  const limit = sql.onDialectOrElse({ pg: () => 1000, orElse: () => 400 })
  /** Of rows that two processes remove in different orders each would wait for the other. */
  const skipLocked = (of: "" | "OF task") =>
    sql.literal(sql.onDialectOrElse({ pg: () => `FOR UPDATE ${of} SKIP LOCKED`, orElse: () => "" }))
  /** One process at a time, for as long as the statement takes: a connection that breaks leaves no lock behind. */
  const isMine = sql.literal(
    sql.onDialectOrElse({ pg: () => `AND (SELECT pg_try_advisory_xact_lock(${lockKey}))`, orElse: () => "" })
  )

  const inBatches = (batch: Effect.Effect<ReadonlyArray<unknown>, SqlError>): Effect.Effect<void, SqlError> =>
    Effect.repeat(Effect.zipLeft(batch, Maintenance.turn), { while: (removed) => removed.length >= limit }).pipe(
      Effect.asVoid
    )

  /** Of an agent that is over or was never there, not of one that has come back meanwhile. */
  const someTasksOf = (id: string, now: number) =>
    sql`
      DELETE FROM agent_identity_tasks WHERE task_id IN (
        SELECT task_id FROM agent_identity_tasks AS task WHERE agent_runtime_id = ${id} AND NOT EXISTS (
          SELECT 1 FROM agent_identity_agents
          WHERE agent_runtime_id = ${id} AND (expires_at IS NULL OR expires_at > ${now})
        ) LIMIT ${limit} ${skipLocked("OF task")}
      ) RETURNING task_id
    `
  const row = (id: string, now: number) =>
    sql`
      DELETE FROM agent_identity_agents WHERE agent_runtime_id = ${id} AND expires_at <= ${now}
      AND NOT EXISTS (SELECT 1 FROM agent_identity_tasks WHERE agent_runtime_id = ${id})
    `

  return {
    /**
     * Removes an agent by the end of its life, so that it and its tasks are not found from then on, however many they are;
     * older versions of this package see no key. What is left in the tables after one batch is for the next pass.
     */
    remove: (id: string, now: number): Effect.Effect<boolean, SqlError> =>
      Effect.gen(function*() {
        const removed = yield* sql`
          UPDATE agent_identity_agents SET expires_at = 0, public_key = ''
          WHERE agent_runtime_id = ${id} AND (expires_at IS NULL OR expires_at > ${now})
          RETURNING agent_runtime_id
        `
        if (removed.length === 0) yield* inBatches(someTasksOf(id, now))
        else if ((yield* someTasksOf(id, now)).length >= limit) return true
        yield* row(id, now)
        return removed.length > 0
      }),

    /** Removes an agent that is over with all of its tasks. */
    removeExpired: (id: string, now: number): Effect.Effect<void, SqlError> =>
      Effect.zipRight(inBatches(someTasksOf(id, now)), row(id, now)),

    /** Removes all that is over, where this process may write. */
    pass: Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      yield* inBatches(sql`
        DELETE FROM agent_identity_tasks WHERE task_id IN (
          SELECT task_id FROM agent_identity_tasks AS task WHERE expires_at <= ${now - lifetime} ${isMine}
          ORDER BY expires_at LIMIT ${limit} ${skipLocked("OF task")}
        ) RETURNING task_id
      `)
      yield* inBatches(sql`
        DELETE FROM agent_identity_tasks WHERE task_id IN (
          SELECT task.task_id FROM agent_identity_agents AS agent
          JOIN agent_identity_tasks AS task ON task.agent_runtime_id = agent.agent_runtime_id
          WHERE agent.expires_at <= ${now} ${isMine} LIMIT ${limit} ${skipLocked("OF task")}
        ) RETURNING task_id
      `)
      yield* inBatches(sql`
        DELETE FROM agent_identity_agents WHERE agent_runtime_id IN (
          SELECT agent_runtime_id FROM agent_identity_agents AS agent WHERE expires_at <= ${now} ${isMine}
          AND NOT EXISTS (
            SELECT 1 FROM agent_identity_tasks AS task WHERE task.agent_runtime_id = agent.agent_runtime_id
          ) LIMIT ${limit} ${skipLocked("")}
        ) RETURNING agent_runtime_id
      `)
    }).pipe(
      Effect.catchIf(
        ({ cause }) => mayNotWrite.has(SqlFailure.codeOf(cause) ?? ""),
        (error) => Effect.logDebug(`Expired agents and tasks stay: ${SqlFailure.describe(error)}`)
      )
    )
  }
}

/** Of this package alone, in any database. */
const lockKey = 1_634_167_140

/** A read replica, a database that is read-only for a while, a role that may only read. */
const mayNotWrite = new Set(["25006", "42501", "SQLITE_READONLY"])
