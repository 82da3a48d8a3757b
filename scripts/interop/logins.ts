/** Homes in which the real client has logged in, and which it and we use in turn. */
import { FileSystem, HttpServer } from "@effect/platform"
import { Clock, Effect, Schedule } from "effect"
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { forgetTasks, makeBackend, type Seen } from "./backend.ts"
import { type Check, report, signed } from "./checks.ts"
import * as Client from "./client.ts"
import { ANSWER } from "./loginIssuer.ts"

/** A home, what the client does in it, and what a process of ours does. */
const makeHome = (seen: Array<Seen>) =>
  Effect.gen(function*() {
    const folder = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())
    const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
    const outputs: Array<Client.Output> = []
    const path = (name: string) => join(folder, name)
    const backend = {
      CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${origin}/api/accounts`,
      CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api`
    }
    const codex = (args: ReadonlyArray<string>, config: Client.CodexOptions["config"] = {}) =>
      Effect.tap(
        Client.codex(args, {
          home: folder,
          config,
          env: {
            ...backend,
            CODEX_REFRESH_TOKEN_URL_OVERRIDE: `${origin}/oauth/token`,
            CODEX_REVOKE_TOKEN_URL_OVERRIDE: `${origin}/oauth/revoke`,
            HTTPS_PROXY: origin,
            HTTP_PROXY: origin,
            NO_PROXY: "127.0.0.1"
          }
        }),
        (output) => Effect.sync(() => outputs.push(output))
      )
    /** With a provider of that URL, since a login's own requests go to an https origin that the issuer names. */
    const exec = (provider: string, isAgent: boolean) =>
      Effect.gen(function*() {
        const before = seen.length
        const prompt = `Say ${randomUUID()}.`
        const output = yield* codex(["exec", "--skip-git-repo-check", prompt], {
          chatgpt_base_url: `${origin}/backend-api`,
          model_provider: "interop",
          "model_providers.interop.name": "interop",
          "model_providers.interop.base_url": `${origin}${provider}`,
          "model_providers.interop.wire_api": "responses",
          "model_providers.interop.requires_openai_auth": true,
          "features.use_agent_identity": isAgent
        })
        return { ...output, prompt, seen: seen.slice(before) }
      })

    const ours = (environment: Record<string, string> = {}, preload: ReadonlyArray<string> = []) => {
      const args = [...process.execArgv, ...preload.flatMap((file) => ["--import", file]), SCRIPT]
      const env = {
        PATH: process.env.PATH ?? "",
        HOME: folder,
        CODEX_HOME: folder,
        ...backend,
        CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: `${origin}/backend-api/codex`,
        ...environment
      }
      return { args, env }
    }
    return {
      origin,
      outputs,
      login: codex(["login", "--device-auth", "--experimental_issuer", origin]),
      status: Effect.map(codex(["login", "status"]), ({ stderr, stdout }) => stdout + stderr),
      logout: codex(["logout"]),
      execAsPerson: exec("/bearer", false),
      execAsAgent: exec("/backend-api/codex", true),
      /** A run of ours, and what it sent. */
      run: Effect.gen(function*() {
        const before = seen.length
        const { args, env } = ours()
        const output = yield* Client.run(process.execPath, args, { timeout: 60_000, env, cwd: folder })
        outputs.push(output)
        const outcome: Outcome = output.stdout.startsWith("{") ? JSON.parse(output.stdout) : {}
        return { ...outcome, seen: seen.slice(before) }
      }),
      /** One that is killed once `isReady`, or by what it loads: the signal that it ended by. */
      killed: (
        options: {
          readonly env?: Record<string, string>
          readonly preload?: ReadonlyArray<string>
          readonly isReady: () => boolean
        }
      ) =>
        Effect.gen(function*() {
          const { args, env } = ours(options.env, options.preload)
          const child = spawn(process.execPath, args, { env, cwd: folder, stdio: "ignore" })
          const ended = new Promise<string | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)))
          yield* Effect.repeat(
            Effect.sync(() => child.exitCode !== null || child.signalCode !== null || options.isReady()),
            {
              until: (isOver) => isOver,
              schedule: Schedule.spaced("20 millis")
            }
          ).pipe(Effect.timeoutOption("20 seconds"))
          child.kill("SIGKILL")
          return yield* Effect.promise(() => ended)
        }),
      /** `auth.json`; empty where there is none. */
      read: Effect.sync((): Record<string, unknown> =>
        Fs.existsSync(path("auth.json")) ? JSON.parse(Fs.readFileSync(path("auth.json"), "utf8")) : {}
      ),
      write: (auth: object) =>
        Effect.sync(() => Fs.writeFileSync(path("auth.json"), JSON.stringify(auth, null, 2), { mode: 0o600 })),
      isThere: (member: string) => () =>
        Fs.existsSync(path("auth.json")) && Fs.readFileSync(path("auth.json"), "utf8").includes(member),
      /** The client's lock files, if they are files. */
      locks: Effect.sync(() =>
        ["auth.lock", "auth.json.lock"].map((name) => {
          const found = Fs.lstatSync(path(name), { throwIfNoEntry: false })
          return found?.isFile() === true ? `${name} ${found.ino}` : `${name} is no file`
        })
      ),
      /** What stands beside `auth.json`, and is not the client's. */
      leftovers: Effect.sync(() =>
        Fs.readdirSync(folder).filter((name) =>
          /^\.?auth|agent-identity/.test(name) && !["auth.json", "auth.lock", "auth.json.lock"].includes(name)
        )
      )
    }
  })

