import { CredentialSource } from "@agent-identity/node"
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Logger, LogLevel, Redacted, type Scope } from "effect"
import { inspect } from "node:util"

const KEY = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"
const record = {
  agent_runtime_id: "agent-1",
  agent_private_key: KEY,
  account_id: "acct-1",
  chatgpt_user_id: "user-1",
  email: "",
  plan_type: "pro",
  chatgpt_account_is_fedramp: true
}

/** A Codex home with this `auth.json`, or with none. */
const home = (auth?: unknown) =>
  Effect.gen(function*() {
    const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
    const folder = yield* fs.makeTempDirectoryScoped()
    if (auth !== undefined) {
      const content = auth instanceof Uint8Array
        ? auth
        : new TextEncoder().encode(typeof auth === "string" ? auth : JSON.stringify(auth))
      yield* fs.writeFile(path.join(folder, "auth.json"), content)
    }
    return folder
  })

const read = (environment: Record<string, string>) =>
  CredentialSource.fromConfig.pipe(
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment))))
  )

const tokenOf = (credential: CredentialSource.Credential) =>
  credential._tag === "Token" ? Redacted.value(credential.token) : credential._tag

const DEEP = "[".repeat(100_000) + "]".repeat(100_000)
const withIdentity = (json: string) => `{"auth_mode":"agentIdentity","agent_identity":${json}}`

const scoped = <A, E>(
  name: string,
  test: () => Effect.Effect<A, E, FileSystem.FileSystem | Path.Path | Scope.Scope>
) => it.scoped(name, () => Effect.provide(test(), NodeContext.layer))

