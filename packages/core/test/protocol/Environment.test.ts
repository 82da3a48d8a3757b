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
  ["https://gov.chatgpt.com", prod, "https://gov.chatgpt.com/agent-identities/jwks"],
  ["https://gov.chatgpt.com/backend-api", prod, "https://gov.chatgpt.com/backend-api/wham/agent-identities/jwks"],
  ["https://gov.chatgpt.com/codex", prod, "https://gov.chatgpt.com/codex/agent-identities/jwks"],
  [
    "https://gov.chatgpt.com/backend-api/codex",
    prod,
    "https://gov.chatgpt.com/backend-api/codex/wham/agent-identities/jwks"
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

const ofChatGpt = (chatGptBase: string) => Environment.make({ chatGptBase })

const known = (base: string) => Either.getOrThrow(ofChatGpt(base))

const custom = (options: Partial<Environment.CustomOptions>) =>
  Environment.make({
    authApi: "https://agents.example/api/accounts",
    jwksBase: "https://issuer.example",
    providers: ["https://models.example/v1"],
    ...options
  })

const refusal = <A>(result: Either.Either<A, Environment.UrlDerivationError>) => Either.getOrThrow(Either.flip(result))

describe("a ChatGPT base", () => {
  it("knows the rows of the protocol and no others", () => {
    assert.deepStrictEqual(Environment.knownBases.map(({ base }) => base), rows.map(([base]) => base))
  })

  for (const [base, authApi, jwks] of rows) {
    it(`${base}, with any slashes at its end, has its AuthAPI, its key set and its host's models`, () => {
      for (const slashes of ["", "/", "//", "///"]) {
        const environment = known(base + slashes)
        assert.strictEqual(environment.name, authApi === prod ? "Production" : "Staging")
        assert.strictEqual(environment.authApi.href, authApi)
        assert.strictEqual(environment.jwks?.href, jwks)
        assert.deepStrictEqual(environment.providers.map(String), [`${new URL(base).origin}/backend-api/codex`])
      }
    })
  }

  it("means production's backend where none is named", () => {
    assert.deepStrictEqual(Either.getOrThrow(Environment.make({})), known("https://chatgpt.com/backend-api"))
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
    "https://gov.chatgpt-staging.com/backend-api",
    "https://gov.chat.openai.com/backend-api",
    "https://gov.chatgpt.com/api/codex",
    "https://chatgpt.com./backend-api",
    "https://chatgpt.co/backend-api",
    "https://chatgρt.com/backend-api",
    "https://auth.openai.com/api/accounts",
    "https://gateway.example/backend-api"
  ]
  for (const base of unsupported) {
    it(`refuses ${base}, and lists what it accepts`, () => {
      const error = refusal(ofChatGpt(base))
      assert.strictEqual(error.reason, "UnsupportedBase")
      assert.include(error.message, `chatGptBase ${JSON.stringify(base)} is not a known ChatGPT base URL.`)
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
      const error = refusal(ofChatGpt(base))
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
        const error = refusal(ofChatGpt(base))
        assert.notInclude(shown(error), "hunter2")
        assert.notInclude(shown(error), "user:")
        assert.notInclude(shown(refusal(custom({ authApi: base }))), "hunter2")
      }
      assert.notInclude(shown(refusal(ofChatGpt(`https://x.example/?token=hunter2`))), "hunter2")
    })
  }

  const inputs: ReadonlyArray<readonly [base: string, input: string]> = [
    ["", ""],
    ["https://x.example/y", "https://x.example/y"],
    ["http://x.example/y", "http://x.example/y"],
    [" HTTPS://x.example", " HTTPS://x.example"],
    ["https://user:password@x.example/y?a#b", "x.example/y"],
    ["https://x.example/y#a", "https://x.example/y"],
    ["x.example/y", "a value that is not a URL"],
    ["sk-https://x.example", "a value that is not a URL"],
    ["sk https://x.example", "a value that is not a URL"]
  ]
  for (const [base, input] of inputs) {
    it(`shows ${JSON.stringify(base)} as ${JSON.stringify(input)}`, () => {
      const error = refusal(ofChatGpt(base))
      assert.strictEqual(error.input, input)
      assert.match(
        error.message,
        /^chatGptBase (is empty|"(.*)" is (not a known ChatGPT base|refused as a base) URL)\. /
      )
    })
  }

  it("quotes no more of a long base than it takes to recognise it", () => {
    assert.isAtMost(refusal(ofChatGpt(`https://${"x".repeat(9999)}`)).input.length, 131)
  })
})

describe("a backend of your own", () => {
  it("takes each base as it is named", () => {
    const environment = Either.getOrThrow(
      custom({ providers: ["https://models.example/v1/", "https://b.example:8443"] })
    )
    assert.strictEqual(environment.name, "Custom")
    assert.strictEqual(
      Environment.agentRegistrationUrl(environment).href,
      "https://agents.example/api/accounts/v1/agent/register"
    )
    assert.strictEqual(environment.jwks?.href, "https://issuer.example/agent-identities/jwks")
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

  it("takes http for the hosts that privateNetworkHttp names, with their port or with all of them", () => {
    const http = (base: string, ...privateNetworkHttp: ReadonlyArray<string>) =>
      places(base).map((options) => Either.isRight(custom({ ...options, privateNetworkHttp })))
    for (
      const [base, host] of [
        ["http://authapi:8787/v1", "authapi:8787"],
        ["http://authapi:8787/v1", "authapi"],
        ["http://AUTHAPI:8787/v1", "AuthAPI:8787"],
        ["http://my_app.internal", "my_app.internal"],
        ["http://authapi/v1", "authapi:80"],
        ["http://10.0.0.1:8080", "10.0.0.1"],
        ["http://[fd00::1]:8080", "[fd00:0::1]:8080"]
      ] as const
    ) assert.deepStrictEqual(http(base, "other", host), [true, true, true], `${base} by ${host}`)
    for (
      const [base, host] of [
        ["http://authapi:8787", "authapi:8788"],
        ["http://authapi:8787", "authapi:80"],
        ["http://authapi:8787", "api"],
        ["http://authapi.example", "authapi"],
        ["http://authapi@other", "authapi"],
        ["http://127.0.0.1:8787", "localhost:8787"]
      ] as const
    ) assert.deepStrictEqual(http(base, host), [false, false, false], `${base} by ${host}`)
    assert.deepStrictEqual(http("http://authapi"), [false, false, false])
  })

  it("refuses entries of privateNetworkHttp that do not name one host", () => {
    for (
      const entry of [
        "",
        "*",
        "*.internal",
        "http://authapi",
        "authapi/v1",
        "u:p@authapi",
        "a b",
        "authapi:x",
        "10.0.0.0/8"
      ]
    ) {
      const error = refusal(custom({ privateNetworkHttp: ["authapi", entry] }))
      assert.strictEqual(error.option, "privateNetworkHttp", entry)
      assert.notInclude(error.message, "u:p")
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

describe("an environment that is named in part", () => {
  const base = "https://chatgpt-staging.com/backend-api"
  const own = {
    authApi: "http://127.0.0.1:1/api",
    jwksBase: "http://127.0.0.1:2/backend-api",
    providers: ["http://127.0.0.1:3/v1"],
    bearerOnly: ["/telemetry"],
    paths: ["/usage"]
  }
  const asText = ({ authApi, bearerOnly, jwks, name, paths, providers }: Environment.Environment) => ({
    name,
    authApi: authApi.href,
    jwks: jwks?.href,
    providers: providers.map(String),
    bearerOnly,
    paths
  })
  const overridden = (options: Environment.Options) =>
    Either.map(Environment.make({ loopbackHttp: true, chatGptBase: base, ...options }), asText)

  it("is the known base where nothing is named", () => {
    assert.deepStrictEqual(Either.getOrThrow(overridden({})), asText(known(base)))
    assert.deepStrictEqual(known(base).bearerOnly, ["/analytics-events"])
    assert.deepStrictEqual(known(base).paths, [])
  })

  const replaced: ReadonlyArray<readonly [Environment.Options, Partial<ReturnType<typeof asText>>]> = [
    [{ authApi: own.authApi }, { name: "Custom", authApi: own.authApi }],
    [{ jwksBase: own.jwksBase }, { name: "Custom", jwks: `${own.jwksBase}/wham/agent-identities/jwks` }],
    [{ providers: own.providers }, { name: "Custom", providers: own.providers }],
    [{ bearerOnly: own.bearerOnly }, { bearerOnly: own.bearerOnly }],
    [{ bearerOnly: [] }, { bearerOnly: [] }],
    [{ paths: own.paths }, { paths: own.paths }],
    [{ paths: Environment.chatGptPaths }, { paths: Environment.chatGptPaths }]
  ]
  for (const [options, changed] of replaced) {
    it(`replaces ${JSON.stringify(options)} and keeps the others`, () => {
      assert.deepStrictEqual(Either.getOrThrow(overridden(options)), { ...asText(known(base)), ...changed })
      if (options.bearerOnly !== undefined || options.paths !== undefined) return
      for (const loopbackHttp of [false, undefined]) {
        assert.strictEqual(refusal(overridden({ ...options, loopbackHttp })).reason, "InvalidBase")
      }
    })
  }

  it("needs the ChatGPT base unless the AuthAPI and the providers are named", () => {
    for (const missing of ["authApi", "providers"] as const) {
      const error = refusal(overridden({ ...own, [missing]: undefined, chatGptBase: "https://gateway.example" }))
      assert.strictEqual(error.reason, "UnsupportedBase", missing)
    }
    const whole = overridden({ ...own, chatGptBase: "https://gateway.example" })
    assert.deepStrictEqual(Either.getOrThrow(whole), asText(Either.getOrThrow(custom({ ...own, loopbackHttp: true }))))
  })

  it("has no key set where the AuthAPI and the providers are named without a JWKS base, least of all ChatGPT's", () => {
    const environment = Either.getOrThrow(overridden({ ...own, jwksBase: undefined }))
    assert.deepStrictEqual(environment, { ...environment, name: "Custom", jwks: undefined })
  })

  it("refuses a provider base at or below the AuthAPI that is kept, or the key set", () => {
    for (
      const provider of ["https://auth.api.openai.org/api/accounts/v1", `${base}/wham/agent-identities/jwks`]
    ) {
      assert.strictEqual(refusal(overridden({ providers: [provider] })).reason, "InvalidBase", provider)
    }
  })
})

describe("further paths", () => {
  it("of ChatGPT are those at which the reference client sends assertions", () => {
    assert.deepStrictEqual(Environment.chatGptPaths, [
      "/backend-api/wham/usage",
      "/backend-api/wham/rate-limit-reset-credits",
      "/backend-api/wham/settings/user",
      "/backend-api/ps/mcp",
      "/backend-api/ps/plugins"
    ])
  })

  it("may lie below the AuthAPI at one provider's origin, where they are first party at another's", () => {
    const environment = custom({
      authApi: "https://models.example/api/accounts",
      providers: ["https://models.example/v1", "https://b.example"],
      paths: ["/api/accounts/usage"]
    })
    assert.isTrue(Either.isRight(environment))
  })
})

describe("a refused option", () => {
  const refused: ReadonlyArray<readonly [Environment.Options, message: string | RegExp]> = [
    [{ providers: [] }, "providers is empty. Name at least one provider base URL."],
    [{ providers: [""] }, "providers is empty. Give an absolute https URL."],
    [{ authApi: "" }, "authApi is empty. Give an absolute https URL."],
    [{ jwksBase: "" }, "jwksBase is empty. Give an absolute https URL."],
    [{ chatGptBase: "" }, /^chatGptBase is empty\. Give an absolute https URL\. Give one of /],
    [{ chatGptBase: "https://x.example" }, /^chatGptBase "https:\/\/x\.example" is not a known ChatGPT base URL\. /],
    [
      { authApi: "auth" },
      "authApi \"a value that is not a URL\" is refused as a base URL. Give an absolute https URL."
    ],
    [
      { jwksBase: "https://x.example?y" },
      "jwksBase \"https://x.example\" is refused as a base URL. A base URL has no query and no fragment."
    ],
    [
      { providers: ["https://x.example", "https://y.example#z"] },
      "providers \"https://y.example\" is refused as a base URL. A base URL has no query and no fragment."
    ],
    [{ providers: ["https://auth.openai.com/api/accounts"] }, /^providers "https:.*" is refused as a base URL\. /],
    ...["/x\ty", "\n/x", " /x", "/x ", "/\t/evil.example/x", "/backend-api/.\t./", "/\\evil.example"].flatMap((path) =>
      (["bearerOnly", "paths"] as const).map((option) => [{ [option]: [path] }, /is refused as a path\./] as const)
    ),
    [{ bearerOnly: [""] }, /^bearerOnly is empty\. Give the path of an endpoint/],
    [{ bearerOnly: ["/"] }, /^bearerOnly "\/" is refused as a path\. Give the path of an endpoint/],
    [{ paths: [""] }, /^paths is empty\. Give the path of an endpoint at the origin of a provider base/],
    [{ paths: ["/"] }, /^paths "\/" is refused as a path\. Give the path of an endpoint at the origin/],
    ...["//x", "/x//y", "x//y", "/..", "/x/%2e%2e", "/x%2Fy", "/x?y", "/x#y", "/%"].flatMap((path) => [
      [{ bearerOnly: ["/x", path] }, /^bearerOnly ".*" is refused as a path\. /] as const,
      [{ paths: ["/x", path] }, /^paths ".*" is refused as a path\. /] as const
    ]),
    ...["/backend-api/wham/agent-identities/jwks", "/backend-api/WHAM/agent-identities/jwks/x", "agent-identities/jwks"]
      .map((path) =>
        [
          { paths: ["/x", path] },
          `paths ${
            JSON.stringify(path)
          } is refused as a path. It does not lie at or below the AuthAPI base or a key set.`
        ] as const
      ),
    [
      { authApi: "https://x.example/api/accounts", providers: ["https://x.example/v1"], paths: ["/api/accounts/v1"] },
      "paths \"/api/accounts/v1\" is refused as a path. It does not lie at or below the AuthAPI base or a key set."
    ]
  ]
  for (const [options, message] of refused) {
    it(`is named by the error: ${JSON.stringify(options)}`, () => {
      const error = refusal(Environment.make(options))
      if (typeof message === "string") assert.strictEqual(error.message, message)
      else assert.match(error.message, message)
    })
  }

  it("shows no more of a long path than it takes to recognise it", () => {
    assert.isAtMost(refusal(Environment.make({ bearerOnly: [`?${"x".repeat(999)}`] })).input.length, 131)
  })
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