const SCRIPT = fileURLToPath(new URL("./optIn.ts", import.meta.url))
const KILLED_AT_RENAME = fileURLToPath(new URL("./killedAtRename.mjs", import.meta.url))

/** A line of `optIn.ts`. */
interface Outcome {
  readonly status?: number
  readonly _tag?: string
  readonly agentRuntimeId?: string
  readonly taskId?: string
  readonly error?: string
  readonly reason?: string
}

type Home = Effect.Effect.Success<ReturnType<typeof makeHome>>

const isLoggedIn = (status: string): boolean => status.includes("Logged in using ChatGPT")
const registrations = (seen: ReadonlyArray<Seen>): number =>
  seen.filter(({ path }) => path.endsWith("/register")).length
const agentOf = (auth: Record<string, unknown>) =>
  (auth.agent_identity ?? {}) as { readonly agent_runtime_id?: string; readonly task_id?: string }

/** The client logs in in an empty home. */
const enter = (home: Home) =>
  Effect.gen(function*() {
    const { exitCode } = yield* home.login
    const locks = yield* home.locks
    const checks: ReadonlyArray<Check> = [
      { what: "the client logs in", passed: exitCode === 0 && isLoggedIn(yield* home.status) },
      { what: "its locks are files", passed: locks.every((lock) => /\d$/.test(lock)) }
    ]
    return { checks, locks }
  })

/** The client logs out of a home where we have been, in again, and finds its locks as it had left them. */
const leave = (home: Home, locks: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const person = yield* home.execAsPerson
    const out = yield* home.logout
    const gone = yield* home.read
    const ours = yield* home.run
    const again = yield* home.login
    return [
      {
        what: "the client runs with the login's own token",
        passed: person.exitCode === 0 && person.stdout.includes(ANSWER)
      },
      { what: "the client logs out", passed: out.exitCode === 0 && Object.keys(gone).length === 0 },
      { what: "then a run of ours has no login", passed: ours.reason === "NoLogin" && ours.seen.length === 0 },
      { what: "the client logs in again", passed: again.exitCode === 0 && isLoggedIn(yield* home.status) },
      { what: "its locks are the same files as before", passed: String(yield* home.locks) === String(locks) },
      { what: "nothing of ours is left beside them", passed: (yield* home.leftovers).length === 0 }
    ]
  })

/** We make an agent of the login; the client uses it, saves its file, and we go on. */
const sharing = (home: Home) =>
  Effect.gen(function*() {
    const { checks, locks } = yield* enter(home)
    const first = yield* home.run
    const before = yield* home.read
    const second = yield* home.run
    const client = yield* home.execAsAgent
    const saved = yield* home.read
    const status = yield* home.status
    yield* Effect.ignore(forgetTasks(first.agentRuntimeId ?? "none"))
    const renewed = yield* home.run
    const after = yield* home.read
    const later = yield* home.run
    const clientLater = yield* home.execAsAgent
    return [
      ...checks,
      {
        what: "we make an agent of the login, and a task",
        passed: first.status === 200 && registrations(first.seen) === 2
      },
      ...signed(first.seen, "assertion"),
      {
        what: "a second process of ours has the same agent and task, and registers nothing",
        passed: second.status === 200 && isSame(second, first) && registrations(second.seen) === 0
      },
      {
        what: "the client runs as our agent, and registers nothing",
        passed: client.exitCode === 0 && client.stdout.includes(client.prompt) && registrations(client.seen) === 0
      },
      ...signed(client.seen, "assertion"),
      {
        what: "it refreshes the login, saves our agent with it, and drops the member that is ours alone",
        passed: client.seen.some(({ path }) => path === "/oauth/token") &&
          JSON.stringify(agentOf(saved)) === JSON.stringify(agentOf(before)) &&
          "agent_identity_provisioning" in before && !("agent_identity_provisioning" in saved)
      },
      { what: "it still reads the login", passed: isLoggedIn(status) },
      {
        what: "our next run renews a task that the server has forgotten",
        passed: renewed.status === 200 && renewed.taskId !== undefined && renewed.taskId !== first.taskId &&
          renewed.agentRuntimeId === first.agentRuntimeId && registrations(renewed.seen) === 1
      },
      {
        what: "and makes our member again, beside the client's new tokens",
        passed: "agent_identity_provisioning" in after && agentOf(after).task_id === renewed.taskId &&
          JSON.stringify(after.tokens) === JSON.stringify(saved.tokens)
      },
      {
        what: "the run after it has that task, and registers nothing",
        passed: later.status === 200 && isSame(later, renewed) && registrations(later.seen) === 0
      },
      {
        what: "and so does the client's",
        passed: clientLater.exitCode === 0 && clientLater.stdout.includes(clientLater.prompt) &&
          registrations(clientLater.seen) === 0
      },
      ...yield* leave(home, locks)
    ]
  })