describe("CredentialSource.fromConfig", () => {
  const jwtFile = { auth_mode: "agentIdentity", OPENAI_API_KEY: null, agent_identity: "jwt-in-file" }
  const precedence: ReadonlyArray<readonly [environment: Record<string, string>, token: string]> = [
    [{ CODEX_ACCESS_TOKEN: "jwt-1", CODEX_AGENT_IDENTITY: "jwt-2" }, "jwt-1"],
    [{ CODEX_ACCESS_TOKEN: "  jwt-1\n" }, "jwt-1"],
    [{ CODEX_ACCESS_TOKEN: "  ", CODEX_AGENT_IDENTITY: "jwt-2" }, "jwt-2"],
    [{ CODEX_ACCESS_TOKEN: "", CODEX_AGENT_IDENTITY: "" }, "jwt-in-file"],
    [{}, "jwt-in-file"]
  ]
  for (const [environment, token] of precedence) {
    scoped(`takes ${token} of ${JSON.stringify(environment)} and auth.json`, () =>
      Effect.gen(function*() {
        const CODEX_HOME = yield* home(jwtFile)
        assert.strictEqual(tokenOf(yield* read({ ...environment, CODEX_HOME })), token)
      }))
  }

  for (const name of ["CODEX_ACCESS_TOKEN", "CODEX_AGENT_IDENTITY"]) {
    scoped(`says that ${name} holds a personal access token, without showing it`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(read({ [name]: " at-secret-1234", CODEX_HOME: yield* home(jwtFile) }))
        assert.strictEqual(error._tag === "CredentialSourceError" && error.reason, "PersonalAccessToken")
        assert.include(error.message, name)
        assert.notInclude(inspect(error, { depth: Infinity }), "secret")
      }))
  }

  const pasted: ReadonlyArray<
    readonly [what: string, value: string, reason: CredentialSource.CredentialSourceError["reason"], says: RegExp]
  > = [
    ["an API key", "sk-proj-secret", "ApiKey", /it is an API key \(`sk-…`\)/],
    ["a token in quotes", "\"eyJ-secret\"", "Invalid", /it stands in quotes; remove them/],
    ["a token in typographic quotes", "\u201ceyJ-secret\u201d", "Invalid", /it stands in quotes; remove them/],
    ["a token with one quote", "\"eyJ-secret", "Invalid", /it stands in quotes; remove them/],
    ["a token behind the name of its variable", "CODEX_ACCESS_TOKEN=eyJ-secret", "Invalid", /name of a variable/],
    ["a token in single quotes", " 'eyJ-secret' ", "Invalid", /it stands in quotes; remove them/],
    [
      "a token behind its scheme",
      "Bearer eyJ-secret",
      "Invalid",
      /it begins with the word `Bearer`; give the token alone/
    ],
    ["a whole header", "authorization: bearer eyJ-secret", "Invalid", /it begins with the word `Bearer`/]
  ]
  for (const [what, value, reason, says] of pasted) {
    scoped(
      `says what it found in a variable or in the file, without showing it: ${what}`,
      () =>
        Effect.gen(function*() {
          const CODEX_HOME = yield* home({ auth_mode: "agentIdentity", agent_identity: value })
          const environments = [{ CODEX_ACCESS_TOKEN: value }, { CODEX_AGENT_IDENTITY: value }, {}]
          for (const environment of environments) {
            const error = yield* Effect.flip(read({ CODEX_HOME, ...environment }))
            assert.strictEqual(error._tag === "CredentialSourceError" && error.reason, reason)
            assert.match(error.message, says)
            assert.notInclude(inspect(error, { depth: Infinity }), "secret")
          }
        })
    )
  }

  scoped("says where it looked when there is nothing", () =>
    Effect.gen(function*() {
      const CODEX_HOME = yield* home()
      const error = yield* Effect.flip(read({ CODEX_HOME }))
      assert.strictEqual(error._tag === "CredentialSourceError" && error.reason, "NotFound")
      assert.include(error.message, CODEX_HOME)
      assert.include(error.message, "CODEX_ACCESS_TOKEN")
    }))

  scoped("takes a blank CODEX_HOME for none, and never looks into the working directory", () =>
    Effect.gen(function*() {
      for (const CODEX_HOME of ["", "  "]) {
        const error = yield* Effect.flip(read({ CODEX_HOME }))
        assert.include(error.message, ".codex")
      }
    }))

  scoped("logs at debug which source it used, and never what is in it", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const observed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        effect.pipe(
          Effect.provide(Logger.add(Logger.make((entry) => lines.push(`${entry.logLevel.label} ${inspect(entry)}`)))),
          Logger.withMinimumLogLevel(LogLevel.All)
        )
      yield* observed(read({ CODEX_ACCESS_TOKEN: "jwt-secret" }))
      yield* observed(read({ CODEX_HOME: yield* home({ auth_mode: "agentIdentity", agent_identity: record }) }))
      yield* Effect.flip(
        observed(read({ CODEX_HOME: yield* home({ auth_mode: "chatgpt", agent_identity: record }) }))
      )
      assert.lengthOf(lines, 3)
      for (const line of lines) assert.isTrue(line.startsWith("DEBUG"))
      assert.include(lines[0], "CODEX_ACCESS_TOKEN")
      assert.include(lines[1], "auth.json")
      assert.include(lines[2], "ignored")
      assert.notInclude(lines.join(), "secret")
      assert.notInclude(lines.join(), KEY.slice(20))
    }))
})

