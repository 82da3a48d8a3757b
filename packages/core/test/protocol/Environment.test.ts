import { AgentRuntimeId, Environment } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either } from "effect"
import { shown } from "../fixtures.ts"

/** As the reference client derives them, written apart from the source. */
const prod = "https://auth.openai.com/api/accounts"
const staging = "https://auth.api.openai.org/api/accounts"
const rows: ReadonlyArray<readonly [base: string, authApi: string, jwks: string]> = [
  ["https://chatgpt.com", prod, "https://chatgpt.com/agent-identities/jwks"],
  ["https://chatgpt.com/backend-api", prod, "https://chatgpt.com/backend-api/wham/agent-identities/jwks"],
  ["https://chatgpt.com/codex", prod, "https://chatgpt.com/codex/agent-identities/jwks"],
  ["https://chatgpt.com/backend-api/codex", prod, "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks"],
  ["https://chat.openai.com", prod, "https://chat.openai.com/agent-identities/jwks"],
  ["https://chat.openai.com/backend-api", prod, "https://chat.openai.com/backend-api/wham/agent-identities/jwks"],
  ["https://chat.openai.com/codex", prod, "https://chat.openai.com/codex/agent-identities/jwks"],
  [
    "https://chat.openai.com/backend-api/codex",
    prod,
    "https://chat.openai.com/backend-api/codex/wham/agent-identities/jwks"
  ],
  ["https://chatgpt-staging.com", staging, "https://chatgpt-staging.com/agent-identities/jwks"],
  [
    "https://chatgpt-staging.com/backend-api",
    staging,
    "https://chatgpt-staging.com/backend-api/wham/agent-identities/jwks"
  ],
  ["https://chatgpt-staging.com/codex", staging, "https://chatgpt-staging.com/codex/agent-identities/jwks"],
  [
    "https://chatgpt-staging.com/backend-api/codex",
    staging,
    "https://chatgpt-staging.com/backend-api/codex/wham/agent-identities/jwks"
  ]
]

const known = (base: string) => Either.getOrThrow(Environment.fromChatGptBase(base))

const custom = (options: Partial<Environment.CustomOptions>) =>
  Environment.custom({
    authApi: "https://agents.example/api/accounts",
    jwksBase: "https://issuer.example",
    providers: ["https://models.example/v1"],
    ...options
  })

const refusal = <A>(result: Either.Either<A, Environment.UrlDerivationError>) => Either.getOrThrow(Either.flip(result))

