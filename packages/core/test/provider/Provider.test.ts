import { Environment, Party, Provider, ProviderAuth } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { HttpBody, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Either, FastCheck, Layer, Logger, Option, Redacted, Ref, Stream } from "effect"
import type { Socket } from "node:net"
import { inspect } from "node:util"
import { driven, transports, turn } from "../utils.ts"
import { listen } from "./server.ts"

const environment = Either.getOrThrow(Environment.make({}))

const firstParty = {
  name: "openai",
  baseUrl: "https://chatgpt.com/backend-api/codex",
  requiresFirstPartyAuth: true
}

const secret = "secret-token-of-the-provider"

/** The same token at each request, whatever a server says. */
const constant = (token: Provider.AuthCommand["current"]): Provider.AuthCommand => ({
  current: token,
  renew: () => token
})

const authCommand = constant(Effect.succeed(Redacted.make(secret)))

describe("Provider.resolve", () => {
  const rows: ReadonlyArray<readonly [what: string, provider: Provider.Provider, resolution: string | RegExp]> = [
    ["a first-party provider gets what the run sends", firstParty, "RunAuth"],
    [
      "so does one with a path below a first-party base",
      { ...firstParty, baseUrl: `${firstParty.baseUrl}/v1` },
      "RunAuth"
    ],
    ["one with an environment key gets that", { ...firstParty, environmentKey: "KEY" }, "OwnBearer environmentKey"],
    [
      "one with a bearer token gets that",
      { ...firstParty, bearerToken: Redacted.make(secret) },
      "OwnBearer bearerToken"
    ],
    ["one with an auth command gets what it prints", { ...firstParty, authCommand }, "OwnBearer authCommand"],
    [
      "an environment key comes before a bearer token, and that before an auth command",
      { ...firstParty, environmentKey: "KEY", bearerToken: Redacted.make(secret), authCommand },
      "OwnBearer environmentKey"
    ],
    ["one that a cloud signs for gets nothing, even with a key", {
      ...firstParty,
      cloudSigner: "aws",
      environmentKey: "KEY"
    }, /its requests signed by aws$/],
    ["a custom provider without a key gets nothing", { name: "c", baseUrl: "https://llm.example/v1" }, /no credential/],
    [
      "a local provider without a key gets nothing",
      { name: "l", baseUrl: "http://localhost:11434/v1" },
      /no credential/
    ],
    [
      "a custom provider at a first-party base gets nothing unless it asks for it",
      { name: "c", baseUrl: firstParty.baseUrl },
      /does not ask for the run's identity$/
    ],
    [
      "a custom provider that asks for the run's identity gets nothing",
      { ...firstParty, baseUrl: "https://llm.example/v1" },
      /base URL is not first party$/
    ],
    [
      "nor does another host with the same path",
      { ...firstParty, baseUrl: "https://chatgpt.com.evil.example/backend-api/codex" },
      /not first party$/
    ],
    ["nor does the AuthAPI", { ...firstParty, baseUrl: environment.authApi.href }, /not first party$/],
    ["nor does the key set", { ...firstParty, baseUrl: environment.jwks!.href }, /not first party$/],
    [
      "a base without a scheme gets nothing",
      { ...firstParty, baseUrl: "localhost:11434/v1", environmentKey: "KEY" },
      /no absolute base URL$/
    ],
    ["a relative base gets nothing", { ...firstParty, baseUrl: "/v1", environmentKey: "KEY" }, /no absolute base URL$/]
  ]
  for (const [what, provider, expected] of rows) {
    it(what, () => {
      const resolution = Provider.resolve(provider, environment)
      const shown = resolution._tag === "None"
        ? resolution.reason
        : resolution._tag === "OwnBearer"
        ? `OwnBearer ${resolution.source}`
        : resolution._tag
      if (typeof expected === "string") assert.strictEqual(shown, expected)
      else assert.match(shown, expected)
    })
  }

  it("answers every description, and gives the run's identity to no provider with a credential of its own", () => {
    const maybe = <A>(arbitrary: FastCheck.Arbitrary<A>) => FastCheck.option(arbitrary, { nil: undefined })
    const provider: FastCheck.Arbitrary<Provider.Provider> = FastCheck.record({
      name: FastCheck.string(),
      baseUrl: FastCheck.oneof(FastCheck.constant(firstParty.baseUrl), FastCheck.webUrl(), FastCheck.string()),
      requiresFirstPartyAuth: maybe(FastCheck.boolean()),
      environmentKey: maybe(FastCheck.string()),
      bearerToken: maybe(FastCheck.constant(Redacted.make(secret))),
      authCommand: maybe(FastCheck.constant(authCommand)),
      cloudSigner: maybe(FastCheck.constant("aws"))
    })
    FastCheck.assert(FastCheck.property(provider, (provider) => {
      const resolution = Provider.resolve(provider, environment)
      assert.include(["RunAuth", "OwnBearer", "None"], resolution._tag)
      if (resolution._tag === "RunAuth") {
        assert.isTrue(provider.requiresFirstPartyAuth)
        assert.deepStrictEqual(
          [provider.environmentKey, provider.bearerToken, provider.authCommand, provider.cloudSigner],
          [undefined, undefined, undefined, undefined]
        )
        assert.strictEqual(Party.classifier(environment)(new URL(provider.baseUrl)), "FirstParty")
      }
    }))
  })
})

