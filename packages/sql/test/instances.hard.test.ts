/** Instances of the authapi on one PostgreSQL, as processes: they end well, and stand in for one another. */
import { Postgres } from "@agent-identity/sql"
import { SqlClient } from "@effect/sql"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { createPrivateKey, sign } from "node:crypto"
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll } from "vitest"
import * as PostgresServer from "./postgres.ts"

const database = await PostgresServer.make().catch((error: Error) => console.warn(`Skipped: ${error.message}`))
const state = Fs.mkdtempSync(Path.join(Os.tmpdir(), "instances-"))
const children = new Set<ChildProcess>()
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL")
  await database?.remove()
  Fs.rmSync(state, { recursive: true })
})

const later = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })

interface Instance {
  readonly port: number
  readonly process: ChildProcess
  readonly exited: Promise<number | null>
}

const start = async (): Promise<Instance> => {
  const port = await freePort()
  const main = "packages/authapi/src/main.ts"
  const options = ["--import", "tsx", "--conditions=@agent-identity/source"]
  const child = spawn(process.execPath, [...options, main, "--port", String(port), "--database-url", database!.url], {
    cwd: new URL("../../..", import.meta.url),
    env: { ...process.env, XDG_STATE_HOME: state },
    stdio: ["ignore", "pipe", "inherit"]
  })
  children.add(child)
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve))
  child.stdout.resume()
  while ((await ask(port, "GET", "/readyz").catch(() => undefined))?.status !== 200) {
    assert.isNull(child.exitCode)
    await later(50)
  }
  return { port, process: child, exited }
}

interface Answer {
  readonly status: number
  readonly connection: string | undefined
  readonly body: string
}

const ask = (port: number, method: string, path: string, headers: Record<string, string> = {}, body = "") =>
  new Promise<Answer>((resolve, reject) => {
    const request = Http.request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let text = ""
      response.on("data", (chunk) => text += String(chunk))
      response.on("error", reject)
      response.on(
        "end",
        () => resolve({ status: response.statusCode!, connection: response.headers.connection, body: text })
      )
    })
    request.on("error", reject)
    request.end(body)
  })

interface Agent {
  readonly id: string
  readonly sign: (...parts: ReadonlyArray<string>) => string
}

/** An agent that an instance mints, and all of them know. */
const mint = async ({ port }: Instance, id: string): Promise<Agent> => {
  const token = Fs.readFileSync(`${state}/agent-identity/authapi-${port}/admin-token`, "utf8")
  const request = { runtimeId: id, account: "account-1", user: "user-1", plan: "pro", fedramp: false }
  const { body, status } = await ask(port, "POST", "/admin/mint", {
    authorization: `Bearer ${token}`,
    "content-type": "application/json"
  }, JSON.stringify(request))
  assert.strictEqual(status, 200, body)
  const claims = JSON.parse(Buffer.from(JSON.parse(body).token.split(".")[1], "base64url").toString())
  const key = createPrivateKey({ key: Buffer.from(claims.agent_private_key, "base64"), format: "der", type: "pkcs8" })
  return { id, sign: (...parts) => sign(null, Buffer.from(parts.join(":")), key).toString("base64") }
}

const now = () => new Date().toISOString().replace(/\.\d+/, "")

const register = (port: number, agent: Agent) => {
  const timestamp = now()
  const body = JSON.stringify({ timestamp, signature: agent.sign(agent.id, timestamp) })
  return ask(port, "POST", `/api/accounts/v1/agent/${agent.id}/task/register`, {
    "content-type": "application/json"
  }, body)
}

const useTask = (port: number, agent: Agent, taskId: string) => {
  const timestamp = now()
  const assertion = {
    agent_runtime_id: agent.id,
    signature: agent.sign(agent.id, taskId, timestamp),
    task_id: taskId,
    timestamp
  }
  return ask(port, "GET", "/backend-api/codex/models", {
    authorization: `AgentAssertion ${Buffer.from(JSON.stringify(assertion)).toString("base64url")}`
  })
}

