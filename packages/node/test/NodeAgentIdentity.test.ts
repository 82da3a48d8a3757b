/** The one-line wiring against a real issuer, AuthAPI and provider on a loopback port. */
import { AgentAssertion, AgentIdentity, AgentRuntimeId, Run, RunTask, type UrlDerivation } from "@agent-identity/core"
import { type CredentialSource, NodeAgentIdentity } from "@agent-identity/node"
import { AgentDirectory, AgentIdentityIssuer } from "@agent-identity/server"
import { FileSystem, type HttpClient, HttpServer } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer, Logger, Redacted, TestClock } from "effect"

import { bases, makeAgent, models, requests, Server, withEnvironment } from "./backend.ts"

describe("NodeAgentIdentity.layerConfig", () => {
  it.effect("is all that an app needs: a token in the environment, and its requests are signed", () =>
    Effect.gen(function*() {
      const environment = { ...(yield* bases), CODEX_ACCESS_TOKEN: (yield* makeAgent()).token }
      const { body, status } = yield* models.pipe(
        Effect.provide(NodeAgentIdentity.layerConfig),
        withEnvironment(environment)
      )
      assert.strictEqual(status, 200)
      assert.propertyVal(body, "agent", "agent-1")
      assert.deepStrictEqual(yield* requests, ["jwks", "register", "models"])
    }).pipe(Effect.provide(Server)))

  it.effect("gives every service of the run, and the client that signs", () =>
    Effect.gen(function*() {
      const environment = { ...(yield* bases), CODEX_ACCESS_TOKEN: (yield* makeAgent()).token }
      yield* Effect.gen(function*() {
        const identity = yield* AgentIdentity.AgentIdentity
        const assertion = yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
        assert.strictEqual(assertion.agentRuntimeId, identity.agentRuntimeId)
        assert.strictEqual(assertion.taskId, yield* (yield* RunTask.RunTask).current)
        assert.deepStrictEqual({ ...identity.account }, { id: "acct-1", fedramp: false } as object)
        yield* Effect.all([models, models, models], { concurrency: "unbounded" })
      }).pipe(Effect.provide(NodeAgentIdentity.layerConfig), withEnvironment(environment))
      assert.deepStrictEqual(yield* requests, ["jwks", "register", "models", "models", "models"])
    }).pipe(Effect.provide(Server)))

  const files: ReadonlyArray<
    readonly [what: string, form: "token" | "record" | "task", requests: ReadonlyArray<string>]
  > = [
    ["a token", "token", ["jwks", "register", "models"]],
    ["a record", "record", ["register", "models"]],
    ["a record with a task, which registers nothing", "task", ["models"]]
  ]
  for (const [what, form, expected] of files) {
    it.scoped(`falls back to auth.json, and leaves it as it is: ${what}`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const CODEX_HOME = yield* fs.makeTempDirectoryScoped()
        const { privateKey, token } = yield* makeAgent()
        const directory = yield* AgentDirectory.AgentDirectory
        const task = yield* directory.issueTask(AgentRuntimeId.AgentRuntimeId.make("agent-1"))
        const auth = JSON.stringify({
          auth_mode: "agentIdentity",
          agent_identity: form === "token" ? token : {
            agent_runtime_id: "agent-1",
            agent_private_key: privateKey,
            account_id: "acct-1",
            chatgpt_user_id: "user-1",
            plan_type: "pro",
            chatgpt_account_is_fedramp: false,
            ...(form === "task" ? { task_id: task.taskId } : undefined)
          }
        })
        yield* fs.writeFileString(`${CODEX_HOME}/auth.json`, auth)
        const { status } = yield* models.pipe(
          Effect.provide(NodeAgentIdentity.layerConfig),
          withEnvironment({ ...(yield* bases), CODEX_HOME })
        )
        assert.strictEqual(status, 200)
        assert.deepStrictEqual(yield* requests, expected)
        assert.strictEqual(yield* fs.readFileString(`${CODEX_HOME}/auth.json`), auth)
      }).pipe(Effect.provide(Server)))
  }

  it.effect("takes the key set from the environment where the issuer cannot be reached", () =>
    Effect.gen(function*() {
      const { jwks } = yield* AgentIdentityIssuer.AgentIdentityIssuer
      const environment = {
        ...(yield* bases),
        CODEX_AGENT_IDENTITY_JWKS_BASE_URL: "http://127.0.0.1:1/backend-api",
        CODEX_AGENT_IDENTITY_JWKS_JSON: JSON.stringify(yield* jwks),
        CODEX_ACCESS_TOKEN: (yield* makeAgent()).token
      }
      const { status } = yield* models.pipe(
        Effect.provide(NodeAgentIdentity.layerConfig),
        withEnvironment(environment)
      )
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(yield* requests, ["register", "models"])
    }).pipe(Effect.provide(Server)))

  const strict: ReadonlyArray<
    readonly [what: string, environment: Record<string, string>, tag: string, reason: string]
  > = [
    ["a token that is none", { CODEX_ACCESS_TOKEN: "no-token" }, "AgentIdentityJwtError", "Malformed"],
    ["a personal access token", { CODEX_ACCESS_TOKEN: "at-1" }, "CredentialSourceError", "PersonalAccessToken"],
    [
      "a key set that cannot be reached",
      { CODEX_AGENT_IDENTITY_JWKS_BASE_URL: "http://127.0.0.1:1" },
      "AgentIdentityJwtError",
      "KeySetUnavailable"
    ],
    [
      "an http base that is not on this machine",
      { CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: "http://elsewhere.test/api/accounts" },
      "UrlDerivationError",
      "InvalidBase"
    ],
    ["a key set that is none", { CODEX_AGENT_IDENTITY_JWKS_JSON: "[]" }, "JwksError", "InvalidKeySet"]
  ]
  for (const [what, changed, tag, reason] of strict) {
    it.effect(`fails for ${what}, and sends nothing to the provider`, () =>
      Effect.gen(function*() {
        const environment = { ...(yield* bases), CODEX_ACCESS_TOKEN: (yield* makeAgent()).token, ...changed }
        const error = yield* models.pipe(
          Effect.provide(NodeAgentIdentity.layerConfig),
          withEnvironment(environment),
          Effect.flip
        )
        assert.propertyVal(error, "_tag", tag)
        assert.propertyVal(error, "reason", reason)
        assert.notInclude(yield* requests, "models")
      }).pipe(Effect.provide(Server)))
  }

  it.effect("fails for an unknown ChatGPT base, unless all bases are named", () =>
    Effect.gen(function*() {
      const own = { ...(yield* bases), CODEX_CHATGPT_BASE_URL: "https://gateway.test/backend-api" }
      const { token: CODEX_ACCESS_TOKEN } = yield* makeAgent()
      const run = (environment: Record<string, string>) =>
        models.pipe(Effect.provide(NodeAgentIdentity.layerConfig), withEnvironment(environment))
      assert.strictEqual((yield* run({ ...own, CODEX_ACCESS_TOKEN })).status, 200)
      const unnamed = { ...own, CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL: "" }
      const error = yield* Effect.flip(run({ ...unnamed, CODEX_ACCESS_TOKEN }))
      assert.propertyVal(error, "_tag", "UrlDerivationError")
      assert.include(String(error), "https://chatgpt.com/backend-api")
    }).pipe(Effect.provide(Server)))
})

