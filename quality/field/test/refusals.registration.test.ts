/** Refusals of the registration of a task. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import { privateKey } from "../support/home.ts"
import { agentDeleted, forms, invalidKey, typed } from "../support/refusals.ts"

const backend = await Backend.start()
const app = App.start({ ...backend.environment, CODEX_AGENT_IDENTITY_PRIVATE_KEY: privateKey })

let agents = 0

/** A run of a new agent whose registrations are answered like this. */
const registered = async (answer: Backend.Answer) => {
  const agent = `agent-${++agents}`
  backend.on(Backend.tasksOf(agent), () => answer)
  const { end } = await app.run({ environment: { CODEX_AGENT_IDENTITY_RUNTIME_ID: agent }, steps: [{ task: true }] })
  return { error: end.error, requests: backend.seenAt(Backend.tasksOf(agent)).length }
}

const names = (status: number) => async (refuse: (typeof forms)["JSON"]) => {
  const { error, requests } = await registered(refuse(agentDeleted(status)))
  assert.strictEqual(error?.reason, "AgentDeleted")
  assert.strictEqual(requests, 1)
}

describe("names a deleted agent that is refused with 403 in the form", () => {
  each(
    forms,
    names(403)
  )
})

describe("names a deleted agent that is refused with 400 in the form", () => each(typed, names(400)))

describe("says what any other refusal says, after one attempt, in the form", () => {
  each(forms, async (refuse) => {
    const { error, requests } = await registered(refuse(invalidKey))
    assert.strictEqual(error?.reason, "Status")
    assert.strictEqual(error?.status, 401)
    assert.match(error!.message!, /Incorrect API key provided|<title>401<\/title>/)
    assert.strictEqual(requests, 1)
  })
})

it("reads a task behind a byte order mark", async () => {
  const { error } = await registered({ body: "\uFEFF{\"task_id\":\"task-1\"}" })
  assert.isUndefined(error)
})
