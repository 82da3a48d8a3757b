/** Answers that are compressed, which some edges send without being asked. */
import { Struct } from "effect"
import { randomBytes } from "node:crypto"
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from "node:zlib"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"

const backend = await Backend.start()
const app = App.start(backend.environment)
const issuer = Issuer.make()

let agents = 0
const newAgent = () => ({
  CODEX_AGENT_IDENTITY_RUNTIME_ID: `agent-${++agents}`,
  CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey
})

type Encode = (body: string) => Backend.Answer
const encoded = (encoding: string | undefined, encode: (body: string) => Buffer, status = 200): Encode => (body) => ({
  status,
  headers: { "content-type": "application/json", ...(encoding === undefined ? {} : { "content-encoding": encoding }) },
  body: encode(body)
})

const encodings = {
  "gzip": encoded("gzip", gzipSync),
  "x-gzip": encoded("x-gzip", gzipSync),
  "GZIP": encoded("GZIP", gzipSync),
  "deflate": encoded("deflate", deflateSync),
  "deflate without its header": encoded("deflate", deflateRawSync),
  "br": encoded("br", brotliCompressSync),
  "gzip and then br": encoded("gzip, br", (body) => brotliCompressSync(gzipSync(body))),
  "gzip that is not said": encoded(undefined, gzipSync)
}
const identity = {
  "nothing": encoded(undefined, Buffer.from),
  "identity": encoded("identity", Buffer.from)
}

/** A run of a new agent whose task is registered with this answer. */
const registered = async (answer: Backend.Answer) => {
  const environment = newAgent()
  const path = Backend.tasksOf(environment.CODEX_AGENT_IDENTITY_RUNTIME_ID)
  backend.on(path, () => answer)
  const { end, steps } = await app.run({ environment, steps: [{ task: true }] })
  return { task: steps[0]?.task, error: end.error, millis: end.millis }
}

describe("reads the answer to the registration of a task that is compressed with", () => {
  each({ ...identity, ...encodings }, async (encode) => {
    const { task } = await registered(encode("{\"task_id\":\"task-1\"}"))
    assert.strictEqual(task, "task-1")
  })
})

describe("reads a key set that is compressed with", () => {
  each({ ...identity, ...encodings }, async (encode) => {
    backend.on("/issuer/agent-identities/jwks", () => encode(JSON.stringify(issuer.keySet)))
    const line = await app.step({ task: true }, { environment: { CODEX_ACCESS_TOKEN: issuer.token() } })
    assert.match(line.task!, /^task-new-/)
  })
})

describe("reads the answer to the registration of an agent that is compressed with", () => {
  each({ ...identity, ...encodings }, async (encode) => {
    backend.on("/authapi/v1/agent/register", () => encode("{\"agent_runtime_id\":\"agent-of-login\"}"))
    const path = `/provider/${++agents}`
    const { end } = await app.run({
      environment: { CODEX_HOME: Home.ofLogin() },
      chatGpt: { policy: "ChatGptAuth", agentVersion: "1.2.3" },
      steps: [{ get: backend.origin + path }]
    })
    assert.isUndefined(end.error)
    assert.match(backend.seenAt(path)[0]!.task!, /^task-new-/)
  })
})

const zstd = encoded("zstd", () => Buffer.from("28b52ffd0400", "hex"))("")
const compress = encoded("compress", () => Buffer.from("1f9d90", "hex"))("")
const prototype = encoded("__proto__", () => Buffer.from("no JSON"))("")
const sixfold = encoded(Array.from({ length: 6 }, () => "gzip").join(", "), (body) => {
  let layers: Buffer = Buffer.from(body)
  for (let layer = 0; layer < 6; layer++) layers = gzipSync(layers)
  return layers
})("{\"task_id\":\"task-1\"}")
const damaged = encoded("gzip", (body) => gzipSync(body).subarray(0, 20))("{\"task_id\":\"task-1\"}")

describe("names the encoding of an answer that it cannot read", () => {
  each({ zstd, compress, prototype, sixfold, damaged }, async (answer) => {
    const { error } = await registered(answer)
    assert.include(error?.message, answer.headers!["content-encoding"])
    assert.notEqual(error?._tag, undefined)
  })
})

it("calls an answer too large that is 40 kB and decodes to 40 MB", async () => {
  const bomb = encoded("gzip", () => gzipSync(Buffer.alloc(40_000_000, " ")))("")
  const { error, millis } = await registered(bomb)
  assert.strictEqual(error?.reason, "ResponseTooLarge")
  assert.isBelow(millis, 10_000)
})

it("calls an answer too large that is 200 kB as it comes", async () => {
  const { error } = await registered({ body: JSON.stringify(randomBytes(100_000).toString("hex")) })
  assert.strictEqual(error?.reason, "ResponseTooLarge")
})

describe("asks for an answer that is not compressed, at", () => {
  const asked = async (path: string, command: App.Command) => {
    const before = backend.seen.length
    await app.run(command)
    const seen = backend.seen.slice(before).filter((one) => one.path === path)
    assert.deepStrictEqual(seen.map(({ headers }) => headers["accept-encoding"]), ["identity"])
  }
  it("the registration of a task", async () => {
    const environment = newAgent()
    await asked(Backend.tasksOf(environment.CODEX_AGENT_IDENTITY_RUNTIME_ID), { environment, steps: [] })
  })
  it("the registration of an agent", async () => {
    backend.on("/authapi/v1/agent/register", () => Backend.json({ agent_runtime_id: "agent-of-login" }))
    await asked("/authapi/v1/agent/register", {
      environment: { CODEX_HOME: Home.ofLogin() },
      chatGpt: { policy: "ChatGptAuth", agentVersion: "1.2.3" },
      steps: []
    })
  })
  it("a key set", async () => {
    const path = "/issuer/agent-identities/jwks"
    backend.on(path, () => Backend.json(issuer.keySet))
    await asked(path, { environment: { CODEX_ACCESS_TOKEN: issuer.token() }, steps: [] })
  })
})

describe("`toFetch` hands out what `fetch` would of an answer of the provider's that is compressed with", () => {
  const { "gzip that is not said": notSaid, ...said } = encodings
  const text = JSON.stringify({ text: "a".repeat(100_000) })
  const both = async (answer: Backend.Answer) => {
    const path = `/provider/${++agents}`
    backend.on(path, () => answer)
    const { steps } = await app.run({
      environment: newAgent(),
      steps: [{ fetch: backend.origin + path }, { plainFetch: backend.origin + path }]
    })
    return steps.map(({ error, headers = {}, length, status, text }) => ({
      failed: error !== undefined,
      headers: Struct.omit(headers, "date"),
      length,
      status,
      text
    }))
  }
  each({ ...identity, "gzip that is not said": notSaid, ...said }, async (encode) => {
    const [ours, plain] = await both(encode(text))
    assert.deepStrictEqual(ours, plain)
  })
  it("status 401", async () => {
    const [ours, plain] = await both(encoded(undefined, Buffer.from, 401)(text))
    assert.deepStrictEqual(ours, plain)
  })
  it("gzip and status 401", async () => {
    const [ours, plain] = await both(encoded("gzip", gzipSync, 401)(text))
    assert.deepStrictEqual(ours, plain)
  })
  it("gzip that is damaged", async () => {
    const [ours, plain] = await both(damaged)
    assert.deepStrictEqual(ours, plain)
  })
  it("an encoding that nobody knows", async () => {
    const [ours, plain] = await both(compress)
    assert.deepStrictEqual(ours, plain)
  })
})
