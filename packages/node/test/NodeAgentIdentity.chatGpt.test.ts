/** A ChatGPT login in a real `auth.json` becomes an agent of a real AuthAPI, in one process and in many. */
import { RunAuth } from "@agent-identity/core"
import { ChatGptLogin } from "@agent-identity/login"
import { AuthFile, NodeAgentIdentity } from "@agent-identity/node"
import { RegistrationLimits } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Option, Schedule, type Scope, Struct } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { setTimeout } from "node:timers/promises"
import * as File from "./authFile/files.ts"
import { Agents, bases, BEARER, makeAgent, models, requests, Server, serverWith, withEnvironment } from "./backend.ts"

const login = (more: object = {}, tokens: object = {}) => File.login(more, { access_token: BEARER, ...tokens })

const options: NodeAgentIdentity.ChatGptOptions = { policy: "ChatGptAuth", agentVersion: "1.2.3" }

/** The environment of whoever has this `auth.json`. */
const home = (auth: unknown = login()) =>
  Effect.gen(function*() {
    const file = yield* File.file(auth)
    return { file, environment: { ...(yield* bases), CODEX_HOME: Path.dirname(file) } }
  })

/** One run, and one request of it. */
const run = (environment: Record<string, string>, more: Partial<NodeAgentIdentity.ChatGptOptions> = {}) =>
  Effect.gen(function*() {
    const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
    return { credential, ...yield* models }
  }).pipe(
    Effect.provide(NodeAgentIdentity.layerChatGpt({ ...options, ...more })),
    withEnvironment(environment)
  )

const quiet = Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))
const live = <A, E>(
  name: string,
  test: () => Effect.Effect<A, E, Scope.Scope | Layer.Layer.Success<typeof Server>>,
  server = Server,
  limit = 20_000
) => it.scopedLive(name, () => quiet(Effect.provide(test(), server)), limit)

/** What is in the file besides the agent. */
const loginIn = (file: string) => Struct.omit(File.readJson(file), "agent_identity", "agent_identity_provisioning")

/** An AuthAPI that takes this long. */
const slow = (millis: number) =>
  serverWith(Layer.effect(
    RegistrationLimits.RegistrationLimits,
    Effect.sync(() => ({ address: () => Effect.sleep(millis), agent: () => Effect.void }))
  ))

/** Which lock there is, if any: a killed process leaves its own. */
const lockOf = (file: string) => {
  const lock = Fs.statSync(`${file}.lock`, { bigint: true, throwIfNoEntry: false })
  return lock && `${lock.ino} ${lock.birthtimeNs}`
}

const untilAsked = (what: string) =>
  Effect.repeat(requests, { until: (all) => all.includes(what), schedule: Schedule.spaced("2 millis") })

