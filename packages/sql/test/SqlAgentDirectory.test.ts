import { AgentDirectory } from "@agent-identity/server"
import { Effect } from "effect"
import { describe } from "vitest"
import { hasPostgres, libsqlPlace, postgresPlace } from "./databases.ts"
import { persistentSuite, suite } from "./directorySuite.ts"

suite(
  "memory",
  Effect.succeed(({ taskLifetime = AgentDirectory.defaultTaskLifetime }) =>
    AgentDirectory.layerMemoryWith({ taskLifetime })
  )
)

suite("libsql file", libsqlPlace)
persistentSuite("libsql file", libsqlPlace)

describe.skipIf(!hasPostgres)("PostgreSQL", () => {
  suite("PostgreSQL", postgresPlace)
  persistentSuite("PostgreSQL", postgresPlace)
})
