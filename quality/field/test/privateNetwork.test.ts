/** `http:` in a private network, such as Docker's, where the hosts have names of their own. */
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"
import * as Proxy from "../support/proxy.ts"

const backend = await Backend.start()
const proxy = await Proxy.start({ ports: { [backend.port]: backend.port } })
const urls = backend.at("service.test")
const host = `service.test:${backend.port}`
const issuer = Issuer.make()
backend.on("/issuer/agent-identities/jwks", () => Backend.json(issuer.keySet))
backend.onSocket("/provider/socket", (_, accept) => void accept().close(1000))

const app = App.start({}, ["hosts.mjs"])
const listed = (hosts: string) => ({ CODEX_AGENT_IDENTITY_PRIVATE_NETWORK_HTTP: hosts })
const ownKey = {
  ...urls.environment,
  CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1",
  CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey
}
const get = { get: `${urls.provider}/models` }

describe("a host that is listed gets assertions over http, listed", () => {
  const lists = { "with its port": host, "without a port": "service.test", "among others": `other, ${host} ,` }
  each(lists, async (hosts) => {
    const { status } = await app.step(get, { environment: { ...ownKey, ...listed(hosts) } })
    assert.strictEqual(status, 200)
    assert.match(backend.seenAt("/provider/models").at(-1)!.task!, /^task-new-/)
  })
  it("as an option", async () => {
    const { authApi, provider } = urls
    const options = { agentRuntimeId: "agent-1", privateKey: Home.privateKey, authApi, providers: [provider] }
    const { status } = await app.step(get, { options: { ...options, privateNetworkHttp: [host] } })
    assert.strictEqual(status, 200)
    const { error } = await app.step(get, { options })
    assert.strictEqual(error?.reason, "InvalidBase")
  })
  it("also as an issuer's, and for a socket", async () => {
    const environment = { ...urls.environment, ...listed(host), CODEX_ACCESS_TOKEN: issuer.token() }
    const { steps } = await app.run({ environment, steps: [get, { socket: `${urls.provider}/socket` }] })
    assert.deepStrictEqual(steps.map(({ error }) => error), [undefined, undefined])
    assert.match(backend.seenAt("/provider/socket").at(-1)!.task!, /^task-new-/)
  })
})

describe("a host that is not listed is an error that names the variable, with", () => {
  const lists = { nothing: "", "another port": "service.test:1", "another host": "test", "this machine": "localhost" }
  each(lists, async (hosts) => {
    const { error } = await app.step(get, { environment: { ...ownKey, ...listed(hosts) } })
    assert.strictEqual(error?.reason, "InvalidBase")
    assert.match(
      error!.message!,
      /^CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL ".*for hosts of a private network that `CODEX_AGENT_IDENTITY_PRIVATE_NETWORK_HTTP` names/
    )
  })
  it("an entry that is no host", async () => {
    const { error } = await app.step(get, { environment: { ...ownKey, ...listed(`http://${host}`) } })
    assert.match(error!.message!, /^CODEX_AGENT_IDENTITY_PRIVATE_NETWORK_HTTP ".*Give one host/)
  })
})

describe("no proxy is used for it by", () => {
  const variables = { HTTP_PROXY: { HTTP_PROXY: proxy.url }, ALL_PROXY: { ALL_PROXY: proxy.url } }
  each(variables, async (variable) => {
    const environment = { ...ownKey, ...listed("service.test"), ...variable }
    const { steps } = await app.run({
      environment,
      steps: [get, { socket: `${urls.provider}/socket` }, { get: `http://elsewhere.invalid:${backend.port}/` }]
    })
    assert.deepStrictEqual(steps.map(({ error }) => error), [undefined, undefined, undefined])
    assert.isFalse(proxy.requests.some(({ head }) => /AgentAssertion/.test(head)))
    // What is not listed goes through it: it is in use.
    assert.deepStrictEqual(proxy.requests.splice(0).map(({ line }) => line), [
      `GET http://elsewhere.invalid:${backend.port}/`
    ])
  })
  it("with a transport of the app's own over ours", async () => {
    const { authApi, provider } = urls
    const options = { agentRuntimeId: "agent-1", privateKey: Home.privateKey, authApi, providers: [provider] }
    const { status } = await app.step(get, {
      environment: { HTTP_PROXY: proxy.url },
      options: { ...options, privateNetworkHttp: [host] },
      transport: "layered"
    })
    assert.strictEqual(status, 200)
    assert.deepStrictEqual(proxy.requests, [])
  })
})
