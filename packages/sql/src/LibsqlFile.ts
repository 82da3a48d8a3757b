/**
 * An SQLite file, for one server process: no database server is needed.
 *
 * @since 0.1.0
 */
import * as LibsqlClient from "@effect/sql-libsql/LibsqlClient"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Libsql from "@libsql/client/sqlite3"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { pathToFileURL } from "node:url"
import * as SerialClient from "./internal/serialClient.ts"
import * as SqlFailure from "./internal/sqlFailure.ts"

/**
 * Why the file was not opened.
 *
 * - `InUse`: another server, or another layer of this one, has it open
 * - `Unusable`: the file cannot be made, read or written, or is no database
 *
 * @since 0.1.0
 * @category errors
 */
export class LibsqlFileError extends Schema.TaggedError<LibsqlFileError>("@agent-identity/sql/LibsqlFileError")(
  "LibsqlFileError",
  { reason: Schema.Literal("InUse", "Unusable"), file: Schema.String, detail: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `Cannot open ${this.file}: ${this.detail}`
  }
}

/**
 * A file, and the patience with whoever else has it open.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Its path, on a local file system. A missing file is made, for this user only; a missing folder is not. */
  readonly file: string
  /**
   * How long a statement waits for another program that has locked the file, a backup for example: 250 milliseconds by
   * default. This process does nothing else meanwhile; after that the statement fails.
   */
  readonly busyTimeout?: Duration.DurationInput | undefined
}

/**
 * The file, until the layer's scope ends. While it is open another server that opens it fails at once; after a crash it
 * can be opened again at once. A directory and a store in one file are over one value of this layer.
 *
 * @example
 * import { AgentRuntimeId } from "@agent-identity/core"
 * import { AgentDirectory } from "@agent-identity/server"
 * import { LibsqlFile, SqlAgentDirectory } from "@agent-identity/sql"
 * import { Effect, Layer, Option } from "effect"
 * import { mkdtempSync } from "node:fs"
 * import { tmpdir } from "node:os"
 *
 * const file = `${mkdtempSync(`${tmpdir()}/example-`)}/agents.db`
 * const Directory = SqlAgentDirectory.layer.pipe(Layer.provide(LibsqlFile.layer({ file })))
 * const issue = Effect.flatMap(AgentDirectory.AgentDirectory, (directory) =>
 *   directory.issueTask(AgentRuntimeId.AgentRuntimeId.make("agent-123")))
 * const { taskId } = await Effect.runPromise(Effect.provide(issue, Directory))
 *
 * // The next one to open the file finds it.
 * const find = Effect.flatMap(AgentDirectory.AgentDirectory, (directory) => directory.findTask(taskId))
 * assert.deepStrictEqual(Option.isSome(await Effect.runPromise(Effect.provide(find, Directory))), true)
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<SqlClient, LibsqlFileError> =>
  Layer.unwrapScoped(Effect.map(open(options), (liveClient) => LibsqlClient.layer({ liveClient })))

/**
 * `layer` with its options from configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<Options>
): Layer.Layer<SqlClient, LibsqlFileError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

const open = (options: Options): Effect.Effect<Libsql.Client, LibsqlFileError, Scope.Scope> =>
  Effect.gen(function*() {
    const attempt: Attempt = (run) =>
      Effect.tryPromise({ try: async () => run(), catch: (cause) => failure(options.file, cause) })

    const file = yield* attempt(() => {
      create(options.file)
      return Fs.realpathSync(options.file)
    })
    const stat = yield* attempt(() => Fs.statSync(file))
    // SQLite finds the log of a file by its name: under two names it would be two databases in one file.
    if (!stat.isFile() || stat.nlink > 1) {
      const detail = stat.isFile()
        ? "it has a second name, a hard link; remove one of them"
        : "it is not a file; name one"
      return yield* new LibsqlFileError({ reason: "Unusable", file: options.file, detail })
    }
    yield* lock(`${file}.lock`, attempt)
    const timeout = Duration.toMillis(options.busyTimeout ?? "250 millis")
    const serial = yield* Effect.acquireRelease(
      attempt(() => SerialClient.make(Libsql.createClient({ url: pathToFileURL(file).href, timeout, concurrency: 1 }))),
      ({ close }) => Effect.promise(close)
    )
    // One fsync a commit, and programs that read do not stop ours.
    yield* attempt(() => serial.client.execute("PRAGMA journal_mode = WAL"))
    return serial.client
  })

type Attempt = <A>(run: () => A | Promise<A>) => Effect.Effect<A, LibsqlFileError>

/**
 * One process, one layer: a transaction that stays open in a database of its own, which is empty. The kernel ends it
 * with the process, however that ends, and nobody has to guess whether the process of a PID is alive. The database
 * itself is locked as always, so that not even two servers, after somebody has deleted the lock, would corrupt it, and
 * other programs can read it and back it up. The lock is not deleted at the end: who has just opened it would hold
 * what nobody else can find.
 */
const lock = (file: string, attempt: Attempt) =>
  Effect.acquireRelease(
    attempt(async () => {
      create(file)
      const client = Libsql.createClient({ url: pathToFileURL(file).href, timeout: 0, concurrency: 1 })
      const transaction = await client.transaction("write").catch((error: unknown) => {
        client.close()
        throw error
      })
      return { client, transaction }
    }),
    // Closing alone would not do: a connection lives until its last statement is collected.
    ({ client, transaction }) =>
      Effect.ignoreLogged(attempt(() => transaction.rollback().finally(() => client.close())))
  )

/**
 * Makes a file that is not there, and never opens one that is: a process that closes any descriptor of a file loses all
 * of its locks on it. For the same reason it is made and closed in one step.
 */
const create = (file: string): void => {
  try {
    Fs.closeSync(Fs.openSync(file, "wx", 0o600))
  } catch (error) {
    if (SqlFailure.codeOf(error) !== "EEXIST") throw error
  }
}

const failure = (file: string, cause: unknown): LibsqlFileError => {
  const code = SqlFailure.codeOf(cause)
  return code === "SQLITE_BUSY"
    ? new LibsqlFileError({
      reason: "InUse",
      file,
      detail:
        "it is in use. A file is for one server process; several of them can share PostgreSQL, with Postgres.layer"
    })
    : new LibsqlFileError({
      reason: "Unusable",
      file,
      detail: `${code ?? "it cannot be opened"}; see that its folder is there, and that you may write both`
    })
}
