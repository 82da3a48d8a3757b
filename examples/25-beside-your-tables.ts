/**
 * One database file for all: your own tables, the directory of agents, and the agents made for logins, changed in one
 * transaction.
 */
import { AccountId, AgentKey, AgentRuntimeId, Signing } from "@agent-identity/core"
import { CredentialStore } from "@agent-identity/login"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, Migrations, SqlAgentDirectory, SqlCredentialStore } from "@agent-identity/sql"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { SqlClient } from "@effect/sql"
import { Console, Effect, Layer, Option } from "effect"

/** Both are over whatever `SqlClient` there is: PostgreSQL would do as well. */
const Agents = Layer.merge(SqlAgentDirectory.layerWith({ taskLifetime: "1 hour" }), SqlCredentialStore.layer)

const binding = { accountId: AccountId.AccountId.make("account-demo"), chatgptUserId: "user-demo" }

const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-demo")

/** A team gets an agent: its row, the agent's public key and the agent's private key are there together or not at all. */
const addTeam = (name: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const directory = yield* AgentDirectory.AgentDirectory
    const store = yield* CredentialStore.CredentialStore
    const key = yield* AgentKey.generate()
    const { publicKey } = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
    yield* sql`INSERT INTO teams (name, agent_runtime_id) VALUES (${name}, ${agentRuntimeId})`
    yield* directory.putAgent({ agentRuntimeId, publicKey })
    yield* store.compareAndSwap(
      binding,
      Option.none(),
      Option.some({ state: "registered", agentRuntimeId, privateKey: AgentKey.toPkcs8(key) })
    )
  }).pipe((adding) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(adding)))

const isThere = Effect.gen(function*() {
  const directory = yield* AgentDirectory.AgentDirectory
  const store = yield* CredentialStore.CredentialStore
  const agent = yield* directory.findAgent(agentRuntimeId)
  const record = yield* store.get(binding)
  yield* Console.log(`  in the directory: ${Option.isSome(agent)}, in the store: ${Option.isSome(record)}`)
})

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE teams (name TEXT NOT NULL UNIQUE, agent_runtime_id TEXT NOT NULL)`

  yield* Console.log("A team whose agent cannot be added")
  yield* Effect.ignore(addTeam("red").pipe(Effect.zipRight(Effect.fail("the app's own error")), sql.withTransaction))
  yield* isThere

  yield* Console.log("A team with its agent")
  yield* addTeam("red")
  yield* isThere
})

const Database = Layer.unwrapScoped(Effect.gen(function*() {
  const folder = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())
  return LibsqlFile.layer({ file: `${folder}/app.db` })
}))

const App = Agents.pipe(
  // They make their tables by themselves, too; this is for a step of its own when you deploy.
  Layer.provide(Migrations.layer),
  Layer.provideMerge(Layer.merge(Database, Signing.layer)),
  Layer.provide(NodeContext.layer)
)

program.pipe(Effect.provide(App), NodeRuntime.runMain())
