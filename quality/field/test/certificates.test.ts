/** Certificates of an authority that Node does not know. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import * as Certificates from "../support/certificates.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"

const agent = { CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1", CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey }
const issuer = Issuer.make()
const folder = App.temporaryFolder()

describe.skipIf(!Certificates.available)("with certificates made by openssl", async () => {
  if (!Certificates.available) return
  const [corporate, other] = [Certificates.make("Corporate CA"), Certificates.make("Another CA")]
  const serve = async (tls: Certificates.Certificate) => {
    const backend = await Backend.start({ tls })
    backend.on("/issuer/agent-identities/jwks", () => Backend.json(issuer.keySet))
    backend.onSocket("/provider/socket", (_, accept) => void accept().close(1000))
    return Object.assign(backend, { urls: backend.at("localhost") })
  }
  const backend = await serve(corporate.issue(["DNS:localhost"]))
  const another = await serve(other.issue(["DNS:localhost"]))

  const file = (name: string, text: string) => {
    const path = Path.join(folder, name)
    Fs.writeFileSync(path, text)
    return path
  }

  /** A run of a new process, with a request to the provider, to others and over a WebSocket. */
  const run = async (environment: Record<string, string>, { urls } = backend, more: ReadonlyArray<object> = []) => {
    const app = App.start({ ...urls.environment, ...agent, ...environment })
    const socket = { socket: `${urls.provider.replace("https", "wss")}/socket` }
    const { end, steps } = await app.run({ steps: [{ get: `${urls.provider}/models` }, socket, ...more] })
    app.process.kill()
    return [end, ...steps].map(({ error }) => error)
  }
  const none = (count: number) => Array.from({ length: count }, () => undefined)

  describe("knows the authority of", () => {
    const variables = {
      NODE_EXTRA_CA_CERTS: "NODE_EXTRA_CA_CERTS",
      SSL_CERT_FILE: "SSL_CERT_FILE",
      CODEX_CA_CERTIFICATE: "CODEX_CA_CERTIFICATE"
    }
    each(variables, async (variable) => {
      assert.deepStrictEqual(await run({ [variable]: corporate.file }), none(3))
    })

    const bundles = {
      "a file of two": other.pem + corporate.pem,
      "a file of two with text around them": `# Another CA\n${other.pem}\n# Corporate CA\n${corporate.pem}\nend\n`,
      "a file with the ends of lines of Windows": (other.pem + corporate.pem).replaceAll("\n", "\r\n")
    }
    each(bundles, async (text, name) => {
      assert.deepStrictEqual(await run({ CODEX_CA_CERTIFICATE: file(`${name}.pem`, text) }), none(3))
    })

    const besides = {
      "SSL_CERT_FILE besides that of NODE_EXTRA_CA_CERTS": "SSL_CERT_FILE",
      "CODEX_CA_CERTIFICATE besides that of NODE_EXTRA_CA_CERTS": "CODEX_CA_CERTIFICATE"
    }
    each(besides, async (variable) => {
      const steps = [{ get: `${another.urls.origin}/others` }]
      const environment = { [variable]: corporate.file, NODE_EXTRA_CA_CERTS: other.file }
      assert.deepStrictEqual(await run(environment, backend, steps), none(4))
    })

    it("a variable where a key set is read", async () => {
      const app = App.start({
        ...backend.urls.environment,
        CODEX_ACCESS_TOKEN: issuer.token(),
        SSL_CERT_FILE: corporate.file
      })
      assert.match((await app.step({ task: true })).task!, /^task-/)
    })
  })

  it("takes a blank variable for none", async () => {
    const blank = { SSL_CERT_FILE: "", CODEX_CA_CERTIFICATE: " ", NODE_EXTRA_CA_CERTS: corporate.file }
    assert.deepStrictEqual(await run(blank), none(3))
  })

  describe("sends nothing, and names the variable, for a file that is", () => {
    const damaged = corporate.pem.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA")
    const files = {
      missing: () => Path.join(folder, "missing.pem"),
      empty: () => file("empty.pem", ""),
      "a folder": () => folder,
      "no certificate": () => file("text.pem", "no certificate"),
      "damaged": () => file("damaged.pem", damaged),
      "damaged in its second certificate": () => file("second.pem", corporate.pem + damaged)
    }
    each(files, async (path) => {
      const [end] = await run({ SSL_CERT_FILE: path() })
      assert.match(end!.message!, /SSL_CERT_FILE/)
    })
  })

  describe("names a certificate that is not trusted, after one attempt, and what to set, at", () => {
    const tried = async (place: (app: App.App) => Promise<App.Described | undefined>) => {
      const app = App.start(backend.urls.environment)
      const before = backend.connections()
      const error = await place(app)
      assert.strictEqual(backend.connections() - before, 1)
      assert.match(error!.reason!, /certificate/i)
      assert.match(error!.message!, /NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|CODEX_CA_CERTIFICATE/)
    }
    const socket = { socket: `${backend.urls.provider.replace("https", "wss")}/socket` }
    const chatGpt = { policy: "ChatGptAuth", agentVersion: "1.2.3" }
    const places: Record<string, (app: App.App) => Promise<App.Described | undefined>> = {
      "the registration of a task": async (app) => (await app.step({ task: true }, { environment: agent })).error,
      "a key set": async (app) =>
        (await app.step({ task: true }, { environment: { CODEX_ACCESS_TOKEN: issuer.token() } })).error?.cause,
      "the registration of an agent": async (app) =>
        (await app.step({ task: true }, { environment: { CODEX_HOME: Home.ofLogin() }, chatGpt })).error?.cause,
      "a WebSocket": async (app) =>
        (await app.step(socket, { environment: { CODEX_HOME: Home.ofAgent("task-old") } })).error?.cause
    }
    each(places, tried)
  })

  describe("does not try again with a certificate that is", () => {
    const certificates = {
      "expired": corporate.issue(["DNS:localhost"], -1),
      "of another name": corporate.issue(["DNS:elsewhere.test"])
    }
    each(certificates, async (tls) => {
      const broken = await Backend.start({ tls })
      const app = App.start({ ...broken.at("localhost").environment, ...agent, NODE_EXTRA_CA_CERTS: corporate.file })
      const { error } = await app.step({ task: true })
      assert.strictEqual(broken.connections(), 1)
      assert.match(error!.reason!, /certificate/i)
    })
  })
})
