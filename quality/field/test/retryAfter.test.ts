/** How long a server asks to wait, in the forms that are seen in the wild. */
import { assert, describe } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"

const backend = await Backend.start()
// A date that names no time zone is GMT, wherever the app is.
const app = App.start({ ...backend.environment, TZ: "America/New_York" })

let agents = 0
type Headers = Record<string, string>

/** A run whose first registration is answered like this. Milliseconds until the second one, if there is one. */
const waited = async (headersOf: () => Headers, status = 429) => {
  const agent = `agent-${++agents}`
  const path = Backend.tasksOf(agent)
  backend.on(path, () =>
    backend.seenAt(path).length === 1
      ? { status, headers: headersOf() }
      : Backend.json({ task_id: "task-1" }))
  const { end } = await app.run({
    environment: { CODEX_AGENT_IDENTITY_RUNTIME_ID: agent, CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey },
    steps: []
  })
  const [first, second] = backend.seenAt(path)
  return { end, millis: second === undefined ? undefined : second.at - first!.at }
}

const inSeconds = (seconds: number) => new Date(Math.ceil(Date.now() / 1000) * 1000 + seconds * 1000)
const rfc850 = (date: Date) => {
  const [, day, month, year, time] = /^..., (..) (...) ..(..) (\S+)/.exec(date.toUTCString())!
  const name = date.toLocaleDateString("en", { weekday: "long", timeZone: "UTC" })
  return `${name}, ${day}-${month}-${year} ${time} GMT`
}
const asctime = (date: Date) => {
  const [, name, day, month, year, time] = /^(...), (..) (...) (....) (\S+)/.exec(date.toUTCString())!
  return `${name} ${month} ${day!.replace(/^0/, " ")} ${time} ${year}`
}

/** Each of them asks for 1.5 to 3 seconds. */
const forms: Record<string, () => Headers> = {
  "seconds": () => ({ "retry-after": "2" }),
  "seconds with spaces": () => ({ "retry-after": " 2 " }),
  "a fraction": () => ({ "retry-after": "1.5" }),
  "a fraction with zeros": () => ({ "retry-after": "2.000" }),
  "a list": () => ({ "retry-after": "2, 2" }),
  "a list of two values, of which the longer counts": () => ({ "retry-after": "1, 2" }),
  "milliseconds": () => ({ "retry-after-ms": "1700" }),
  "milliseconds with a fraction": () => ({ "retry-after-ms": "1700.5" }),
  "milliseconds beside seconds": () => ({ "retry-after-ms": "1700", "retry-after": "2" }),
  "an HTTP date": () => ({ "retry-after": inSeconds(2).toUTCString() }),
  "a date of RFC 850": () => ({ "retry-after": rfc850(inSeconds(2)) }),
  "a date of asctime": () => ({ "retry-after": asctime(inSeconds(2)) })
}

describe.concurrent("waits as long as is asked for by", () => {
  each(
    forms,
    async (headersOf) => {
      const { millis } = await waited(headersOf)
      assert.isAtLeast(millis!, 1450)
      assert.isBelow(millis!, 5000)
    }
  )
  each({ "seconds, of a 503": 503, "seconds, of a 500": 500 }, async (status) => {
    const { millis } = await waited(() => ({ "retry-after": "2" }), status)
    assert.isAtLeast(millis!, 1950)
  })
})

describe.concurrent("waits at least a second for what cannot be read or is none of these:", () => {
  const odd: Record<string, () => Headers> = {
    "a word": () => ({ "retry-after": "soon" }),
    "a negative number": () => ({ "retry-after": "-5" }),
    "nothing": () => ({ "retry-after": "" }),
    "two dots": () => ({ "retry-after": "1.2.3" }),
    "seconds with their unit": () => ({ "retry-after": "2s" }),
    "a date of ISO 8601": () => ({ "retry-after": inSeconds(2).toISOString() }),
    "a word of milliseconds": () => ({ "retry-after-ms": "soon" }),
    "negative milliseconds": () => ({ "retry-after-ms": "-1" })
  }
  each(odd, async (headersOf) => {
    const { millis } = await waited(headersOf)
    assert.isAtLeast(millis!, 950)
  })
})

describe.concurrent("waits no longer than it would anyway", () => {
  const short: Record<string, () => Headers> = {
    "without a header": () => ({}),
    "for a date that is past": () => ({ "retry-after": inSeconds(-9).toUTCString() })
  }
  each(short, async (headersOf) => {
    const { millis } = await waited(headersOf)
    assert.isBelow(millis!, 1400)
  })
})

describe.concurrent("does not wait longer than 20 seconds, and says how long to wait, for", () => {
  const long: Record<string, () => Headers> = {
    "seconds": () => ({ "retry-after": "60" }),
    "a fraction": () => ({ "retry-after": "59.5" }),
    "a list": () => ({ "retry-after": "60, 60" }),
    "milliseconds": () => ({ "retry-after-ms": "60000" }),
    "an HTTP date": () => ({ "retry-after": inSeconds(60).toUTCString() })
  }
  each(long, async (headersOf) => {
    const { end, millis } = await waited(headersOf)
    assert.isUndefined(millis)
    assert.strictEqual(end.error?.reason, "Throttled")
    assert.match(end.error!.message!, /(59|60|61) s/)
  })
})