/** A balancer: each connection goes to the next instance that takes it. What is under way breaks with its instance. */
const balance = async (instances: ReadonlyArray<Instance>) => {
  const ports = instances.map(({ port }) => port)
  let next = 0
  const server = Net.createServer((client) => {
    client.on("error", () => undefined)
    client.pause()
    const attempt = (left: number) => {
      const upstream = Net.connect(ports[next++ % ports.length]!, "127.0.0.1")
      upstream.once("connect", () => {
        upstream.on("error", () => client.destroy())
        upstream.on("close", () => client.destroy())
        client.on("close", () => upstream.destroy())
        client.pipe(upstream).pipe(client)
      })
      upstream.once("error", () => left > 0 ? attempt(left - 1) : client.destroy())
    }
    attempt(10)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return {
    port: (server.address() as Net.AddressInfo).port,
    ports,
    close: () => void server.close()
  }
}

describe.skipIf(database === undefined)("instances on one PostgreSQL", () => {
  it("one that gets SIGTERM answers 20 registrations that are in flight, and exits with 0", async () => {
    const instance = await start()
    const agents = await Promise.all(Array.from({ length: 20 }, (_, index) => mint(instance, `agent-term-${index}`)))
    const answers = await Effect.runPromise(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const asked = yield* sql.withTransaction(Effect.gen(function*() {
          yield* sql`LOCK TABLE agent_identity_tasks IN ACCESS EXCLUSIVE MODE`
          const asked = Promise.allSettled(agents.map((agent) => register(instance.port, agent)))
          yield* Effect.promise(() => later(500))
          instance.process.kill("SIGTERM")
          yield* Effect.promise(() => later(500))
          return asked
        }))
        return yield* Effect.promise(() => asked)
      }).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(database!.url) })))
    )
    const outcomes = answers.map((answer) => answer.status === "fulfilled" ? answer.value.status : "reset")
    assert.deepStrictEqual(outcomes, agents.map(() => 200))
    const connections = answers.map((answer) => answer.status === "fulfilled" ? answer.value.connection : undefined)
    assert.deepStrictEqual(new Set(connections), new Set(["close"]))
    assert.strictEqual(await instance.exited, 0)
  })

  it("a task of one is accepted at the other at once, also while one is killed and another one joins", async () => {
    const [first, second] = await Promise.all([start(), start()])
    const agents = await Promise.all(Array.from({ length: 8 }, (_, index) => mint(first, `agent-pair-${index}`)))
    const balancer = await balance([first, second])
    const seen = new Map<number | string, number>()
    const count = (what: number | string) => seen.set(what, (seen.get(what) ?? 0) + 1)
    let isOver = false
    /** As a client does: what breaks is sent once more. */
    const tried = async (request: () => Promise<Answer>): Promise<Answer> => {
      for (;;) {
        const answer = await request().catch(() => undefined)
        count(answer?.status ?? "broken")
        if (answer !== undefined) return answer
      }
    }
    const work = agents.map(async (agent) => {
      while (!isOver) {
        const { body, status } = await tried(() => register(balancer.port, agent))
        if (status !== 200) continue
        const { task_id: taskId } = JSON.parse(body)
        for (let request = 0; request < 4; request++) await tried(() => useTask(balancer.port, agent, taskId))
        // Not more than an agent may register in a minute.
        await later(300)
      }
    })
    await later(1000)
    first.process.kill("SIGKILL")
    await first.exited
    balancer.ports.splice(balancer.ports.indexOf(first.port), 1)
    const third = await start()
    balancer.ports.push(third.port)
    await later(2000)
    isOver = true
    await Promise.all(work)
    balancer.close()
    assert.deepStrictEqual([...seen.keys()].filter((what) => what !== "broken"), [200])
    assert.isAbove(seen.get(200)!, 100)
    // The few that were in flight at the one that was killed.
    assert.isAtMost(seen.get("broken") ?? 0, 16)
  })
})
