/** Refusals where `core` runs alone, over a `fetch`: it decodes, and leaves `content-encoding` in place. */
import { assert, describe } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import { agentDeleted, codeOnly, forms, invalidKey, taskExpired, typed } from "../support/refusals.ts"

const backend = await Backend.start()
const app = App.start({})

let paths = 0
const options = {
  agentRuntimeId: "agent-1",
  privateKey: Home.privateKey,
  authApi: backend.authApi,
  providers: [backend.provider]
}

const answeredFirst = async (answer: Backend.Answer) => {
  const path = `/provider/${++paths}`
  backend.on(path, ({ task }) => task === "task-old" ? answer : Backend.json({ ok: true }))
  const portable = { ...options, taskId: "task-old" }
  const line = await app.step({ get: backend.origin + path }, { portable })
  return { line, requests: backend.seenAt(path).length }
}

/** An agent's first registration, answered like this. */
const registered = async (answer: Backend.Answer) => {
  const agentRuntimeId = `agent-new-${++paths}`
  backend.on(Backend.tasksOf(agentRuntimeId), () => answer)
  const { end } = await app.run({ portable: { ...options, agentRuntimeId }, steps: [] })
  return { error: end.error }
}

describe("renews a task that is refused with 401 in the form", () => {
  each({ ...forms, ...codeOnly }, async (refuse) => {
    const { line, requests } = await answeredFirst(refuse(taskExpired))
    assert.strictEqual(line.status, 200)
    assert.strictEqual(requests, 2)
  })
})

describe("hands on any other 401, as `fetch` reads it, in the form", () => {
  each({ ...forms, ...codeOnly }, async (refuse) => {
    const answer = refuse(invalidKey)
    const { line, requests } = await answeredFirst(answer)
    assert.strictEqual(line.status, 401)
    assert.isUndefined(line.error)
    const lengths = [answer, forms.JSON(invalidKey)].map(({ body = "" }) => Buffer.byteLength(body))
    assert.include(lengths, line.length)
    assert.strictEqual(requests, 1)
  })
})

describe("names a deleted agent that is refused with 400 in the form", () => {
  each(typed, async (refuse) => {
    const { line } = await answeredFirst(refuse(agentDeleted(400)))
    assert.include([line.error?.reason, line.error?.cause?.reason], "AgentDeleted")
  })
})

describe("names a deleted agent at the registration of a task, refused with 403 in the form", () => {
  each(forms, async (refuse) => {
    const { error } = await registered(refuse(agentDeleted(403)))
    assert.strictEqual(error?.reason, "AgentDeleted")
  })
})