describe("fromChatGptBase", () => {
  it("knows the rows of the protocol and no others", () => {
    assert.deepStrictEqual(Environment.knownBases.map(({ base }) => base), rows.map(([base]) => base))
  })

  for (const [base, authApi, jwks] of rows) {
    it(`${base}, with any slashes at its end, has its AuthAPI, its key set and its host's models`, () => {
      for (const slashes of ["", "/", "//", "///"]) {
        const environment = known(base + slashes)
        assert.strictEqual(environment.name, authApi === prod ? "Production" : "Staging")
        assert.strictEqual(environment.authApi.href, authApi)
        assert.strictEqual(environment.jwks.href, jwks)
        assert.deepStrictEqual(environment.providers.map(String), [`${new URL(base).origin}/backend-api/codex`])
      }
    })
  }

  it("means production's backend where none is named", () => {
    assert.strictEqual(Environment.DEFAULT_CHATGPT_BASE, "https://chatgpt.com/backend-api")
  })

  const unsupported = [
    "https://chatgpt.com/api/codex",
    "https://chatgpt.com/backend-api/codex/responses",
    "https://chatgpt.com/Backend-Api",
    "https://chatgpt.com/%62ackend-api",
    "https://chatgpt.com:8443/backend-api",
    "https://localhost/backend-api",
    "https://127.0.0.1",
    "https://chatgpt.com.evil.example/backend-api",
    "https://evil-chatgpt.com/backend-api",
    "https://www.chatgpt.com/backend-api",
    "https://chatgpt.com./backend-api",
    "https://chatgpt.co/backend-api",
    "https://chatgρt.com/backend-api",
    "https://auth.openai.com/api/accounts",
    "https://gateway.example/backend-api"
  ]
  for (const base of unsupported) {
    it(`refuses ${base}, and lists what it accepts`, () => {
      const error = refusal(Environment.fromChatGptBase(base))
      assert.strictEqual(error.reason, "UnsupportedBase")
      assert.include(error.message, `${JSON.stringify(base)} is no known ChatGPT base URL.`)
      assert.include(error.message, "https://chatgpt.com, https://chatgpt.com/backend-api")
      for (const [accepted] of rows) assert.include(error.message, accepted)
    })
  }

  const invalid: ReadonlyArray<readonly [base: string, hint: string]> = [
    ["", "absolute https URL"],
    ["chatgpt.com/backend-api", "absolute https URL"],
    ["/backend-api", "absolute https URL"],
    ["//chatgpt.com/backend-api", "absolute https URL"],
    [" https://chatgpt.com", "absolute https URL"],
    ["https:chatgpt.com", "absolute https URL"],
    ["https://", "absolute https URL"],
    ["https://chatgpt.com:99999", "absolute https URL"],
    ["wss://chatgpt.com/backend-api", "absolute https URL"],
    ["file:///chatgpt.com/backend-api", "absolute https URL"],
    ["http://chatgpt.com/backend-api", "https URL"],
    ["http://localhost:8080/backend-api", "https URL"],
    ["http://127.0.0.1/backend-api", "https URL"],
    ["https://chatgpt.com/backend-api?", "no query"],
    ["https://chatgpt.com/backend-api?x=1", "no query"],
    ["https://chatgpt.com/backend-api#", "no fragment"],
    ["https://chatgpt.com/backend-api#x", "no fragment"],
    ["https://user@chatgpt.com/backend-api", "no user name"],
    ["https://user:password@chatgpt.com/backend-api", "no password"],
    ["https://:password@chatgpt.com/backend-api", "no password"],
    ["https://@chatgpt.com/backend-api", "no user name"],
    ["https:///chatgpt.com/backend-api", "absolute https URL"],
    ["https://chatgpt.com/./backend-api", "dotted"],
    ["https://chatgpt.com/x/../backend-api", "dotted"],
    ["https://chatgpt.com/x/%2E%2e/backend-api", "dotted"],
    ["https://chatgpt.com/backend-api/.", "dotted"],
    ["https://chatgpt.com/backend-api ", "white space"],
    ["https://chatgpt.com/backend\n-api", "white space"],
    ["https://chatgpt.com\\backend-api", "backslashes"],
    ["https://chatgpt.com//backend-api", "empty"],
    ["https://chatgpt.com/backend-api%2fcodex", "escaped-slash"],
    ["https://chatgpt.com/backend-api%5Ccodex", "escaped-slash"]
  ]
  for (const [base, hint] of invalid) {
    it(`refuses ${JSON.stringify(base)}, and says what is wrong with it`, () => {
      const error = refusal(Environment.fromChatGptBase(base))
      assert.strictEqual(error.reason, "InvalidBase")
      assert.include(error.message, hint)
      for (const [accepted] of rows) assert.include(error.message, accepted)
    })
  }

  const passwords = [
    "hunter2",
    "hunter2@hunter2",
    "hunter2#hunter2",
    "1#hunter2",
    "1?hunter2",
    "hunter2?x",
    "hunter2/x",
    "\nhunter2",
    "a:hunter2"
  ]
  for (const password of passwords) {
    it(`shows nothing of the password ${JSON.stringify(password)}, nor of a query`, () => {
      for (
        const base of [
          `https://user:${password}@chatgpt.com/backend-api`,
          `http://user:${password}@chatgpt.com/backend-api`,
          `https://user:${password}@chatgpt.com:99999`,
          `user:${password}@chatgpt.com`
        ]
      ) {
        const error = refusal(Environment.fromChatGptBase(base))
        assert.notInclude(shown(error), "hunter2")
        assert.notInclude(shown(error), "user:")
        assert.notInclude(shown(refusal(custom({ authApi: base }))), "hunter2")
      }
      assert.notInclude(shown(refusal(Environment.fromChatGptBase(`https://x.example/?token=hunter2`))), "hunter2")
    })
  }

  const inputs: ReadonlyArray<readonly [base: string, input: string]> = [
    ["", ""],
    ["https://x.example/y", "https://x.example/y"],
    ["http://x.example/y", "http://x.example/y"],
    [" HTTPS://x.example", " HTTPS://x.example"],
    ["https://user:password@x.example/y?a#b", "x.example/y"],
    ["https://x.example/y#a", "https://x.example/y"],
    ["x.example/y", "a value that is no URL"],
    ["sk-https://x.example", "a value that is no URL"],
    ["sk https://x.example", "a value that is no URL"]
  ]
  for (const [base, input] of inputs) {
    it(`shows ${JSON.stringify(base)} as ${JSON.stringify(input)}`, () => {
      const error = refusal(Environment.fromChatGptBase(base))
      assert.strictEqual(error.input, input)
      assert.match(error.message, /^"(.*)" is (no known ChatGPT base|refused as a base) URL\. /)
    })
  }

  it("quotes no more of a long base than it takes to recognise it", () => {
    assert.isAtMost(refusal(Environment.fromChatGptBase(`https://${"x".repeat(9999)}`)).input.length, 131)
  })
})

