import { Environment, Party } from "@agent-identity/core"
import { assert, describe, it } from "@effect/vitest"
import { Either, Schema } from "effect"

const known = (base: string) => Either.getOrThrow(Environment.make({ chatGptBase: base }))

const custom = (options: Partial<Environment.CustomOptions>) =>
  Environment.make({
    authApi: "https://agents.example/api/accounts",
    jwksBase: "https://issuer.example",
    providers: ["https://models.example/v1"],
    ...options
  })

const classify = (environment: Environment.Environment, url: URL) => Party.classifier(environment)(url)

const isFirstParty = (environment: Environment.Environment, url: URL) => classify(environment, url) === "FirstParty"

describe("Party.classifier", () => {
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
      it(`is ${url}`, () => assert.isTrue(isFirstParty(environment, new URL(url))))
    }
  }
  for (const [why, environment, urls] of no) {
    for (const url of urls) {
      it(`is not ${url}: ${why}`, () => assert.isFalse(isFirstParty(environment, new URL(url))))
    }
  }

  it("is foreign with user information, wherever it is", () => {
    for (const user of ["user", "user:password", ":password"]) {
      for (const path of ["backend-api/codex", "backend-api/codex//", "other"]) {
        assert.strictEqual(classify(chatGpt, new URL(`https://${user}@chatgpt.com/${path}`)), "Foreign")
      }
    }
  })

  it("is ambiguous below any of several bases, but not at the path of another origin's", () => {
    const at = (url: string) => classify(own, new URL(url))
    for (const url of ["https://a.example/api//x", "https://b.example//"]) assert.strictEqual(at(url), "Ambiguous", url)
    assert.strictEqual(at("https://c.example:8443/api//x"), "Foreign")
  })

  it("is nothing of what a base or a path that cannot be read might mean", () => {
    const base = new URL("https://models.example/a//b")
    const [below, beside] = [new URL("https://models.example/a//b/c"), new URL("https://models.example/x")]
    const unreadable = { ...known("https://chatgpt.com"), providers: [base] }
    assert.strictEqual(classify(unreadable, below), "Ambiguous")
    assert.strictEqual(classify(unreadable, beside), "Foreign")
    assert.isTrue(isFirstParty({ ...unreadable, providers: [beside], authApi: base }, beside))
    assert.isTrue(isFirstParty({ ...unreadable, providers: [beside], bearerOnly: ["/y//z"] }, beside))
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
      const at = (base: string) => classify(chatGpt, new URL(base + path))
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
      const at = (url: string) => classify(environment, new URL(url))
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

  it("needs no key set", () => {
    const environment = { ...own, jwks: undefined }
    assert.isTrue(isFirstParty(environment, new URL("https://b.example/any/thing")))
    assert.isFalse(isFirstParty(environment, new URL("https://a.example/api/accounts")))
  })

  it("is nothing where no provider is named", () => {
    const none = { ...own, providers: [] }
    assert.isFalse(isFirstParty(none, new URL("https://models.example/v1")))
  })

  // A test that blocks for longer than its timeout fails. A quadratic scan of these takes seconds.
  it("takes linear time, however many slashes there are", { timeout: 1000 }, () => {
    const slashes = "/".repeat(65_536)
    for (const path of [slashes, `${slashes}x`, `/backend-api/codex${slashes}x`, "/x".repeat(32_768)]) {
      assert.isFalse(isFirstParty(chatGpt, new URL(`https://chatgpt.com${path}`)))
    }
  })
})