describe("CredentialSource.fromAuthFile", () => {
  const readFile = (auth: unknown) =>
    Effect.flatMap(home(auth), (folder) => CredentialSource.fromAuthFile(`${folder}/auth.json`))

  const tasks: ReadonlyArray<readonly [what: string, members: object, taskId: string | undefined]> = [
    ["with a task", { task_id: "task-1" }, "task-1"],
    ["without a task", {}, undefined],
    ["whose task is null", { task_id: null }, undefined],
    ["whose task is blank", { task_id: "  " }, undefined]
  ]
  for (const [what, members, taskId] of tasks) {
    scoped(`reads a record ${what}`, () =>
      Effect.gen(function*() {
        const credential = yield* readFile({ auth_mode: "agentIdentity", agent_identity: { ...record, ...members } })
        if (credential._tag !== "Record") return assert.fail(credential._tag)
        assert.strictEqual(credential.taskId, taskId)
        assert.deepInclude(credential.record, { agentRuntimeId: "agent-1", accountId: "acct-1", fedramp: true })
        assert.strictEqual(Redacted.value(credential.record.privateKey), KEY)
      }))
  }

  const refused: ReadonlyArray<readonly [what: string, auth: unknown, reason: string, says: string]> = [
    [
      "a record beside a ChatGPT login",
      { auth_mode: "chatgpt", agent_identity: record },
      "NotFound",
      "no agent identity"
    ],
    ["a record without a mode", { agent_identity: record }, "NotFound", "no agent identity"],
    ["a mode without a record", { auth_mode: "agentIdentity" }, "NotFound", "no agent identity"],
    ["a record that is null", { auth_mode: "agentIdentity", agent_identity: null }, "NotFound", "no agent identity"],
    ["an API key", { OPENAI_API_KEY: "sk-secret" }, "NotFound", "no agent identity"],
    [
      "a personal access token",
      { auth_mode: "agentIdentity", agent_identity: "at-secret" },
      "PersonalAccessToken",
      "at-…"
    ],
    [
      "a record of another form",
      { auth_mode: "agentIdentity", agent_identity: { agent_runtime_id: 7 } },
      "Invalid",
      "agent_private_key"
    ],
    [
      "a record with a task that is too long",
      {
        auth_mode: "agentIdentity",
        agent_identity: { ...record, task_id: "x".repeat(1025) }
      },
      "Invalid",
      "task_id"
    ],
    [
      "a record without a user",
      {
        auth_mode: "agentIdentity",
        agent_identity: { ...record, chatgpt_user_id: undefined }
      },
      "Invalid",
      "chatgpt_user_id"
    ],
    ["a list", { auth_mode: "agentIdentity", agent_identity: [] }, "Invalid", "no whole record"],
    ["a record that is nested too deep to be written out", withIdentity(DEEP), "Invalid", "no whole record"],
    ["an id that is", withIdentity(`{"agent_runtime_id":${DEEP}}`), "Invalid", "agent_runtime_id"],
    ["a file that is", DEEP, "Invalid", "no JSON"],
    ["a mode that is", `{"auth_mode":${DEEP}}`, "Invalid", "auth_mode"],
    ["a number that is beyond a double", `{"auth_mode":1e999}`, "Invalid", "auth_mode"],
    [
      "bytes that are no UTF-8",
      Uint8Array.from(Buffer.from(withIdentity("\"jwt-\xff\""), "latin1")),
      "Invalid",
      "no JSON"
    ],
    ["a file in UTF-16", Uint8Array.from(Buffer.from("\ufeff{}", "utf16le")), "Invalid", "UTF-16; save it as UTF-8"],
    ["a mode that is a number", { auth_mode: 7 }, "Invalid", "auth_mode"],
    ["text that is not JSON", "{secret", "Invalid", "no JSON"],
    ["an empty file", "", "Invalid", "no JSON"]
  ]
  for (const [what, auth, reason, says] of refused) {
    scoped(`refuses ${what}: ${reason}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(readFile(auth))
        assert.propertyVal(error, "reason", reason)
        assert.include(error.message, says)
        assert.notInclude(inspect(error, { depth: Infinity, showHidden: true }), "secret")
        assert.notInclude(inspect(error, { depth: Infinity, showHidden: true }), KEY.slice(20))
      }))
  }

  scoped("reads a file that begins with a byte order mark", () =>
    Effect.gen(function*() {
      const text = JSON.stringify({ auth_mode: "agentIdentity", agent_identity: "jwt-in-file" })
      assert.strictEqual(tokenOf(yield* readFile(`\ufeff${text}`)), "jwt-in-file")
    }))

  scoped("waits for a file that is being written in place", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const file = `${yield* home("")}/auth.json`
      yield* Effect.fork(
        Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 30))).pipe(
          Effect.zipRight(
            fs.writeFileString(file, JSON.stringify({ auth_mode: "agentIdentity", agent_identity: "jwt-in-file" }))
          )
        )
      )
      assert.strictEqual(tokenOf(yield* CredentialSource.fromAuthFile(file)), "jwt-in-file")
    }))

  scoped("refuses a folder in its place", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(CredentialSource.fromAuthFile(yield* home()))
      assert.strictEqual(error.reason, "Unreadable")
    }))
})

describe("CredentialSource.fromConfig, an agent with a key of its own", () => {
  const RUNTIME_ID = "CODEX_AGENT_IDENTITY_RUNTIME_ID"
  const PRIVATE_KEY = "CODEX_AGENT_IDENTITY_PRIVATE_KEY"
  const KEY_FILE = "CODEX_AGENT_IDENTITY_KEY_FILE"
  const PEM = `-----BEGIN PRIVATE KEY-----\n${KEY}\n-----END PRIVATE KEY-----\n`

  scoped("is taken before auth.json", () =>
    Effect.gen(function*() {
      const CODEX_HOME = yield* home({ auth_mode: "agentIdentity", agent_identity: "jwt-in-file" })
      const credential = yield* read({ [RUNTIME_ID]: " agent-own\n", [PRIVATE_KEY]: KEY, CODEX_HOME })
      assert.strictEqual(credential._tag === "Record" && credential.record.agentRuntimeId, "agent-own")
    }))

  const refused: ReadonlyArray<
    readonly [
      environment: Record<string, string>,
      reason: CredentialSource.CredentialSourceError["reason"],
      message: RegExp
    ]
  > = [
    [{ [PRIVATE_KEY]: KEY }, "Invalid", /from CODEX_AGENT_IDENTITY_RUNTIME_ID: it is not set, and a key is/],
    [{ [KEY_FILE]: "/key.pem" }, "Invalid", /from CODEX_AGENT_IDENTITY_RUNTIME_ID: it is not set, and a key is/],
    [{ [RUNTIME_ID]: "a" }, "Invalid", /from CODEX_AGENT_IDENTITY_PRIVATE_KEY: neither it nor .*KEY_FILE is set/],
    [{ [RUNTIME_ID]: "\"a\"", [PRIVATE_KEY]: KEY }, "Invalid", /_RUNTIME_ID: it stands in quotes; remove them/],
    [
      { [RUNTIME_ID]: "a", [PRIVATE_KEY]: `"${KEY}"` },
      "Invalid",
      /_PRIVATE_KEY: .* stands in quotes\. Give it without/
    ],
    [{ [RUNTIME_ID]: "a", [PRIVATE_KEY]: KEY, [KEY_FILE]: "/k" }, "Invalid", /_PRIVATE_KEY: .*_KEY_FILE is set too/],
    [
      { [RUNTIME_ID]: "a", [PRIVATE_KEY]: KEY, CODEX_ACCESS_TOKEN: "jwt" },
      "Invalid",
      /from CODEX_ACCESS_TOKEN: CODEX_AGENT_IDENTITY_RUNTIME_ID is set too; unset one/
    ],
    [
      { [RUNTIME_ID]: "a", [PRIVATE_KEY]: KEY, CODEX_AGENT_IDENTITY: "jwt" },
      "Invalid",
      /from CODEX_AGENT_IDENTITY: CODEX_AGENT_IDENTITY_RUNTIME_ID is set too; unset one/
    ],
    [
      { [RUNTIME_ID]: "a", [PRIVATE_KEY]: "07".repeat(32) },
      "Invalid",
      /from CODEX_AGENT_IDENTITY_PRIVATE_KEY: The agent private key is hexadecimal/
    ],
    [{ [RUNTIME_ID]: "a", [PRIVATE_KEY]: "/run/key.pem" }, "Invalid", /_PRIVATE_KEY: .* is the path of a file/],
    [{ [RUNTIME_ID]: "a", [KEY_FILE]: "\"/nowhere/key.pem\"" }, "Invalid", /_KEY_FILE: it stands in quotes/],
    [{ [RUNTIME_ID]: "a", [KEY_FILE]: "/nowhere/key.pem" }, "Unreadable", /from \/nowhere\/key\.pem: there is no such/],
    [{ [RUNTIME_ID]: "a", [KEY_FILE]: "/" }, "Unreadable", /from \/: the file cannot be read/],
    ...[
      KEY,
      PEM,
      `{"kty":"OKP","crv":"Ed25519","d":"${Buffer.alloc(32, 7).toString("base64url")}"}`,
      "07".repeat(32),
      Buffer.alloc(32, 7).toString("base64"),
      Buffer.alloc(32, 7).toString("base64url"),
      Buffer.alloc(64, 7).toString("base64")
    ].map((key) =>
      [{ [RUNTIME_ID]: "a", [KEY_FILE]: key }, "Unreadable", /from the key file: its path looks like a key/] as const
    )
  ]
  for (const [environment, reason, message] of refused) {
    scoped(
      `is refused, and no key is shown: ${JSON.stringify(environment).slice(0, 120)}`,
      () =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(read({ ...environment, CODEX_HOME: yield* home() }))
          assert.strictEqual(error._tag === "CredentialSourceError" && error.reason, reason)
          assert.match(error.message, message)
          for (const part of ["BwcH", "0707", "MC4C"]) assert.notInclude(inspect(error, { depth: Infinity }), part)
        })
    )
  }
})