describe("NodeAgentIdentity.layerChatGpt", () => {
  live(
    "makes an agent of the login, keeps it, and every later run has the same agent and task",
    () =>
      Effect.gen(function*() {
        const { environment, file } = yield* home()
        const first = yield* run(environment)
        const second = yield* run(environment)
        assert.strictEqual(first.status, 200)
        assert.deepStrictEqual(second.body, first.body)
        assert.deepStrictEqual(yield* requests, ["agent", "register", "models", "models"])
        const agent = File.readJson(file).agent_identity
        assert.deepStrictEqual(loginIn(file), JSON.parse(JSON.stringify(login())))
        assert.deepInclude(agent, {
          agent_runtime_id: (first.body as { readonly agent: string }).agent,
          task_id: (first.body as { readonly task: string }).task,
          account_id: "account-1",
          chatgpt_user_id: "user-1",
          plan_type: "pro",
          chatgpt_account_is_fedramp: false
        })
        assert.strictEqual(File.modeOf(file), 0o600)
      })
  )

  live("uses an agent that the reference client has made, and its task", () =>
    Effect.gen(function*() {
      const first = yield* home()
      yield* run(first.environment)
      // As the reference writes it: nothing of ours, and the key in its own form.
      const second = yield* home({ ...loginIn(first.file), agent_identity: File.readJson(first.file).agent_identity })
      assert.strictEqual((yield* run(second.environment)).status, 200)
      assert.deepStrictEqual(yield* requests, ["agent", "register", "models", "models"])
    }))

  live("sends the login's token under JwtOnly, and writes nothing", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home()
      const before = File.readText(file)
      const { credential } = yield* run(environment, { policy: "JwtOnly" })
      assert.strictEqual(credential._tag, "Bearer")
      assert.strictEqual(File.readText(file), before)
      assert.deepStrictEqual(yield* requests, ["models"])
    }))

  live("sends the login's token where the AuthAPI is out of reach, and keeps no agent", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home()
      const unreachable = { ...environment, CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: "http://127.0.0.1:9/api/accounts" }
      const { credential } = yield* run(unreachable)
      assert.strictEqual(credential._tag, "Bearer")
      assert.deepStrictEqual(yield* requests, ["models"])
      assert.isUndefined(File.readJson(file).agent_identity)
      assert.strictEqual((yield* run(environment)).credential._tag, "Assertion")
    }))

  live("uses a token of the environment before a login", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home()
      const before = File.readText(file)
      const { token } = yield* makeAgent()
      const { body } = yield* run({ ...environment, CODEX_ACCESS_TOKEN: token }, { policy: "JwtOnly" })
      assert.propertyVal(body, "agent", "agent-1")
      assert.strictEqual(File.readText(file), before)
    }))

  live("uses an agent identity in auth.json as it is, and leaves it so", () =>
    Effect.gen(function*() {
      const { token } = yield* makeAgent()
      const { environment, file } = yield* home({ auth_mode: "agentIdentity", agent_identity: token })
      const before = File.readText(file)
      const { body } = yield* run(environment)
      assert.propertyVal(body, "agent", "agent-1")
      assert.strictEqual(File.readText(file), before)
    }))

  live("takes no other workspace, of a login or of a token", () =>
    Effect.gen(function*() {
      const { environment } = yield* home()
      const { token } = yield* makeAgent()
      for (const more of [{}, { CODEX_ACCESS_TOKEN: token }]) {
        const error = yield* Effect.flip(run({ ...environment, ...more }, { workspace: "account-9" }))
        assert.deepInclude(error, { _tag: "AgentProvisioningError", reason: "NoLogin" })
        assert.include(error.message, "another workspace")
      }
      assert.deepStrictEqual((yield* requests).filter((_) => _ !== "jwks"), [])
      assert.strictEqual((yield* run(environment, { workspace: "account-1" })).status, 200)
      assert.strictEqual(
        (yield* run({ ...environment, CODEX_ACCESS_TOKEN: token }, { workspace: "acct-1" })).status,
        200
      )
    }))

  const others: ReadonlyArray<readonly [what: string, auth: unknown, reason: string]> = [
    ["no file", undefined, "LoggedOut"],
    ["an API key", { auth_mode: "apikey", OPENAI_API_KEY: "sk-secret" }, "OtherLogin"],
    ["tokens from outside", login({ auth_mode: "chatgptAuthTokens" }), "OtherLogin"],
    ["a login without an account", login({}, { account_id: "", id_token: File.jwt({}) }), "Incomplete"]
  ]
  for (const [what, auth, reason] of others) {
    live(`makes no agent of ${what}`, () =>
      Effect.gen(function*() {
        const { environment, file } = yield* home(auth ?? {})
        if (auth === undefined) Fs.rmSync(file)
        const error = yield* Effect.flip(run(environment))
        assert.deepInclude(error, { _tag: "AgentProvisioningError", reason: "NoLogin" })
        const cause = (error as { readonly cause?: unknown }).cause
        assert.deepInclude(cause as object, { _tag: "ChatGptLoginError", reason })
        assert.notInclude(error.message, "sk-secret")
        assert.deepStrictEqual(yield* requests, [])
        assert.strictEqual(Fs.existsSync(file), auth !== undefined)
      }))
  }

  live("repairs a broken agent of the login, which hides the login from nobody", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home(login({ agent_identity: { agent_runtime_id: 7 } }))
      assert.strictEqual((yield* run(environment)).status, 200)
      assert.isTrue(typeof (File.readJson(file).agent_identity as object)["agent_runtime_id" as never] === "string")
    }))

  live("leaves another login's agent alone", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home(login({ agent_identity: File.agent({ account_id: "account-2" }) }))
      const before = File.readText(file)
      const error = yield* Effect.flip(run(environment))
      assert.deepInclude(error, { _tag: "AgentProvisioningError", reason: "Store" })
      assert.include(error.message, file)
      assert.strictEqual(File.readText(file), before)
      assert.deepStrictEqual(yield* requests, [])
    }))

  for (const step of ["agent", "register"] as const) {
    const middle = (
      name: string,
      change: (file: string) => void,
      check: (file: string) => void
    ) =>
      live(`${name} while the ${step === "agent" ? "agent" : "task"} is registered wins`, () =>
        Effect.gen(function*() {
          const { environment, file } = yield* home()
          const fiber = yield* Effect.fork(run(environment))
          yield* untilAsked(step)
          change(file)
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert.strictEqual((error as { readonly reason: string }).reason, "StaleAuth")
          check(file)
          assert.deepStrictEqual(File.leftovers(file), [])
        }), slow(300))

    middle("a logout", (file) => Fs.rmSync(file), (file) => assert.isFalse(Fs.existsSync(file)))

    const other = JSON.stringify(login({}, {
      account_id: "account-2",
      id_token: File.idToken({ chatgpt_account_id: "account-2", chatgpt_user_id: "user-2" })
    }))
    middle(
      "a login of another account",
      (file) => File.write(file, other),
      (file) => assert.strictEqual(File.readText(file), other)
    )
  }

  live("a refresh of the token while the agent is registered is kept", () =>
    Effect.gen(function*() {
      const { environment, file } = yield* home()
      const fiber = yield* Effect.fork(run(environment))
      yield* untilAsked("agent")
      // In place and without what it does not know, as the reference does.
      File.write(file, login({}, { refresh_token: "refreshed" }))
      assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
      assert.deepInclude(File.readJson(file).tokens, { refresh_token: "refreshed" })
      assert.deepStrictEqual((yield* requests).slice(0, 2), ["agent", "register"])
    }), slow(300))
})

