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
