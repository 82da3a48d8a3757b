/** Refusals of a WebSocket: of its handshake, and in an event. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import { agentDeleted, codeOnly, forms, invalidKey, taskExpired, typed } from "../support/refusals.ts"

const backend = await Backend.start()
const app = App.start({ ...backend.environment, CODEX_HOME: Home.ofAgent("task-old") })

let paths = 0
const newPath = () => `/provider/${++paths}`
const urlOf = (path: string) => `${backend.origin.replace("http", "ws")}${path}`

/** A socket whose first handshake is refused like this; a second one is accepted, and closed at once. */
const refusedFirst = async (answer: Backend.Answer) => {
  const path = newPath()
  backend.onSocket(path, ({ task }, accept) => {
    if (task === "task-old") return answer
    accept().close(1000)
    return undefined
  })
  const before = backend.seen.length
  const { error } = await app.step({ socket: urlOf(path) })
  return { error, seen: backend.seen.slice(before).map(({ path: at, task }) => at === path ? task! : "registration") }
}

describe("renews a task that the handshake is refused with in the form", () => {
  each({ ...forms, ...codeOnly }, async (refuse) => {
    const { error, seen } = await refusedFirst(refuse(taskExpired))
    assert.isUndefined(error)
    assert.deepStrictEqual(seen.slice(0, 2), ["task-old", "registration"])
    assert.match(seen[2]!, /^task-new-/)
  })
})

describe("says so if the handshake is refused for another reason, and renews nothing, in the form", () => {
  each({ ...forms, ...codeOnly }, async (refuse) => {
    const { error, seen } = await refusedFirst(refuse(invalidKey))
    assert.deepStrictEqual(seen, ["task-old"])
    assert.strictEqual(error?.cause?.reason, "Refused")
    assert.strictEqual(error?.cause?.status, 401)
  })
})

const names = (status: number) => async (refuse: (typeof forms)["JSON"]) => {
  const { error } = await refusedFirst(refuse(agentDeleted(status)))
  assert.strictEqual(error?.cause?.reason, "AgentDeleted")
}

describe("names a deleted agent that the handshake is refused with 403 for in the form", () => each(forms, names(403)))

describe("names a deleted agent that the handshake is refused with 400 for in the form", () => each(typed, names(400)))

/** A socket that is sent this event and then, if it is still there, the end. */
const sentEvent = async (event: object) => {
  const path = newPath()
  let closed: () => number | undefined = () => undefined
  backend.onSocket(path, (_, accept) => {
    const connection = accept()
    closed = () => connection.closed
    connection.send(event)
    setTimeout(() => connection.close(1000), 400)
    return undefined
  })
  const before = backend.seen.length
  const { error, messages } = await app.step({ socket: urlOf(path) })
  const registrations = backend.seen.slice(before).filter((one) => one.path !== path).length
  return { error, messages, registrations, closed: closed() }
}

const { error } = taskExpired
const events = {
  "an error": { type: "error", status: 401, error },
  "an error, with the code in the event itself": { type: "error", ...error },
  "a failed response": { type: "response.failed", response: { id: "resp_1", status: "failed", error } },
  "a failed response, with the error in the event itself": { type: "response.failed", error }
}

describe("renews the task, and closes as for a replaced one, after an event with a task's code that is", () => {
  each(events, async (event) => {
    const { closed, error, messages, registrations } = await sentEvent(event)
    assert.deepStrictEqual(messages, [JSON.stringify(event)])
    assert.strictEqual(registrations, 1)
    assert.strictEqual(closed, 4001)
    assert.strictEqual(error?.reason, "Close")
    assert.strictEqual(error?.code, 4001)
  })
})

describe("hands on an event, and nothing more, that is", () => {
  each(
    {
      "an error with another code": { type: "error", status: 401, error: invalidKey.error },
      "a failed response with another code": { type: "response.failed", response: { error: invalidKey.error } },
      "text that speaks of a task's code": { type: "response.output_text.delta", delta: "{\"code\":\"task_expired\"}" },
      "an item of the model's that looks like an error": { type: "response.output_item.done", error }
    },
    async (event) => {
      const { error, messages, registrations } = await sentEvent(event)
      assert.deepStrictEqual(messages, [JSON.stringify(event)])
      assert.strictEqual(registrations, 0)
      assert.isUndefined(error)
    }
  )
})

it("carries a prewarmed response on one connection, with one assertion", async () => {
  const path = newPath()
  backend.onSocket(path, (_, accept) => {
    const connection = accept()
    connection.onText = (text) => {
      const { generate, previous_response_id: previous } = JSON.parse(text)
      const id = generate === false ? "resp_1" : `after_${previous}`
      connection.send({ type: "response.completed", response: { id } })
      if (generate !== false) connection.close(1000)
    }
    return undefined
  })
  const send = [
    { type: "response.create", generate: false },
    { type: "response.create", previous_response_id: "resp_1" }
  ]
  const { error, messages } = await app.step({ socket: urlOf(path), send })
  assert.isUndefined(error)
  assert.deepStrictEqual(messages!.map((text) => JSON.parse(text).response.id), ["resp_1", "after_resp_1"])
  assert.deepStrictEqual(backend.seenAt(path).map(({ task }) => task), ["task-old"])
})
