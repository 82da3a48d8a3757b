/** A ChatGPT login in a real `auth.json` becomes an agent of a real AuthAPI, in one process. */
import { Environment, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber, Schedule } from "effect"
import * as Fs from "node:fs"
import * as File from "./authFile/files.ts"
import { makeAgent, requests, withEnvironment } from "./backend.ts"
import { home, live, login, loginIn, options, run, slow } from "./chatGpt.ts"

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

  live(
    "signs requests to the further paths that the app names, for a login as for a token",
    () =>
      Effect.gen(function*() {
        const { environment } = yield* home()
        const { token } = yield* makeAgent()
        const { origin } = new URL(environment.CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL)
        const partyOf = (environment: Record<string, string>, paths?: ReadonlyArray<string>) =>
          Effect.map(UrlDerivation.UrlDerivation, (urls) => urls.classify(new URL("/backend-api/wham/usage", origin)))
            .pipe(
              Effect.provide(NodeAgentIdentity.layerChatGpt({ ...options, paths })),
              withEnvironment(environment)
            )
        for (const whose of [environment, { ...environment, CODEX_ACCESS_TOKEN: token }]) {
          assert.strictEqual(yield* partyOf(whose, Environment.chatGptPaths), "FirstParty")
          assert.strictEqual(yield* partyOf(whose), "Foreign")
        }
      })
  )

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
