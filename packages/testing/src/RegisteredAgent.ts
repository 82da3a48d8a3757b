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
 * The agent's key is made here, its public key goes into the directory, and the identity is the run's.
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
