/**
 * Clocks that are set, and machines that sleep. What lasts for a while is over when either clock says so, or when the wall
 * clock went back.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import { forms, taskExpired } from "../support/refusals.ts"

const backend = await Backend.start()
const hour = 3_600_000
const day = 24 * hour

interface Clock {
  readonly wall?: number
  readonly monotonic?: number
}

/** What may happen to the clocks, so that a span of up to an hour is over. */
const changes = {
  "the clock is set back a day": { wall: -day },
  "the clock is set ahead a day": { wall: day },
  "the process is suspended for more than an hour": { wall: hour + 1 },
  "time passes, and the clock is set back by as much": { monotonic: hour + 1 },
  "time passes": { wall: hour + 1, monotonic: hour + 1 }
} satisfies Record<string, Clock>

describe("a refused task is renewed again, soon after its registration, once", () => {
  const app = App.start({ ...backend.environment, CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey }, ["clocks.mjs"])
  let agents = 0
  const statuses = async (clock: Clock) => {
    const agent = `agent-${++agents}`
    const path = `/provider/${agent}`
    backend.on(Backend.tasksOf(agent), () => {
      const { length } = backend.seenAt(Backend.tasksOf(agent))
      return Backend.json({ task_id: `${agent}-task-${length}` })
    })
    backend.on(path, ({ task }) => task === `${agent}-task-1` ? forms.JSON(taskExpired) : Backend.json({ ok: true }))
    const get = { get: backend.origin + path }
    const { steps } = await app.run({
      environment: { CODEX_AGENT_IDENTITY_RUNTIME_ID: agent },
      steps: [get, { clock }, get]
    })
    return [steps[0]!.status, steps[2]!.status]
  }
  each(changes, async (clock) => assert.deepStrictEqual(await statuses(clock), [401, 200]))
  it("not where a moment passes", async () => {
    assert.deepStrictEqual(await statuses({ wall: 5000, monotonic: 5000 }), [401, 401])
  })
})

describe("an assertion has the time of the clock that was set, where", () => {
  const app = App.start(
    { ...backend.environment, CODEX_HOME: Home.ofAgent("task-old") },
    ["clocks.mjs"]
  )
  const timeOf = ({ headers }: Backend.Seen) =>
    Date.parse(JSON.parse(Buffer.from(headers.authorization!.split(" ")[1]!, "base64url").toString()).timestamp)
  each(changes, async (clock: Clock, name) => {
    const path = `/provider/${name.replaceAll(/\W/g, "-")}`
    const get = { get: backend.origin + path }
    await app.run({ steps: [get, { clock }, get] })
    const [first, second] = backend.seenAt(path).map(timeOf)
    assert.approximately(second! - first!, clock.wall ?? 0, 3000)
  })
})

const holder = App.start({}, ["clocks.mjs"], "services.mjs")
const momentLater = { clock: { wall: 1000, monotonic: 1000 } }

describe("a command is asked for a new token once", () => {
  const tokens = async (clock: object) => {
    const { steps } = await holder.run({ urls: backend, steps: [{ token: true }, clock, { token: true }] })
    return new Set(steps.flatMap(({ text }) => text ?? []))
  }
  each(changes, async (clock) => {
    assert.strictEqual((await tokens({ clock })).size, 2)
  })
  it("not where a moment passes", async () => assert.strictEqual((await tokens(momentLater)).size, 1))
})

