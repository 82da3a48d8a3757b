/**
 * Runs the real client, `@openai/codex`, against our AuthAPI, issuer and Responses endpoint, and verifies everything that
 * it sends. It is installed outside of this repository when it is first needed; where it cannot be had, nothing is
 * checked. Where the machine allows it, nothing but loopback is in reach.
 *
 * npm run interop
 */
import { AssertionHeader, TaskId } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { AgentAssertionVerifier } from "@agent-identity/server"
import { FileSystem, HttpServer } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Clock, ConfigProvider, Console, DateTime, Effect, Either, Encoding, Option, Redacted } from "effect"
import { spawnSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { fileURLToPath } from "node:url"
import { AGENT, BEARER, makeBackend, makeToken, type Seen } from "./interop/backend.ts"
import * as Client from "./interop/client.ts"

interface Check {
  readonly what: string
  readonly passed: boolean
}

interface Scenario {
  readonly name: string
  /** Whether task ids are answered sealed. */
  readonly sealed: boolean
  /** Whether the client sends here what it else sends to chatgpt.com: settings, plugins and analytics. */
  readonly everything: boolean
}

const scenarios: ReadonlyArray<Scenario> = [
  { name: "plain task ids", sealed: false, everything: false },
  { name: "sealed task ids", sealed: true, everything: false },
  { name: "every endpoint on our side", sealed: false, everything: true }
]

const runScenario = ({ everything, name, sealed }: Scenario) => {
  const seen: Array<Seen> = []
  return Effect.gen(function*() {
    const prompt = `Say ${randomUUID()}.`
    const token = yield* makeToken
    const started = yield* Clock.currentTimeMillis
    const output = yield* HttpServer.addressFormattedWith((origin) =>
      Client.codexExec({
        prompt,
        config: {
          openai_base_url: `${origin}/backend-api/codex`,
          ...(everything ? { chatgpt_base_url: `${origin}/backend-api` } : undefined)
        },
        env: {
          CODEX_ACCESS_TOKEN: Redacted.value(token),
          CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${origin}/api/accounts`,
          CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api`,
          HTTPS_PROXY: origin,
          HTTP_PROXY: origin,
          NO_PROXY: "127.0.0.1"
        }
      })
    )
    const millis = (yield* Clock.currentTimeMillis) - started

    const answer = `Hello, ${AGENT}. You asked: ${prompt}`
    const toProvider = seen.filter(({ path }) => /^\/backend-api\/codex\/(models|responses)/.test(path))
    const asked = seen.filter(({ method, path }) => method === "POST" && path.endsWith("/codex/responses"))
    const checks: ReadonlyArray<Check> = [
      { what: "codex exec ends well", passed: output.exitCode === 0 },
      { what: "it prints our answer, and nothing else", passed: output.stdout.trim() === answer },
      ...signed(seen, "registration"),
      ...signed(seen, "assertion"),
      {
        what: "every request to the provider has an assertion",
        passed: toProvider.every((_) => _.kind === "assertion")
      },
      { what: "nothing has another scheme", passed: seen.every(({ scheme }) => /^(-|AgentAssertion)$/.test(scheme)) },
      {
        what: "a WebSocket is asked for, and refused with 426",
        passed: seen.some((_) => _.method === "GET (websocket)" && _.status === 426)
      },
      {
        what: "one question, in zstd, is answered",
        passed: asked.length === 1 && asked[0]?.status === 200 && asked[0].encoding === "zstd"
      },
      { what: "its assertion for another task is refused", passed: yield* isTamperedRefused(asked[0]) }
    ]
    yield* report(`${name}, ${millis} ms`, checks, seen, output)
    return checks
  }).pipe(Effect.provide(makeBackend({ sealed, seen })))
}

const report = (name: string, checks: ReadonlyArray<Check>, seen: ReadonlyArray<Seen>, output: Client.Output) =>
  Effect.gen(function*() {
    const failed = checks.filter(({ passed }) => !passed)
    yield* Console.log(`\n${name}: ${checks.length - failed.length} of ${checks.length} checks`)
    yield* Console.log(table(seen))
    for (const { what } of failed) yield* Console.log(`FAILED: ${what}`)
    if (failed.length > 0) yield* Console.log(`${output.stdout}\n${output.stderr}`)
  })

/**
 * What we keep in `auth.json` for a login is read by the client: as the login that it was, and, without it, as an agent
 * of its own, whose task it uses.
 */
const runKept = Effect.suspend(() => {
  const seen: Array<Seen> = []
  return Effect.gen(function*() {
    const home = yield* makeHome
    const { environment, origin } = yield* HttpServer.addressFormattedWith((origin) =>
      Effect.succeed({
        origin,
        environment: {
          CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${origin}/api/accounts`,
          CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api`
        }
      })
    )
    const settings = new Map(Object.entries({
      ...environment,
      CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: `${origin}/backend-api/codex`,
      CODEX_HOME: home.folder
    }))
    yield* Effect.void.pipe(
      Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })),
      Effect.withConfigProvider(ConfigProvider.fromMap(settings))
    )
    const registrations = seen.splice(0).length
    const asLogin = yield* Client.codexLoginStatus(home.folder)
    const kept = yield* home.read
    yield* home.write({ ...kept, agent_identity: { ...kept.agent_identity as object, agent_runtime_id: null } })
    const asBroken = yield* Client.codexLoginStatus(home.folder)

    yield* home.write({ auth_mode: "agentIdentity", OPENAI_API_KEY: null, agent_identity: kept.agent_identity })
    const prompt = `Say ${randomUUID()}.`
    const output = yield* Client.codexExec({
      prompt,
      home: home.folder,
      config: { openai_base_url: `${origin}/backend-api/codex` },
      env: { ...environment, HTTPS_PROXY: origin, HTTP_PROXY: origin, NO_PROXY: "127.0.0.1" }
    })
    const checks: ReadonlyArray<Check> = [
      { what: "we register an agent and a task", passed: registrations === 2 },
      { what: "the client reads the login beside our agent", passed: asLogin.includes("Logged in using ChatGPT") },
      {
        what: "it would not, were the agent not to its grammar",
        passed: !asBroken.includes("Logged in using ChatGPT")
      },
      { what: "it runs as our agent", passed: output.exitCode === 0 && output.stdout.includes(prompt) },
      { what: "it registers no task of its own", passed: seen.every(({ kind }) => kind !== "registration") },
      ...signed(seen, "assertion")
    ]
    yield* report("an agent that we have made of a login", checks, seen, output)
    return checks
  }).pipe(Effect.scoped, Effect.provide(makeBackend({ sealed: false, seen })))
})

