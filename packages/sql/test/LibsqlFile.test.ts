import { AgentRuntimeId } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, SqlAgentDirectory } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { createClient } from "@libsql/client/sqlite3"
import { Config, ConfigError, ConfigProvider, Context, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { temporaryFile } from "./databases.ts"
import { assertUnavailable } from "./directorySuite.ts"

const agentOf = (id: string): AgentDirectory.Agent => ({
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(id),
  publicKey: new Uint8Array(32)
})
const agent = agentOf("agent-1")

const open = (file: string) =>
  Effect.map(
    Layer.build(Layer.provide(SqlAgentDirectory.layer, LibsqlFile.layer({ file, busyTimeout: "50 millis" }))),
    Context.get(AgentDirectory.AgentDirectory)
  )
const reasonOf = (file: string) =>
  Effect.map(Effect.flip(open(file)), (error) => error._tag === "LibsqlFileError" ? error.reason : error._tag)

/** Another process that opens the file: what it said about that, and its end, by kill -9. */
const otherProcess = (file: string) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<{ readonly said: string; readonly kill: Effect.Effect<void> }>((resolve, reject) => {
        const child = spawn(process.execPath, [
          "--import=tsx",
          "--conditions=@agent-identity/source",
          fileURLToPath(new URL("fixtures/server.ts", import.meta.url)),
          file
        ], { stdio: ["ignore", "pipe", "inherit"] })
        const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
        void exited.then(() => reject(new Error("the other process has ended and said nothing")))
        const kill = Effect.promise(() => {
          child.kill("SIGKILL")
          return exited
        })
        child.once("error", reject)
        child.stdout.once("data", (data) => resolve({ said: String(data).trim(), kill }))
      })
    ),
    ({ kill }) => kill
  )

/** A program that is not ours, with the same file. */
const otherProgram = (file: string) =>
  Effect.acquireRelease(
    Effect.sync(() => createClient({ url: pathToFileURL(file).href, timeout: 0, concurrency: 1 })),
    (client) => Effect.sync(() => client.close())
  )

const ADVICE = "; see that its folder is there, and that you may write both"

