import { AgentRuntimeId } from "@agent-identity/core"
import { CredentialStore } from "@agent-identity/login"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, Postgres, SqlAgentDirectory, SqlCredentialStore } from "@agent-identity/sql"
import type { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, type Scope } from "effect"
import { BINDING, recordOf } from "../../login/test/credentialStoreSuite.ts"
import { hasPostgres, libsqlPlace, postgresPlace, temporaryDatabase, temporaryFile } from "./databases.ts"
import { persistentSuite, suite } from "./directorySuite.ts"

suite(
  "memory",
  Effect.succeed(({ taskLifetime = AgentDirectory.defaultTaskLifetime }) =>
    AgentDirectory.layerMemoryWith({ taskLifetime })
  )
)

/** The directory and the store, composed by hand. `newDatabase` is another one each time. */
const compositionSuite = (
  name: string,
  newDatabase: Effect.Effect<Layer.Layer<SqlClient.SqlClient, unknown>, unknown, Scope.Scope>
) =>
  describe(`Directories and stores over a database: ${name}`, () => {
    const agent: AgentDirectory.Agent = {
      agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"),
      publicKey: new Uint8Array(32)
    }
    class Users extends Context.Tag("Users")<Users, Services>() {}
    class Machines extends Context.Tag("Machines")<Machines, Services>() {}
    const services = Effect.all([AgentDirectory.AgentDirectory, CredentialStore.CredentialStore])
    type Services = Effect.Effect.Success<typeof services>
    const create = CredentialStore.CredentialStore.pipe(
      Effect.flatMap((_) => _.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1))))
    )

    it.scopedLive("share it, and make its tables at the same time", () =>
      Effect.gen(function*() {
        const database = yield* newDatabase
        const both = Layer.merge(SqlAgentDirectory.layer, SqlCredentialStore.layer).pipe(Layer.provide(database))
        yield* Effect.gen(function*() {
          const directory = yield* AgentDirectory.AgentDirectory
          yield* directory.putAgent(agent)
          assert.isTrue(yield* create)
          assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
          assert.isFalse(yield* create)
        }).pipe(Effect.provide(both))
      }))

    it.scopedLive("are not mixed with those over another one in the same build", () =>
      Effect.gen(function*() {
        const kept = <R, E>(database: Layer.Layer<SqlClient.SqlClient, E>, tag: Context.Tag<R, Services>) =>
          Layer.effect(tag, services).pipe(
            Layer.provide([SqlAgentDirectory.layer, SqlCredentialStore.layer]),
            Layer.provide(database)
          )
        const layer = Layer.merge(kept(yield* newDatabase, Users), kept(yield* newDatabase, Machines))
        yield* Effect.gen(function*() {
          const [users, usersStore] = yield* Users
          const [machines, machinesStore] = yield* Machines
          yield* users.putAgent(agent)
          yield* usersStore.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(1)))
          assert.deepStrictEqual(yield* users.findAgent(agent.agentRuntimeId), Option.some(agent))
          assert.deepStrictEqual(yield* machines.findAgent(agent.agentRuntimeId), Option.none())
          assert.isTrue(Option.isSome(yield* usersStore.get(BINDING)))
          assert.isTrue(Option.isNone(yield* machinesStore.get(BINDING)))
        }).pipe(Effect.provide(layer))
      }))
  })

suite("libsql file", libsqlPlace)
persistentSuite("libsql file", libsqlPlace)
compositionSuite("libsql file", Effect.map(temporaryFile, (file) => LibsqlFile.layer({ file })))

describe.skipIf(!hasPostgres)("PostgreSQL", () => {
  suite("PostgreSQL", postgresPlace)
  persistentSuite("PostgreSQL", postgresPlace)
  compositionSuite("PostgreSQL", Effect.map(temporaryDatabase, (url) => Postgres.layer({ url })))
})
