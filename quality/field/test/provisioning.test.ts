/** A login that becomes another one while its agent is being made. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import * as Home from "../support/home.ts"

const backend = await Backend.start()
const app = App.start({}, [], "services.mjs")

describe("a login that is switched while its agent is being registered", () => {
  it("is StaleAuth, and the other login has its own agent before the first registration is answered", async () => {
    const file = Path.join(Home.ofLogin("account-1"), "auth.json")
    const other = Path.join(Home.ofLogin("account-2"), "auth.json")
    const switched = Path.join(App.temporaryFolder(), "switched")
    const path = "/authapi/v1/agent/register"
    let answerFirst = () => {}
    backend.on(path, (_, response) => {
      if (backend.seenAt(path).length > 1) {
        answerFirst()
        return Backend.json({ agent_runtime_id: "agent-2" })
      }
      answerFirst = () =>
        response.setHeader("content-type", "application/json").end("{\"agent_runtime_id\":\"agent-1\"}")
      Fs.renameSync(other, file)
      Fs.writeFileSync(switched, "")
      return undefined
    })
    const { steps } = await app.run({
      urls: backend,
      file,
      steps: [{ begin: "first" }, { until: switched }, { agent: true }, { ended: "first" }]
    })
    assert.deepInclude(steps[2], { text: "agent-2", account: "account-2" })
    assert.strictEqual(steps[3]!.error?.reason, "StaleAuth")
    const kept = Fs.readFileSync(file, "utf8")
    assert.include(kept, "agent-2")
    assert.notInclude(kept, "agent-1")
  })
})