describe("a base in the environment that is refused", () => {
  const refused: ReadonlyArray<readonly [variable: string, value: string, message: RegExp]> = [
    ["CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL", ",", / is empty\. Name at least one provider base URL\.$/],
    ["CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL", "https://a.test , https://b.test?x", / "https:\/\/b\.test" is refused/],
    ["CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL", ",", / "a value that is not a URL" is refused/],
    ["CODEX_AGENT_IDENTITY_JWKS_BASE_URL", "ftp://issuer.test", / "a value that is not a URL" is refused/],
    ["CODEX_CHATGPT_BASE_URL", "https://gateway.test", / "https:\/\/gateway\.test" is not a known ChatGPT base URL/]
  ]
  for (const [variable, value, message] of refused) {
    it.effect(`is named by its variable: ${variable}=${value}`, () =>
      Effect.gen(function*() {
        const environment = { CODEX_ACCESS_TOKEN: "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", [variable]: value }
        for (
          const layer of [
            NodeAgentIdentity.layerConfig,
            NodeAgentIdentity.layerChatGpt({ policy: "JwtOnly", agentVersion: "1" })
          ]
        ) {
          const error = yield* models.pipe(Effect.provide(layer), withEnvironment(environment), Effect.flip)
          assert.propertyVal(error, "_tag", "UrlDerivationError")
          assert.match(String(error), message)
          assert.include(String(error), `${variable} `)
        }
      }).pipe(Effect.provide(Server)))
  }

  it.effect("is the issuer's where there is a token and no issuer is named, which the error says by its variable", () =>
    Effect.gen(function*() {
      const environment = { ...(yield* bases), CODEX_AGENT_IDENTITY_JWKS_BASE_URL: "" }
      const error = yield* models.pipe(
        Effect.provide(NodeAgentIdentity.layerConfig),
        withEnvironment({ ...environment, CODEX_ACCESS_TOKEN: (yield* makeAgent()).token }),
        Effect.flip
      )
      assert.propertyVal(error, "_tag", "JwksError")
      assert.match(String(error), /No key set from CODEX_AGENT_IDENTITY_JWKS_BASE_URL: it is not set/)
      assert.deepStrictEqual(yield* requests, [])
    }).pipe(Effect.provide(Server)))
})

