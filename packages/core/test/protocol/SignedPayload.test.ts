import { AgentRuntimeId, SignedPayload, TaskId, Timestamp } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { FastCheck, Schema } from "effect"

type Payload = readonly [kind: "registration" | "v1" | "v2", id: string, task: string, time: string]

const isAgentRuntimeId = Schema.is(AgentRuntimeId.AgentRuntimeId)
const isTaskId = Schema.is(TaskId.TaskId)

const text = ([kind, id, task, time]: Payload): string => {
  const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(id)
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
    kind === "registration"
      ? SignedPayload.taskRegistration(agentRuntimeId, time)
      : SignedPayload.assertion(kind, agentRuntimeId, TaskId.TaskId.make(task), time)
  )
}

/** Everything that a text can be read as, by trying each way to cut it. */
const readings = (text: string): ReadonlyArray<Payload> => {
  const colons = Array.from(text.matchAll(/:/g), (match) => match.index)
  const found: Array<Payload> = []
  for (const first of colons) {
    const id = text.slice(0, first)
    if (!isAgentRuntimeId(id)) continue
    if (Timestamp.parse(text.slice(first + 1)) !== undefined) {
      found.push(["registration", id, "", text.slice(first + 1)])
    }
    for (const last of colons) {
      const [task, time] = [text.slice(first + 1, last), text.slice(last + 1)]
      if (last > first && isTaskId(task) && Timestamp.parse(time) !== undefined) found.push(["v1", id, task, time])
    }
  }
  const array = text.startsWith("[") && text.endsWith("]") ? JSON.parse(text) : []
  if (array[0] === "agent-assertion/v2") found.push(["v2", array[1], array[2], array[3]])
  return found
}

const times = ["2026-04-23T00:00:00Z", "2026-04-23T00:00:01Z"]
const tokens = [
  "a",
  ":",
  "\"",
  ",",
  "[",
  "]",
  "\\",
  "00Z",
  "é",
  "agent-assertion/v2",
  "[\"agent-assertion/v2\",\"a\"",
  ...times
]
const hostile = FastCheck.array(FastCheck.constantFrom(...tokens), { minLength: 1, maxLength: 8 }).map((parts) =>
  parts.join("")
)

const payload = (ids: FastCheck.Arbitrary<string>, tasks: FastCheck.Arbitrary<string>): FastCheck.Arbitrary<Payload> =>
  FastCheck.constantFrom("registration" as const, "v1" as const, "v2" as const).chain((kind) =>
    FastCheck.tuple(
      FastCheck.constant(kind),
      ids,
      kind === "registration" ? FastCheck.constant("") : tasks,
      FastCheck.constantFrom(...times)
    )
  )

describe("SignedPayload", () => {
  it("is id:time for a registration, id:task:time for v1 and a tagged JSON array for v2, in UTF-8", () => {
    const time = times[0]!
    assert.strictEqual(text(["registration", "agent-123", "", time]), `agent-123:${time}`)
    assert.strictEqual(text(["v1", "agent-123", "task-123", time]), `agent-123:task-123:${time}`)
    assert.strictEqual(text(["v1", "日本", "a:b\n", time]), `日本:a:b\n:${time}`)
    assert.strictEqual(text(["v2", "agent-123", "é:\"", time]), `["agent-assertion/v2","agent-123","é:\\"","${time}"]`)
  })

  it("no two payloads of a whole small universe are the same bytes", () => {
    const parts = ["", "a", ":", "[\"agent-assertion/v2\"", ...times]
    const tasks = new Set(parts.flatMap((x) => parts.flatMap((y) => parts.flatMap((z) => [x + y + z]))))
    const seen = new Map<string, Payload>()
    for (const id of ["a", "aa", "[\"agent-assertion/v2\"", "[\"agent-assertion/v2\",\"a\",\"2026-04-23T00"]) {
      for (const task of tasks) {
        for (const time of times) {
          for (const kind of ["registration", "v1", "v2"] as const) {
            if (!isAgentRuntimeId(id) || (kind === "registration" ? task !== "" : !isTaskId(task))) continue
            const bytes = text([kind, id, task, time])
            assert.isUndefined(seen.get(bytes), bytes)
            seen.set(bytes, [kind, id, task, time])
          }
        }
      }
    }
    assert.isAbove(seen.size, 2000)
  })

  it.prop(
    "reads in one way only, however an id and a task are made to look like the rest",
    [payload(hostile.filter(isAgentRuntimeId), hostile.filter(isTaskId))],
    ([payload]) => assert.deepStrictEqual(readings(text(payload)), [payload]),
    { fastCheck: { numRuns: 1000 } }
  )

  it.prop(
    "reads in one way only, for every id and task",
    [AgentRuntimeId.AgentRuntimeId, TaskId.TaskId],
    ([id, task]) => {
      for (const kind of ["v1", "v2"] as const) {
        assert.deepStrictEqual(readings(text([kind, id, task, times[0]!])), [[kind, id, task, times[0]!]])
      }
    }
  )
})
