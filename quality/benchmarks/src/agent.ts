/** One agent and its run for all groups: the library as an app wires it, and the same key for its peers. */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentKey from "@agent-identity/core/AgentKey"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as RunTask from "@agent-identity/core/RunTask"
import type * as Signing from "@agent-identity/core/Signing"
import { TaskId } from "@agent-identity/core/TaskId"
import * as Fakes from "@agent-identity/testing/Fakes"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Crypto from "node:crypto"

// As long as the ones of the real service.
export const agentRuntimeId = AgentRuntimeId.make("agent-0192f0c1-5e0c-7d3a-b1a2-9c4f8e7d6a5b")
export const taskId = TaskId.make("task-0192f0c1-7a2b-7c4d-8e9f-1a2b3c4d5e6f")
export const accountId = "0192f0c1-9b3c-7e5f-a0b1-2c3d4e5f6a7b"

export const seed = new Uint8Array(32).fill(7)
export const pkcs8 = AgentKey.toPkcs8({ seed: Redacted.make(seed), publicKey: undefined })

/** `node:crypto` with the key objects kept: what every ratio of a signature is to. */
export const privateKey = Crypto.createPrivateKey({
  key: Buffer.from(Redacted.value(pkcs8), "base64"),
  format: "der",
  type: "pkcs8"
})
export const publicKey = Crypto.createPublicKey(privateKey)
export const privateJwk = { ...privateKey.export({ format: "jwk" }), kty: "OKP", kid: "agent" }
export const publicJwk = { ...publicKey.export({ format: "jwk" }), kty: "OKP", kid: "agent" }

export const layerIdentity = (signing: Layer.Layer<Signing.Signing>): Layer.Layer<AgentIdentity.AgentIdentity> =>
  AgentIdentity.layer({ agentRuntimeId, privateKey: pkcs8, accountId }).pipe(Layer.provide(signing), Layer.orDie)

/** A run that goes on with a task, so that nothing has to be registered before the measurement. */
export const layerRun = (
  signing: Layer.Layer<Signing.Signing>
): Layer.Layer<AgentAssertion.AgentAssertion | AgentIdentity.AgentIdentity | RunTask.RunTask> =>
  Layer.suspend(() => {
    const agent = Layer.provideMerge(
      Layer.provide(
        Layer.scoped(RunTask.RunTask, RunTask.make({ taskId, registeredAt: undefined })),
        Fakes.layerTaskRegistration
      ),
      layerIdentity(signing)
    )
    return Layer.merge(AgentAssertion.layer(agent), agent)
  })

/** A second later at every look, so that every header has to be signed. As cheap as a clock can be. */
export const makeMovingClock = (): Clock.Clock => {
  let millis = Date.now()
  const now = () => millis += 1000
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: now,
    unsafeCurrentTimeNanos: () => BigInt(now()) * 1_000_000n,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanos: Effect.sync(() => BigInt(now()) * 1_000_000n),
    sleep: () => Effect.void
  }
}