/** A folder with an `auth.json` as the client leaves it after a login with ChatGPT. */
const makeHome = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const file = `${folder}/auth.json`
  const write = (auth: object) => fs.writeFileString(file, JSON.stringify(auth, null, 2), { mode: 0o600 })
  const claims = {
    email: "person@example.com",
    exp: Math.floor((yield* Clock.currentTimeMillis) / 1000) + 86_400,
    "https://api.openai.com/auth": {
      chatgpt_account_id: "account-interop",
      chatgpt_user_id: "user-interop",
      chatgpt_plan_type: "pro"
    }
  }
  yield* write({
    auth_mode: "chatgpt",
    OPENAI_API_KEY: null,
    tokens: {
      id_token: ["{\"alg\":\"RS256\"}", JSON.stringify(claims), "signature"].map(Encoding.encodeBase64Url).join("."),
      access_token: BEARER,
      refresh_token: "refresh-token",
      account_id: "account-interop"
    },
    last_refresh: yield* Effect.map(DateTime.now, DateTime.formatIso)
  })
  const read = Effect.map(fs.readFileString(file), (text): Record<string, unknown> => JSON.parse(text))
  return { folder, read, write }
})

/** One check for each of a kind, and that there is one at all. */
const signed = (seen: ReadonlyArray<Seen>, kind: Seen["kind"]): ReadonlyArray<Check> => {
  const all = seen.filter((_) => _.kind === kind)
  return [
    { what: `there is a ${kind}`, passed: all.length > 0 },
    ...all.map(({ method, path, verified }) => ({
      what: `${kind} of ${method} ${path} verifies`,
      passed: verified === true
    }))
  ]
}

const isTamperedRefused = (seen: Seen | undefined) =>
  Effect.gen(function*() {
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const decoded = AssertionHeader.decode(seen?.authorization ?? "")
    if (Either.isLeft(decoded)) return false
    const tampered = AssertionHeader.encode({ ...decoded.right, taskId: TaskId.TaskId.make("task-of-another-run") })
    const refused = yield* Effect.flip(verify(tampered))
    return refused.reason === "BadSignature"
  }).pipe(Effect.orElseSucceed(() => false))

/** Equal requests in one line, as often as they were sent. */
const table = (seen: ReadonlyArray<Seen>): string => {
  const counts = new Map<string, number>()
  for (const { encoding, method, path, scheme, status, verified } of seen) {
    const verdict = verified === undefined ? "-" : verified ? "verified" : "NOT VERIFIED"
    const key = JSON.stringify([`${method} ${path}`, status, scheme, encoding, verdict].map(String))
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const rows = [
    ["request", "status", "scheme", "encoding", "signature", "times"],
    ...Array.from(counts, ([key, count]) => [...JSON.parse(key) as ReadonlyArray<string>, String(count)]).sort()
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) => "  " + row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
    .join("\n")
}

const ISOLATED = "AGENT_IDENTITY_INTEROP_ISOLATED"

const program = Effect.gen(function*() {
  if (process.env[ISOLATED] === undefined) {
    yield* Client.install
    const isolation = yield* Client.isolation
    if (Option.isSome(isolation)) {
      // All of it once more from in there: the server has to be in reach of the client.
      const [command = "", ...args] = [...isolation.value, process.execPath, ...process.execArgv, SCRIPT]
      const env = { ...process.env, [ISOLATED]: "1" }
      process.exitCode = spawnSync(command, args, { env, stdio: "inherit" }).status ?? 1
      return
    }
  }
  const network = process.env[ISOLATED] === undefined
    ? "the machine's network, by a proxy that refuses"
    : "loopback only"
  yield* Console.log(`@openai/codex ${Client.VERSION} with ${network}`)
  const checks = [...(yield* Effect.forEach(scenarios, runScenario)).flat(), ...yield* runKept]
  const failed = checks.filter(({ passed }) => !passed).length
  yield* Console.log(`\n${checks.length - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}).pipe(
  Effect.catchTag(
    "ClientMissing",
    ({ detail }) => Console.log(`Skipped: @openai/codex ${Client.VERSION} cannot be had here: ${detail}`)
  )
)

const SCRIPT = fileURLToPath(import.meta.url)

NodeRuntime.runMain(Effect.provide(program, NodeContext.layer))