describe("many processes", () => {
  live(
    "32 at once make one agent and one task, and all of them work",
    () =>
      Effect.gen(function*() {
        const worker = yield* File.bundle("run.ts")
        const { environment, file } = yield* home()
        const outputs = yield* Effect.promise(() =>
          Promise.all(
            Array.from({ length: 32 }, () => File.run(process.execPath, [worker, "once"], { env: environment }).done)
          )
        )
        const [first] = outputs
        assert.deepInclude(first?.[0], { sends: "Assertion", status: 200 }, JSON.stringify(outputs))
        for (const output of outputs) assert.deepStrictEqual(output, first!)
        const all = yield* requests
        assert.strictEqual(all.filter((_) => _ === "agent").length, 1)
        assert.strictEqual(all.filter((_) => _ === "register").length, 1)
        assert.strictEqual(all.filter((_) => _ === "models").length, 32)
        assert.deepStrictEqual(File.leftovers(file), [])
        assert.strictEqual((yield* Agents).size, 1)
      }),
    slow(100),
    60_000
  )

  live(
    "200 kills -9 of a writer, 20 and more inside the lock: a whole file each time, and one agent",
    () =>
      Effect.gen(function*() {
        const worker = yield* File.bundle("run.ts")
        const counts = { kills: 0, inside: 0 }
        const started = performance.now()
        const lane = Effect.gen(function*() {
          const { environment, file } = yield* home()
          for (let round = 0; round < 25; round++) {
            const before = lockOf(file)
            const isInside = () => ![undefined, before].includes(lockOf(file))
            const { done, lines, process: child } = File.run(process.execPath, [worker, "renew"], { env: environment })
            yield* Effect.promise(async () => {
              // Some as soon as they have a lock of their own, the others at any moment from their start on.
              if (round % 3 === 0) { while (!isInside() && child.exitCode === null) await setTimeout(0) }
              else await setTimeout(Math.random() * 800)
              child.kill("SIGKILL")
              await done
            })
            counts.kills++
            for (const line of lines) assert.isString(line, JSON.stringify(line))
            if (isInside()) counts.inside++
            // It parses, and the login is whole.
            assert.deepStrictEqual(loginIn(file), JSON.parse(JSON.stringify(login())))
            assert.strictEqual(File.modeOf(file), 0o600)
          }
          // And the next one works, and cleans up.
          assert.strictEqual((yield* run(environment)).status, 200)
          const store = yield* File.storeOf(file)
          const { current } = yield* Effect.map(
            Layer.build(AuthFile.layerLogin({ file })),
            Context.get(ChatGptLogin.ChatGptLogin)
          )
          const { binding } = yield* current
          const { record, version } = Option.getOrThrow(yield* store.get(binding))
          assert.isTrue(yield* store.compareAndSwap(binding, Option.some(version), Option.some(record)))
          assert.deepStrictEqual(File.leftovers(file), [])
        })
        yield* Effect.all(Array.from({ length: 8 }, () => lane), { concurrency: "unbounded" })
        // The AuthAPI has seen one agent for each of the eight files.
        assert.strictEqual((yield* Agents).size, 8)
        const seconds = (performance.now() - started) / 1000
        yield* Effect.sync(() =>
          console.log(`${counts.kills} kills, ${counts.inside} inside the lock, ${seconds.toFixed(1)} s`)
        )
        assert.strictEqual(counts.kills, 200)
        assert.isAtLeast(counts.inside, 20)
      }),
    slow(20),
    120_000
  )
})