describe("a further path", () => {
  const withPaths = (paths: ReadonlyArray<string>, chatGptBase = "https://chatgpt.com/backend-api") =>
    Party.classifier(Either.getOrThrow(Environment.make({ chatGptBase, paths })))
  const at = (party: (url: URL) => Party.Party, url: string) => party(new URL(url))
  const chatGpt = withPaths(Environment.chatGptPaths)
  const plain = withPaths([])

  const yes = [
    "/backend-api/wham/usage",
    "/backend-api/wham/usage/",
    "/backend-api/wham/usage?x=/../..",
    "/backend-api/wham/%75sage/daily",
    "/backend-api/wham/rate-limit-reset-credits",
    "/backend-api/wham/settings/user",
    "/backend-api/ps/mcp",
    "/backend-api/ps/plugins/installed?limit=200",
    "/backend-api/ps/plugins/suggested/codex"
  ]
  for (const path of yes) {
    it(`is first party where it is named, and foreign where it is not: ${path}`, () => {
      assert.strictEqual(at(chatGpt, `https://chatgpt.com${path}`), "FirstParty")
      assert.strictEqual(at(plain, `https://chatgpt.com${path}`), "Foreign")
    })
  }

  const no = [
    "https://chatgpt.com/backend-api/wham",
    "https://chatgpt.com/backend-api/wham/usages",
    "https://chatgpt.com/backend-api/wham/Usage",
    "https://chatgpt.com/backend-api/wham/usage;x",
    "https://chatgpt.com/backend-api/wham%2Fusage",
    "https://chatgpt.com/backend-api/wham/settings",
    "https://chatgpt.com/backend-api/wham/settings/users",
    "https://chatgpt.com/backend-api/wham/usage/../tasks",
    "https://chatgpt.com/backend-api/ps",
    "https://chatgpt.com/backend-api/ps/plugin",
    "https://chatgpt.com/backend-api/conversation",
    "https://chatgpt.com/wham/usage",
    "https://chatgpt.com/x/backend-api/wham/usage",
    "https://chatgpt.com/backend-api/wham/agent-identities/jwks",
    "https://chatgpt.com:8443/backend-api/wham/usage",
    "http://chatgpt.com/backend-api/wham/usage",
    "https://gov.chatgpt.com/backend-api/wham/usage",
    "https://auth.openai.com/backend-api/wham/usage",
    "https://user@chatgpt.com/backend-api/wham/usage"
  ]
  for (const url of no) it(`is not ${url}`, () => assert.strictEqual(at(chatGpt, url), "Foreign"))

  const ambiguous = ["//x", "/a//b", "/..%2fx", "/a%5C..%5Cx", "/%zz", "/..;/x"]
  for (const path of ambiguous) {
    it(`leaves no doubt unsaid: ${path} below it is ambiguous`, () => {
      assert.strictEqual(at(chatGpt, `https://chatgpt.com/backend-api/wham/usage${path}`), "Ambiguous")
      assert.strictEqual(at(plain, `https://chatgpt.com/backend-api/wham/usage${path}`), "Foreign")
    })
  }

  it("is never a key set of any base, nor the AuthAPI, however high the path is", () => {
    for (const base of Environment.knownBases) {
      const whole = withPaths(["/backend-api", "/codex", "/api", "/agent-identities"], base.base)
      const { origin } = new URL(base.base)
      for (const row of Environment.knownBases) {
        const { pathname } = new URL(row.jwks)
        for (const path of [pathname, pathname.toUpperCase(), `${pathname}/x`, pathname.replace("s/j", "s%2Fj")]) {
          assert.strictEqual(at(whole, origin + path), "Foreign", origin + path)
        }
        assert.strictEqual(at(whole, `${row.authApi}/v1/agent/register`), "Foreign")
      }
      for (const path of ["/me", "/jwks", "/x/jwks", "/agent-identities", "/agent-identities/x/jwks"]) {
        assert.strictEqual(at(whole, `${origin}/backend-api${path}`), "FirstParty")
      }
    }
    const own = Party.classifier(Either.getOrThrow(custom({
      authApi: "https://models.example/api/accounts",
      paths: ["/api"]
    })))
    assert.strictEqual(at(own, "https://models.example/api/usage"), "FirstParty")
    assert.strictEqual(at(own, "https://models.example/api/Accounts/v1/agent/register"), "Foreign")
  })

  it("leaves the paths that take bearer tokens only what they are", () => {
    const whole = withPaths(["/backend-api"])
    assert.strictEqual(at(whole, "https://chatgpt.com/backend-api/codex/analytics-events/events"), "BearerOnly")
    assert.strictEqual(at(whole, "https://chatgpt.com/backend-api/codex/responses"), "FirstParty")
    assert.strictEqual(at(whole, "https://chatgpt.com/backend-api/analytics-events"), "FirstParty")
  })

  it("is at the origin of each provider base, with or without a slash at its start", () => {
    for (const path of ["/usage", "usage"]) {
      const own = Party.classifier(Either.getOrThrow(custom({
        providers: ["https://models.example/v1", "https://b.example:8443"],
        paths: [path]
      })))
      assert.strictEqual(at(own, "https://models.example/usage/x"), "FirstParty")
      assert.strictEqual(at(own, "https://models.example/v1/x"), "FirstParty")
      assert.strictEqual(at(own, "https://models.example/other"), "Foreign")
      assert.strictEqual(at(own, "https://agents.example/usage"), "Foreign")
    }
  })

  const Segment = Schema.String.pipe(Schema.pattern(/^[\w-]{1,12}$/))
  it.prop(
    "is first party below it at a segment boundary, for every path, and at no other place",
    [Schema.NonEmptyArray(Segment), Schema.Array(Segment), Segment],
    ([path, below, more]) => {
      const named = `/named/${path.join("/")}`
      const party = withPaths([named])
      const tail = below.map((segment) => `/${segment}`).join("")
      assert.strictEqual(at(party, `https://chatgpt.com${named}${tail}`), "FirstParty")
      for (const other of [`${named}${more}${tail}`, `/${more}${named}${tail}`, `/named${more}/x`, "/named"]) {
        assert.strictEqual(at(party, `https://chatgpt.com${other}`), "Foreign", other)
      }
      assert.strictEqual(
        at(party, `https://${more.replace(/_/g, "a").replace(/^-|-$/g, "b")}.chatgpt.com${named}`),
        "Foreign"
      )
    }
  )
})

