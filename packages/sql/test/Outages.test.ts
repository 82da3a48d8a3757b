/** An AuthAPI on a real port while its database is in trouble: it says so with 503, and is back by itself. */
import { AgentKey, AgentRuntimeId, Signing, TaskRegistration } from "@agent-identity/core"
import {
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import * as NodeServer from "@agent-identity/server/NodeServer"
import { LibsqlFile, Postgres, SqlAgentDirectory } from "@agent-identity/sql"
import { HttpLayerRouter, HttpServer } from "@effect/platform"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { createClient } from "@libsql/client/sqlite3"
import { Context, Duration, Effect, Fiber, Layer, Logger, Redacted } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { hasPostgres, temporaryDatabase, temporaryFile } from "./databases.ts"
import * as PostgresServer from "./postgres.ts"
import { proxyOf } from "./proxy.ts"

interface Answer {
  readonly status: number
  readonly retryAfter: string | null
  readonly body: string
}

/** What can be asked of the server over this database: for an agent, for a task of its own, whether it is ready. */
const serve = (database: Layer.Layer<SqlClient.SqlClient, unknown>) =>
  Effect.gen(function*() {
    const Routes = Layer.merge(
      HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
        Layer.provide(AuthApiHandlers.layer),
        Layer.provide([
          RegistrationBearer.layerTokens({ alice: Redacted.make("token") }),
          RegistrationLimits.layerMemory({ perAddress: 1_000_000, perAgent: 1_000_000 })
        ])
      ),
      ServerMiddleware.layerErrors
    )
    const Server = NodeServer.layer(Routes, {
      port: 0,
      routerConfig: AuthApi.routerConfig,
      ready: Effect.flatMap(AgentDirectory.AgentDirectory, ({ check }) => check)
    }).pipe(
      Layer.provide(Layer.provide(SqlAgentDirectory.layer, database)),
      Layer.provide([Signing.layer, Logger.remove(Logger.defaultLogger)])
    )
    const { address } = Context.get(yield* Layer.build(Server), HttpServer.HttpServer)
    const origin = `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}`
    const ask = (path: string, init?: RequestInit) =>
      Effect.promise(async (): Promise<Answer> => {
        const response = await fetch(`${origin}${path}`, init)
        return {
          status: response.status,
          retryAfter: response.headers.get("retry-after"),
          body: await response.text()
        }
      })
    const signer = yield* Effect.flatMap(
      Signing.Signing,
      (_) => Effect.flatMap(AgentKey.generate(), _.importPrivateKey)
    ).pipe(Effect.provide(Signing.layer))
    const agent = ask("/api/accounts/v1/agent/register", {
      method: "POST",
      headers: { authorization: "Bearer token" },
      body: JSON.stringify({
        abom: { agent_version: "1", agent_harness_id: "x", running_location: "x" },
        agent_public_key: AgentKey.toSshPublicKey(signer.publicKey),
        capabilities: []
      })
    })
    const registered = yield* agent
    assert.strictEqual(registered.status, 200)
    const id = AgentRuntimeId.AgentRuntimeId.make(JSON.parse(registered.body).agent_runtime_id)
    const path = `/api/accounts/v1/agent/${id}`
    const task = Effect.flatMap(
      Effect.orDie(
        Effect.suspend(() => TaskRegistration.requestBody(signer, id, `${new Date().toISOString().slice(0, 19)}Z`))
      ),
      (body) => ask(`${path}/task/register`, { method: "POST", body: JSON.stringify(body) })
    )
    const removal = ask(path, { method: "DELETE", headers: { authorization: "Bearer token" } })
    return { agent, task, removal, ready: ask("/readyz") }
  })

const assertUnavailable = (answer: Answer) =>
  assert.deepStrictEqual({ ...answer, body: JSON.parse(answer.body) }, {
    status: 503,
    retryAfter: String(AuthApi.retryAfterSeconds),
    body: AuthApi.unavailable
  })

/** Asks until the answer is 200, for so long at most. */
const isBack = (ask: Effect.Effect<Answer>, millis: number) =>
  Effect.gen(function*() {
    const started = performance.now()
    while ((yield* ask).status !== 200) {
      assert.isBelow(performance.now() - started, millis)
      yield* Effect.sleep("50 millis")
    }
  })

