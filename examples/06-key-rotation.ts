/**
 * The issuer changes its key while a program runs: tokens of the old key stay good until they expire, and the first
 * token of the new key costs one fetch of the key set, however many arrive at once.
 */
import { AgentIdentityJwt, Jwks, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentIdentityIssuer } from "@agent-identity/server"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, TestClock, TestContext } from "effect"
import { makeAgent, makeBackend } from "./backend.ts"

const Verifier = AgentIdentityJwt.layer(Jwks.layer(Layer.service(UrlDerivation.UrlDerivation))).pipe(
  Layer.provide(NodeHttpClient.layerUndici),
  Layer.provideMerge(makeBackend((line) => Console.log(`  server     ${line}`))),
  Layer.provide(NodeSigning.layer)
)

const program = Effect.gen(function*() {
  const { verify } = yield* AgentIdentityJwt.AgentIdentityJwt
  const { rotate } = yield* AgentIdentityIssuer.AgentIdentityIssuer
  const agent = makeAgent("agent-demo").pipe(Effect.provide(NodeSigning.layer))

  const { token: before } = yield* agent
  yield* verify(before)
  yield* Console.log("A token of the first key is verified.")

  yield* rotate
  const { token: after } = yield* agent
  // A key set is asked for again at most once in 30 seconds.
  yield* TestClock.adjust("30 seconds")
  yield* Effect.all(Array.from({ length: 1000 }, () => verify(after)), { concurrency: "unbounded" })
  yield* Console.log("1,000 tokens of the second key are verified.")

  yield* verify(before)
  yield* Console.log("A token of the first key is still verified.")
})

program.pipe(Effect.provide(Layer.provideMerge(Verifier, TestContext.TestContext)), NodeRuntime.runMain())
