/**
 * A new agent that a server in this process knows.
 *
 * @since 0.1.0
 */
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentKey from "@agent-identity/core/AgentKey"
import type * as Signing from "@agent-identity/core/Signing"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/**
 * A new agent: its key is made here, its public key goes into the directory, and the identity is the run's.
 *
 * @example
 * import { AgentIdentity, Signing } from "@agent-identity/core"
 * import { AgentDirectory } from "@agent-identity/server"
 * import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
 * import { Effect, Layer, Option } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
 *   const directory = yield* AgentDirectory.AgentDirectory
 *   assert.deepStrictEqual(Option.isSome(yield* directory.findAgent(agentRuntimeId)), true)
 * })
 *
 * const Agent = RegisteredAgent.layer({ agentRuntimeId: "agent-123" })
 * const Both = Layer.provideMerge(Agent, Layer.merge(AgentDirectory.layerMemory, Signing.layer))
 * await Effect.runPromise(Effect.provide(program, Both))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Omit<AgentIdentity.Options, "privateKey">
): Layer.Layer<
  AgentIdentity.AgentIdentity,
  AgentIdentity.AgentIdentityError,
  AgentDirectory.AgentDirectory | Signing.Signing
> =>
  Layer.effect(
    AgentIdentity.AgentIdentity,
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const privateKey = AgentKey.toPkcs8(yield* Effect.orDie(AgentKey.generate()))
      const identity = yield* AgentIdentity.make({ ...options, privateKey })
      yield* Effect.orDie(
        directory.putAgent({ agentRuntimeId: identity.agentRuntimeId, publicKey: identity.signer.publicKey })
      )
      return identity
    })
  )