describe("a deployment that is named in part", () => {
  for (const named of ["AUTHAPI", "PROVIDER", "JWKS", "AUTHAPI PROVIDER", "AUTHAPI JWKS PROVIDER", ""]) {
    const warned = named === "AUTHAPI" || named === "PROVIDER" || named === "JWKS"
    it.effect(`is ${warned ? "" : "not "}warned of: ${named || "nothing"}`, () =>
      Effect.gen(function*() {
        const warnings: Array<string> = []
        const logger = Logger.make(({ logLevel, message }) => {
          if (logLevel.label === "WARN") warnings.push(String(message))
        })
        const all = yield* bases
        const environment = Object.fromEntries(
          Object.entries(all).filter(([name]) => named.split(" ").some((base) => base !== "" && name.includes(base)))
        )
        const { jwks } = yield* AgentIdentityIssuer.AgentIdentityIssuer
        yield* Layer.build(NodeAgentIdentity.layerProcessConfig).pipe(
          Effect.scoped,
          withEnvironment({
            ...environment,
            CODEX_ACCESS_TOKEN: (yield* makeAgent()).token,
            CODEX_AGENT_IDENTITY_JWKS_JSON: JSON.stringify(yield* jwks)
          }),
          Effect.provide(Logger.add(logger))
        )
        assert.lengthOf(warnings, warned ? 1 : 0)
      }).pipe(Effect.provide(Server)))
  }
})

/** Another run of the process's agent. */
const RunOfProcess = Layer.unwrapEffect(
  Effect.map(AgentIdentity.AgentIdentity, (identity) => Run.layer(Layer.succeed(AgentIdentity.AgentIdentity, identity)))
)

describe("NodeAgentIdentity.layerProcessConfig, and runs of its identity", () => {
  it.effect("verify one token for a process, and register one task for each of its runs", () =>
    Effect.gen(function*() {
      const environment = { ...(yield* bases), CODEX_ACCESS_TOKEN: (yield* makeAgent()).token }
      const current = Effect.flatMap(RunTask.RunTask, (_) => _.current)
      const run = Effect.provide(Effect.zipLeft(current, models), RunOfProcess)
      const tasks = yield* Effect.all([run, run, run], { concurrency: "unbounded" }).pipe(
        Effect.provide(NodeAgentIdentity.layerProcessConfig),
        withEnvironment(environment)
      )
      assert.strictEqual(new Set(tasks).size, 3)
      assert.deepStrictEqual((yield* requests).sort(), [
        "jwks",
        ...Array.from({ length: 3 }, () => "models"),
        ...Array.from({ length: 3 }, () => "register")
      ])
    }).pipe(Effect.provide(Server)))

  it.effect("let a run go on after its token has expired, and begin and renew none", () =>
    Effect.gen(function*() {
      const environment = { ...(yield* bases), CODEX_ACCESS_TOKEN: (yield* makeAgent()).token }
      yield* Effect.gen(function*() {
        yield* Effect.gen(function*() {
          const run = yield* RunTask.RunTask
          yield* TestClock.adjust(Duration.sum("1 hour", "61 seconds"))
          assert.strictEqual((yield* models).status, 200)
          const error = yield* Effect.flip(run.renew(yield* run.current))
          assert.strictEqual(error.reason, "IdentityExpired")
          assert.strictEqual((yield* models).status, 200)
        }).pipe(Effect.provide(RunOfProcess))
        const error = yield* Effect.flip(Effect.provide(models, RunOfProcess))
        assert.propertyVal(error, "reason", "IdentityExpired")
      }).pipe(Effect.provide(NodeAgentIdentity.layerProcessConfig), withEnvironment(environment))
    }).pipe(Effect.provide(Server)))
})

