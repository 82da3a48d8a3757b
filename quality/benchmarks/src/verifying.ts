/** What a verifying server has: agents in a directory, and headers of theirs. */
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as AssertionHeader from "@agent-identity/core/AssertionHeader"
import * as SignedPayload from "@agent-identity/core/SignedPayload"
import type * as Signing from "@agent-identity/core/Signing"
import * as Timestamp from "@agent-identity/core/Timestamp"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as AgentAssertionVerifier from "@agent-identity/server/AgentAssertionVerifier"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Crypto from "node:crypto"
import * as Agent from "./agent.ts"

/** Times of the headers, in seconds from now: within the skew that is allowed, for as long as a group runs. */
const [FIRST, LAST] = [-100, 250]
/** So many tasks make more headers than a verifier remembers, which is 10,000. */
const TASKS = 32

/** In turn, for ever. */
export const cycle = <A>(values: ReadonlyArray<A>): () => A => {
  let next = 0
  return () => values[next++ % values.length]!
}

export const rawKey = (publicKey: Crypto.KeyObject) =>
  new Uint8Array(Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url"))

const sign = (task: AgentDirectory.Task, seconds: number, privateKey: Crypto.KeyObject): string => {
  const { agentRuntimeId, taskId } = task
  const timestamp = Timestamp.format(seconds * 1000)!
  const payload = SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp)
  return AssertionHeader.encode({
    agentRuntimeId,
    taskId,
    timestamp,
    signature: Crypto.sign(null, payload, privateKey)
  })
}

const verifierOver = (directory: AgentDirectory.Service) =>
(
  options: AgentAssertionVerifier.Options,
  signing: Layer.Layer<Signing.Signing> = NodeSigning.layer
): Effect.Effect<AgentAssertionVerifier.Service> =>
  AgentAssertionVerifier.make(options).pipe(
    Effect.provideService(AgentDirectory.AgentDirectory, directory),
    Effect.provide(signing)
  )

/** The one agent of all groups, with more headers than a verifier remembers, and one signature to verify by itself. */
export const makeAgent = Effect.gen(function*() {
  const directory = AgentDirectory.makeMemory()
  const { agentRuntimeId } = Agent
  const publicKey = rawKey(Agent.publicKey)
  yield* directory.putAgent({ agentRuntimeId, publicKey })
  const start = Math.floor(Date.now() / 1000)
  const headers: Array<string> = []
  for (let task = 0; task < TASKS; task++) {
    const issued = yield* directory.issueTask(agentRuntimeId)
    for (let offset = FIRST; offset <= LAST; offset++) headers.push(sign(issued, start + offset, Agent.privateKey))
  }
  const timestamp = Timestamp.format(start * 1000)!
  const payload = Uint8Array.from(SignedPayload.assertion("v1", agentRuntimeId, Agent.taskId, timestamp))
  const signature = Uint8Array.from(Crypto.sign(null, payload, Agent.privateKey))
  return { headers, payload, publicKey, signature, verifier: verifierOver(directory) }
})

/** So many agents with keys of their own, and a header of each. */
export const makeAgents = (count: number) =>
  Effect.gen(function*() {
    const directory = AgentDirectory.makeMemory()
    const seconds = Math.floor(Date.now() / 1000) + 60
    const headers: Array<string> = []
    for (let agent = 0; agent < count; agent++) {
      const { privateKey, publicKey } = Crypto.generateKeyPairSync("ed25519")
      const agentRuntimeId = AgentRuntimeId.make(`agent-${agent}`)
      yield* directory.putAgent({ agentRuntimeId, publicKey: rawKey(publicKey) })
      headers.push(sign(yield* directory.issueTask(agentRuntimeId), seconds, privateKey))
    }
    return { headers, verifier: verifierOver(directory) }
  })
