import { NodeSigning } from "@agent-identity/node"
import { RegistrationBearer } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted } from "effect"
import {
  agentPath,
  agentRegistration,
  codeOf,
  layerServerWith,
  newKey,
  REGISTER_AGENT,
  registerAgent,
  registerTask,
  request,
  tokens
} from "./utils.ts"

const ownerOf = (token: string) =>
  Effect.flatMap(RegistrationBearer.RegistrationBearer, (_) => _.ownerOf(Redacted.make(token)))

describe("RegistrationBearer", () => {
  it.effect("knows the owners of its tokens, and of no other text", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* ownerOf("one"), Option.some("alice"))
      assert.deepStrictEqual(yield* ownerOf("two, in UTF-8: ü日"), Option.some("bob"))
      for (const other of ["", "on", "one ", "ONE", "alice", "oneone", "__proto__", "two, in UTF-8: ??"]) {
        assert.deepStrictEqual(yield* ownerOf(other), Option.none(), other)
      }
    }).pipe(Effect.provide(RegistrationBearer.layerTokens({
      alice: Redacted.make("one"),
      bob: Redacted.make("two, in UTF-8: ü日")
    }))))

  it.effect("shows no token of its own", () =>
    Effect.gen(function*() {
      const service = yield* RegistrationBearer.RegistrationBearer
      assert.notInclude(JSON.stringify([service, yield* ownerOf("secret-one")]), "secret-one")
    }).pipe(Effect.provide(RegistrationBearer.layerTokens({ alice: Redacted.make("secret-one") }))))
})

describe("a bearer that registers agents", () => {
  const Server = layerServerWith({}).pipe(Layer.provideMerge(NodeSigning.layer))

  const register = (authorization: string | undefined) =>
    Effect.flatMap(newKey, ({ line }) =>
      request("POST", REGISTER_AGENT, {
        body: agentRegistration({ agent_public_key: line }),
        headers: authorization === undefined ? {} : { authorization }
      }))

  const refused: ReadonlyArray<readonly [what: string, authorization: string | undefined]> = [
    ["no header", undefined],
    ["an empty header", ""],
    ["the scheme alone", "Bearer"],
    ["an empty token", "Bearer "],
    ["the token alone", tokens.alice],
    ["another scheme", `Basic ${Buffer.from(`alice:${tokens.alice}`).toString("base64")}`],
    ["an assertion", `AgentAssertion ${tokens.alice}`],
    ["another scheme of the same length", `Nearer ${tokens.alice}`],
    ["a scheme that ends alike", `XBearer ${tokens.alice}`],
    ["a colon for the space", `Bearer:${tokens.alice}`],
    ["a tab for the space", `Bearer\t${tokens.alice}`],
    ["an unknown token", "Bearer mallorys-token"],
    ["the start of a token", `Bearer ${tokens.alice.slice(0, -1)}`],
    ["more than a token", `Bearer ${tokens.alice}x`],
    ["two tokens", `Bearer ${tokens.alice} ${tokens.bob}`],
    ["two tokens with a comma", `Bearer ${tokens.alice}, Bearer ${tokens.bob}`],
    ["the token in other case", `Bearer ${tokens.alice.toUpperCase()}`],
    ["a token in quotes", `Bearer "${tokens.alice}"`],
    ["an owner's name", "Bearer alice"],
    ["a token that is not ASCII", `Bearer ${tokens.alice}\u00e9`],
    ["a token of 8 KiB", `Bearer ${"a".repeat(8 * 1024)}`]
  ]
  it.effect("is refused with 401 and a challenge unless it is a known token", () =>
    Effect.gen(function*() {
      for (const [what, authorization] of refused) {
        const answer = yield* register(authorization)
        assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_token"], what)
        assert.strictEqual(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"", what)
      }
    }).pipe(Effect.provide(Server)))

  it.effect("is taken whatever the case of its scheme, and with more than one space", () =>
    Effect.gen(function*() {
      for (const scheme of ["Bearer ", "bearer ", "BEARER ", "Bearer   "]) {
        assert.strictEqual((yield* register(`${scheme}${tokens.alice}`)).status, 200, scheme)
      }
    }).pipe(Effect.provide(Server)))

  it.effect("is asked for before the body is looked at", () =>
    Effect.gen(function*() {
      for (const text of ["", "{", "x".repeat(20_000)]) {
        const answer = yield* request("POST", REGISTER_AGENT, { text })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_token"])
      }
    }).pipe(Effect.provide(Server)))

  it.effect("is not wanted for a task, and an agent's signature is no bearer", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      assert.strictEqual((yield* registerTask(agent)).status, 200)
      const answer = yield* register(`Bearer ${agent.agentRuntimeId}`)
      assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_token"])
    }).pipe(Effect.provide(Server)))

  it.effect("is nobody's where there are no tokens, neither to register nor to delete", () =>
    Effect.gen(function*() {
      for (const authorization of [undefined, `Bearer ${tokens.alice}`]) {
        const answer = yield* register(authorization)
        assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_token"])
      }
      const deleted = yield* request("DELETE", agentPath("agent-1"), { token: tokens.alice })
      assert.deepStrictEqual([deleted.status, codeOf(deleted)], [401, "invalid_token"])
    }).pipe(Effect.provide(
      layerServerWith({ bearer: RegistrationBearer.layerNone }).pipe(Layer.provideMerge(NodeSigning.layer))
    )))

  it.effect("may belong to whoever a service of one's own says", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent("alice.of-the-service")
      const byOther = yield* request("DELETE", agentPath(agent.agentRuntimeId), { token: "bob.of-the-service" })
      assert.deepStrictEqual([byOther.status, codeOf(byOther)], [404, "agent_not_found"])
      const byOwner = yield* request("DELETE", agentPath(agent.agentRuntimeId), { token: "alice.renewed" })
      assert.strictEqual(byOwner.status, 204)
    }).pipe(Effect.provide(
      layerServerWith({
        bearer: Layer.succeed(RegistrationBearer.RegistrationBearer, {
          ownerOf: (token) => Effect.succeedSome(Redacted.value(token).split(".")[0]!)
        })
      }).pipe(Layer.provideMerge(NodeSigning.layer))
    )))
})
