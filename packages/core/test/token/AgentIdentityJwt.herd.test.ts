import { AgentIdentityJwt, Jwks } from "@agent-identity/core"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, Fiber, Redacted, TestClock } from "effect"
import { turn } from "../utils.ts"
import { json, keySet, makeKey, makeServer, mint, type Respond, text } from "./issuer.ts"

const [first, second] = await Promise.all([makeKey("first"), makeKey("second")])

const good = mint(first)

describe("AgentIdentityJwt", () => {
  /** A verifier over a remote key set, whose answer waits until so many have asked for a key. */
  const herded = Effect.gen(function*() {
    const server = yield* makeServer
    const jwks = yield* Jwks.makeRemote(Effect.succeed(new URL(server.origin)))
    let asked = 0
    const find: Jwks.Service["find"] = (kid) => Effect.suspend(() => (asked++, jwks.find(kid)))
    const { verify } = yield* Effect.provideService(AgentIdentityJwt.make(), Jwks.Jwks, { find })
    const herd = (tokens: ReadonlyArray<string>, respond: Respond) =>
      Effect.gen(function*() {
        asked = 0
        yield* server.hold
        const results = yield* Effect.fork(Effect.forEach(
          Array.from({ length: 1000 }, (_, index) => Redacted.make(tokens[index % tokens.length]!)),
          (token) => Effect.either(verify(token)),
          { concurrency: "unbounded" }
        ))
        yield* Effect.repeat(turn, { until: () => asked === 1000 })
        yield* server.release(respond)
        return yield* Fiber.join(results)
      })
    return { server, herd }
  })

  it.scoped("fetches the key set once for 1,000 tokens at a time, and once more for 1,000 during a rotation", () =>
    Effect.gen(function*() {
      const { herd, server } = yield* herded
      const [old, rotated] = [yield* good, yield* mint(second)]
      for (const result of yield* herd([old], json(keySet(first)))) {
        assert.strictEqual(Either.getOrThrow(result).agentRuntimeId, "agent-1")
      }
      assert.strictEqual(server.requests.length, 1)
      yield* TestClock.adjust("30 seconds")
      for (const result of yield* herd([old, rotated], json(keySet(first, second)))) {
        assert.strictEqual(Either.getOrThrow(result).agentRuntimeId, "agent-1")
      }
      assert.strictEqual(server.requests.length, 2)
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))

  it.scoped("gives 1,000 tokens whose key set cannot be had the same error, of one fetch", () =>
    Effect.gen(function*() {
      const { herd, server } = yield* herded
      for (const result of yield* herd([yield* good], text(503))) {
        const { cause, reason } = Either.getOrThrow(Either.flip(result))
        assert.strictEqual(reason, "KeySetUnavailable")
        assert.strictEqual(cause?.status, 503)
      }
      assert.strictEqual(server.requests.length, 1)
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
})
