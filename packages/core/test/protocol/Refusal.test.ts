import { Refusal } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"

describe("Refusal.isTaskInvalid", () => {
  for (const code of ["invalid_task_id", "task_not_found", "task_expired"]) {
    for (const json of [{ error: { code } }, { code }, { error: code }, { error: { code: "other" }, code }]) {
      it(`is ${JSON.stringify(json)}`, () => assert.isTrue(Refusal.isTaskInvalid(json)))
    }
  }

  const others: ReadonlyArray<unknown> = [
    undefined,
    null,
    "task_expired",
    ["task_expired"],
    {},
    { error: null },
    { error: { code: "TASK_EXPIRED" } },
    { error: { code: ["task_expired"] } },
    { error: { message: "task_expired" } },
    { message: "task_expired" },
    { detail: { code: "task_expired" } },
    { error: { error: { code: "task_expired" } } },
    { error: "the task_expired" }
  ]
  for (const json of others) {
    it(`is not ${JSON.stringify(json)}`, () => assert.isFalse(Refusal.isTaskInvalid(json)))
  }

  it("throws for no JSON at all", () =>
    FastCheck.assert(FastCheck.property(FastCheck.jsonValue(), (json) => {
      Refusal.isTaskInvalid(json)
      Refusal.isAgentDeleted(json)
    })))
})

describe("Refusal.isAgentDeleted", () => {
  const code = "biscuit_baker_service_agent_error_status"

  it("is the answer of OpenAI's service", () =>
    assert.isTrue(Refusal.isAgentDeleted({
      error: { message: "Agent runtime has been deleted.", type: null, code, param: null },
      status: 403
    })))

  const others: ReadonlyArray<unknown> = [
    undefined,
    { error: { code } },
    { error: { code, message: "Agent runtime is suspended." } },
    { error: { code, message: "undeletedness" } },
    { error: { code: "other", message: "Agent runtime has been deleted." } },
    { code, message: "Agent runtime has been deleted." }
  ]
  for (const json of others) {
    it(`is not ${JSON.stringify(json)}`, () => assert.isFalse(Refusal.isAgentDeleted(json)))
  }
})

describe("Refusal.documents", () => {
  const error = { error: { code: "task_expired" } }
  const json = JSON.stringify(error)
  const utf8 = (text: string) => new TextEncoder().encode(text)
  const forms: ReadonlyArray<readonly [what: string, headers: Record<string, string>, body: string | undefined]> = [
    ["the body", {}, json],
    ["the body behind a byte order mark", {}, `\uFEFF${json}`],
    ["x-error-json", { "x-error-json": Buffer.from(json).toString("base64") }, "<html>"],
    ["x-error-json in base64url", { "x-error-json": Buffer.from(json).toString("base64url") }, undefined],
    ["x-openai-ide-error-code", { "x-openai-ide-error-code": " task_expired " }, "<html>"]
  ]
  for (const [what, headers, body] of forms) {
    it(`finds a code in ${what}`, () => {
      const found = Refusal.documents(headers, body === undefined ? undefined : utf8(body))
      assert.isTrue(found.some(Refusal.isTaskInvalid))
    })
  }

  it("finds nothing in what is no JSON, no base64 and not there", () => {
    assert.deepStrictEqual(Refusal.documents({ "x-error-json": "{}" }, utf8("<html>")), [])
    assert.deepStrictEqual(Refusal.documents({ "x-error-json": "bm8=" }, Uint8Array.of(0xff)), [])
    assert.deepStrictEqual(Refusal.documents({}, undefined), [])
  })
})

describe("Refusal.isPossible", () => {
  const isPossible = (status: number, type?: string) =>
    Refusal.isPossible({ status, headers: type === undefined ? {} : { "content-type": type } })

  it("is every 401 and 403", () => {
    for (const status of [401, 403]) {
      for (const type of [undefined, "application/octet-stream"]) assert.isTrue(isPossible(status, type))
    }
  })

  it("is a 400 only where its content may be one", () => {
    const may = ["application/json", "Application/JSON ; x", "application/problem+json", "text/plain", "text/html"]
    for (const type of may) assert.isTrue(isPossible(400, type), type)
    const others = [undefined, "", "application/jsonl", "application/json+x", "image/png", "multipart/form-data"]
    for (const type of others) assert.isFalse(isPossible(400, type), type)
  })

  it("is no other status", () => {
    for (const status of [200, 402, 404, 429, 500]) assert.isFalse(isPossible(status, "application/json"))
  })
})

describe("Refusal.isTaskInvalidEvent", () => {
  const error = { code: "task_expired" }
  const events: ReadonlyArray<unknown> = [
    { type: "error", error },
    { type: "error", status: 401, ...error },
    { type: "response.failed", response: { error } },
    { type: "response.failed", error }
  ]
  const others: ReadonlyArray<unknown> = [
    undefined,
    "",
    "not JSON, and yet \"error\"",
    { type: "response.completed", response: { error } },
    { type: "response.output_text.delta", delta: "\"error\" task_expired" },
    { type: "error", error: { code: "server_error" } },
    { type: ["error"], error },
    [{ type: "error", error }]
  ]
  for (const event of events) {
    it(`is ${JSON.stringify(event)}, also as its text`, () => {
      assert.isTrue(Refusal.isTaskInvalidEvent(event))
      assert.isTrue(Refusal.isTaskInvalidEvent(JSON.stringify(event)))
    })
  }
  for (const event of others) {
    it(`is not ${JSON.stringify(event)}, as its text neither`, () => {
      assert.isFalse(Refusal.isTaskInvalidEvent(event))
      assert.isFalse(Refusal.isTaskInvalidEvent(String(JSON.stringify(event))))
    })
  }
})