describe("Party.nearMiss", () => {
  const own = Either.getOrThrow(custom({
    authApi: "https://a.example/api/accounts",
    jwksBase: "https://a.example/keys",
    providers: ["https://a.example/v1", "http://127.0.0.1:8080/codex"],
    loopbackHttp: true
  }))
  const cases: ReadonlyArray<readonly [url: string, why: string | undefined]> = [
    ["https://a.example/v2/responses", "its path is not below theirs"],
    ["https://a.example/v10", "its path is not below theirs"],
    ["https://a.example/", "its path is not below theirs"],
    ["http://127.0.0.1:8080/", "its path is not below theirs"],
    [
      "https://a.example:8443/v1/responses",
      "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
    ],
    [
      "http://a.example/v1/responses",
      "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
    ],
    [
      "http://localhost:8080/codex",
      "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
    ],
    [
      "http://[::1]:8080/codex",
      "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
    ],
    [
      "http://127.0.0.2:8080/codex",
      "its scheme, its host or its port differs from theirs; if it is another service, ignore this"
    ],
    ["https://me@a.example/v1", "it has user information"],
    ["https://a.example/api/accounts", undefined],
    ["https://a.example/api/accounts/v1/agent/x/task/register", undefined],
    ["https://a.example/keys/agent-identities/jwks", undefined],
    ["https://a.example/v1/agent-identities/jwks", undefined],
    ["https://b.example/v1", undefined],
    ["https://sub.a.example/v1", undefined]
  ]
  for (const [url, why] of cases) {
    it(`says of ${url}: ${why ?? "nothing"}`, () => {
      assert.strictEqual(classify(own, new URL(url)), "Foreign")
      assert.strictEqual(Party.nearMiss(own, new URL(url)), why)
    })
  }
})
