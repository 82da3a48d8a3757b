import { AgentRuntimeId, Environment, UrlDerivation } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Either, type Layer } from "effect"

const id = AgentRuntimeId.AgentRuntimeId.make("a/b")

const options = {
  authApi: "http://127.0.0.1:8080/api/accounts/",
  jwksBase: "http://127.0.0.1:8080/backend-api",
  providers: ["http://127.0.0.1:8080/backend-api/codex", "https://models.example"],
  loopbackHttp: true
}

const configured = UrlDerivation.layerCustomConfig({
  authApi: Config.string("AUTH_API"),
  jwksBase: Config.string("JWKS_BASE"),
  providers: Config.array(Config.string(), "PROVIDERS"),
  loopbackHttp: Config.withDefault(Config.boolean("LOOPBACK"), undefined)
})

const environment: Record<string, string | undefined> = {
  AUTH_API: options.authApi,
  JWKS_BASE: options.jwksBase,
  PROVIDERS: options.providers.join(),
  LOOPBACK: "true"
}

const withConfig = (changes: Record<string, string | undefined> = {}) => {
  const entries = Object.entries({ ...environment, ...changes })
  const present = entries.flatMap(([name, value]) => value === undefined ? [] : [[name, value] as const])
  return Effect.withConfigProvider(ConfigProvider.fromMap(new Map(present)))
}

interface Expected {
  readonly agent: string
  readonly task: string
  readonly jwks: string
  readonly firstParty: ReadonlyArray<string>
  readonly thirdParty: ReadonlyArray<string>
}

const production: Expected = {
  agent: "https://auth.openai.com/api/accounts/v1/agent/register",
  task: "https://auth.openai.com/api/accounts/v1/agent/a%2Fb/task/register",
  jwks: "https://chatgpt.com/backend-api/wham/agent-identities/jwks",
  firstParty: ["https://chatgpt.com/backend-api/codex/responses"],
  thirdParty: ["https://chatgpt.com/backend-api/conversation", "https://auth.openai.com/api/accounts/v1/agent/register"]
}

const staging: Expected = {
  agent: "https://auth.api.openai.org/api/accounts/v1/agent/register",
  task: "https://auth.api.openai.org/api/accounts/v1/agent/a%2Fb/task/register",
  jwks: "https://chatgpt-staging.com/codex/agent-identities/jwks",
  firstParty: ["https://chatgpt-staging.com/backend-api/codex/responses"],
  thirdParty: ["https://chatgpt.com/backend-api/codex/responses"]
}

const gov: Expected = {
  agent: production.agent,
  task: production.task,
  jwks: "https://gov.chatgpt.com/backend-api/wham/agent-identities/jwks",
  firstParty: ["https://gov.chatgpt.com/backend-api/codex/responses", "https://gov.chatgpt.com/backend-api/wham/usage"],
  thirdParty: ["https://chatgpt.com/backend-api/codex/responses", "https://chatgpt.com/backend-api/wham/usage"]
}

const own: Expected = {
  agent: "http://127.0.0.1:8080/api/accounts/v1/agent/register",
  task: "http://127.0.0.1:8080/api/accounts/v1/agent/a%2Fb/task/register",
  jwks: "http://127.0.0.1:8080/backend-api/wham/agent-identities/jwks",
  firstParty: ["http://127.0.0.1:8080/backend-api/codex/responses", "https://models.example/v1"],
  thirdParty: ["http://127.0.0.1:8080/api/accounts/v1/agent/register", "https://chatgpt.com/backend-api/codex"]
}

const layers: ReadonlyArray<readonly [string, Layer.Layer<UrlDerivation.UrlDerivation, unknown>, Expected]> = [
  ["layer", UrlDerivation.layer, production],
  ["layerChatGpt", UrlDerivation.layerChatGpt("https://chatgpt-staging.com/codex/"), staging],
  [
    "layerChatGpt with further paths",
    UrlDerivation.layerChatGpt("https://gov.chatgpt.com/backend-api", { paths: Environment.chatGptPaths }),
    gov
  ],
  ["layerCustom", UrlDerivation.layerCustom(options), own],
  ["layerCustomConfig", configured, own]
]

describe("UrlDerivation", () => {
  for (const [name, layer, expected] of layers) {
    it.effect(`${name} derives every URL when it builds`, () =>
      Effect.gen(function*() {
        const urls = yield* UrlDerivation.UrlDerivation
        assert.strictEqual(urls.agentRegistration.href, expected.agent)
        assert.strictEqual(Either.getOrThrow(urls.taskRegistration(id)).href, expected.task)
        assert.strictEqual(urls.jwks?.href, expected.jwks)
        for (const url of expected.firstParty) assert.strictEqual(urls.classify(new URL(url)), "FirstParty", url)
        for (const url of [...expected.thirdParty, expected.jwks]) {
          assert.strictEqual(urls.classify(new URL(url)), "Foreign", url)
        }
      }).pipe(Effect.provide(layer), withConfig()))
  }

  const refused: ReadonlyArray<
    readonly [string, Layer.Layer<UrlDerivation.UrlDerivation, unknown>, Environment.UrlDerivationError["reason"]]
  > = [
    [
      "layerChatGpt refuses a base that is not known",
      UrlDerivation.layerChatGpt("https://localhost"),
      "UnsupportedBase"
    ],
    ["layerChatGpt refuses what is no base", UrlDerivation.layerChatGpt("chatgpt.com"), "InvalidBase"],
    ["layerCustom refuses what is no base", UrlDerivation.layerCustom({ ...options, jwksBase: "x" }), "InvalidBase"],
    [
      "layerCustom refuses http where it was not allowed",
      UrlDerivation.layerCustom({ ...options, loopbackHttp: false }),
      "InvalidBase"
    ]
  ]
  for (const [name, layer, reason] of refused) {
    it.effect(`${name}, when it builds`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.provide(UrlDerivation.UrlDerivation, layer))
        assert.instanceOf(error, Environment.UrlDerivationError)
        if (error instanceof Environment.UrlDerivationError) assert.strictEqual(error.reason, reason)
      }))
  }

  const misconfigured: ReadonlyArray<readonly [string, Record<string, string | undefined>, tag: string, says: string]> =
    [
      ["a base that is missing", { AUTH_API: undefined }, "ConfigError", "AUTH_API"],
      ["a base that is refused", { AUTH_API: "http://agents.example" }, "UrlDerivationError", "http://agents.example"],
      ["http that was not allowed", { LOOPBACK: undefined }, "UrlDerivationError", "loopbackHttp"],
      ["a switch that is none", { LOOPBACK: "perhaps" }, "ConfigError", "LOOPBACK"]
    ]
  for (const [name, changes, tag, says] of misconfigured) {
    it.effect(`layerCustomConfig refuses ${name}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.provide(UrlDerivation.UrlDerivation, configured))
        assert.strictEqual(error._tag === "UrlDerivationError" ? error._tag : "ConfigError", tag)
        assert.include(String(error), says)
      }).pipe(withConfig(changes)))
  }
})
