/** Homes that the Codex client has been in, and places where there is no home. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Namespaces from "../support/namespaces.ts"
import { forms, taskExpired } from "../support/refusals.ts"

const backend = await Backend.start()
const chatGpt = { policy: "ChatGptAuth", agentVersion: "1.2.3" }
backend.on("/authapi/v1/agent/register", () => Backend.json({ agent_runtime_id: "agent-1" }))

/** A run in this home, by a process of its own, that sends one request. */
const runIn = async (home: string, path = "/provider/x") => {
  const app = App.start({ ...backend.environment, CODEX_HOME: home })
  const { end, steps } = await app.run({ chatGpt, steps: [{ get: backend.origin + path }] })
  return { error: end.error ?? steps[0]?.error, status: steps[0]?.status, task: backend.seenAt(path).at(-1)?.task }
}
const works = async (home: string) => {
  const { error, status, task } = await runIn(home)
  assert.deepStrictEqual({ error, status }, { error: undefined, status: 200 })
  return task
}

/** What may stand under the names by which the client locks. */
const locks: Readonly<Record<string, (path: string) => void>> = {
  "nothing": () => undefined,
  "regular files, as the client leaves them": (path) => Fs.writeFileSync(path, "", { mode: 0o600 }),
  "files that nobody may open": (path) => Fs.writeFileSync(path, "x", { mode: 0 }),
  "directories": (path) => Fs.mkdirSync(path),
  "links to nowhere": (path) => Fs.symlinkSync("/nowhere/lock", path)
}
const names = ["auth.json.lock", "auth.lock"]

describe("an opt-in, a second process and a renewal work, and leave alone what stands for the client's locks:", () => {
  each(locks, async (make, name) => {
    const home = Home.ofLogin()
    const files = names.map((name) => Path.join(home, name))
    files.forEach(make)
    const look = () =>
      files.map((file) => {
        const stat = Fs.lstatSync(file, { bigint: true, throwIfNoEntry: false })
        return stat && [stat.ino, stat.mode, stat.ctimeNs]
      })
    const before = look()
    const task = await works(home)
    assert.deepInclude(JSON.parse(Home.textIn(home)).agent_identity, { agent_runtime_id: "agent-1", task_id: task })
    assert.strictEqual(await works(home), task)
    // As the client does when it saves, it forgets what it does not know.
    const { agent_identity_provisioning: own, ...auth } = JSON.parse(Home.textIn(home))
    assert.property(own, "task")
    Fs.writeFileSync(Home.fileIn(home), JSON.stringify(auth))
    backend.on("/provider/expiring", (request) => request.task === task ? forms.JSON(taskExpired) : Backend.json({}))
    const renewed = await runIn(home, "/provider/expiring")
    assert.deepStrictEqual([renewed.error, renewed.status], [undefined, 200])
    assert.notStrictEqual(renewed.task, task)
    assert.strictEqual(await works(home), renewed.task)
    assert.deepInclude(JSON.parse(Home.textIn(home)).agent_identity_provisioning.task, { task_id: renewed.task })
    assert.deepStrictEqual(look(), before)
    assert.deepStrictEqual(Home.besideIn(home), name === "nothing" ? [] : names)
  })
})

describe("a byte order mark at its beginning is read,", () => {
  const mark = (home: string) => {
    Fs.writeFileSync(Home.fileIn(home), `\ufeff${Home.textIn(home)}`)
    return home
  }
  it("of a login, and is gone with the first change", async () => {
    const home = mark(Home.ofLogin())
    await works(home)
    assert.strictEqual(Home.textIn(home)[0], "{")
  })
  it("of an agent", async () => {
    const app = App.start({ ...backend.environment, CODEX_HOME: mark(Home.ofAgent("task-marked")) })
    const { status } = await app.step({ get: `${backend.provider}/marked` })
    assert.strictEqual(status, 200)
    assert.strictEqual(backend.seenAt("/provider/marked")[0]!.task, "task-marked")
  })
})

describe("a typed error says what to do", () => {
  const login = { chatGpt, steps: [] }
  const agent = { steps: [] }
  const environments: Readonly<Record<string, Readonly<Record<string, string | undefined>>>> = {
    "HOME is not set": { HOME: undefined },
    "HOME is blank": { HOME: "" }
  }
  describe.skipIf(!Namespaces.canBeNobody)("for a user that the machine does not know, where", () => {
    each(environments, async (environment) => {
      const app = App.start({ ...backend.environment, ...environment }, [], "app.mjs", Namespaces.nobody)
      for (const command of [agent, login]) {
        const { end } = await app.run(command)
        assert.strictEqual(end.error?._tag, "ConfigError")
        assert.include(end.error?.message, "neither CODEX_HOME nor HOME is set")
      }
      // Nothing else is in its way.
      const home = Home.ofLogin()
      const { end } = await app.run({ ...login, environment: { CODEX_HOME: home } })
      assert.isUndefined(end.error)
    })
  })

  it("where CODEX_HOME is relative, and the working directory has been deleted", async () => {
    const app = App.start({ ...backend.environment, CODEX_HOME: "home" }, [], "app.mjs", Namespaces.nowhere)
    for (const command of [agent, login]) {
      const { end } = await app.run(command)
      assert.strictEqual(end.error?._tag, "ConfigError")
      assert.include(end.error?.message, "give an absolute path")
    }
    const { end } = await app.run({ ...login, environment: { CODEX_HOME: Home.ofLogin() } })
    assert.isUndefined(end.error)
  })

  it("where the file is relative, and the working directory has been deleted", async () => {
    const app = App.start({}, [], "services.mjs", Namespaces.nowhere)
    const { steps } = await app.run({ urls: backend, file: "auth.json", steps: [{ agent: true }] })
    const { cause } = steps[0]!.error!
    assert.deepInclude({ ...cause }, { _tag: "ChatGptLoginError", reason: "Unreadable" })
    assert.include(cause?.message, "give an absolute path")
  })
})
