/** Who is calling: what requests say of their sender. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"

const backend = await Backend.start()
const foreign = await Backend.start()
const app = App.start(backend.environment)
const issuer = Issuer.make()
const agent = { CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1", CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey }

backend.on("/issuer/agent-identities/jwks", () => Backend.json(issuer.keySet))
backend.on("/authapi/v1/agent/register", () => Backend.json({ agent_runtime_id: "agent-of-login" }))
backend.onSocket("/provider/socket", (_, accept) => void accept().close(1000))
foreign.onSocket("/socket", (_, accept) => void accept().close(1000))

/** The headers of the last request to this path that a run sends. */
const headersOf = async (path: string, command: App.Command, server = backend) => {
  const { end, steps } = await app.run(command)
  assert.deepStrictEqual([end, ...steps].filter(({ error }) => error !== undefined), [])
  return server.seenAt(path).at(-1)!.headers
}
const socketOf = (server: Backend.Backend, path: string) => ({ socket: server.origin.replace("http", "ws") + path })
const login = () => ({
  environment: { CODEX_HOME: Home.ofLogin() },
  chatGpt: { policy: "ChatGptAuth", agentVersion: "1" }
})

const ours: Record<string, () => readonly [path: string, command: App.Command]> = {
  "the registration of a task": () => [Backend.tasksOf("agent-1"), { environment: agent, steps: [] }],
  "the registration of an agent": () => ["/authapi/v1/agent/register", { ...login(), steps: [] }],
  "a key set": () => [
    "/issuer/agent-identities/jwks",
    { environment: { CODEX_ACCESS_TOKEN: issuer.token() }, steps: [] }
  ],
  "a handshake": () => ["/provider/socket", { environment: agent, steps: [socketOf(backend, "/provider/socket")] }],
  "a signed request": () => ["/provider/x", { environment: agent, steps: [{ get: `${backend.provider}/x` }] }],
  "a signed fetch": () => ["/provider/x", { environment: agent, steps: [{ fetch: `${backend.provider}/x` }] }]
}

describe("says what is calling at", () => {
  each(ours, async (place) => {
    const headers = await headersOf(...place())
    assert.match(headers["user-agent"]!, /(^| )agent-identity\/\d+\.\d+/)
    assert.match(headers.originator as string, /./)
  })
})

describe("says where data has to stay, where the app is configured so and not else, at", () => {
  const residency = "x-openai-internal-codex-residency"
  const configured = (command: App.Command, residency: string): App.Command => {
    const { chatGpt, environment = {}, steps } = command
    if (chatGpt !== undefined) return { ...command, chatGpt: { ...chatGpt, residency } }
    // The same agent or token by options.
    const { CODEX_ACCESS_TOKEN: token } = environment
    const bases = {
      authApi: backend.authApi,
      providers: [backend.provider],
      jwksBase: backend.issuer,
      loopbackHttp: true
    }
    const whose = token === undefined ? { agentRuntimeId: "agent-1", privateKey: Home.privateKey } : { token }
    return { options: { ...bases, ...whose, residency }, steps }
  }
  each(ours, async (place) => {
    const [path, command] = place()
    assert.notProperty(await headersOf(path, command), residency)
    assert.strictEqual((await headersOf(path, configured(place()[1], "us")))[residency], "us")
  })
})

it("sends others nothing of where data has to stay, and takes no value that is no header's", async () => {
  const options = {
    authApi: backend.authApi,
    providers: [backend.provider],
    loopbackHttp: true,
    agentRuntimeId: "agent-1",
    privateKey: Home.privateKey
  }
  const command = { options: { ...options, residency: "us" }, steps: [{ get: `${foreign.origin}/resident` }] }
  assert.notProperty(await headersOf("/resident", command, foreign), "x-openai-internal-codex-residency")
  for (const residency of ["", "u s", "us\r\nx: y", "ü", "x".repeat(65)]) {
    const { end } = await app.run({ options: { ...options, residency }, steps: [] })
    assert.strictEqual(end.error?._tag, "TransportError", JSON.stringify(residency))
    assert.strictEqual(end.error?.reason, "InvalidHeader")
  }
})

describe("leaves a User-Agent of the app's own to", () => {
  const named = { "user-agent": "an-app/1.2" }
  const url = `${backend.provider}/x`
  const requests = {
    "a signed request": ["/provider/x", { get: url, headers: named }],
    "a signed fetch": ["/provider/x", { fetch: url, init: { headers: named } }],
    "a handshake": ["/provider/socket", { ...socketOf(backend, "/provider/socket"), options: { headers: named } }]
  } as const
  each(requests, async ([path, step]) => {
    const headers = await headersOf(path, { environment: agent, steps: [step] })
    assert.strictEqual(headers["user-agent"], "an-app/1.2")
  })
})

describe("adds nothing to", () => {
  const others = {
    "a request to others": ["/x", { get: `${foreign.origin}/x` }],
    "a fetch of others": ["/x", { fetch: `${foreign.origin}/x` }],
    "a handshake with others": ["/socket", socketOf(foreign, "/socket")]
  } as const
  each(others, async ([path, step]) => {
    const headers = await headersOf(path, { environment: agent, steps: [step] }, foreign)
    for (const name of ["user-agent", "originator", "authorization"]) assert.notProperty(headers, name)
  })
})

describe("shows the AuthAPI none of the app's traces, at", () => {
  const traced = Object.fromEntries(Object.entries(ours).filter(([name]) => name.startsWith("the registration")))
  each(traced, async (place) => {
    const headers = await headersOf(...place())
    for (const name of ["traceparent", "tracestate", "b3", "baggage"]) assert.notProperty(headers, name)
  })
})

it("shows others the app's traces, as a client of platform's does", async () => {
  const step = { get: `${foreign.origin}/traced` }
  const headers = await headersOf("/traced", { environment: agent, steps: [step] }, foreign)
  assert.property(headers, "traceparent")
})

describe("takes no name for the caller that is no header:", () => {
  const named = {
    "a User-Agent in another script": { userAgent: "приложение/1" },
    "a User-Agent of two lines": { userAgent: "a\nb" },
    "an empty User-Agent": { userAgent: "" },
    "an originator of two lines": { originator: "a\r\nx: y" },
    "an empty originator": { originator: "" }
  }
  each(named, async (option) => {
    const { authApi, provider } = backend
    const options = {
      agentRuntimeId: "agent-1",
      privateKey: Home.privateKey,
      authApi,
      providers: [provider],
      loopbackHttp: true
    }
    const before = backend.seen.length
    const { end } = await app.run({ options: { ...options, ...option }, steps: [] })
    assert.deepInclude({ ...end.error }, { _tag: "TransportError", reason: "InvalidHeader" })
    assert.match(end.error!.message!, new RegExp(`^${Object.keys(option)[0]} cannot be used`))
    assert.strictEqual(backend.seen.length, before)
  })
})

it("says the name of an app that is configured by the environment", async () => {
  const environment = {
    ...backend.environment,
    CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-named",
    CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey
  }
  const get = { get: `${backend.provider}/named` }
  const { end } = await app.run({ environment, configWith: { userAgent: "my-app/1.2" }, steps: [get] })
  assert.isUndefined(end.error)
  for (const path of [Backend.tasksOf("agent-named"), "/provider/named"]) {
    assert.match(backend.seenAt(path)[0]!.headers["user-agent"]!, /^my-app\/1\.2 agent-identity\//)
  }
})
