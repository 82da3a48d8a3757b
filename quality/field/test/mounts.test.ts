/** An `auth.json` that is mounted into the place where the app looks for it, as containers do. */
import * as Fs from "node:fs"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Namespaces from "../support/namespaces.ts"

const backend = await Backend.start()
const chatGpt = { policy: "ChatGptAuth", agentVersion: "1.2.3" }
backend.on("/authapi/v1/agent/register", () => Backend.json({ agent_runtime_id: "agent-1" }))

/** A home of the host, and the folder in the container where its file is mounted. */
const mounted = () => {
  const home = Home.ofLogin()
  const inside = App.temporaryFolder()
  Fs.writeFileSync(Home.fileIn(inside), "")
  return { home, inside, mount: `mount --bind "${Home.fileIn(home)}" "${Home.fileIn(inside)}"` }
}

const start = (
  inside: string,
  script: string,
  preload: ReadonlyArray<string> = [],
  more: Record<string, string> = {}
) => App.start({ ...backend.environment, CODEX_HOME: inside, ...more }, preload, "app.mjs", Namespaces.mounts(script))

const opensIn = async (app: App.App, within = 20_000) => {
  const { end, steps } = await app.run({ chatGpt, steps: [{ get: `${backend.provider}/x`, within }], within })
  assert.deepStrictEqual([end.error, steps[0]?.error, steps[0]?.status], [undefined, undefined, 200])
  return backend.seenAt("/provider/x").at(-1)!.task!
}

const isJson = (text: string) => {
  try {
    return JSON.parse(text) !== undefined
  } catch {
    return false
  }
}

const agentIn = (home: string) => JSON.parse(Home.textIn(home)).agent_identity

describe.skipIf(!Namespaces.canMount)("an auth.json that is mounted", () => {
  it("gets its agent where it stands, and later processes have the same one", async () => {
    const { home, inside, mount } = mounted()
    const { ino } = Fs.statSync(Home.fileIn(home))
    const task = await opensIn(start(inside, mount))
    assert.deepInclude(agentIn(home), { agent_runtime_id: "agent-1", task_id: task })
    assert.deepInclude(Fs.statSync(Home.fileIn(home)), { ino })
    assert.strictEqual(Fs.statSync(Home.fileIn(home)).mode & 0o777, 0o600)
    assert.strictEqual(await opensIn(start(inside, mount)), task)
    assert.deepStrictEqual([Home.besideIn(inside), Home.besideIn(home)], [[], []])
  })

  it("gets one agent, whatever many processes begin at once", async () => {
    const { home, inside, mount } = mounted()
    const before = backend.seenAt("/authapi/v1/agent/register").length
    const many = start(inside, mount)
    await Promise.all(Array.from({ length: 4 }, () => opensIn(many)))
    // Apps of other namespaces that have the same folder.
    await Promise.all(Array.from({ length: 3 }, () => opensIn(start(inside, mount))))
    assert.strictEqual(backend.seenAt("/authapi/v1/agent/register").length - before, 1)
    assert.isString(agentIn(home).task_id)
  })

  /** A text that is longer is two writes: spaces at the end, and then all of it. */
  const writes = {
    "the spaces for the key": { write: 1, torn: false },
    "the key": { write: 2, torn: true },
    "the spaces for the agent": { write: 3, torn: false },
    "the agent": { write: 4, torn: true },
    "its task, which leaves JSON all the same": { write: 5, torn: false }
  }
  describe("is mended by the next process after a kill -9 in the middle of writing", () => {
    each(writes, async ({ torn, write }) => {
      const { home, inside, mount } = mounted()
      const { tokens } = JSON.parse(Home.textIn(home))
      // What the killed one has leased is over after 2 seconds instead of 20.
      const fast = { FIELD_SPEED: "10", FIELD_TEAR: String(write) }
      const killed = start(inside, mount, ["clocks.mjs", "tear.mjs"], fast).run({ chatGpt, steps: [] })
      assert.isTrue(await killed.then(() => false, () => true))
      assert.strictEqual(isJson(Home.textIn(home)), !torn)
      const task = await opensIn(start(inside, mount, ["clocks.mjs"], { FIELD_SPEED: "10" }), 100_000)
      assert.deepInclude(agentIn(home), { task_id: task })
      assert.deepStrictEqual(JSON.parse(Home.textIn(home)).tokens, tokens)
      assert.deepStrictEqual(Home.besideIn(inside), [])
    })
  })

  it("may be read-only where the agent is in it", async () => {
    const { home, inside, mount } = mounted()
    const task = await opensIn(start(inside, mount))
    const before = Home.textIn(home)
    assert.strictEqual(
      await opensIn(start(inside, `${mount}; mount -o remount,bind,ro "${Home.fileIn(inside)}"`)),
      task
    )
    assert.strictEqual(Home.textIn(home), before)
  })

  const refused = {
    "read-only": {
      script: ({ inside }: ReturnType<typeof mounted>) => `mount -o remount,bind,ro "${Home.fileIn(inside)}"`,
      says: "read-only"
    },
    "replaced by the host": {
      script: ({ home }: ReturnType<typeof mounted>) =>
        `cp "${Home.fileIn(home)}" "${home}/new"; mv "${home}/new" "${Home.fileIn(home)}"`,
      says: "mount its folder instead"
    },
    "mounted into a folder that is read-only": {
      script: ({ inside }: ReturnType<typeof mounted>) =>
        `mount --rbind "${inside}" "${inside}"; mount -o remount,bind,ro "${inside}"`,
      says: "its mount is read-only (EROFS); mount it so that it can be written"
    }
  }
  describe("is a typed error that says what to do, and no change, where it is", () => {
    each(refused, async ({ says, script }) => {
      const place = mounted()
      const before = Home.textIn(place.home)
      const app = start(place.inside, `${place.mount}; ${script(place)}`)
      const { end } = await app.run({ chatGpt, steps: [] })
      assert.deepInclude({ ...end.error?.cause }, { _tag: "CredentialStoreError", reason: "Unwritable" })
      assert.include(end.error?.message, says)
      assert.strictEqual(Home.textIn(place.home), before)
      assert.deepStrictEqual(Home.besideIn(place.inside), [])
    })
  })
})

describe.skipIf(!Namespaces.canGive || !Namespaces.canMount)(
  "an auth.json of another user that our group may write",
  () => {
    it("gets its agent where it stands, and stays that user's", async () => {
      const home = Home.ofLogin()
      Fs.chownSync(Home.fileIn(home), 65534, 0)
      Fs.chmodSync(Home.fileIn(home), 0o660)
      // In a user namespace that knows no such user, so that nothing can be given to it.
      const app = App.start({ ...backend.environment, CODEX_HOME: home }, [], "app.mjs", ["unshare", "-r"])
      const task = await opensIn(app)
      assert.deepInclude(agentIn(home), { task_id: task })
      const { gid, mode, uid } = Fs.statSync(Home.fileIn(home))
      assert.deepStrictEqual({ gid, uid, mode: mode & 0o777 }, { gid: 0, uid: 65534, mode: 0o660 })
      assert.deepStrictEqual(Home.besideIn(home), [])
    })
  }
)