/** A file system of a megabyte, where this user may make one. */
const smallDisk = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "agent-identity-disk-"))
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], { stdio: "ignore" })
    // PostgreSQL takes no folder that is not its own.
    if (hasPostgres) execFileSync("chown", ["postgres:postgres", folder])
    return {
      folder,
      fill: () => {
        const file = Fs.openSync(Path.join(folder, "full"), "w")
        try {
          for (;;) Fs.writeSync(file, Buffer.alloc(4096))
        } catch {
          Fs.closeSync(file)
        }
      },
      free: () => Fs.rmSync(Path.join(folder, "full"))
    }
  }),
  ({ folder }) =>
    Effect.sync(() => {
      execFileSync("umount", ["-l", folder])
      Fs.rmdirSync(folder)
    })
)
const canMount = Effect.runSyncExit(Effect.scoped(smallDisk))._tag === "Success"
if (!canMount) console.warn("Full disks: their tests are skipped, this user may not mount a file system")

describe.skipIf(!hasPostgres)("an AuthAPI over PostgreSQL", () => {
  it.scopedLive("answers 503 while the server is down, and is back when it is", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.promise(PostgresServer.make),
        (server) => Effect.promise(server.remove)
      )
      const { agent, ready, removal, task } = yield* serve(Postgres.layer({ url: Redacted.make(server.url) }))
      yield* isBack(task, 1000)
      yield* Effect.promise(server.stop)
      for (const ask of [agent, task, removal]) assertUnavailable(yield* ask)
      yield* Effect.sleep("1 second")
      assert.strictEqual((yield* ready).status, 503)
      yield* Effect.promise(server.start)
      yield* isBack(agent, 1000)
      yield* isBack(task, 1000)
      yield* isBack(ready, 2000)
    }))

  it.scopedLive("answers 503 while the database is read-only, and is back when it is not", () =>
    Effect.gen(function*() {
      const server = yield* Effect.acquireRelease(
        Effect.promise(PostgresServer.make),
        (server) => Effect.promise(server.remove)
      )
      const url = Redacted.make(server.url)
      const { agent, task } = yield* serve(Postgres.layer({ url }))
      const readOnly = (value: "on" | "off") =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql.unsafe(`ALTER SYSTEM SET default_transaction_read_only = ${value}`)
          yield* sql`SELECT pg_reload_conf()`
          yield* Effect.sleep("300 millis")
        }).pipe(Effect.provide(Postgres.layer({ url })))
      yield* readOnly("on")
      for (const ask of [agent, task]) assertUnavailable(yield* ask)
      // Another one starts meanwhile.
      yield* Effect.scoped(Layer.build(Layer.provide(SqlAgentDirectory.layer, Postgres.layer({ url }))))
      yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SET default_transaction_read_only = off`).pipe(
        Effect.zipRight(readOnly("off")),
        Effect.provide(Postgres.layer({ url }))
      )
      yield* isBack(agent, 1000)
      yield* isBack(task, 1000)
    }))

  it.scopedLive("is slow over a slow network, and no more than that", () =>
    Effect.gen(function*() {
      const proxy = yield* proxyOf(yield* temporaryDatabase)
      const { agent, removal, ready, task } = yield* serve(Postgres.layer({ url: proxy.url }))
      // 600 ms there and back.
      proxy.delay(300)
      const answers = yield* Effect.all([...Array.from({ length: 20 }, () => task), agent], {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(answers.map((_) => _.status), answers.map(() => 200))
      assert.strictEqual((yield* removal).status, 204)
      assert.strictEqual((yield* ready).status, 200)
      proxy.delay(0)
      yield* isBack(agent, 1000)
    }))

  it.scopedLive("answers 503 to whom it has no connection for, and is back when it has", () =>
    Effect.gen(function*() {
      const database = Postgres.layer({
        url: yield* temporaryDatabase,
        maxConnections: 2,
        connectTimeout: "500 millis",
        queryTimeout: "20 seconds"
      })
      const context = yield* Layer.build(database)
      const sql = Context.get(context, SqlClient.SqlClient)
      const { agent, task } = yield* serve(Layer.succeedContext(context))
      const busy = yield* Effect.fork(
        Effect.all([sql`SELECT pg_sleep(3)`, sql`SELECT pg_sleep(3)`], { concurrency: 2 })
      )
      yield* Effect.sleep("100 millis")
      const answers = yield* Effect.all([agent, task, agent, task], { concurrency: "unbounded" })
      for (const answer of answers) assertUnavailable(answer)
      yield* Fiber.join(busy)
      yield* isBack(task, 1000)
    }))

  it.scopedLive("answers 503 while connections are silent, says that it is not ready within 2 seconds, and is back", () =>
    Effect.gen(function*() {
      const proxy = yield* proxyOf(yield* temporaryDatabase)
      const { ready, task } = yield* serve(Postgres.layer({ url: proxy.url }))
      yield* Effect.all(Array.from({ length: 20 }, () => task), { concurrency: "unbounded" })
      proxy.silence()
      const started = performance.now()
      const [readiness, ...answers] = yield* Effect.all([
        Effect.timed(ready),
        ...Array.from({ length: 10 }, () => Effect.timed(task))
      ], { concurrency: "unbounded" })
      assert.strictEqual(readiness![1].status, 503)
      assert.isBelow(Duration.toMillis(readiness![0]), 2500)
      for (const [, answer] of answers) if (answer.status !== 200) assertUnavailable(answer)
      yield* isBack(task, 10_000)
      yield* isBack(ready, 10_000)
      assert.isBelow(performance.now() - started, 10_000)
    }))

  it.scopedLive.skipIf(!canMount)(
    "answers 503 while the disk is full, and is back when there is room",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        const context = yield* Layer.build(Postgres.layer({ url: yield* temporaryDatabase }))
        const sql = Context.get(context, SqlClient.SqlClient)
        const { agent, task } = yield* serve(Layer.succeedContext(context))
        const name = `small_${globalThis.crypto.randomUUID().slice(0, 8)}`
        yield* Effect.acquireRelease(sql.unsafe(`CREATE TABLESPACE ${name} LOCATION '${disk.folder}'`), () =>
          Effect.ignore(
            sql.unsafe(`ALTER TABLE agent_identity_tasks SET TABLESPACE pg_default`).pipe(
              Effect.zipRight(sql.unsafe(`DROP TABLESPACE ${name}`))
            )
          ))
        yield* sql.unsafe(`ALTER TABLE agent_identity_tasks SET TABLESPACE ${name}`)
        disk.fill()
        // The last page of the table has room for some.
        let answer = yield* task
        for (let n = 0; n < 200 && answer.status === 200; n++) {
          answer = yield* task
        }
        assertUnavailable(answer)
        assert.strictEqual((yield* agent).status, 200)
        disk.free()
        yield* isBack(task, 1000)
      })
  )
})

describe("an AuthAPI over a file", () => {
  it.scopedLive("stops for 250 ms at a time while another program has locked the file, answers 503, and is back", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const { agent, ready, task } = yield* serve(LibsqlFile.layer({ file }))
      const other = yield* Effect.acquireRelease(
        Effect.sync(() => createClient({ url: pathToFileURL(file).href, timeout: 0, concurrency: 1 })),
        (client) => Effect.sync(() => client.close())
      )
      const transaction = yield* Effect.promise(() => other.transaction("write"))
      let [longest, last] = [0, performance.now()]
      const watch = setInterval(() => {
        const now = performance.now()
        longest = Math.max(longest, now - last)
        last = now
      }, 5)
      const answers = yield* Effect.all(Array.from({ length: 8 }, (_, n) => n % 2 === 0 ? agent : task), {
        concurrency: "unbounded"
      })
      clearInterval(watch)
      for (const answer of answers) assertUnavailable(answer)
      // 250 ms, and what a busy machine adds; not the 5 s of before.
      assert.isAbove(longest, 200)
      assert.isBelow(longest, 2000)
      assert.strictEqual((yield* ready).status, 200)
      yield* Effect.promise(() => transaction.rollback())
      yield* isBack(agent, 1000)
      yield* isBack(task, 1000)
    }))

  it.scopedLive.skipIf(!canMount)(
    "answers 503 while the disk is full, and is back when there is room",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk
        const { task } = yield* serve(LibsqlFile.layer({ file: Path.join(disk.folder, "agents.db") }))
        disk.fill()
        let answer = yield* task
        for (let n = 0; n < 200 && answer.status === 200; n++) answer = yield* task
        assertUnavailable(answer)
        disk.free()
        yield* isBack(task, 1000)
      })
  )
})
