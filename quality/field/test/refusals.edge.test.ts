/** Answers of what stands in front of a service instead of the service's own. */
import { assert, describe } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"

const backend = await Backend.start()
const app = App.start(backend.environment)
const issuer = Issuer.make()
const ids = { "cf-ray": "8f2c6ad0be1e9b3a-FRA", "x-request-id": "req_7c1d" }

const cloudflare = { server: "cloudflare", "cf-ray": ids["cf-ray"] }

const page = (status: number, headers: Record<string, string>): Backend.Answer => ({
  status,
  headers: { "content-type": "text/html; charset=UTF-8", "x-request-id": ids["x-request-id"], ...headers },
  body: "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>Blocked</body></html>"
})

/** Where an answer comes from the edge, and the message that the app gets. */
const places = {
  "the registration of a task": async (answer: Backend.Answer) => {
    backend.on(Backend.tasksOf("agent-1"), () => answer)
    const { end } = await app.run({
      environment: {
        CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1",
        CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey
      },
      steps: [{ task: true }]
    })
    return end
  },
  "a key set": async (answer: Backend.Answer) => {
    backend.on("/issuer/agent-identities/jwks", () => answer)
    const { end } = await app.run({ environment: { CODEX_ACCESS_TOKEN: issuer.token() }, steps: [{ task: true }] })
    return end
  },
  "the registration of an agent": async (answer: Backend.Answer) => {
    backend.on("/authapi/v1/agent/register", () => answer)
    const { end } = await app.run({
      environment: { CODEX_HOME: Home.ofLogin() },
      chatGpt: { policy: "ChatGptAuth", agentVersion: "1.2.3" },
      steps: [{ get: `${backend.provider}/models` }]
    })
    return end
  }
}

const messageOf = async (place: (answer: Backend.Answer) => Promise<App.Line>, answer: Backend.Answer) => {
  const { error, logs } = await place(answer)
  // Where the registration of an agent is unavailable, the run goes on with the login and says so.
  return error?.message ?? logs!.join("\n")
}

const answers = {
  "a page of Cloudflare's with 403": page(403, cloudflare),
  "a page of Cloudflare's with 503": page(503, cloudflare),
  "a challenge with 200": page(200, { ...cloudflare, "cf-mitigated": "challenge" }),
  "a page of a proxy's with 502": page(502, { server: "nginx/1.27" })
}

for (const [name, place] of Object.entries(places)) {
  describe(`says that it was an edge that answered ${name}, and what support needs, for`, () => {
    each(answers, async (answer) => {
      const message = await messageOf(place, answer)
      const server = String(answer.headers!.server).replace(/\/.*/, "")
      assert.match(message, new RegExp(server, "i"))
      assert.include(message, String(answer.headers!["cf-ray"] ?? ""))
      assert.include(message, ids["x-request-id"])
      assert.include(message, "Attention Required!")
      assert.notMatch(message, /its key|clock|present one/)
    })
  })

  describe(`says what the service says to ${name}, and what support needs, for`, () => {
    each(
      { "a refusal with 403": 403, "a refusal with 401": 401 },
      async (status) => {
        const { headers, ...answer } = Backend.json({ error: { code: "forbidden", message: "Not for you." } }, status)
        const message = await messageOf(place, { ...answer, headers: { ...headers, ...ids } })
        assert.include(message, "Not for you.")
        assert.include(message, ids["x-request-id"])
        assert.include(message, ids["cf-ray"])
      }
    )
  })

  describe(`says the status of ${name}`, () => {
    each({ "403": 403, "401": 401 }, async (status) => {
      assert.include(await messageOf(place, Backend.json({ error: {} }, status)), String(status))
    })
  })
}