describe("a key set is fetched again once", () => {
  const path = "/issuer/agent-identities/jwks"
  backend.on(path, () => Backend.json({ keys: [{ kid: "key-1", kty: "RSA", n: "sXch", e: "AQAB" }] }))
  const fetches = async (kid: string, clock: object) => {
    const before = backend.seenAt(path).length
    await holder.run({ urls: backend, steps: [{ find: kid }, clock, { find: kid }] })
    return backend.seenAt(path).length - before
  }
  each(changes, async (clock) => assert.strictEqual(await fetches("key-1", { clock }), 2))
  it("not where a moment passes", async () => assert.strictEqual(await fetches("key-1", momentLater), 1))

  describe("for an unknown key", () => {
    const halfMinute = {
      "the clock is set back a day": { wall: -day },
      "a process is suspended for a minute": { wall: 60_000 },
      "a minute passes, and the clock is set back by as much": { monotonic: 60_000 },
      "a minute passes": { wall: 60_000, monotonic: 60_000 }
    }
    each(halfMinute, async (clock) => {
      assert.strictEqual(await fetches("unknown", { clock }), 2)
    })
    it("not where a moment passes", async () => assert.strictEqual(await fetches("unknown", momentLater), 1))
  })
})

describe("the AuthAPI is asked again after a refusal, once", () => {
  const path = "/authapi/v1/agent/register"
  const asked = async (clock: object) => {
    backend.on(path, () => Backend.json({ error: { code: "no" } }, 403))
    const before = backend.seenAt(path).length
    const file = Path.join(Home.ofLogin(), "auth.json")
    await holder.run({ urls: backend, file, steps: [{ agent: true }, clock, { agent: true }] })
    return backend.seenAt(path).length - before
  }
  each(changes, async (clock) => assert.strictEqual(await asked({ clock }), 2))
  it("not where a moment passes", async () => assert.strictEqual(await asked(momentLater), 1))
})

/** Two machines with one home, of which the second one's clock is off by this much. */
describe("two machines with one home register one agent", () => {
  const chatGpt = { policy: "ChatGptAuth", agentVersion: "1.2.3" }
  const offs = {
    "whose clocks agree": 0,
    "of which the second one's is a minute ahead": 60_000,
    "of which the second one's is a minute behind": -60_000
  }
  const off = async (millis: number, speed: string) => {
    const own = await Backend.start()
    const home = Home.ofLogin()
    const environment = { ...own.environment, CODEX_HOME: home, FIELD_SPEED: speed }
    const first = App.start(environment, ["clocks.mjs"])
    const second = App.start({ ...environment, FIELD_WALL: String(millis) }, ["clocks.mjs"])
    const run = { chatGpt, steps: [{ get: `${own.provider}/models`, within: 10 * 60_000 }], within: 10 * 60_000 }
    return { own, home, first, second, run, path: "/authapi/v1/agent/register" }
  }
  const asked = async (server: Backend.Backend, path: string) => {
    while (server.seenAt(path).length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  }

  describe.concurrent("while both are at work,", () => {
    each(offs, async (millis) => {
      const { first, own, path, run, second } = await off(millis, "1")
      own.on(path, (_, response) => {
        const id = `agent-${own.seenAt(path).length}`
        setTimeout(
          () => response.setHeader("content-type", "application/json").end(`{"agent_runtime_id":"${id}"}`),
          3000
        )
        return undefined
      })
      const one = first.run(run)
      await asked(own, path)
      const results = await Promise.all([one, second.run(run)])
      assert.deepStrictEqual(results.map(({ end }) => end.error), [undefined, undefined])
      assert.strictEqual(own.seenAt(path).length, 1)
    })
  })

  describe.concurrent("where the first is killed at work, and the second waits about 20 seconds,", () => {
    each(offs, async (millis) => {
      const { first, home, own, path, run, second } = await off(millis, "4")
      own.on(path, () => own.seenAt(path).length === 1 ? undefined : Backend.json({ agent_runtime_id: "agent-2" }))
      // What it costs to begin is not what is measured.
      await second.run({ steps: [] })
      first.run(run).catch(() => undefined)
      await asked(own, path)
      first.process.kill("SIGKILL")
      const { end } = await second.run(run)
      assert.isUndefined(end.error)
      assert.isBelow(end.millis, 60_000)
      assert.include(Fs.readFileSync(Path.join(home, "auth.json"), "utf8"), "agent-2")
    })
  })
})
