import { AgentIdentity, AssertionHeader, SignedPayload, Timestamp } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

const layer = AgentAssertionVerifier.layer.pipe(
  Layer.provideMerge(RegisteredAgent.layer({ agentRuntimeId: "agent-1" })),
  Layer.provideMerge(AgentDirectoryCache.layer(AgentDirectory.layerMemory)),
  Layer.provide(NodeSigning.layer)
)

/** Signs with the run's agent, for a new task. */
const sign = Effect.gen(function*() {
  const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
  const { taskId } = yield* Effect.flatMap(AgentDirectory.AgentDirectory, (_) => _.issueTask(agentRuntimeId))
  const timestamp = Timestamp.format(yield* Clock.currentTimeMillis)!
  const signature = yield* signer.sign(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp))
  return AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
})

describe("memory", () => {
  it.live(
    "grows by less than 32 MiB for 10,000 distinct assertions and 1,000,000 repeated ones",
    () =>
      Effect.gen(function*() {
        setFlagsFromString("--expose-gc")
        const collectGarbage = runInNewContext("gc")
        const heap = Effect.sync(() => {
          collectGarbage()
          return process.memoryUsage().heapUsed
        })
        const verifier = yield* AgentAssertionVerifier.AgentAssertionVerifier
        const header = yield* sign
        yield* verifier.verify(header)
        const before = yield* heap
        for (let index = 0; index < 10_000; index++) yield* verifier.verify(yield* sign)
        const again = yield* sign
        for (let index = 0; index < 1_000_000; index++) yield* verifier.verify(again)
        assert.isBelow((yield* heap) - before, 32 * 1024 * 1024)
      }).pipe(Effect.provide(layer))
  )
})