describe("NodeAgentIdentity.layer", () => {
  it.effect("takes the same as explicit values", () =>
    Effect.gen(function*() {
      const { token } = yield* makeAgent()
      const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
      const credential: CredentialSource.Credential = { _tag: "Token", token: Redacted.make(token) }
      const { status } = yield* Effect.provide(
        models,
        NodeAgentIdentity.layer({
          credential,
          authApi: `${origin}/api/accounts`,
          jwksBase: `${origin}`,
          providers: [`${origin}/backend-api/codex`],
          loopbackHttp: true
        })
      )
      assert.strictEqual(status, 200)
    }).pipe(Effect.provide(Server)))
})

describe("two agents in one app", () => {
  interface Caller {
    readonly call: Effect.Effect<string, unknown>
  }
  class One extends Context.Tag("test/One")<One, Caller>() {}
  class Two extends Context.Tag("test/Two")<Two, Caller>() {}
  class Three extends Context.Tag("test/Three")<Three, Caller>() {}

  type Needed = HttpClient.HttpClient | UrlDerivation.UrlDerivation

  /** Answers with the agent that the provider has verified, and its task. */
  const caller = Effect.map(Effect.context<Needed>(), (context): Caller => ({
    call: Effect.map(Effect.provide(models, context), ({ body }) => {
      const { agent, task } = body as { readonly agent: string; readonly task: string }
      return `${agent} ${task}`
    })
  }))
  const LayerOne = Layer.effect(One, caller)
  const LayerTwo = Layer.effect(Two, caller)
  const LayerThree = Layer.effect(Three, caller)

  const optionsOf = (credential: CredentialSource.Credential) =>
    HttpServer.addressFormattedWith((origin) =>
      Effect.succeed<NodeAgentIdentity.Options>({
        credential,
        authApi: `${origin}/api/accounts`,
        jwksBase: origin,
        providers: [`${origin}/backend-api/codex`],
        loopbackHttp: true
      })
    )
  const token = (id: string) =>
    Effect.flatMap(makeAgent(id), ({ token }) => optionsOf({ _tag: "Token", token: Redacted.make(token) }))
  const key = (id: string) =>
    Effect.flatMap(makeAgent(id), ({ privateKey }) =>
      optionsOf({
        _tag: "Record",
        record: { agentRuntimeId: id, privateKey: Redacted.make(privateKey) },
        taskId: undefined
      }))

  const callBoth = Effect.gen(function*() {
    const calls = [yield* (yield* One).call, yield* (yield* Two).call]
    return { agents: calls.map((call) => call.split(" ")[0]), tasks: new Set(calls).size }
  })

  type AnyRun = Layer.Layer<Needed, unknown>
  const compositions: ReadonlyArray<
    readonly [how: string, compose: (a: AnyRun, b: AnyRun) => Layer.Layer<One | Two, unknown>]
  > = [
    ["merged", (a, b) => Layer.merge(Layer.provide(LayerOne, a), Layer.provide(LayerTwo, b))],
    ["one inside of the other", (a, b) => Layer.provide(Layer.provideMerge(Layer.provide(LayerOne, a), LayerTwo), b)],
    ["by provideMerge", (a, b) => Layer.merge(Layer.provideMerge(LayerOne, a), Layer.provideMerge(LayerTwo, b))]
  ]
  const credentials = [["two keys", key, key], ["two tokens", token, token], ["a key and a token", key, token]] as const
  for (const [how, compose] of compositions) {
    for (const [what, first, second] of credentials) {
      it.effect(`sign each as itself: ${what}, ${how}`, () =>
        Effect.gen(function*() {
          const a = NodeAgentIdentity.layer(yield* first("agent-a"))
          const b = NodeAgentIdentity.layer(yield* second("agent-b"))
          const { agents, tasks } = yield* Effect.provide(callBoth, compose(a, b))
          assert.deepStrictEqual(agents, ["agent-a", "agent-b"])
          assert.strictEqual(tasks, 2)
        }).pipe(Effect.provide(Server)))
    }
  }

  it.effect("sign each as itself over two processes, each with a run of its identity", () =>
    Effect.gen(function*() {
      const runOf = (options: NodeAgentIdentity.Options) =>
        Layer.unwrapEffect(Effect.map(AgentIdentity.AgentIdentity, (identity) =>
          Run.layer(Layer.succeed(AgentIdentity.AgentIdentity, identity)))).pipe(
            Layer.provideMerge(NodeAgentIdentity.layerProcess(options))
          )
      const a = runOf(yield* key("agent-a"))
      const b = runOf(yield* key("agent-b"))
      const { agents } = yield* Effect.provide(
        callBoth,
        Layer.merge(Layer.provide(LayerOne, a), Layer.provide(LayerTwo, b))
      )
      assert.deepStrictEqual(agents, ["agent-a", "agent-b"])
    }).pipe(Effect.provide(Server)))

  it.scoped("sign each as itself in two builds with one memo map", () =>
    Effect.gen(function*() {
      const memo = yield* Layer.makeMemoMap
      const scope = yield* Effect.scope
      const build = (id: string) =>
        Effect.gen(function*() {
          const layer = Layer.provide(Layer.effect(One, caller), NodeAgentIdentity.layer(yield* key(id)))
          return Context.get(yield* Layer.buildWithMemoMap(layer, memo, scope), One)
        })
      const [a, b] = [yield* build("agent-a"), yield* build("agent-b")]
      assert.match(yield* a.call, /^agent-a /)
      assert.match(yield* b.call, /^agent-b /)
    }).pipe(Effect.provide(Server)))

  it.effect("register one task for all dependents of one value", () =>
    Effect.gen(function*() {
      const run = NodeAgentIdentity.layer(yield* key("agent-a"))
      yield* Effect.gen(function*() {
        const calls = [yield* (yield* One).call, yield* (yield* Two).call, yield* (yield* Three).call]
        assert.strictEqual(new Set(calls).size, 1)
      }).pipe(Effect.provide(Layer.mergeAll(
        Layer.provide(LayerOne, run),
        Layer.provide(LayerTwo, run),
        Layer.provide(LayerThree, run)
      )))
      assert.deepStrictEqual(yield* requests, ["register", "models", "models", "models"])
    }).pipe(Effect.provide(Server)))
})

