/** Real files for tests of `AuthFile`, each in a folder of its own, and processes that use them. */
import { CredentialStore } from "@agent-identity/login"
import { AuthFile } from "@agent-identity/node"
import { Context, Effect, Layer, Schema, type Scope } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { KEY } from "./counter.ts"

/** A JWT with these claims, whose signature nobody looks at. */
export const jwt = (claims: unknown): string =>
  [{ alg: "RS256" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".") + ".c2ln"

export const idToken = (auth: object = {}, more: object = {}): string =>
  jwt({
    email: "person@example.com",
    ...more,
    "https://api.openai.com/auth": {
      chatgpt_account_id: "account-1",
      chatgpt_user_id: "user-1",
      chatgpt_plan_type: "pro",
      ...auth
    }
  })

/** As the reference writes a ChatGPT login; `undefined` leaves a member out. */
export const login = (more: object = {}, tokens: object = {}) => ({
  auth_mode: "chatgpt",
  OPENAI_API_KEY: null,
  tokens: {
    id_token: idToken(),
    access_token: "secret-access-token",
    refresh_token: "secret-refresh-token",
    account_id: "account-1",
    ...tokens
  },
  last_refresh: "2026-07-27T00:00:00.123456Z",
  ...more
})

export const agent = (more: object = {}) => ({
  agent_runtime_id: "agent-1",
  agent_private_key: KEY,
  account_id: "account-1",
  chatgpt_user_id: "user-1",
  email: "",
  plan_type: "pro",
  chatgpt_account_is_fedramp: false,
  ...more
})

/** The reference's own grammar of an agent, written down for itself. */
export const ReferenceAgent = Schema.Struct({
  agent_runtime_id: Schema.NonEmptyString,
  agent_private_key: Schema.NonEmptyString,
  account_id: Schema.NonEmptyString,
  chatgpt_user_id: Schema.NonEmptyString,
  email: Schema.String,
  plan_type: Schema.Literal(
    ...["free", "go", "plus", "pro", "prolite", "team", "self_serve_business_usage_based", "business", "ent26"],
    ...["enterprise_cbp_usage_based", "enterprise", "edu", "unknown"]
  ),
  chatgpt_account_is_fedramp: Schema.Boolean,
  task_id: Schema.optionalWith(Schema.NonEmptyTrimmedString, { exact: true })
})

export const write = (file: string, auth: unknown) =>
  Fs.writeFileSync(file, typeof auth === "string" ? auth : JSON.stringify(auth, null, 2), { mode: 0o600 })

export const readText = (file: string) => Fs.readFileSync(file, "utf8")

export const readJson = (file: string): Record<string, unknown> => JSON.parse(readText(file))

export const modeOf = (file: string) => Fs.statSync(file).mode & 0o777

/** What stands beside the file: temporary files and locks. */
export const leftovers = (file: string) =>
  Fs.readdirSync(Path.dirname(file)).filter((name) => name !== Path.basename(file))

export const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "auth-file-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 10 }))
)

/** An `auth.json` with this in it. */
export const file = (auth: unknown = login()): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(folder, (path) => {
    const file = Path.join(path, "auth.json")
    write(file, auth)
    return file
  })

export const storeOf = (file: string): Effect.Effect<CredentialStore.Service, never, Scope.Scope> =>
  Effect.map(Layer.build(AuthFile.layerCredentialStore({ file })), Context.get(CredentialStore.CredentialStore))

export interface Worker {
  readonly process: ChildProcess.ChildProcessByStdio<null, Readable, null>
  /** Its lines so far. */
  readonly lines: Array<unknown>
  /** All its lines, when it has ended. */
  readonly done: Promise<ReadonlyArray<unknown>>
}

export const run = (command: string, args: ReadonlyArray<string>, options: ChildProcess.SpawnOptions = {}): Worker => {
  const process = ChildProcess.spawn(command, args, { ...options, stdio: ["ignore", "pipe", "inherit"] })
  const lines: Array<unknown> = []
  let text = ""
  process.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const parts = (text + chunk).split("\n")
    text = parts.pop()!
    lines.push(...parts.map((line) => JSON.parse(line)))
  })
  const done = new Promise<ReadonlyArray<unknown>>((resolve, reject) =>
    process.once("error", reject).once("close", () => resolve(lines))
  )
  return { process, lines, done }
}

/** Whether this machine lets us mount in a namespace of our own. Said where it does not: tests are skipped then. */
export const canMount = (() => {
  const { status } = ChildProcess.spawnSync("unshare", ["-rm", "true"], { stdio: "ignore" })
  if (status !== 0) console.log("no mounts here (unshare -rm): tests of mounted files are skipped")
  return status === 0
})()

/** Runs a script in a mount namespace of its own, as root of a user namespace. `$0` and on are these arguments. */
export const runMounted = (
  script: string,
  args: ReadonlyArray<string>,
  options: ChildProcess.SpawnOptions = {}
): Worker => run("unshare", ["-rm", "sh", "-ec", script, ...args], options)

/** A program of this folder in one file, so that a process of it starts fast, and so that any user can read it. */
export const bundle = (program: string) =>
  Effect.gen(function*() {
    const path = yield* folder
    Fs.chmodSync(path, 0o755)
    const outfile = Path.join(path, "worker.mjs")
    // tsx brings it.
    const esbuild: { readonly build: (options: object) => Promise<unknown> } = createRequire(
      createRequire(import.meta.url).resolve("tsx/package.json")
    )("esbuild")
    yield* Effect.promise(() =>
      esbuild.build({
        entryPoints: [fileURLToPath(new URL(program, import.meta.url))],
        outfile,
        bundle: true,
        platform: "node",
        target: "node20",
        format: "esm",
        conditions: ["@agent-identity/source"],
        // proper-lockfile is CommonJS.
        banner: { js: "import { createRequire } from \"node:module\"; const require = createRequire(import.meta.url)" }
      })
    )
    return outfile
  })
