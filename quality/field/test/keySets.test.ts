/** The keys of an issuer that is away, or comes and goes. */
import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Issuer from "../support/issuer.ts"

const backend = await Backend.start()
const app = App.start(backend.environment)
const issuer = Issuer.make()
const path = "/issuer/agent-identities/jwks"
const minute = 60_000

/** The keys that a run with a token asks for, of which the first answers come from `first`. */
const asked = async (...first: ReadonlyArray<(response: ServerResponse) => unknown>) => {
  const before = backend.seenAt(path).length
  backend.on(path, (_, response) => {
    const answer = first[backend.seenAt(path).length - before - 1]
    if (answer === undefined) return Backend.json(issuer.keySet)
    answer(response)
    return undefined
  })
  const { end } = await app.run({ environment: { CODEX_ACCESS_TOKEN: issuer.token() }, steps: [] })
  return { error: end.error, requests: backend.seenAt(path).length - before }
}

const reset = (response: ServerResponse) => void (response.socket as Socket).resetAndDestroy()
const hangUp = (response: ServerResponse) => void response.socket!.end()
const breakOff = (response: ServerResponse) => {
  response.writeHead(200, { "content-type": "application/json", "content-length": 1000 }).write("{\"keys\":[")
  setTimeout(() => response.socket!.destroy(), 50)
}

describe("asks once more where the connection is", () => {
  const breaks = { "reset": reset, "ended without an answer": hangUp, "broken off in the answer": breakOff }
  each(breaks, async (end) => {
    const { error, requests } = await asked(end)
    assert.isUndefined(error)
    assert.strictEqual(requests, 2)
  })
})

it("asks no third time", async () => {
  const { error, requests } = await asked(reset, reset)
  assert.strictEqual(error?.cause?.reason, "Transport")
  assert.strictEqual(requests, 2)
})

it("takes the first answer of an issuer that is there", async () => {
  const { error, requests } = await asked()
  assert.isUndefined(error)
  assert.strictEqual(requests, 1)
})

it("reads a key set behind a byte order mark", async () => {
  const { error } = await asked((response) => response.end(`\uFEFF${JSON.stringify(issuer.keySet)}`))
  assert.isUndefined(error)
})

describe("held by an app, while time passes,", () => {
  const holder = App.start({ FIELD_SPEED: "10" }, ["clocks.mjs"], "services.mjs")
  const pass = (minutes: number) => ({ clock: { wall: minutes * minute, monotonic: minutes * minute } })
  const find = { find: "key-1", within: 20 * minute }

  /** What is found by turns, and what the issuer answers from the second request on. */
  const found = async (
    steps: ReadonlyArray<object>,
    later: (response: ServerResponse) => unknown,
    keySet?: object
  ) => {
    const before = backend.seenAt(path).length
    backend.on(path, (_, response) => {
      if (backend.seenAt(path).length === before + 1) return Backend.json(issuer.keySet)
      later(response)
      return undefined
    })
    const command = keySet === undefined ? { urls: backend } : { urls: backend, keySet }
    const { end, steps: lines } = await holder.run({ ...command, steps })
    const finds = lines.filter((_, at) => "find" in steps[at]!)
    return { finds, logs: end.logs!.join("\n"), requests: backend.seenAt(path).length - before }
  }
  const status = (code: number, body = "") => (response: ServerResponse) => void response.writeHead(code).end(body)
  const away = {
    "answers 500": status(500),
    "answers 503": status(503),
    "answers 429": status(429),
    "resets the connection": reset,
    "hangs up": hangUp,
    "does not answer": () => undefined
  }
  const hour = { staleFor: "1 hour" }

  it("a set is used for 10 minutes", async () => {
    const { finds, requests } = await found([find, pass(9), find, pass(2), find], (response) => {
      response.end(JSON.stringify({ keys: [] }))
    })
    assert.deepStrictEqual(finds.map(({ keys }) => keys), [["key-1"], ["key-1"], []])
    assert.strictEqual(requests, 2)
  })

  describe("the last good set is used for an hour if that is asked for, with a warning, while the issuer", () => {
    each(away, async (later) => {
      const { finds, logs } = await found([find, pass(11), find, pass(45), find], later, hour)
      assert.deepStrictEqual(finds.map(({ keys }) => keys), [["key-1"], ["key-1"], ["key-1"]])
      assert.match(logs, /WARN .*key set/i)
    })
  })

  it("the issuer that is away is asked, and warned of, once in 30 seconds", async () => {
    const { finds, logs, requests } = await found([find, pass(11), find, find, find, pass(1), find], status(503), hour)
    assert.deepStrictEqual(finds.map(({ keys }) => keys), Array.from({ length: 5 }, () => ["key-1"]))
    assert.strictEqual(logs.match(/last good key set/g)?.length, 2)
    assert.strictEqual(requests, 3)
  })

  it("an issuer that says something else is asked again at once", async () => {
    const { requests } = await found([find, pass(11), find, find], status(404), hour)
    assert.strictEqual(requests, 3)
  })

  describe("the last good set is not used for longer than an hour while the issuer", () => {
    each(away, async (later) => {
      const { finds } = await found([find, pass(30), find, pass(31), find], later, hour)
      assert.deepStrictEqual(finds[0]!.keys, ["key-1"])
      assert.strictEqual(finds[2]!.error?._tag, "JwksError")
    })
  })

  describe("the last good set is not used by default while the issuer", () => {
    each(away, async (later) => {
      const { finds } = await found([find, pass(11), find], later)
      assert.strictEqual(finds[1]!.error?._tag, "JwksError")
    })
  })

  describe("the last good set is not used where the issuer", () => {
    const there = {
      "answers 404": status(404),
      "answers 403": status(403),
      "answers what is no key set": status(200, "no")
    }
    each(there, async (later) => {
      const { finds } = await found([find, pass(11), find], later, hour)
      assert.strictEqual(finds[1]!.error?._tag, "JwksError")
    })
  })

  it("an empty set takes the place of the last good one at once", async () => {
    const { finds } = await found([find, pass(11), find, find], status(200, "{\"keys\":[]}"), hour)
    assert.deepStrictEqual(finds.map(({ keys }) => keys), [["key-1"], [], []])
  })
})
