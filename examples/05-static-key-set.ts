/** A token where its issuer cannot be reached: the issuer's keys come along, as JSON. */
import { AgentIdentity, AgentIdentityJwt, Jwks, PlanType } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Either, Layer } from "effect"

const Identity = AgentIdentityJwt.layerIdentityConfig(Config.redacted("CODEX_ACCESS_TOKEN")).pipe(
  Layer.provide(AgentIdentityJwt.layer(Jwks.layerConfig(Config.string("JWKS_JSON")))),
  Layer.provide(NodeSigning.layer)
)

const program = Effect.gen(function*() {
  // For display only: anybody can write such a token.
  const claims = AgentIdentityJwt.decodeUnverified(yield* Config.redacted("CODEX_ACCESS_TOKEN"))
  yield* Console.log(`The token says it is ${Either.getOrThrow(claims).agentRuntimeId}`)
  yield* Console.log(`and its plan is ${PlanType.fromClaim(Either.getOrThrow(claims).plan.raw).displayName}.`)

  const identity = yield* AgentIdentity.AgentIdentity
  yield* Console.log(`Verified without a request: ${identity.agentRuntimeId} of ${identity.account?.id}`)
})

program.pipe(Effect.provide(Identity), NodeRuntime.runMain())