describe("LibsqlFile", () => {
  it.scopedLive("is for one process; a second one hears what to do, at once", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const directory = yield* open(file)
      const started = performance.now()
      const error = yield* Effect.flip(open(file))
      // Where another program has locked the file, it waits for 5 seconds.
      assert.isBelow(performance.now() - started, 2500)
      assert.include(error.message, file)
      assert.include(error.message, "PostgreSQL")
      // What failed in this process has not let go of the first one's lock.
      assert.strictEqual((yield* otherProcess(file)).said, "InUse")
      yield* directory.putAgent(agent)
      assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
    }))

  it.scopedLive("opens at once after its process was killed, with what that had written", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const other = yield* otherProcess(file)
      assert.strictEqual(other.said, "open")
      assert.strictEqual(yield* reasonOf(file), "InUse")
      yield* other.kill
      const directory = yield* open(file)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentOf("agent-of-the-other-process").agentRuntimeId)))
      yield* directory.putAgent(agent)
    }))

  it.scopedLive("goes to one of many layers", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      for (let round = 0; round < 3; round++) {
        const scope = yield* Scope.make()
        const exits = yield* Effect.all(
          Array.from({ length: 20 }, () => Effect.exit(Scope.extend(open(file), scope))),
          { concurrency: "unbounded" }
        )
        const opened = exits.filter(Exit.isSuccess)
        assert.strictEqual(opened.length, 1)
        yield* opened[0]!.value.putAgent(agentOf(`agent-${round}`))
        // The next round can open it as soon as the scope is closed.
        yield* Scope.close(scope, Exit.void)
      }
      const directory = yield* open(file)
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentOf("agent-0").agentRuntimeId)))
      assert.isTrue(Option.isSome(yield* directory.findAgent(agentOf("agent-2").agentRuntimeId)))
    }))

  it.scopedLive("is one file by any name", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const symbolic = `${file}-symbolic`
      const hard = `${file}-hard`
      Fs.symlinkSync(file, symbolic)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* open(file)
        assert.strictEqual(yield* reasonOf(symbolic), "InUse")
        assert.strictEqual(yield* reasonOf(Path.relative(process.cwd(), file)), "InUse")
        Fs.linkSync(file, hard)
        assert.strictEqual(yield* reasonOf(hard), "Unusable")
      }))
      Fs.unlinkSync(hard)
      yield* open(symbolic)
    }))

  it.scopedLive("is for its user only, and complete after a proper end", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const folder = Path.dirname(file)
      yield* Effect.scoped(Effect.gen(function*() {
        const directory = yield* open(file)
        yield* directory.putAgent(agent)
        yield* directory.issueTask(agent.agentRuntimeId)
        const files = Fs.readdirSync(folder)
        assert.includeMembers(files, ["agents.db", "agents.db-wal", "agents.db.lock"])
        for (const name of files) assert.strictEqual(Fs.statSync(Path.join(folder, name)).mode & 0o777, 0o600, name)
      }))
      const copy = yield* temporaryFile
      Fs.copyFileSync(file, copy)
      const directory = yield* open(copy)
      assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
    }))

  it.scopedLive("may have any name", () =>
    Effect.gen(function*() {
      const file = Path.join(Path.dirname(yield* temporaryFile), "a b#c?d%41'é.db")
      yield* Effect.scoped(Effect.flatMap(open(file), (_) => _.putAgent(agent)))
      assert.isTrue(Fs.existsSync(file))
      assert.deepStrictEqual(yield* (yield* open(file)).findAgent(agent.agentRuntimeId), Option.some(agent))
    }))

  it.scopedLive("is refused if it cannot be used", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      Fs.writeFileSync(file, "This is a text, not a database. ".repeat(100))
      const failures = yield* Effect.all([
        Effect.flip(open(file)),
        Effect.flip(open(Path.dirname(file))),
        Effect.flip(open(Path.join(file, "below"))),
        Effect.flip(open(`${file}-missing/agents.db`)),
        Effect.flip(open(""))
      ])
      assert.deepStrictEqual(
        failures.map((_) => _._tag === "LibsqlFileError" && `${_.reason} ${_.detail}`),
        [
          "Unusable SQLITE_NOTADB",
          "Unusable it is not a file",
          "Unusable ENOTDIR",
          "Unusable ENOENT",
          "Unusable ENOENT"
        ].map((said) => said + (said.endsWith("file") ? "; name one" : ADVICE))
      )
      assert.strictEqual(Fs.readFileSync(file, "utf8").length, 3200)
    }))

  it.scopedLive("can be read by other programs, and recovers when one has locked it", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const directory = yield* open(file)
      yield* directory.putAgent(agent)
      const other = yield* otherProgram(file)
      const { rows } = yield* Effect.promise(() => other.execute("SELECT * FROM agent_identity_agents"))
      assert.strictEqual(rows[0]!.agent_runtime_id, "\"agent-1\"")
      for (let round = 0; round < 3; round++) {
        const transaction = yield* Effect.promise(() => other.transaction("write"))
        for (const call of [directory.removeAgent(agent.agentRuntimeId), directory.putAgent(agent)]) {
          assert.include(
            (yield* Effect.flip<unknown, AgentDirectory.AgentDirectoryError, never>(call)).detail,
            "SQLITE_BUSY"
          )
        }
        assert.deepStrictEqual(yield* directory.findAgent(agent.agentRuntimeId), Option.some(agent))
        yield* Effect.promise(() => transaction.rollback())
        assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
        yield* directory.putAgent(agent)
      }
    }))

  it.scopedLive("answers with an error while its tables are gone, and recovers", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const directory = yield* open(file)
      const other = yield* otherProgram(file)
      const rename = (from: string, to: string) =>
        Effect.promise(() =>
          other.batch(["agents", "tasks"].map((_) => `ALTER TABLE ${from}_${_} RENAME TO ${to}_${_}`), "write")
        )
      yield* rename("agent_identity", "away")
      yield* assertUnavailable(directory)
      yield* rename("away", "agent_identity")
      yield* directory.putAgent(agent)
      assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
    }))

  it.scopedLive("keeps statements out of the transactions of others", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE numbers (n INTEGER)`
        const insert = (n: number) => sql`INSERT INTO numbers VALUES (${n})`
        const transaction = (n: number) =>
          sql.withTransaction(
            insert(n).pipe(
              Effect.zipRight(Effect.sleep("1 millis")),
              Effect.zipRight(insert(n)),
              Effect.zipRight(n % 2 === 0 ? Effect.void : Effect.fail("rolled back"))
            )
          )
        // As a fiber does that has had its look at the client, and gives way to another one before its statement.
        const connection = yield* Effect.scoped(sql.reserve)
        yield* Effect.forEach(
          Array.from({ length: 200 }, (_, n) => n),
          (n): Effect.Effect<unknown> =>
            n % 5 === 0
              ? Effect.exit(transaction(n))
              : n % 5 === 1
              ? connection.execute("INSERT INTO numbers VALUES (?)", [n], undefined).pipe(Effect.delay(n), Effect.orDie)
              : Effect.orDie(insert(n)),
          { concurrency: "unbounded" }
        )
        // Twice of each transaction that was not rolled back, and once of each single statement.
        const [row] = yield* sql`SELECT count(*) AS n FROM numbers`
        assert.deepStrictEqual(row?.n, 20 * 2 + 160)
      }).pipe(Effect.provide(LibsqlFile.layer({ file })))
    }))

  it.scopedLive("can be closed while it is used, and opened again", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      for (let round = 0; round < 10; round++) {
        const scope = yield* Scope.make()
        const directory = yield* Scope.extend(open(file), scope)
        yield* directory.putAgent(agent)
        const fiber = yield* Effect.fork(Effect.all(
          Array.from({ length: 30 }, (_, n): Effect.Effect<unknown, AgentDirectory.AgentDirectoryError> =>
            n % 2 === 0 ? directory.removeAgent(agent.agentRuntimeId) : directory.issueTask(agent.agentRuntimeId)),
          { concurrency: "unbounded", mode: "either" }
        ))
        for (let step = 0; step < round; step++) {
          yield* Effect.yieldNow()
        }
        yield* Scope.close(scope, Exit.void)
        yield* assertUnavailable(directory)
        yield* Fiber.join(fiber)
      }
      const directory = yield* open(file)
      yield* directory.putAgent(agent)
      assert.isTrue(yield* directory.removeAgent(agent.agentRuntimeId))
    }))

  it.scopedLive("is configured", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const database = LibsqlFile.layerConfig({
        file: Config.string("FILE"),
        busyTimeout: Config.succeed("1 second" as const)
      })
      const directory = Effect.provide(
        AgentDirectory.AgentDirectory,
        Config.duration("LIFETIME").pipe(
          Effect.map((taskLifetime) => SqlAgentDirectory.layerWith({ taskLifetime })),
          Layer.unwrapEffect,
          Layer.provide(database)
        )
      )
      const config = ConfigProvider.fromMap(new Map([["FILE", file], ["LIFETIME", "1 hour"]]))
      yield* Effect.withConfigProvider(directory, config)
      assert.isTrue(Fs.existsSync(file))
      yield* Effect.withConfigProvider(SqlClient.SqlClient, config).pipe(
        Effect.provide(LibsqlFile.layerConfig({ file: Config.string("FILE"), busyTimeout: Config.succeed(undefined) })),
        Effect.withConfigProvider(config)
      )
      const error = yield* Effect.withConfigProvider(Effect.flip(directory), ConfigProvider.fromMap(new Map()))
      assert.isTrue(ConfigError.isConfigError(error))
    }))
})
