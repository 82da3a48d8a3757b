/** A provider's own token, which a command prints, and a server that refuses it. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"

const backend = await Backend.start()
const app = App.start({}, [], "services.mjs")
const refused = JSON.stringify({ error: { code: "invalid_api_key", message: "who are you?" } })

let tests = 0
/** A path of the gateway, a command that prints `token-1`, then `token-2`, and how often it has run. */
const gateway = (accepts: (token: string) => boolean) => {
  const path = `/gateway/${++tests}`
  const file = Path.join(App.temporaryFolder(), "runs")
  Fs.writeFileSync(file, "")
  let refusals = 0
  backend.on(path, ({ headers }, response) => {
    const token = headers.authorization!.replace("Bearer ", "")
    if (accepts(token)) return Backend.json({ ok: true })
    // Every second one comes later.
    setTimeout(() => response.writeHead(401).end(refused), ++refusals % 2 === 0 ? 500 : 0)
    return undefined
  })
  const script = `echo >> '${file}'; echo token-$(wc -l < '${file}' | tr -d ' ')`
  return {
    ask: backend.origin + path,
    script,
    file,
    runs: () => Fs.readFileSync(file).length,
    seen: () => backend.seenAt(path).map(({ headers }) => headers.authorization!.replace("Bearer ", ""))
  }
}

const run = async (script: string, ...steps: ReadonlyArray<object>) =>
  (await app.run({ urls: backend, script, steps })).steps

describe("a server that refuses the token of a command", () => {
  it("gets the same request once more, with the token of another run, which is kept", async () => {
    const { ask, runs, script, seen } = gateway((token) => token !== "token-1")
    const steps = await run(script, { ask, body: { question: 1 } }, { ask, body: { question: 2 } })
    assert.deepStrictEqual(steps.map(({ status }) => status), [200, 200])
    assert.deepStrictEqual(seen(), ["token-1", "token-2", "token-2"])
    const bodies = backend.seenAt(new URL(ask).pathname).map(({ body }) => body)
    assert.deepStrictEqual(bodies, ["{\"question\":1}", "{\"question\":1}", "{\"question\":2}"])
    assert.strictEqual(runs(), 2)
  })

  it("has its second 401 handed on, whole", async () => {
    const { ask, runs, script, seen } = gateway(() => false)
    const [step] = await run(script, { ask })
    assert.deepInclude(step!, { status: 401, text: refused })
    assert.deepStrictEqual(seen(), ["token-1", "token-2"])
    assert.strictEqual(runs(), 2)
  })

  it("costs many requests at once one more run", async () => {
    const { ask, runs, script, seen } = gateway((token) => token !== "token-1")
    const [step] = await run(script, { ask, times: 30 })
    assert.deepStrictEqual(new Set(step!.statuses), new Set([200]))
    assert.lengthOf(seen(), 60)
    assert.strictEqual(runs(), 2)
  })

  it("has its 401 handed on where the command fails by then", async () => {
    const { ask, file, runs, script, seen } = gateway(() => false)
    const [step] = await run(`${script}; test $(wc -l < '${file}') -eq 1`, { ask })
    assert.deepInclude(step!, { status: 401, text: refused })
    assert.deepStrictEqual(seen(), ["token-1"])
    assert.strictEqual(runs(), 2)
  })
})

describe("a command has ended when its process has", () => {
  const commands = {
    "and has left a child behind that holds its output": "sleep 30 & echo token",
    "and has closed its output a second before": "echo token; exec >&- 2>&-; sleep 1"
  }
  for (const [name, script] of Object.entries(commands)) {
    it(name, async () => {
      const { ask, seen } = gateway(() => true)
      const [step] = await run(script, { ask })
      assert.strictEqual(step!.status, 200)
      assert.deepStrictEqual(seen(), ["token"])
    })
  }

  it("not when it closes its output: it is a failure where it fails after that", async () => {
    const { ask, seen } = gateway(() => true)
    const [step] = await run("echo token; exec >&- 2>&-; sleep 1; exit 3", { ask })
    assert.strictEqual(step!.error?.reason, "NoCredential")
    assert.deepStrictEqual(seen(), [])
  })

  it("or after 5 seconds, whatever child holds its output", async () => {
    const { ask, seen } = gateway(() => true)
    const [step] = await run("sleep 30 & sleep 30", { ask })
    assert.strictEqual(step!.error?.reason, "NoCredential")
    assert.isBelow(step!.millis, 7000)
    assert.deepStrictEqual(seen(), [])
  })
})
