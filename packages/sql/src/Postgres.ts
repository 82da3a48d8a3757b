/**
 * PostgreSQL, for as many server processes as there are.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import Pg from "pg"
import { PgClient as Client } from "./internal/pgClient.ts"
import * as SqlFailure from "./internal/sqlFailure.ts"

/**
 * Why there is no connection. Nothing of the URL is shown.
 *
 * - `InvalidUrl`: it is not a `postgres:` or `postgresql:` URL
 * - `Unavailable`: there is no answer, or the server refuses
 *
 * @since 0.1.0
 * @category errors
 */
export class PostgresError extends Schema.TaggedError<PostgresError>("@agent-identity/sql/PostgresError")(
  "PostgresError",
  { reason: Schema.Literal("InvalidUrl", "Unavailable"), detail: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `No connection to PostgreSQL: ${this.detail}`
  }
}

/**
 * A database, and how it is connected to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** `postgres://user:password@host:5432/database?sslmode=verify-full`, for example. */
  readonly url: Redacted.Redacted<string>
  /** How long to wait for a connection, a new one or a free one: 5 seconds by default. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * How long a statement may take: 4 seconds by default. After that it fails, and its connection is closed; the pool
   * makes a new one when it is asked. The server is told to end a statement after three quarters of this time
   * (`statement_timeout`), so that a slow statement leaves its connection as it was.
   *
   * PgBouncer refuses `statement_timeout` unless it is among its `ignore_startup_parameters`. Where that is so, a line in
   * the log says that only this side ends statements. Set `statement_timeout` for the role (`ALTER ROLE … SET`) there.
   */
  readonly queryTimeout?: Duration.DurationInput | undefined
  /** 10 by default. */
  readonly maxConnections?: number | undefined
}

/**
 * Makes a pool of connections, and fails if not even one can be made. Later the pool makes new ones when they break.
 *
 * No call waits longer than `connectTimeout` for a connection and `queryTimeout` for an answer. A connection that has
 * gone silent is closed after that, and costs one call. Works with PgBouncer in session and transaction mode.
 *
 * @example
 * import { AgentDirectory } from "@agent-identity/server"
 * import { Postgres, SqlAgentDirectory } from "@agent-identity/sql"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * const layerOf = (url: string) =>
 *   SqlAgentDirectory.layer.pipe(Layer.provide(Postgres.layer({ url: Redacted.make(url) })))
 *
 * export const Directory = layerOf("postgres://app:password@db.internal/app?sslmode=verify-full")
 *
 * const wrong = Effect.provide(AgentDirectory.AgentDirectory, layerOf("db.internal/app"))
 * const error = await Effect.runPromise(Effect.flip(wrong))
 * assert.match(error.message, /its URL is not postgres:/)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<SqlClient, PostgresError> =>
  /^postgres(ql)?:\/\/./.test(Redacted.value(options.url))
    ? PgClient.layerFromPool({ acquire: acquire(options) }).pipe(
      Layer.mapError((error) => new PostgresError({ reason: "Unavailable", detail: SqlFailure.describe(error) }))
    )
    : Layer.fail(
      new PostgresError({ reason: "InvalidUrl", detail: "its URL is not postgres://user:password@host/database" })
    )

/**
 * `layer` with its options from configuration.
 *
 * @example
 * import { Postgres, SqlAgentDirectory, SqlCredentialStore } from "@agent-identity/sql"
 * import { Config, Layer } from "effect"
 *
 * const Database = Postgres.layerConfig({ url: Config.redacted("DATABASE_URL") })
 *
 * // Both use the same connections.
 * export const Kept = Layer.merge(SqlAgentDirectory.layer, SqlCredentialStore.layer).pipe(Layer.provide(Database))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<Options>
): Layer.Layer<SqlClient, PostgresError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

const acquire = (options: Options): Effect.Effect<Pg.Pool, SqlError, Scope.Scope> => {
  const queryTimeout = Math.ceil(Duration.toMillis(options.queryTimeout ?? "4 seconds"))
  const config: Pg.PoolConfig = {
    Client,
    connectionString: Redacted.value(options.url),
    connectionTimeoutMillis: Duration.toMillis(options.connectTimeout ?? "5 seconds"),
    max: options.maxConnections,
    application_name: "agent-identity",
    query_timeout: queryTimeout,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000
  }
  // As a parameter of the connection's start, and not by SET: behind a pooler that would last for whoever comes next.
  return Effect.catchIf(
    connect({ ...config, statement_timeout: Math.ceil(queryTimeout * 3 / 4) }),
    ({ cause }) => cause instanceof Error && /unsupported startup parameter/.test(cause.message),
    () =>
      Effect.zipRight(
        Effect.logInfo(
          "PgBouncer refuses statement_timeout: the server goes on with a statement that this process has given up"
        ),
        connect(config)
      )
  )
}

const connect = (config: Pg.PoolConfig): Effect.Effect<Pg.Pool, SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const pool = new Pg.Pool(config)
        // Of connections that nobody uses: the pool has forgotten them by then.
        pool.on("error", () => {})
        await pool.query("SELECT 1").catch((error: unknown) => pool.end().then(() => Promise.reject(error)))
        return pool
      },
      catch: (cause) => new SqlError({ cause, message: "Failed to connect" })
    }),
    (pool) => Effect.promise(() => pool.end()).pipe(Effect.interruptible, Effect.timeoutOption("1 second"))
  )
