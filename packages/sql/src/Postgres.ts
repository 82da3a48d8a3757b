/**
 * PostgreSQL, for as many server processes as there are.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
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
  /** 10 by default. */
  readonly maxConnections?: number | undefined
}

/**
 * A pool of connections. It is an error if not even one can be made; later the pool makes new ones when they break.
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
    ? PgClient.layer({
      url: options.url,
      connectTimeout: options.connectTimeout ?? "5 seconds",
      maxConnections: options.maxConnections,
      applicationName: "agent-identity"
    }).pipe(
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
