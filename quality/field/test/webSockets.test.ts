/** How WebSockets end, and how they notice that nobody is there. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import type * as WebSocket from "../support/webSocket.ts"

const backend = await Backend.start()
const environment = { ...backend.environment, CODEX_HOME: Home.ofAgent("task-old") }
const app = App.start(environment)

let paths = 0

/** A socket whose other side does this with it. */
const served = async (serve: (connection: WebSocket.Connection) => void, by = app, within = 8000) => {
  const path = `/provider/${++paths}`
  let connection: WebSocket.Connection | undefined
  backend.onSocket(path, (_, accept) => {
    connection = accept()
    serve(connection)
    return undefined
  })
  const line = await by.step({ socket: backend.origin.replace("http", "ws") + path, within }, { within: within + 1000 })
  return { ...line, connection: connection! }
}

describe("ends as Transport where the connection ends without a close frame:", () => {
  const ends: Record<string, (connection: WebSocket.Connection) => void> = {
    "by an end, at once": ({ hangUp }) => hangUp(),
    "by an end, after a message": ({ hangUp, send }) => {
      send({ type: "response.created" })
      setTimeout(hangUp, 100)
    },
    "by a reset, after a message": ({ reset, send }) => {
      send({ type: "response.created" })
      setTimeout(reset, 100)
    },
    "in the middle of a frame": ({ hangUp, send, sendPart }) => {
      send({ type: "response.created" })
      sendPart()
      setTimeout(hangUp, 100)
    }
  }
  each(ends, async (end, name) => {
    const { error, messages } = await served(end)
    assert.strictEqual(messages?.length, name.includes("at once") ? 0 : 1)
    assert.strictEqual(error?.cause?.reason, "Transport")
  })
})

it("ends well with code 1000", async () => {
  const { error } = await served(({ close }) => close(1000))
  assert.isUndefined(error)
})

describe("ends as closed with code", () => {
  each({ "1008": 1008, "1011": 1011, "4000": 4000 }, async (code) => {
    const { error } = await served(({ close }) => close(code))
    assert.strictEqual(error?.reason, "Close")
    assert.strictEqual(error?.code, code)
  })
})

describe.concurrent("where a minute takes two seconds", () => {
  const fast = App.start({ ...environment, FIELD_SPEED: "30" }, ["clocks.mjs"])
  const minute = 60_000

  it("pings every 30 seconds, and goes on while the pongs come", async () => {
    const { connection, error } = await served(
      ({ close }) => void setTimeout(() => close(1000), 5200),
      fast,
      10 * minute
    )
    assert.isUndefined(error)
    assert.isAtLeast(connection.pings.length, 4)
    assert.isAtMost(connection.pings.length, 6)
  })

  it("ends as Transport where no pong comes", async () => {
    const { error, millis } = await served((connection) => (connection.answersPings = false), fast, 3 * minute)
    assert.strictEqual(error?.cause?.reason, "Transport")
    assert.isAtLeast(millis, 25_000)
    assert.isAtMost(millis, 2 * minute)
  })

  it("ends as Transport where the other side is silent after a message", async () => {
    const { error } = await served(
      (connection) => {
        connection.answersPings = false
        connection.send({ type: "response.created" })
      },
      fast,
      3 * minute
    )
    assert.strictEqual(error?.cause?.reason, "Transport")
  })

  it("waits for a message for as long as it takes", async () => {
    const { error, messages } = await served(
      ({ close, send }) =>
        void setTimeout(() => {
          send({ type: "response.completed" })
          close(1000)
        }, 3000),
      fast,
      10 * minute
    )
    assert.isUndefined(error)
    assert.strictEqual(messages?.length, 1)
  })
})