describe("custom", () => {
  it("takes each base as it is named", () => {
    const environment = Either.getOrThrow(
      custom({ providers: ["https://models.example/v1/", "https://b.example:8443"] })
    )
    assert.strictEqual(environment.name, "Custom")
    assert.strictEqual(
      Environment.agentRegistrationUrl(environment).href,
      "https://agents.example/api/accounts/v1/agent/register"
    )
    assert.strictEqual(environment.jwks.href, "https://issuer.example/agent-identities/jwks")
    assert.deepStrictEqual(environment.providers.map(String), ["https://models.example/v1/", "https://b.example:8443/"])
  })

  const loopback = [
    "http://127.0.0.1:8080/x",
    "http://127.9.9.9",
    "http://127.10.20.30",
    "http://localhost:1",
    "http://[::1]:8080/x",
    "http://LOCALHOST"
  ]
  const remote = [
    "http://agents.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://[::2]",
    "http://localhost."
  ]
  const places = (base: string): ReadonlyArray<Partial<Environment.CustomOptions>> => [
    { authApi: base },
    { jwksBase: base },
    { providers: ["https://models.example", base] }
  ]

  it("takes http for this machine's own addresses, where loopbackHttp is set", () => {
    for (const options of loopback.flatMap(places)) {
      assert.isTrue(Either.isRight(custom({ ...options, loopbackHttp: true })), JSON.stringify(options))
      for (const loopbackHttp of [false, undefined]) {
        assert.strictEqual(refusal(custom({ ...options, loopbackHttp })).reason, "InvalidBase", JSON.stringify(options))
      }
    }
  })

  it("takes http for no other address", () => {
    for (const options of remote.flatMap(places)) {
      assert.strictEqual(
        refusal(custom({ ...options, loopbackHttp: true })).reason,
        "InvalidBase",
        JSON.stringify(options)
      )
    }
  })

  it("refuses in every place what is no base", () => {
    const bases = [
      "",
      "models.example",
      "https://u:p@models.example",
      "https://models.example/?x",
      "https://models.example/#x",
      "https://models.example/a//b",
      "https://models.example/a%2Fb",
      "https://models.example/%"
    ]
    for (const options of bases.flatMap(places)) {
      assert.strictEqual(refusal(custom(options)).reason, "InvalidBase", JSON.stringify(options))
    }
  })

  it("refuses a provider base at or below its AuthAPI or its key set, where nothing would ever be first party", () => {
    for (
      const provider of [
        "https://agents.example/api/accounts",
        "https://agents.example/api/accounts/v1/",
        "https://agents.example/%61pi/accounts",
        "https://issuer.example/agent-identities/jwks"
      ]
    ) {
      const error = refusal(custom({ providers: ["https://models.example", provider] }))
      assert.strictEqual(error.reason, "InvalidBase", provider)
      assert.include(error.message, "does not lie at or below the AuthAPI base or a key set")
    }
    assert.isTrue(Either.isRight(custom({ providers: ["https://agents.example/api", "https://issuer.example"] })))
  })
})

