/** The proxies of the environment. `service.invalid` is found by the proxy alone, `service.test` by the app too. */
import { networkInterfaces } from "node:os"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import * as Certificates from "../support/certificates.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"
import * as Proxy from "../support/proxy.ts"

const PASSWORD = "p@ss-of-a-proxy"
const agent = {
  CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1",
  CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey
}

const own = Object.values(networkInterfaces()).flat().filter((one) => one!.internal === false)
const ipv4 = own.find((one) => one!.family === "IPv4")?.address
const ipv6 = own.find((one) => one!.family === "IPv6" && one!.scopeid === 0)?.address

describe.skipIf(!Certificates.available)("with certificates made by openssl", async () => {
  if (!Certificates.available) return
  const authority = Certificates.make()
  const names = ["DNS:service.invalid", "DNS:service.test", "DNS:localhost", "IP:127.0.0.1"]
  const ips = [ipv4, ipv6].flatMap((address) => address === undefined ? [] : [`IP:${address}`])
  const tls = authority.issue([...names, ...ips])
  const backend = await Backend.start({ tls, host: ipv6 === undefined ? "0.0.0.0" : "::" })
  const plain = await Backend.start()
  const proxy = await Proxy.start({ ports: { 443: backend.port, 80: plain.port } })
  const app = App.start({ NODE_EXTRA_CA_CERTS: authority.file }, ["hosts.mjs"])

  const hidden = backend.at("service.invalid")
  const open = backend.at("service.test")
  const issuer = Issuer.make()
  backend.on("/issuer/agent-identities/jwks", () => Backend.json(issuer.keySet))
  backend.on("/authapi/v1/agent/register", () => Backend.json({ agent_runtime_id: "agent-of-login" }))
  backend.onSocket("/provider/socket", (_, accept) => void accept().close(1000))

  interface Ran extends App.Result {
    /** What the proxy was asked for. */
    readonly lines: ReadonlyArray<string>
    readonly heads: ReadonlyArray<string>
    readonly seen: ReadonlyArray<Backend.Seen>
  }
  const run = async (urls: Backend.Urls, environment: Record<string, string>, command?: Partial<App.Command>) => {
    const [asked, seen] = [proxy.requests.length, backend.seen.length]
    const result = await app.run({
      steps: [{ get: `${urls.provider}/models` }],
      ...command,
      environment: { ...urls.environment, ...agent, ...environment, ...command?.environment }
    })
    const requests = proxy.requests.slice(asked)
    return {
      ...result,
      lines: requests.map(({ line }) => line),
      heads: requests.map(({ head }) => head),
      seen: backend.seen.slice(seen)
    } satisfies Ran
  }
  const succeeded = ({ end, steps }: Ran, count = 1) => {
    assert.isUndefined(end.error)
    assert.deepStrictEqual(steps.map(({ error }) => error), Array.from({ length: count }, () => undefined))
  }
  const tunnel = `CONNECT service.invalid:${backend.port}`

  describe("tunnels to the AuthAPI and the provider by", () => {
    const variables = {
      HTTPS_PROXY: { HTTPS_PROXY: proxy.url },
      https_proxy: { https_proxy: proxy.url },
      ALL_PROXY: { ALL_PROXY: proxy.url },
      all_proxy: { all_proxy: proxy.url },
      "a URL with a slash and spaces": { HTTPS_PROXY: ` ${proxy.url}/ ` },
      "HTTPS_PROXY, whatever ALL_PROXY is": { HTTPS_PROXY: proxy.url, ALL_PROXY: "http://127.0.0.1:1" }
    }
    each(variables, async (variable) => {
      const ran = await run(hidden, variable)
      succeeded(ran)
      assert.deepStrictEqual([...new Set(ran.lines)], [tunnel])
      assert.deepStrictEqual(ran.seen.map(({ path }) => path), [Backend.tasksOf("agent-1"), "/provider/models"])
      assert.match(ran.seen[1]!.task!, /^task-new-/)
    })
    it("HTTPS_PROXY, to the port of https where none is named", async () => {
      const ran = await run(Backend.urlsOf("https://service.invalid"), { HTTPS_PROXY: proxy.url })
      succeeded(ran)
      assert.deepStrictEqual([...new Set(ran.lines)], ["CONNECT service.invalid:443"])
    })
    it("a variable of the process", async () => {
      const other = App.start({
        ...hidden.environment,
        ...agent,
        NODE_EXTRA_CA_CERTS: authority.file,
        HTTPS_PROXY: proxy.url
      }, ["hosts.mjs"])
      assert.strictEqual((await other.step({ get: `${hidden.provider}/models` })).status, 200)
    })
  })

  it("sends nothing where a host is found by the proxy alone and none is set", async () => {
    const { end, lines } = await run(hidden, {})
    assert.strictEqual(end.error?.reason, "Transport")
    assert.deepStrictEqual(lines, [])
  })

  describe("tunnels by HTTPS_PROXY", () => {
    const commands = {
      "a key set": {
        environment: {
          CODEX_AGENT_IDENTITY_RUNTIME_ID: "",
          CODEX_AGENT_IDENTITY_PRIVATE_KEY: "",
          CODEX_ACCESS_TOKEN: issuer.token()
        },
        steps: [{ task: true }]
      },
      "the registration of an agent": {
        environment: {
          CODEX_AGENT_IDENTITY_RUNTIME_ID: "",
          CODEX_AGENT_IDENTITY_PRIVATE_KEY: "",
          CODEX_HOME: Home.ofLogin()
        },
        chatGpt: { policy: "ChatGptAuth", agentVersion: "1.2.3" },
        steps: [{ get: `${hidden.provider}/models` }]
      },
      "a WebSocket": { steps: [{ socket: `${hidden.provider.replace("https", "wss")}/socket` }] },
      "a WebSocket whose URL is https:": { steps: [{ socket: `${hidden.provider}/socket` }] },
      "a fetch": { steps: [{ fetch: `${hidden.provider}/models` }] },
      "a request to others": { steps: [{ get: `${hidden.origin}/others` }] }
    }
    each(commands, async (command) => {
      const ran = await run(hidden, { HTTPS_PROXY: proxy.url }, command)
      succeeded(ran)
      assert.deepStrictEqual([...new Set(ran.lines)], [tunnel])
    })
  })

  describe("forwards a request to others over http: by", () => {
    const variables = { HTTP_PROXY: "HTTP_PROXY", http_proxy: "http_proxy", ALL_PROXY: "ALL_PROXY" }
    each(variables, async (variable) => {
      const url = `http://others.invalid:${plain.port}/x?y=1`
      const ran = await run(plain, { [variable]: proxy.url }, { steps: [{ get: url }] })
      succeeded(ran)
      assert.deepStrictEqual(ran.lines, [`GET ${url}`])
      assert.notInclude(ran.heads.join(), "AgentAssertion")
    })
    it("no HTTPS_PROXY", async () => {
      const url = `http://others.invalid:${plain.port}/x`
      const ran = await run(plain, { HTTPS_PROXY: proxy.url }, { steps: [{ get: url }] })
      assert.strictEqual(ran.steps[0]!.error?.reason, "Transport")
      assert.deepStrictEqual(ran.lines, [])
    })
  })

  it("does not take HTTP_PROXY for https:", async () => {
    const ran = await run(open, { HTTP_PROXY: proxy.url, http_proxy: proxy.url })
    succeeded(ran)
    assert.deepStrictEqual(ran.lines, [])
  })

  it("takes a blank variable for none", async () => {
    const ran = await run(open, { HTTPS_PROXY: "", https_proxy: " ", ALL_PROXY: "" })
    succeeded(ran)
    assert.deepStrictEqual(ran.lines, [])
  })

  describe("uses no proxy for this machine, by", () => {
    const all = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, ALL_PROXY: proxy.url }
    const local = {
      "an IPv4 address": plain.at("127.0.0.1"),
      "its name": plain.at("localhost"),
      "its name, over https:": backend.at("localhost"),
      "an IPv4 address, over https:": backend.at("127.0.0.1")
    }
    each(local, async (urls) => {
      const steps = [
        { get: `${urls.provider}/models` },
        { socket: `${urls.provider.replace("http", "ws")}/socket` },
        { get: `${urls.origin}/others` }
      ]
      plain.onSocket("/provider/socket", (_, accept) => void accept().close(1000))
      const ran = await run(urls, all, { steps })
      succeeded(ran, 3)
      assert.deepStrictEqual(ran.lines, [])
    })
  })

  describe("passes the proxy by for a NO_PROXY that", () => {
    const direct: Record<string, readonly [host: string, value: string, variable?: string]> = {
      "names the host": ["service.test", "service.test"],
      "names the host in no_proxy": ["service.test", "service.test", "no_proxy"],
      "names the host in upper case": ["service.test", "SERVICE.TEST"],
      "names the host among others": ["service.test", "localhost, service.test ,other.test"],
      "is a suffix with a dot": ["service.test", ".test"],
      "is a suffix without a dot": ["service.test", "test"],
      "is a suffix with an asterisk": ["service.test", "*.test"],
      "names the port": ["service.test", `service.test:${backend.port}`],
      "is an asterisk": ["service.test", "*"]
    }
    if (ipv4 !== undefined) {
      Object.assign(direct, {
        "is an IPv4 address": [ipv4, ipv4],
        "is a CIDR of IPv4": [ipv4, ipv4.replace(/\d+$/, "0/24")]
      })
    }
    if (ipv6 !== undefined) {
      Object.assign(direct, {
        "is an IPv6 address": [ipv6, ipv6],
        "is an IPv6 address in brackets": [ipv6, `[${ipv6}]`],
        "is an IPv6 address in brackets with a port": [ipv6, `[${ipv6}]:${backend.port}`],
        "is a CIDR of IPv6": [ipv6, `${ipv6}/64`]
      })
    }
    each(direct, async ([host, value, variable = "NO_PROXY"]) => {
      const ran = await run(backend.at(host), { HTTPS_PROXY: proxy.url, [variable]: value })
      succeeded(ran)
      assert.deepStrictEqual(ran.lines, [])
    })
  })

  describe("does not pass the proxy by for a NO_PROXY that", () => {
    const proxied: Record<string, readonly [host: string, value: string]> = {
      "is blank": ["service.test", " "],
      "names another host": ["service.test", "other.test"],
      "is the end of a label": ["service.test", "vice.test"],
      "names another port": ["service.test", "service.test:1"],
      "names a host below": ["service.test", "deep.service.test"]
    }
    if (ipv4 !== undefined) Object.assign(proxied, { "is another CIDR": [ipv4, "198.51.100.0/24"] })
    if (ipv6 !== undefined) Object.assign(proxied, { "is another CIDR of IPv6": [ipv6, "2001:db8::/32"] })
    each(proxied, async ([host, value]) => {
      const ran = await run(backend.at(host), { HTTPS_PROXY: proxy.url, NO_PROXY: value })
      succeeded(ran)
      const authority = host.includes(":") ? `[${host}]` : host
      assert.deepStrictEqual([...new Set(ran.lines)], [`CONNECT ${authority}:${backend.port}`])
    })
  })

  const withPassword = (url: string) => url.replace("://", `://user:${encodeURIComponent(PASSWORD)}@`)

  it("gives the proxy its password, and the provider none", async () => {
    const ran = await run(hidden, { HTTPS_PROXY: withPassword(proxy.url) })
    succeeded(ran)
    const basic = Buffer.from(`user:${PASSWORD}`).toString("base64")
    for (const head of ran.heads) assert.match(head, new RegExp(`proxy-authorization: Basic ${basic}`, "i"))
    for (const { headers } of ran.seen) assert.notProperty(headers, "proxy-authorization")
  })

  it("reaches a proxy over https:", async () => {
    const secure = await Proxy.start({ tls })
    const ran = await run(hidden, { HTTPS_PROXY: secure.url })
    succeeded(ran)
    assert.deepStrictEqual([...new Set(secure.requests.map(({ line }) => line))], [tunnel])
  })

  it("sends what a transport of the app's own sends", async () => {
    const { authApi, provider } = open
    const options = { agentRuntimeId: "agent-1", privateKey: Home.privateKey, authApi, providers: [provider] }
    const ran = await run(open, {}, { options, transport: true })
    succeeded(ran)
    assert.deepStrictEqual(ran.seen.map(({ headers }) => headers["x-transport"]), ["own", "own"])
  })

  describe("names, without the password,", () => {
    const names = async (url: string, wanted: RegExp) => {
      const { end, steps, ...ran } = await run(hidden, { HTTPS_PROXY: url })
      const error = end.error ?? steps[0]!.error
      assert.match(error!.message!, wanted)
      assert.notInclude(JSON.stringify({ end, steps }), PASSWORD)
      assert.notInclude(JSON.stringify({ end, steps }), encodeURIComponent(PASSWORD))
      return ran
    }
    each(
      { socks5: "socks5", socks5h: "socks5h", socks4: "socks4", ftp: "ftp" },
      async (scheme) => void await names(withPassword(`${scheme}://127.0.0.1:1080`), /HTTPS_PROXY.*(socks|ftp)/is)
    )
    it("a URL without a scheme", async () => {
      await names(`user:${encodeURIComponent(PASSWORD)}@127.0.0.1:${proxy.port}`, /HTTPS_PROXY/)
    })
    it("a host and a port without a scheme", async () => void await names(`127.0.0.1:${proxy.port}`, /HTTPS_PROXY/))
    it("a password with a broken escape", async () =>
      void await names(`http://user:${PASSWORD.replace("@", "")}%zz@127.0.0.1:${proxy.port}`, /HTTPS_PROXY.*escape/s))
    it("a URL that is none", async () => void await names(withPassword("http://["), /HTTPS_PROXY/))
    each({ "407": 407, "403": 403, "502": 502 }, async (status) => {
      const refusing = await Proxy.start({
        behaviour: Proxy.answers(status, "proxy-authenticate: Basic realm=\"proxy\"\r\n")
      })
      await names(withPassword(refusing.url), new RegExp(`proxy.*${status}|${status}.*proxy`, "is"))
    })
  })

  describe("ends as Transport, and costs nothing afterwards, where the proxy", () => {
    const ends = async (url: string) => {
      const { end } = await run(hidden, { HTTPS_PROXY: url })
      assert.strictEqual(end.error?.reason, "Transport")
      assert.match(end.error!.message!, /proxy/i)
      assert.isBelow(end.millis, 10_000)
    }
    it("closes at CONNECT", async () => {
      const closing = await Proxy.start({ behaviour: Proxy.closes })
      await ends(closing.url)
      const before = closing.connections()
      await new Promise((resolve) => setTimeout(resolve, 1000))
      assert.isAtMost(closing.connections() - before, 1)
      assert.isAtMost(before, 10)
    })
    it("does not answer CONNECT, within 75 seconds and as Timeout", async () => {
      const silent = await Proxy.start({ behaviour: () => undefined })
      const fast = App.start({ NODE_EXTRA_CA_CERTS: authority.file, FIELD_SPEED: "30" }, ["hosts.mjs", "clocks.mjs"])
      const { end } = await fast.run({
        environment: { ...hidden.environment, ...agent, HTTPS_PROXY: silent.url },
        steps: [],
        within: 120_000
      })
      assert.strictEqual(end.error?.reason, "Timeout")
      assert.isAtLeast(silent.connections(), 1)
      const before = silent.connections()
      await new Promise((resolve) => setTimeout(resolve, 1000))
      assert.isAtMost(silent.connections() - before, 1)
    })
    it("lets nothing through its tunnel", async () => {
      let closed = 0
      const silent = await Proxy.start({
        behaviour: (socket) => {
          socket.on("close", () => closed++).write("HTTP/1.1 200 Connection established\r\n\r\n")
        }
      })
      const fast = App.start({ NODE_EXTRA_CA_CERTS: authority.file, FIELD_SPEED: "30" }, ["hosts.mjs", "clocks.mjs"])
      const { end } = await fast.run({
        environment: { ...hidden.environment, ...agent, HTTPS_PROXY: silent.url },
        steps: [],
        within: 120_000
      })
      assert.strictEqual(end.error?.reason, "Timeout")
      // Closed with the run, though no handshake has ended.
      await new Promise((resolve) => setTimeout(resolve, 500))
      assert.strictEqual(closed, silent.connections())
    })
    it("does not listen", () => ends("http://127.0.0.1:1"))
    it("closes at CONNECT, for a WebSocket", async () => {
      const closing = await Proxy.start({ behaviour: Proxy.closes })
      const socket = { socket: `${hidden.provider.replace("https", "wss")}/socket` }
      const environment = { CODEX_AGENT_IDENTITY_RUNTIME_ID: "", CODEX_AGENT_IDENTITY_PRIVATE_KEY: "" }
      const { steps } = await run(hidden, {
        ...environment,
        CODEX_HOME: Home.ofAgent("task-old"),
        HTTPS_PROXY: closing.url
      }, { steps: [socket] })
      assert.strictEqual(steps[0]!.error?.cause?.reason, "Transport")
      assert.match(steps[0]!.error!.cause!.message!, /proxy/i)
      assert.strictEqual(closing.connections(), 1)
    })
    it("never answers CONNECT, for a WebSocket that gives up", async () => {
      let closed = 0
      const silent = await Proxy.start({ behaviour: (socket) => void socket.once("close", () => closed++) })
      const { steps } = await run(hidden, {
        CODEX_AGENT_IDENTITY_RUNTIME_ID: "",
        CODEX_AGENT_IDENTITY_PRIVATE_KEY: "",
        CODEX_HOME: Home.ofAgent("task-old"),
        HTTPS_PROXY: silent.url
      }, { steps: [{ socket: `${hidden.provider.replace("https", "wss")}/socket`, options: { openTimeout: 500 } }] })
      assert.isDefined(steps[0]!.error)
      await new Promise((resolve) => setTimeout(resolve, 500))
      assert.deepStrictEqual([closed, silent.connections()], [1, 1])
    })
    it("answers what is no HTTP", async () => {
      const odd = await Proxy.start({ behaviour: (socket) => void socket.end("\u0005\u0000") })
      await ends(odd.url)
    })
  })
})