describe("an agent with a key of its own", () => {
  const pemOf = (base64: string) => `-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`
  const jwkOf = (base64: string) => ({
    kty: "OKP",
    crv: "Ed25519",
    d: Buffer.from(base64, "base64").subarray(16).toString("base64url")
  })
  const formats: Record<string, (base64: string) => string | Uint8Array | object> = {
    "base64": (base64) => base64,
    "PEM": pemOf,
    "DER": (base64) => Buffer.from(base64, "base64"),
    "a JWK": (base64) => JSON.stringify(jwkOf(base64)),
    "a JWK as an object": jwkOf
  }
  const backend = Effect.map(bases, (environment) => ({
    authApi: environment.CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL,
    providers: [environment.CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL],
    loopbackHttp: true
  }))

  for (const [format, write] of Object.entries(formats)) {
    it.scoped(`is one call, from a value and from a file: ${format}`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { privateKey } = yield* makeAgent("agent-own")
        const key = write(privateKey)
        const own = { agentRuntimeId: "agent-own", ...(yield* backend) }
        const runs = [NodeAgentIdentity.layer({ ...own, privateKey: Redacted.make(key) })]
        if (typeof key === "string" || key instanceof Uint8Array) {
          const keyFile = yield* fs.makeTempFileScoped()
          yield* fs.writeFile(keyFile, Buffer.from(key as string))
          runs.push(NodeAgentIdentity.layer({ ...own, keyFile }))
        }
        for (const run of runs) {
          const { body, status } = yield* Effect.provide(models, run)
          assert.strictEqual(status, 200)
          assert.propertyVal(body, "agent", "agent-own")
        }
        assert.deepStrictEqual(yield* requests, runs.flatMap(() => ["register", "models"]))
      }).pipe(Effect.provide(Server)))
  }

  it.effect("needs both its AuthAPI and its providers, or neither, named by option and by variable", () =>
    Effect.gen(function*() {
      const { authApi, loopbackHttp, providers } = yield* backend
      const { privateKey } = yield* makeAgent("agent-own")
      const own = { agentRuntimeId: "agent-own", privateKey: Redacted.make(privateKey), loopbackHttp }
      const halves = [["providers", { authApi }], ["authApi", { providers }]] as const
      for (const [missing, half] of halves) {
        const error = yield* Effect.flip(Layer.launch(NodeAgentIdentity.layer({ ...own, ...half })))
        assert.match(error.message, new RegExp(`^${missing} is empty\\. Set it too`))
      }
      const variables = {
        CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-own",
        CODEX_AGENT_IDENTITY_PRIVATE_KEY: privateKey,
        CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: authApi
      }
      const error = yield* Effect.flip(Layer.launch(NodeAgentIdentity.layerConfig)).pipe(withEnvironment(variables))
      assert.match(error.message, /^CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL is empty\. Set it too/)
    }).pipe(Effect.provide(Server)))

  it.effect("says what is wrong with a key that no type has checked", () =>
    Effect.gen(function*() {
      const launch = (key: object) =>
        Effect.flip(Layer.launch(NodeAgentIdentity.layer({ agentRuntimeId: "agent-own", ...key } as never)))
      for (const key of [{}, { privateKey: "MC4C" }, { privateKey: new Uint8Array(32) }]) {
        assert.match((yield* launch(key)).message, /Wrap the key in `Redacted\.make`, or give the path of a file/)
      }
      const both = { privateKey: Redacted.make("MC4C"), keyFile: "/nowhere" }
      assert.match((yield* launch(both)).message, /keyFile is given too; give one of them/)
    }))

  it.effect("is another agent at each call", () =>
    Effect.gen(function*() {
      const agents = yield* Effect.forEach(["agent-a", "agent-b"], (agentRuntimeId) =>
        Effect.gen(function*() {
          const privateKey = Redacted.make((yield* makeAgent(agentRuntimeId)).privateKey)
          const run = NodeAgentIdentity.layer({ agentRuntimeId, privateKey, ...(yield* backend) })
          return (yield* Effect.provide(models, run)).body
        }))
      assert.deepStrictEqual(agents.map((body) => (body as { readonly agent: string }).agent), ["agent-a", "agent-b"])
    }).pipe(Effect.provide(Server)))

  it.scoped("is read from the environment, with the key in a variable or in a file", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const { privateKey } = yield* makeAgent("agent-own")
      const file = yield* fs.makeTempFileScoped()
      yield* fs.writeFileString(file, pemOf(privateKey))
      for (
        const key of [
          { CODEX_AGENT_IDENTITY_PRIVATE_KEY: privateKey },
          { CODEX_AGENT_IDENTITY_PRIVATE_KEY: pemOf(privateKey).replaceAll("\n", "\\n") },
          { CODEX_AGENT_IDENTITY_KEY_FILE: file, CODEX_AGENT_IDENTITY_PRIVATE_KEY: " " }
        ]
      ) {
        const { body } = yield* models.pipe(
          Effect.provide(NodeAgentIdentity.layerConfig),
          withEnvironment({
            ...(yield* bases),
            CODEX_AGENT_IDENTITY_JWKS_BASE_URL: "",
            CODEX_AGENT_IDENTITY_RUNTIME_ID: "agent-own",
            ...key
          })
        )
        assert.propertyVal(body, "agent", "agent-own")
      }
      assert.notInclude(yield* requests, "jwks")
    }).pipe(Effect.provide(Server)))

  it.effect("begins with the task that it has from before", () =>
    Effect.gen(function*() {
      const { privateKey } = yield* makeAgent("agent-own")
      const directory = yield* AgentDirectory.AgentDirectory
      const { taskId } = yield* directory.issueTask(AgentRuntimeId.AgentRuntimeId.make("agent-own"))
      const options = { agentRuntimeId: "agent-own", privateKey: Redacted.make(privateKey), taskId }
      const { body } = yield* Effect.provide(models, NodeAgentIdentity.layer({ ...options, ...(yield* backend) }))
      assert.deepStrictEqual(body, { agent: "agent-own", task: taskId } as object)
      assert.deepStrictEqual(yield* requests, ["models"])
    }).pipe(Effect.provide(Server)))

  it.scoped("fails with what is wrong with the key, and sends nothing", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const keyFile = yield* fs.makeTempFileScoped()
      const own = { agentRuntimeId: "agent-own", ...(yield* backend) }
      const fail = (options: NodeAgentIdentity.Options) =>
        Effect.map(Effect.flip(Effect.provide(models, NodeAgentIdentity.layer(options))), String)
      assert.include(yield* fail({ ...own, privateKey: Redacted.make("ssh-ed25519 AAAA") }), "is a public key")
      assert.include(yield* fail({ ...own, keyFile }), `from ${keyFile}: The agent private key is empty`)
      assert.include(yield* fail({ ...own, keyFile: "" }), "from the key file: its path is empty")
      assert.deepStrictEqual(yield* requests, [])
    }).pipe(Effect.provide(Server)))
})