describe("fromOverrides", () => {
  const base = "https://chatgpt-staging.com/backend-api"
  const own = {
    authApi: "http://127.0.0.1:1/api",
    jwksBase: "http://127.0.0.1:2/backend-api",
    providers: ["http://127.0.0.1:3/v1"],
    bearerOnly: ["/telemetry"]
  }
  const asText = ({ authApi, bearerOnly, jwks, name, providers }: Environment.Environment) => ({
    name,
    authApi: authApi.href,
    jwks: jwks.href,
    providers: providers.map(String),
    bearerOnly
  })
  const overridden = (overrides: Environment.Overrides, chatGptBase = base) =>
    Either.map(Environment.fromOverrides(chatGptBase, { loopbackHttp: true, ...overrides }), asText)

  it("is the known base where nothing is replaced", () => {
    assert.deepStrictEqual(Either.getOrThrow(overridden({})), asText(known(base)))
    assert.deepStrictEqual(known(base).bearerOnly, ["/analytics-events"])
  })

  const replaced: ReadonlyArray<readonly [Environment.Overrides, Partial<ReturnType<typeof asText>>]> = [
    [{ authApi: own.authApi }, { name: "Custom", authApi: own.authApi }],
    [{ jwksBase: own.jwksBase }, { name: "Custom", jwks: `${own.jwksBase}/wham/agent-identities/jwks` }],
    [{ providers: own.providers }, { name: "Custom", providers: own.providers }],
    [{ bearerOnly: own.bearerOnly }, { bearerOnly: own.bearerOnly }]
  ]
  for (const [overrides, changed] of replaced) {
    it(`replaces ${Object.keys(overrides)} and keeps the rest`, () => {
      assert.deepStrictEqual(Either.getOrThrow(overridden(overrides)), { ...asText(known(base)), ...changed })
      const name = Object.keys(overrides)[0] as keyof typeof own
      if (name === "bearerOnly") return
      for (const loopbackHttp of [false, undefined]) {
        assert.strictEqual(refusal(overridden({ ...overrides, loopbackHttp })).reason, "InvalidBase")
      }
    })
  }

  it("needs the ChatGPT base unless all others are named", () => {
    const { bearerOnly, ...bases } = own
    for (const missing of ["authApi", "jwksBase", "providers"] as const) {
      const error = refusal(overridden({ ...bases, [missing]: undefined }, "https://gateway.example"))
      assert.strictEqual(error.reason, "UnsupportedBase", missing)
    }
    for (const overrides of [bases, own]) {
      assert.deepStrictEqual(
        Either.getOrThrow(overridden(overrides, "https://gateway.example")),
        asText(Either.getOrThrow(custom({ ...overrides, loopbackHttp: true })))
      )
    }
    assert.deepStrictEqual(Either.getOrThrow(overridden(own)).bearerOnly, bearerOnly)
  })

  it("refuses a provider base at or below the AuthAPI that is kept, or the key set", () => {
    for (
      const provider of ["https://auth.api.openai.org/api/accounts/v1", `${base}/wham/agent-identities/jwks`]
    ) {
      assert.strictEqual(refusal(overridden({ providers: [provider] })).reason, "InvalidBase", provider)
    }
  })
})

