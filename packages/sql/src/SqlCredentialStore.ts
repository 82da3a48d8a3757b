/**
 * Agents in an SQL database, SQLite or PostgreSQL, whichever the `SqlClient` is for. With PostgreSQL all processes and
 * machines of a login share its one agent.
 *
 * The private keys lie in the table `agent_identity_credentials` in the clear: whoever can read it, or a backup of it, or
 * a log of statements with their parameters, can be the agent.
 *
 * @since 0.1.0
 */
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as AsciiJson from "./internal/asciiJson.ts"
import * as SqlFailure from "./internal/sqlFailure.ts"
import * as Migrations from "./Migrations.ts"

/**
 * How long a call may take.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How long a call waits for the database: 10 seconds by default. A change may still happen after that. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * A store over a table that is there: `Migrations.run` makes it. Each call is one statement, so that no lock outlives
 * it. Within a `withTransaction` it is part of that transaction, as everything over `@effect/sql`.
 *
 * A row that cannot be read is the error `Invalid`; whatever else fails is `Unavailable`. After `Unavailable` the swap
 * may have happened: `get` tells.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<CredentialStore.Service, never, SqlClient.SqlClient> =>
  Effect.map(SqlClient.SqlClient, (client): CredentialStore.Service => {
    const sql = client.withoutTransforms()
    const timeout = Duration.decode(options.timeout ?? "10 seconds")

    const answer = <A>(
      query: Effect.Effect<A, SqlError | ParseResult.ParseError>
    ): Effect.Effect<A, CredentialStore.CredentialStoreError> =>
      query.pipe(
        Effect.mapError((error) =>
          error._tag === "SqlError"
            ? failure("Unavailable", SqlFailure.describe(error))
            : failure("Invalid", "it has a row that this version cannot read")
        ),
        // A statement that is interrupted is cancelled on the server; nobody has to wait for that.
        Effect.disconnect,
        Effect.timeoutFail({
          duration: timeout,
          onTimeout: () => failure("Unavailable", `no answer within ${Duration.format(timeout)}`)
        })
      )

    const where = ({ accountId, chatgptUserId }: CredentialStore.Binding) =>
      sql`account_id = ${AsciiJson.encode(accountId)} AND chatgpt_user_id = ${AsciiJson.encode(chatgptUserId)}`

    const create = (binding: CredentialStore.Binding, record: string) =>
      sql`
        INSERT INTO agent_identity_credentials (account_id, chatgpt_user_id, version, record)
        VALUES (
          ${AsciiJson.encode(binding.accountId)},
          ${AsciiJson.encode(binding.chatgptUserId)},
          ${newVersion()},
          ${record}
        )
        ON CONFLICT (account_id, chatgpt_user_id) DO NOTHING
        RETURNING version
      `

    const replace = (binding: CredentialStore.Binding, version: string, record: string) =>
      sql`
        UPDATE agent_identity_credentials SET version = ${newVersion()}, record = ${record}
        WHERE ${where(binding)} AND version = ${AsciiJson.encode(version)}
        RETURNING version
      `

    const remove = (binding: CredentialStore.Binding, version: string) =>
      sql`
        DELETE FROM agent_identity_credentials
        WHERE ${where(binding)} AND version = ${AsciiJson.encode(version)}
        RETURNING version
      `

    return {
      get: (binding) =>
        answer(
          sql`SELECT version, record FROM agent_identity_credentials WHERE ${where(binding)}`.pipe(
            Effect.flatMap(decodeEntries),
            Effect.map(Array.head)
          )
        ),

      compareAndSwap: (binding, expected, next) =>
        Effect.gen(function*() {
          if (Option.isSome(next)) {
            const record = yield* encodeRecord(next.value)
            const changed = yield* answer(
              Option.isSome(expected) ? replace(binding, expected.value, record) : create(binding, record)
            )
            return changed.length > 0
          }
          if (Option.isSome(expected)) return (yield* answer(remove(binding, expected.value))).length > 0
          const present = yield* answer(sql`SELECT version FROM agent_identity_credentials WHERE ${where(binding)}`)
          return present.length === 0
        })
    }
  })

/**
 * A store in the database of the `SqlClient`, whose tables it brings up to date. The keys lie there in the clear.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  options: Options
): Layer.Layer<CredentialStore.CredentialStore, Migrations.MigrationsError, SqlClient.SqlClient> =>
  // All that it keeps is in the database. A memoized layer over two databases would be one over the first.
  Layer.fresh(Layer.effect(CredentialStore.CredentialStore, Effect.zipRight(Migrations.run, make(options))))

/**
 * A store in the database of the `SqlClient`, whose tables it brings up to date. The keys lie there in the clear.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<CredentialStore.CredentialStore, Migrations.MigrationsError, SqlClient.SqlClient> =
  layerWith({})

/** Nothing of a row, and nothing of the URL. */
const failure = (reason: CredentialStore.CredentialStoreError["reason"], detail: string) =>
  new CredentialStore.CredentialStoreError({ reason, store: "the SQL database", detail })

/** Random, so that a record that is removed and made again has no version that it had before. */
const newVersion = (): string => AsciiJson.encode(globalThis.crypto.randomUUID())

const RecordFromJson = Schema.parseJson(CredentialStore.AgentRecord)

const encodeRecord = (
  record: CredentialStore.AgentRecord
): Effect.Effect<string, CredentialStore.CredentialStoreError> =>
  Effect.mapBoth(Schema.encode(RecordFromJson)(record), {
    onFailure: () => failure("Invalid", "the new record is none; nothing was changed"),
    onSuccess: AsciiJson.escape
  })

const decodeEntries = Schema.decodeUnknown(Schema.Array(Schema.Struct({
  version: Schema.parseJson(Schema.String),
  record: RecordFromJson
})))
