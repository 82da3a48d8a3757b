/** Refusals of requests to a provider. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import { agentDeleted, codeOnly, forms, invalidKey, taskExpired, typed } from "../support/refusals.ts"

const backend = await Backend.start()
const foreign = await Backend.start()
const app = App.start({ ...backend.environment, CODEX_HOME: Home.ofAgent("task-old") })

let paths = 0
const newPath = () => `/provider/${++paths}`

/** The only request of a run whose first answer is this one. */
const answeredFirst = async (answer: Backend.Answer) => {
  const path = newPath()
  backend.on(path, ({ task }) => task === "task-old" ? answer : Backend.json({ ok: true }))
  const before = backend.seen.length
  const line = await app.step({ get: backend.origin + path })
  return { line, seen: backend.seen.slice(before).map(({ path: at, task }) => at === path ? task! : "registration") }
}

const handedOn = async (answer: Backend.Answer, decoded = answer) => {
  const { line, seen } = await answeredFirst(answer)
  assert.deepStrictEqual(seen, ["task-old"])
  assert.strictEqual(line.status, answer.status)
  // As it came or decoded: both are whole.
  assert.include([lengthOf(answer), lengthOf(decoded)], line.length)
}
const lengthOf = ({ body = "" }: Backend.Answer) => Buffer.byteLength(body)

describe("renews a task that is refused with 401 in the form", () => {
  each(
    { ...forms, ...codeOnly },
    async (refuse) => {
      const { line, seen } = await answeredFirst(refuse(taskExpired))
      assert.strictEqual(line.status, 200)
      assert.deepStrictEqual(seen.slice(0, 2), ["task-old", "registration"])
      assert.match(seen[2]!, /^task-new-/)
    }
  )

  each({ invalid_task_id: [], task_not_found: [], task_expired: [] }, async (_, code) => {
    const { line } = await answeredFirst(forms.JSON({ ...taskExpired, error: { code, message: "" } }))
    assert.strictEqual(line.status, 200)
  })
})

describe("hands on any other 401, body whole and nothing renewed, in the form", () => {
  each({ ...forms, ...codeOnly }, async (refuse) => handedOn(refuse(invalidKey), forms.JSON(invalidKey)))

  it("of 300 kilobytes that begin as a refused task does", async () => {
    const { body, ...answer } = forms["text/plain"](taskExpired)
    await handedOn({ ...answer, body: String(body).padEnd(300_000) })
  })

  it("of a page without any code", () =>
    handedOn({ status: 401, headers: { "content-type": "text/html" }, body: "<html>task_expired</html>" }))

  it("of gzip that is damaged, of which there is no body to hand on", async () => {
    const body = Buffer.from([31, 139, 8, 0, 1, 2, 3])
    const { line, seen } = await answeredFirst({ status: 401, headers: { "content-encoding": "gzip" }, body })
    assert.deepStrictEqual(seen, ["task-old"])
    assert.strictEqual(line.status, 401)
  })

  it("of x-error-json that is no JSON", () =>
    handedOn({ status: 401, headers: { "x-error-json": "dGFza19leHBpcmVk" }, body: "no" }))
})

describe("hands on a refused task of others, and sends nothing of the run", () => {
  each(forms, async (refuse) => {
    const path = newPath()
    foreign.on(path, () => refuse(taskExpired))
    const line = await app.step({ get: foreign.origin + path })
    assert.strictEqual(line.status, 401)
    assert.deepStrictEqual(foreign.seenAt(path).map(({ headers }) => headers.authorization), [undefined])
  })
})

const names = (status: number) => async (refuse: (typeof forms)["JSON"]) => {
  const { line, seen } = await answeredFirst(refuse(agentDeleted(status)))
  assert.deepStrictEqual(seen, ["task-old"])
  assert.strictEqual(line.error?.cause?.reason, "AgentDeleted")
}

describe("names a deleted agent that is refused with 403 in the form", () => each(forms, names(403)))

describe("names a deleted agent that is refused with 400 in the form", () => each(typed, names(400)))

describe.each([403, 400])(
  "hands on any other %i, body whole, in the form",
  (status) =>
    each(forms, async (refuse) => {
      const refusal = { ...invalidKey, status }
      await handedOn(refuse(refusal), forms.JSON(refusal))
    })
)

describe("hands on a 400 before its body has ended", () => {
  const statusOf = async (origin: Backend.Backend, type: string) => {
    const path = newPath()
    origin.on(path, (_, response) => void response.writeHead(400, { "content-type": type }).write("{"))
    return app.step({ status: origin.origin + path })
  }
  it("where its type is none that may hold a refusal", async () => {
    const { millis, status } = await statusOf(backend, "application/octet-stream")
    assert.strictEqual(status, 400)
    assert.isBelow(millis, 2000)
  })
  it("where the request was not signed", async () => {
    const { millis, status } = await statusOf(foreign, "application/json")
    assert.strictEqual(status, 400)
    assert.isBelow(millis, 2000)
  })
})

it("hands on a 401 whose body stalls, after 5 seconds", async () => {
  const path = newPath()
  backend.on(path, (_, response) => void response.writeHead(401, { "content-type": "application/json" }).write("{"))
  const { millis, status } = await app.step({ status: backend.origin + path })
  assert.strictEqual(status, 401)
  assert.isAtLeast(millis, 4500)
  assert.isBelow(millis, 7000)
})