describe("jwksUrl", () => {
  const cases: ReadonlyArray<readonly [base: string, jwks: string]> = [
    ["https://a.example", "https://a.example/agent-identities/jwks"],
    ["https://a.example///", "https://a.example/agent-identities/jwks"],
    ["https://a.example/api/codex", "https://a.example/api/codex/agent-identities/jwks"],
    ["https://a.example/backend-api/", "https://a.example/backend-api/wham/agent-identities/jwks"],
    ["https://a.example/x/backend-api/y", "https://a.example/x/backend-api/y/wham/agent-identities/jwks"],
    ["https://backend-api.example/x", "https://backend-api.example/x/agent-identities/jwks"],
    ["http://localhost:8080/backend-api", "http://localhost:8080/backend-api/wham/agent-identities/jwks"]
  ]
  for (const [base, jwks] of cases) {
    it(`is ${jwks} for ${base}`, () => assert.strictEqual(Environment.jwksUrl(new URL(base)).href, jwks))
  }
})

describe("registration URLs", () => {
  const environments = [
    known("https://chatgpt.com"),
    known("https://chatgpt-staging.com/codex/"),
    Either.getOrThrow(custom({ authApi: "http://localhost:8080", loopbackHttp: true })),
    Either.getOrThrow(custom({ authApi: "https://agents.example:8443/a%20b/c//" }))
  ]
  const prefixes = [
    [prod, "/api/accounts"],
    [staging, "/api/accounts"],
    ["http://localhost:8080", ""],
    ["https://agents.example:8443", "/a%20b/c"]
  ] as const

  it("an agent is registered below the AuthAPI", () => {
    environments.forEach((environment, index) => {
      const [base, path] = prefixes[index]!
      assert.strictEqual(
        Environment.agentRegistrationUrl(environment).href,
        `${new URL(base).origin}${path}/v1/agent/register`
      )
    })
  })

  it.prop(
    "a task is registered below the AuthAPI, with the agent runtime id in one segment, for every id",
    [AgentRuntimeId.AgentRuntimeId],
    ([id]) => {
      environments.forEach((environment, index) => {
        const [base, path] = prefixes[index]!
        // What the transport makes of the text counts, so it is parsed again.
        const url = new URL(Either.getOrThrow(Environment.taskRegistrationUrl(environment, id)).href)
        assert.deepStrictEqual([url.origin, url.search, url.hash, url.username, url.password], [
          new URL(base).origin,
          "",
          "",
          "",
          ""
        ])
        assert.isFalse(/[?#\\]/.test(url.href))
        const segments = url.pathname.slice(path.length).split("/")
        assert.strictEqual(url.pathname.slice(0, path.length), path)
        assert.deepStrictEqual([...segments.slice(0, 3), ...segments.slice(4)], ["", "v1", "agent", "task", "register"])
        assert.strictEqual(decodeURIComponent(segments[3]!), id)
      })
    },
    { fastCheck: { numRuns: 1000 } }
  )

  it("an id that was never checked makes no URL that leaves its place", () => {
    for (const id of ["", ".", "..", "\ud800", "a\udfff"]) {
      const url = Environment.taskRegistrationUrl(environments[0]!, id as AgentRuntimeId.AgentRuntimeId)
      assert.strictEqual(refusal(url).reason, "InvalidId", JSON.stringify(id))
      assert.strictEqual(
        refusal(url).message,
        `${JSON.stringify(id)} makes no URL that stays below its base. Give the agent runtime id as it was issued.`
      )
    }
    assert.isAtMost(
      refusal(
        Environment.taskRegistrationUrl(environments[0]!, ("\ud800" + "x".repeat(999)) as AgentRuntimeId.AgentRuntimeId)
      ).input.length,
      67
    )
  })

  it("an AuthAPI with a query or a fragment, which an environment made by hand may have, makes no URL", () => {
    for (const authApi of ["https://auth.example/api?tenant=1", "https://auth.example/api#here"]) {
      const environment = { ...environments[0]!, authApi: new URL(authApi) }
      const url = Environment.taskRegistrationUrl(environment, AgentRuntimeId.AgentRuntimeId.make("agent-1"))
      assert.strictEqual(refusal(url).reason, "InvalidId")
    }
  })
})

describe("isFirstParty", () => {
  const chatGpt = known("https://chatgpt.com/backend-api")
  const whole = known("https://chatgpt.com/backend-api/codex")
  const own = Either.getOrThrow(custom({
    authApi: "https://a.example/api/accounts",
    jwksBase: "https://a.example/api/backend-api",
    providers: ["https://a.example/api", "https://b.example", "https://c.example:8443/v%31/"]
  }))
  const local = Either.getOrThrow(custom({ providers: ["http://127.0.0.1:8080/v1"], loopbackHttp: true }))

  const yes: ReadonlyArray<readonly [Environment.Environment, ReadonlyArray<string>]> = [
    [chatGpt, [
      "https://chatgpt.com/backend-api/codex",
      "https://chatgpt.com/backend-api/codex/",
      "https://chatgpt.com/backend-api/codex/responses",
      "https://chatgpt.com/backend-api/codex/responses?stream=true#x",
      "https://chatgpt.com/backend-api/codex?x=/../..",
      "https://chatgpt.com:443/backend-api/codex",
      "HTTPS://ChatGPT.com/backend-api/codex",
      "https://chatgpt.com/backend-api/%63odex/responses",
      "https://chatgpt.com/%62ackend-api/codex",
      "https://chatgpt.com/x/../backend-api/codex",
      "https://chatgpt.com/backend-api/./codex",
      "https://chatgpt.com/backend-api/codex/a%20b%3Fc%23d%25",
      "https://chatgpt.com/backend-api/codex/wham",
      "https://chatgpt.com/backend-api/codex/..."
    ]],
    [own, [
      "https://a.example/api",
      "https://a.example/api/accountsx",
      "https://a.example/api/v1/accounts",
      "https://a.example/api/backend-api/wham/agent-identities",
      "https://b.example",
      "https://b.example/any/thing",
      "https://c.example:8443/v1/x"
    ]],
    [local, ["http://127.0.0.1:8080/v1/x"]]
  ]
  const no: ReadonlyArray<readonly [string, Environment.Environment, ReadonlyArray<string>]> = [
    ["another path", chatGpt, [
      "https://chatgpt.com/",
      "https://chatgpt.com/backend-api",
      "https://chatgpt.com/backend-api/codexx",
      "https://chatgpt.com/backend-api/codex;x/responses",
      "https://chatgpt.com/backend-api/Codex",
      "https://chatgpt.com/backend-api/conversation",
      "https://chatgpt.com/codex/backend-api",
      "https://chatgpt.com/x/backend-api/codex",
      "https://chatgpt.com/?/backend-api/codex",
      "https://chatgpt.com/#/backend-api/codex"
    ]],
    ["another origin", chatGpt, [
      "https://chatgpt.com:8443/backend-api/codex",
      "https://chat.openai.com/backend-api/codex",
      "https://chatgpt-staging.com/backend-api/codex",
      "https://chatgpt.com.evil.example/backend-api/codex",
      "https://evil.example/chatgpt.com/backend-api/codex",
      "https://www.chatgpt.com/backend-api/codex",
      "https://chatgpt.com./backend-api/codex",
      "https://chatgρt.com/backend-api/codex",
      "http://chatgpt.com/backend-api/codex",
      "http://chatgpt.com:443/backend-api/codex",
      "wss://chatgpt.com/backend-api/codex",
      "blob:https://chatgpt.com/backend-api/codex",
      "chatgpt:/backend-api/codex"
    ]],
    ["user information", chatGpt, [
      "https://user@chatgpt.com/backend-api/codex",
      "https://user:password@chatgpt.com/backend-api/codex",
      "https://:password@chatgpt.com/backend-api/codex",
      "https://chatgpt.com@evil.example/backend-api/codex"
    ]],
    ["a path that climbs, or that a server may read as climbing", chatGpt, [
      "https://chatgpt.com/backend-api/codex/..",
      "https://chatgpt.com/backend-api/codex/../x",
      "https://chatgpt.com/backend-api/codex/%2e%2e/x",
      "https://chatgpt.com/backend-api/codex/%2E./x",
      "https://chatgpt.com/backend-api/codex\\..\\x",
      "https://chatgpt.com/backend-api/codex/..%2f",
      "https://chatgpt.com/backend-api/codex/..%2Fx",
      "https://chatgpt.com/backend-api/codex/..%5cx",
      "https://chatgpt.com/backend-api/codex%2Fx",
      "https://chatgpt.com/backend-api%2Fcodex"
    ]],
    ["an empty segment", chatGpt, [
      "https://chatgpt.com//backend-api/codex",
      "https://chatgpt.com/backend-api//codex",
      "https://chatgpt.com/backend-api/codex//responses",
      "https://chatgpt.com/backend-api/codex/a//b",
      "https://chatgpt.com/backend-api/codex//"
    ]],
    ["the key set that a provider base would have", chatGpt, [
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks",
      "https://chatgpt.com/backend-api/codex/%77ham/agent-identities/jwks?x",
      "https://chatgpt.com/backend-api/codex/wham%2Fagent-identities%2Fjwks",
      "https://chatgpt.com/backend-api/codex/wham%5Cagent-identities/jwks",
      "https://chatgpt.com/backend-api/codex/WHAM/Agent-Identities/JWKS",
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks;x",
      "https://chatgpt.com/backend-api/codex/wham;a=1/agent-identities/jwks"
    ]],
    ["escapes that are no text", chatGpt, [
      "https://chatgpt.com/backend-api/codex/%",
      "https://chatgpt.com/backend-api/codex/%zz",
      "https://chatgpt.com/backend-api/codex/%FF",
      "https://chatgpt.com/backend-api/codex/%ED%A0%80"
    ]],
    ["the key set inside a provider base", whole, [
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks",
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks/",
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks?x",
      "https://chatgpt.com/backend-api/codex/wham/agent-identities/jwks/x",
      "https://chatgpt.com/backend-api/codex/%77ham/agent-identities/jwks",
      "https://chatgpt.com/backend-api/codex/wham/agent%2Didentities/%6a%77%6B%73",
      "https://chatgpt.com/backend-api/codex/x/../wham/agent-identities/jwks"
    ]],
    ["the AuthAPI inside a provider base", own, [
      "https://a.example/api/accounts",
      "https://a.example/api/accounts/",
      "https://a.example/api/accounts/v1/agent/register",
      "https://a.example/api/%61ccounts/v1/agent/register",
      "https://a.example/api//accounts/v1/agent/register",
      "https://a.example/api/backend-api/%77ham/agent-identities/jwks"
    ]],
    ["a custom deployment's neighbours", own, [
      "https://a.example/apix",
      "https://b.example:8443/",
      "https://c.example/v1",
      "https://c.example:8443/v2"
    ]],
    ["loopback by another name", local, [
      "http://localhost:8080/v1",
      "http://127.0.0.1:8081/v1",
      "http://127.0.0.1/v1",
      "https://127.0.0.1:8080/v1"
    ]]
  ]

  for (const [environment, urls] of yes) {
    for (const url of urls) {
      it(`is ${url}`, () => assert.isTrue(Environment.isFirstParty(environment, new URL(url))))
    }
  }
  for (const [why, environment, urls] of no) {
    for (const url of urls) {
      it(`is not ${url}: ${why}`, () => assert.isFalse(Environment.isFirstParty(environment, new URL(url))))
    }
  }

  it("is foreign with user information, wherever it is", () => {
    for (const user of ["user", "user:password", ":password"]) {
      for (const path of ["backend-api/codex", "backend-api/codex//", "other"]) {
        assert.strictEqual(Environment.classify(chatGpt, new URL(`https://${user}@chatgpt.com/${path}`)), "Foreign")
      }
    }
  })

  it("is ambiguous below any of several bases, but not at the path of another origin's", () => {
    const at = (url: string) => Environment.classify(own, new URL(url))
    for (const url of ["https://a.example/api//x", "https://b.example//"]) assert.strictEqual(at(url), "Ambiguous", url)
    assert.strictEqual(at("https://c.example:8443/api//x"), "Foreign")
  })

  it("is nothing of what a base or a path that cannot be read might mean", () => {
    const base = new URL("https://models.example/a//b")
    const [below, beside] = [new URL("https://models.example/a//b/c"), new URL("https://models.example/x")]
    const unreadable = { ...known("https://chatgpt.com"), providers: [base] }
    assert.strictEqual(Environment.classify(unreadable, below), "Ambiguous")
    assert.strictEqual(Environment.classify(unreadable, beside), "Foreign")
    assert.isTrue(Environment.isFirstParty({ ...unreadable, providers: [beside], authApi: base }, beside))
    assert.isTrue(Environment.isFirstParty({ ...unreadable, providers: [beside], bearerOnly: ["/y//z"] }, beside))
  })

  const ambiguous = [
    "//x",
    "/a//b",
    "/..%2fx",
    "/%2e%2e%2fx",
    "/..;/x",
    "/.;/x",
    "/a%2F./x",
    "/a%5C..%5Cx",
    "/%",
    "/%zz",
    "/%ff",
    "//"
  ]
  for (const path of ambiguous) {
    it(`leaves no doubt unsaid: ${path} below a provider base is ambiguous, elsewhere it is foreign`, () => {
      const at = (base: string) => Environment.classify(chatGpt, new URL(base + path))
      assert.strictEqual(at("https://chatgpt.com/backend-api/codex"), "Ambiguous")
      assert.strictEqual(at("https://chatgpt.com/backend-api/other"), "Foreign")
      assert.strictEqual(at("https://chatgpt.com.evil.example/backend-api/codex"), "Foreign")
    })
  }

  const bearerOnly: ReadonlyArray<readonly [ReadonlyArray<string> | undefined, yes: string, no: string]> = [
    [undefined, "/analytics-events", "/events"],
    [["/telemetry", "a/b"], "/telemetry", "/analytics-events"],
    [["/telemetry", "a/b"], "/a/b", "/a"]
  ]
  for (const [paths, yes, no] of bearerOnly) {
    it(`takes bearer tokens only at ${yes} of each provider base and below it, where ${paths ?? "nothing"} is named`, () => {
      const environment = Either.getOrThrow(
        custom({ providers: ["https://models.example/v1/", "https://b.example"], bearerOnly: paths })
      )
      const at = (url: string) => Environment.classify(environment, new URL(url))
      for (const base of ["https://models.example/v1", "https://b.example"]) {
        for (const below of ["", "/", "/x", "?x", "%2Fx", ";x"]) {
          assert.strictEqual(at(base + yes + below), "BearerOnly", base + yes + below)
        }
        assert.strictEqual(at(base + yes.toUpperCase()), "BearerOnly")
        for (const other of ["", no, `${yes}x`, `/x${yes}`]) assert.strictEqual(at(base + other), "FirstParty", other)
      }
      assert.strictEqual(at(`https://models.example${yes}`), "Foreign")
    })
  }

  it("is nothing where no provider is named", () => {
    const none = Either.getOrThrow(custom({ providers: [] }))
    assert.isFalse(Environment.isFirstParty(none, new URL("https://models.example/v1")))
  })

  // A test that blocks for longer than its timeout fails. A quadratic scan of these takes seconds.
  it("takes linear time, however many slashes there are", { timeout: 1000 }, () => {
    const slashes = "/".repeat(65_536)
    for (const path of [slashes, `${slashes}x`, `/backend-api/codex${slashes}x`, "/x".repeat(32_768)]) {
      assert.isFalse(Environment.isFirstParty(chatGpt, new URL(`https://chatgpt.com${path}`)))
    }
  })
})
