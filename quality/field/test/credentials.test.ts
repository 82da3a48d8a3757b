/** What people put into the variables and files of a credential, in place of one. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe } from "vitest"
import * as App from "../support/app.ts"
import * as Backend from "../support/backend.ts"
import { each } from "../support/each.ts"
import * as Home from "../support/home.ts"
import * as Issuer from "../support/issuer.ts"

const backend = await Backend.start()
const issuer = Issuer.make()
backend.on("/issuer/agent-identities/jwks", () => Backend.json(issuer.keySet))
const app = App.start(backend.environment)
const get = { get: `${backend.provider}/models` }
const token = issuer.token()

const ownKey = (members: Record<string, string>) => ({
  CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-1",
  CODEX_AGENT_IDENTITY_PRIVATE_KEY: Home.privateKey,
  ...members
})

const file = (content: string | Buffer, name = "key.pem") => {
  const path = Path.join(App.temporaryFolder(), name)
  Fs.writeFileSync(path, content)
  return path
}
const pem = `-----BEGIN PRIVATE KEY-----\n${Home.privateKey}\n-----END PRIVATE KEY-----\n`
const keyFile = (content: string | Buffer) =>
  ownKey({ CODEX_AGENT_IDENTITY_PRIVATE_KEY: "", CODEX_AGENT_IDENTITY_KEY_FILE: file(content) })
const homeWith = (content: string | Buffer) => ({ CODEX_HOME: Path.dirname(file(content, "auth.json")) })
const auth = JSON.stringify({ auth_mode: "agentIdentity", agent_identity: token })

describe("is taken:", () => {
  const environments = {
    "a token": { CODEX_ACCESS_TOKEN: token },
    "a token with white space around it": { CODEX_ACCESS_TOKEN: ` ${token}\r\n` },
    "a token behind a byte order mark": { CODEX_ACCESS_TOKEN: `\ufeff${token}` },
    "a key": ownKey({}),
    "a key file": keyFile(pem),
    "a key file with a byte order mark": keyFile(`\ufeff${pem}`),
    "a key file with the line ends of Windows": keyFile(pem.replaceAll("\n", "\r\n")),
    "an auth.json": homeWith(auth),
    "an auth.json with a byte order mark": homeWith(`\ufeff${auth}`)
  }
  each(environments, async (environment) => {
    const { error, status } = await app.step(get, { environment })
    assert.isUndefined(error)
    assert.strictEqual(status, 200)
    assert.match(backend.seenAt("/provider/models").at(-1)!.task!, /^task-new-/)
  })
})

describe("is named, without its value:", () => {
  const found: Record<string, readonly [environment: Record<string, string>, says: RegExp]> = {
    "an API key": [{ CODEX_ACCESS_TOKEN: "sk-proj-secret" }, /CODEX_ACCESS_TOKEN: it is an API key/],
    "an API key in the older variable": [
      { CODEX_AGENT_IDENTITY: "sk-secret" },
      /CODEX_AGENT_IDENTITY: it is an API key/
    ],
    "a token in quotes": [{ CODEX_ACCESS_TOKEN: `"${token}"` }, /CODEX_ACCESS_TOKEN: it stands in quotes/],
    "a token in single quotes": [{ CODEX_ACCESS_TOKEN: `'${token}'` }, /CODEX_ACCESS_TOKEN: it stands in quotes/],
    "a token behind Bearer": [{ CODEX_ACCESS_TOKEN: `Bearer ${token}` }, /begins with the word `Bearer`/],
    "a token behind bearer, in auth.json": [
      homeWith(JSON.stringify({ auth_mode: "agentIdentity", agent_identity: `bearer ${token}` })),
      /auth\.json: it begins with the word `Bearer`/
    ],
    "an id in quotes": [ownKey({ CODEX_AGENT_IDENTITY_RUNTIME_ID: "\"a\"" }), /RUNTIME_ID: it stands in quotes/],
    "a key in quotes": [ownKey({ CODEX_AGENT_IDENTITY_PRIVATE_KEY: `'${Home.privateKey}'` }), /stands in quotes/],
    "a key file in UTF-16": [keyFile(Buffer.from(`\ufeff${pem}`, "utf16le")), /key\.pem: .* UTF-16/],
    "an auth.json in UTF-16": [homeWith(Buffer.from(`\ufeff${auth}`, "utf16le")), /auth\.json: .* UTF-16/]
  }
  each(found, async ([environment, says]) => {
    const before = backend.seen.length
    const { error } = await app.step(get, { environment })
    assert.match(error?.message ?? "", says)
    for (const secret of ["secret", token.slice(-20), Home.privateKey.slice(20)]) {
      assert.notInclude(JSON.stringify(error), secret)
    }
    assert.strictEqual(backend.seen.length, before)
  })
})
