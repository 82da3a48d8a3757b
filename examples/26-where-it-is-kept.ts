/**
 * Where a server keeps its agents is configuration: PostgreSQL by `DATABASE_URL`, a file by `AGENTS_FILE`, or else its
 * memory.
 */
import { AgentRuntimeId } from "@agent-identity/core"
import { CredentialStore } from "@agent-identity/login"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, type Migrations, Postgres, SqlAgentDirectory, SqlCredentialStore } from "@agent-identity/sql"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Config, ConfigProvider, Console, Effect, Layer, Option, type Redacted } from "effect"

type Kept = Layer.Layer<
  AgentDirectory.AgentDirectory | CredentialStore.CredentialStore,
  Postgres.PostgresError | LibsqlFile.LibsqlFileError | Migrations.MigrationsError
>

/** Both are in one database, which is opened once. */
const inSql = Layer.merge(SqlAgentDirectory.layer, SqlCredentialStore.layer)

const inPostgres = (url: Redacted.Redacted<string>): Kept =>
  Layer.provide(inSql, Postgres.layer({ url, maxConnections: 5 }))

const inFile = (file: string): Kept => Layer.provide(inSql, LibsqlFile.layer({ file }))

const inMemory: Kept = Layer.merge(AgentDirectory.layerMemory, CredentialStore.layerMemory)

const Kept = Layer.unwrapEffect(Effect.gen(function*() {
  const url = yield* Config.option(Config.redacted("DATABASE_URL"))
  const file = yield* Config.option(Config.string("AGENTS_FILE"))
  return Option.isSome(url) ? inPostgres(url.value) : Option.isSome(file) ? inFile(file.value) : inMemory
}))

const lookUp = Effect.gen(function*() {
  const { findAgent } = yield* AgentDirectory.AgentDirectory
  yield* CredentialStore.CredentialStore
  return yield* findAgent(AgentRuntimeId.AgentRuntimeId.make("agent-of-nobody"))
})

const program = Effect.gen(function*() {
  const folder = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())
  const environments: ReadonlyArray<Record<string, string>> = [
    {},
    { AGENTS_FILE: `${folder}/agents.db` },
    { DATABASE_URL: yield* Config.withDefault(Config.string("DATABASE_URL"), "postgres://127.0.0.1:1/none") }
  ]
  for (const environment of environments) {
    const found = yield* Effect.either(Effect.provide(lookUp, Kept)).pipe(
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment))))
    )
    yield* Console.log(
      `${Object.keys(environment)[0] ?? "nothing"}: ${found._tag === "Left" ? found.left.message : "ready"}`
    )
  }
})

program.pipe(Effect.scoped, Effect.provide(NodeContext.layer), NodeRuntime.runMain())