const isSame = (one: Outcome, other: Outcome): boolean =>
  one.agentRuntimeId !== undefined && one.agentRuntimeId === other.agentRuntimeId && one.taskId === other.taskId

/** The client reads the agent that we keep as it would its own: beside the login, and as an agent without one. */
const reading = (home: Home) =>
  Effect.gen(function*() {
    const { checks } = yield* enter(home)
    yield* home.run
    const kept = yield* home.read
    const asLogin = yield* home.status
    yield* home.write({ ...kept, agent_identity: { ...agentOf(kept), agent_runtime_id: null } })
    const asBroken = yield* home.status
    yield* home.write({ auth_mode: "agentIdentity", OPENAI_API_KEY: null, agent_identity: kept.agent_identity })
    const alone = yield* home.execAsAgent
    return [
      ...checks,
      { what: "the client reads the login beside our agent", passed: "agent_identity" in kept && isLoggedIn(asLogin) },
      { what: "it would not, were the agent not to its grammar", passed: !isLoggedIn(asBroken) },
      {
        what: "it runs as our agent without the login",
        passed: alone.exitCode === 0 &&
          alone.stdout.includes(`${agentOf(kept).agent_runtime_id}. You asked: ${alone.prompt}`)
      },
      { what: "it registers no task of its own", passed: registrations(alone.seen) === 0 },
      ...signed(alone.seen, "assertion")
    ]
  })

/** A process of ours is killed while it waits for the AuthAPI. */
const killedWhileRegistering = (home: Home) =>
  Effect.gen(function*() {
    const { checks, locks } = yield* enter(home)
    const signal = yield* home.killed({
      env: { CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${home.origin}/never` },
      isReady: home.isThere("agent_identity_provisioning")
    })
    const left = yield* home.read
    const status = yield* home.status
    const client = yield* home.execAsAgent
    const made = agentOf(yield* home.read)
    const ours = yield* home.run
    return [
      ...checks,
      {
        what: "a process of ours is killed, with a key that has no agent yet",
        passed: signal === "SIGKILL" && "agent_identity_provisioning" in left && !("agent_identity" in left)
      },
      { what: "the client reads the login", passed: isLoggedIn(status) },
      {
        what: "the client makes an agent of its own, and runs as it",
        passed: client.exitCode === 0 && client.stdout.includes(client.prompt) && registrations(client.seen) === 2 &&
          made.agent_runtime_id !== undefined
      },
      {
        what: "and we run as that agent, for the same task",
        passed: ours.status === 200 && registrations(ours.seen) === 0 &&
          isSame(ours, { agentRuntimeId: made.agent_runtime_id ?? "", taskId: made.task_id ?? "" })
      },
      ...yield* leave(home, locks)
    ]
  })

/** A process of ours is killed while it holds our lock, before it has put anything into the file. */
const killedWithLock = (home: Home) =>
  Effect.gen(function*() {
    const { checks, locks } = yield* enter(home)
    const signal = yield* home.killed({ preload: [KILLED_AT_RENAME], isReady: () => false })
    const left = yield* home.leftovers
    const status = yield* home.status
    const person = yield* home.execAsPerson
    const first = yield* home.run
    const after = yield* home.leftovers
    const client = yield* home.execAsAgent
    return [
      ...checks,
      {
        what: "a process of ours is killed at its first write, and leaves its lock and what it wrote",
        passed: signal === "SIGKILL" && left.length === 2
      },
      { what: "the client reads the login", passed: isLoggedIn(status) },
      {
        what: "the client runs and saves new tokens beside our lock",
        passed: person.exitCode === 0 && person.stdout.includes(ANSWER) &&
          person.seen.some(({ path }) => path === "/oauth/token")
      },
      {
        what: "our next run takes the lock over, makes an agent, and sweeps up",
        passed: first.status === 200 && registrations(first.seen) === 2 && after.length === 0
      },
      {
        what: "the client runs as that agent",
        passed: client.exitCode === 0 && client.stdout.includes(client.prompt) && registrations(client.seen) === 0
      },
      ...yield* leave(home, locks)
    ]
  })

/** Each in a home of its own. */
const scenarios = {
  "a login that we and the client share": sharing,
  "an agent that we have made of a login": reading,
  "a process of ours that is killed while it registers": killedWhileRegistering,
  "a process of ours that is killed while it holds our lock": killedWithLock
}

export const run = Effect.forEach(Object.entries(scenarios), ([name, scenario]) => {
  const seen: Array<Seen> = []
  return Effect.gen(function*() {
    const started = yield* Clock.currentTimeMillis
    const home = yield* makeHome(seen)
    const checks = yield* scenario(home)
    const millis = (yield* Clock.currentTimeMillis) - started
    yield* report(`${name}, ${millis} ms`, checks, seen, home.outputs)
    return checks
  }).pipe(Effect.scoped, Effect.provide(makeBackend({ seen })))
})