describe("ProviderAuth.authorizeProvider", () => {
  /** Sends one request, and says what the provider saw of a credential and why. */
  const send = (provider: Provider.Provider, url = `${provider.baseUrl}/responses`) =>
    Effect.gen(function*() {
      const seen: Array<Record<string, string | undefined>> = []
      const plain = HttpClient.make((request) =>
        Effect.sync(() => {
          seen.push({ ...request.headers })
          return HttpClientResponse.fromWeb(request, Response.json({}))
        })
      )
      const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
      const client = yield* authorizeProvider(plain, provider)
      const response = yield* client.execute(
        HttpClientRequest.get(url, { headers: { "x-predefined": "yes" } })
      )
      return {
        authorization: seen[0]!.authorization,
        account: seen[0]!["chatgpt-account-id"],
        predefined: seen[0]!["x-predefined"],
        sent: Option.getOrThrow(ProviderAuth.authorizationOf(response))
      }
    })

  const base = Fakes.providerBase
  const own = { name: "own", baseUrl: "https://llm.example/v1" }

  it.effect("sends the run's assertion to a first-party provider, and shows its ids", () =>
    Effect.gen(function*() {
      const { authorization, sent } = yield* send({ name: "openai", baseUrl: base, requiresFirstPartyAuth: true })
      assert.match(authorization!, /^AgentAssertion /)
      assert.deepStrictEqual(sent, { _tag: "Assertion", agentRuntimeId: "agent-fake", taskId: "task-1" } as typeof sent)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("sends the run's assertion below the provider's own base URL only", () =>
    Effect.gen(function*() {
      const provider = { name: "openai", baseUrl: `${base}/tenant-a`, requiresFirstPartyAuth: true }
      assert.match((yield* send(provider)).authorization!, /^AgentAssertion /)
      assert.isUndefined((yield* send(provider, `${base}/tenant-b/responses`)).authorization)
      assert.isUndefined((yield* send(provider, `${base}/responses`)).authorization)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("sends a provider its own token, and no header of the run's", () =>
    Effect.gen(function*() {
      for (
        const provider of [{ ...own, bearerToken: Redacted.make(secret) }, { ...own, environmentKey: "OWN_KEY" }, {
          ...own,
          authCommand
        }]
      ) {
        const { account, authorization, sent } = yield* Effect.withConfigProvider(
          send(provider),
          ConfigProvider.fromMap(new Map([["OWN_KEY", secret]]))
        )
        assert.strictEqual(authorization, `Bearer ${secret}`)
        assert.isUndefined(account)
        assert.strictEqual(sent._tag === "Bearer" && sent.reason.startsWith("provider \"own\" has a token"), true)
      }
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("asks an auth command anew at each request, so that a refreshed token is followed", () =>
    Effect.gen(function*() {
      const count = yield* Ref.make(0)
      const counting = {
        ...own,
        authCommand: constant(Effect.map(Ref.updateAndGet(count, (_) => _ + 1), (n) => Redacted.make(`t-${n}`)))
      }
      assert.strictEqual((yield* send(counting)).authorization, "Bearer t-1")
      assert.strictEqual((yield* send(counting)).authorization, "Bearer t-2")
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("sends nothing to a keyless custom or local provider, and leaves its predefined headers alone", () =>
    Effect.gen(function*() {
      for (const baseUrl of ["https://llm.example/v1", "http://localhost:11434/v1", base]) {
        const { account, authorization, predefined, sent } = yield* send({ name: "keyless", baseUrl })
        assert.isUndefined(authorization)
        assert.isUndefined(account)
        assert.strictEqual(predefined, "yes")
        assert.strictEqual(sent._tag, "None")
      }
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("sends a provider's token nowhere but to its base URL and below it", () =>
    Effect.gen(function*() {
      const provider = { ...own, bearerToken: Redacted.make(secret) }
      const elsewhere = [
        "https://llm.example/v2",
        "https://llm.example/v11",
        "https://llm.example:444/v1/x",
        "http://llm.example/v1/x",
        "https://llm.example.evil.test/v1/x",
        "https://user@llm.example/v1/x",
        `${base}/responses`
      ]
      for (const url of elsewhere) assert.isUndefined((yield* send(provider, url)).authorization, url)
      assert.isDefined((yield* send(provider, "https://llm.example/v1")).authorization)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("fails while it is made where the environment variable is not set, or blank", () =>
    Effect.gen(function*() {
      const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
      const client = yield* HttpClient.HttpClient
      for (const variables of [new Map<string, string>(), new Map([["OWN_KEY", ""]])]) {
        const error = yield* Effect.flip(authorizeProvider(client, { ...own, environmentKey: "OWN_KEY" })).pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(variables))
        )
        assert.include(String(error), "OWN_KEY")
      }
    }).pipe(
      Effect.provide(Layer.merge(
        Fakes.layerProviderAuth,
        Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.die("unused")))
      ))
    ))

  it.effect("says of a key of its own what stands around it, without showing it", () =>
    Effect.gen(function*() {
      const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
      const client = HttpClient.make(() => Effect.die("unused"))
      for (
        const [key, says] of [
          [`"${secret}"`, "it stands in quotes; remove them"],
          [`Bearer ${secret}`, "it begins with the word `Bearer`; give the token alone"]
        ] as const
      ) {
        const error = yield* Effect.flip(authorizeProvider(client, { ...own, environmentKey: "OWN_KEY" })).pipe(
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["OWN_KEY", key]])))
        )
        assert.include(String(error), "OWN_KEY")
        assert.include(String(error), says)
        const given = yield* Effect.flip(send({ ...own, bearerToken: Redacted.make(key) }))
        assert.propertyVal(given, "reason", "NoCredential")
        assert.include(String(given), says)
        assert.notInclude(inspect([error, given], { depth: 9 }), secret)
      }
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("fails the request, and sends nothing, where the auth command gives no token", () =>
    Effect.gen(function*() {
      const failing = { ...own, authCommand: constant(Effect.fail(new Error("the vault is sealed"))) }
      const error = yield* Effect.flip(send(failing))
      assert.propertyVal(error, "reason", "NoCredential")
      assert.include(String(error), "the vault is sealed")
      const illegal = { ...own, bearerToken: Redacted.make(`${secret}\n`) }
      const refused = yield* Effect.flip(send(illegal))
      assert.propertyVal(refused, "reason", "NoCredential")
      assert.notInclude(inspect(refused, { depth: 9 }), secret)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))
})

describe("a provider that answers 401 to the token of an auth command", () => {
  const baseUrl = "https://llm.example/v1"

  /** An auth command that counts its runs: `token-1`, `token-2`. From run `failsFrom` on it has none. */
  const command = (failsFrom = Infinity) => {
    let runs = 1
    let token = Redacted.make("token-1")
    const authCommand: Provider.AuthCommand = {
      current: Effect.sync(() => token),
      renew: (stale) =>
        Effect.suspend(() => {
          if (stale !== token) return Effect.succeed(token)
          if (++runs >= failsFrom) return Effect.fail(new Error("the vault is sealed"))
          return Effect.succeed(token = Redacted.make(`token-${runs}`))
        })
    }
    return { authCommand, runs: () => runs }
  }

  /** A server that takes these tokens only, and the tokens that it has seen. */
  const server = (...taken: ReadonlyArray<string>) => {
    const seen: Array<string | undefined> = []
    const client = HttpClient.make((request) =>
      Effect.sync(() => {
        const token = request.headers.authorization?.replace("Bearer ", "")
        seen.push(token)
        return HttpClientResponse.fromWeb(
          request,
          taken.includes(token!) ? Response.json({}) : Response.json({ error: "who are you?" }, { status: 401 })
        )
      })
    )
    return { client, seen }
  }

  const authorized = (
    client: HttpClient.HttpClient,
    more: Omit<Provider.Provider, "name" | "baseUrl">
  ) =>
    Effect.flatMap(
      ProviderAuth.ProviderAuth,
      ({ authorizeProvider }) => authorizeProvider(client, { name: "own", baseUrl, ...more })
    )

  it.effect("gets the request once more, with the token of another run", () =>
    Effect.gen(function*() {
      const { authCommand, runs } = command()
      const { client, seen } = server("token-2")
      const own = yield* authorized(client, { authCommand })
      const response = yield* own.post(`${baseUrl}/responses`, { body: HttpBody.unsafeJson({ a: 1 }) })
      assert.strictEqual(response.status, 200)
      assert.strictEqual((yield* own.get(`${baseUrl}/models`)).status, 200)
      assert.deepStrictEqual(seen, ["token-1", "token-2", "token-2"])
      assert.strictEqual(runs(), 2)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("hands on the first 401 where the command gives the same token again", () =>
    Effect.gen(function*() {
      const { client, seen } = server()
      const same = Effect.sync(() => Redacted.make("token-of-always"))
      const own = yield* authorized(client, { authCommand: { current: same, renew: () => same } })
      const response = yield* own.get(`${baseUrl}/models`)
      assert.strictEqual(response.status, 401)
      assert.deepStrictEqual(yield* response.json, { error: "who are you?" })
      assert.deepStrictEqual(seen, ["token-of-always"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("hands on a second 401, whole", () =>
    Effect.gen(function*() {
      const { authCommand } = command()
      const { client, seen } = server()
      const own = yield* authorized(client, { authCommand })
      const response = yield* own.get(`${baseUrl}/models`)
      assert.strictEqual(response.status, 401)
      assert.deepStrictEqual(yield* response.json, { error: "who are you?" })
      assert.notProperty(response.request.headers, "authorization")
      assert.deepStrictEqual(seen, ["token-1", "token-2"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("costs many requests with the same token one run", () =>
    Effect.gen(function*() {
      const { authCommand, runs } = command()
      const { client, seen } = server("token-2")
      const own = yield* authorized(HttpClient.tap(client, () => Effect.sleep("1 second")), { authCommand })
      const statuses = yield* driven(Effect.all(
        Array.from({ length: 50 }, () => Effect.map(own.get(`${baseUrl}/models`), (_) => _.status)),
        { concurrency: "unbounded" }
      ))
      assert.deepStrictEqual(new Set(statuses), new Set([200]))
      assert.lengthOf(seen, 100)
      assert.strictEqual(runs(), 2)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("is the answer to a body that is a stream, and the next request has the new token", () =>
    Effect.gen(function*() {
      const { authCommand } = command()
      const { client, seen } = server("token-2")
      const own = yield* authorized(client, { authCommand })
      const body = HttpBody.stream(Stream.make(new Uint8Array([1])))
      const response = yield* own.post(`${baseUrl}/responses`, { body })
      assert.strictEqual(response.status, 401)
      assert.deepStrictEqual(yield* response.json, { error: "who are you?" })
      assert.strictEqual((yield* own.get(`${baseUrl}/models`)).status, 200)
      assert.deepStrictEqual(seen, ["token-1", "token-2"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("is the answer where the command gives no other token, which is logged", () => {
    const lines: Array<string> = []
    const keepLogs = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => lines.push(String(message))))
    return Effect.gen(function*() {
      const { authCommand } = command(2)
      const { client, seen } = server()
      const own = yield* authorized(client, { authCommand })
      const response = yield* own.get(`${baseUrl}/models`)
      assert.strictEqual(response.status, 401)
      assert.deepStrictEqual(yield* response.json, { error: "who are you?" })
      assert.deepStrictEqual(seen, ["token-1"])
      assert.deepStrictEqual(lines, [
        "A server refused the token, and the auth command of provider \"own\" gave no token: the vault is sealed"
      ])
    }).pipe(Effect.provide(Fakes.layerProviderAuth), Effect.provide(keepLogs))
  })

  it.effect("works over a client that was made to fail on the status", () =>
    Effect.gen(function*() {
      const { authCommand } = command()
      const { client, seen } = server("token-2")
      const own = yield* authorized(HttpClient.filterStatusOk(client), { authCommand })
      assert.strictEqual((yield* own.get(`${baseUrl}/models`)).status, 200)
      assert.deepStrictEqual(seen, ["token-1", "token-2"])
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  it.effect("renews nothing for another status, another origin, or another kind of token", () =>
    Effect.gen(function*() {
      const { authCommand, runs } = command()
      const forbidding = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 403 })))
      )
      const own = yield* authorized(forbidding, { authCommand })
      assert.strictEqual((yield* own.get(`${baseUrl}/models`)).status, 403)
      const { client, seen } = server()
      yield* (yield* authorized(client, { authCommand })).get("https://other.example/v1/models")
      yield* (yield* authorized(client, { bearerToken: Redacted.make("constant") })).get(`${baseUrl}/models`)
      assert.deepStrictEqual(seen, [undefined, "constant"])
      assert.strictEqual(runs(), 1)
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))

  for (const [name, transport] of transports) {
    it.scoped(`keeps no connection of a refused request, over ${name}`, () =>
      Effect.gen(function*() {
        const { authCommand } = command()
        const seen = new Set<string | undefined>()
        const open = new Set<Socket>()
        // It takes each token once.
        const origin = yield* listen(({ headers: { authorization }, socket }, response) => {
          if (!open.has(socket)) {
            open.add(socket)
            socket.on("close", () => open.delete(socket))
          }
          if (seen.has(authorization)) return response.writeHead(401).end("x".repeat(1e6))
          seen.add(authorization)
          return response.end("yes")
        })
        const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
        const own = yield* authorizeProvider(yield* HttpClient.HttpClient, {
          name: "own",
          baseUrl: origin,
          authCommand
        })
        for (let turns = 0; turns < 10; turns++) {
          assert.strictEqual(yield* Effect.flatMap(own.get(`${origin}/models`), (_) => _.text), "yes")
        }
        assert.strictEqual(seen.size, 10)
        // Before the garbage collector would do so.
        yield* Effect.repeat(turn, { until: () => open.size <= 2, times: 50 })
        assert.isAtMost(open.size, 2)
      }).pipe(Effect.provide([Fakes.layerProviderAuth, transport])))
  }
})
