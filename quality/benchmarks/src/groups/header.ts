/** A header, from the call to its value: freshly signed, reused, and what others take for the like of it. */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AssertionHeader from "@agent-identity/core/AssertionHeader"
import * as SignedPayload from "@agent-identity/core/SignedPayload"
import * as Signing from "@agent-identity/core/Signing"
import * as Timestamp from "@agent-identity/core/Timestamp"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as Noble from "@noble/ed25519"
import * as Dpop from "dpop"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import { createSigner, httpbis } from "http-message-signatures"
import * as Jose from "jose"
import * as Crypto from "node:crypto"
import * as WebBotAuth from "web-bot-auth"
import { signerFromJWK } from "web-bot-auth/crypto"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"

const now = () => Timestamp.format(Math.floor(Date.now() / 1000) * 1000)!

const payloadOf = (timestamp: string) => SignedPayload.assertion("v1", Agent.agentRuntimeId, Agent.taskId, timestamp)

const headerOf = (timestamp: string, signature: Uint8Array) =>
  AssertionHeader.encode({ agentRuntimeId: Agent.agentRuntimeId, taskId: Agent.taskId, timestamp, signature })

const request = { method: "GET", url: "https://chatgpt.com/backend-api/codex/models", headers: {} }

/** What peers sign lives for a minute, as their documentation suggests. */
const times = () => {
  const created = new Date()
  return { created, expires: new Date(created.getTime() + 60_000) }
}

const make = Effect.gen(function*() {
  const clock = Agent.makeMovingClock()
  const native = Context.get(yield* Layer.build(Agent.layerRun(NodeSigning.layer)), AgentAssertion.AgentAssertion)
  const reused = Context.get(yield* Layer.build(Agent.layerRun(NodeSigning.layer)), AgentAssertion.AgentAssertion)
  const portable = Context.get(yield* Layer.build(Agent.layerRun(Signing.layer)), AgentAssertion.AgentAssertion)
  const run = Runtime.runPromise(yield* Effect.withClock(Effect.runtime<never>(), clock))
  const fresh = (loop: Harness.Loop): Harness.Loop => (times) => Effect.withClock(loop(times), clock)

  const payload = Uint8Array.from(payloadOf(now()))
  const { jose, dpop, webCrypto, webBotAuth } = yield* Effect.promise(async () => ({
    jose: await Jose.importPKCS8(Agent.privateKey.export({ format: "pem", type: "pkcs8" }) as string, "EdDSA"),
    dpop: await Dpop.generateKeyPair("Ed25519"),
    webCrypto: await crypto.subtle.importKey("jwk", Agent.privateJwk, "Ed25519", false, ["sign"]),
    webBotAuth: await signerFromJWK(Agent.privateJwk)
  }))
  const messageSigner = createSigner(Agent.privateKey, "ed25519", "agent")
  const webBotAuthSync = {
    alg: "ed25519" as const,
    keyid: "agent",
    signSync: (data: string) => Crypto.sign(null, Buffer.from(data), Agent.privateKey)
  }

  return [
    { name: "raw: node:crypto sign", loop: Harness.plain(() => Crypto.sign(null, payload, Agent.privateKey)) },
    { name: "control: an empty fiber loop", loop: Harness.inFiber(() => Effect.void) },
    {
      name: "control: the clock that moves",
      loop: fresh(Harness.inFiber(() => Effect.clockWith((clock) => Effect.succeed(clock.unsafeCurrentTimeMillis()))))
    },
    { name: "freshly signed, in a fiber", target: 1.15, loop: fresh(Harness.inFiber(() => native.current)) },
    { name: "freshly signed, one runPromise a call", loop: Harness.promised(() => run(native.current)) },
    {
      name: "freshly signed, by the plain functions",
      loop: Harness.plain(() => {
        const timestamp = now()
        return headerOf(timestamp, Crypto.sign(null, payloadOf(timestamp), Agent.privateKey))
      })
    },
    { name: "freshly signed, portable layer", loop: fresh(Harness.inFiber(() => portable.current)) },
    { name: "reused within the second, in a fiber", target: 0.02, loop: Harness.inFiber(() => reused.current) },
    {
      name: "peer: WebCrypto sign alone",
      loop: Harness.promised(() => crypto.subtle.sign("Ed25519", webCrypto, payload))
    },
    {
      name: "peer: jose SignJWT EdDSA",
      loop: Harness.promised(() =>
        new Jose.SignJWT({ agent_runtime_id: Agent.agentRuntimeId, task_id: Agent.taskId })
          .setProtectedHeader({ alg: "EdDSA" }).setIssuedAt().sign(jose)
      )
    },
    { name: "peer: dpop", loop: Harness.promised(() => Dpop.generateProof(dpop, request.url, request.method)) },
    {
      name: "peer: http-message-signatures",
      loop: Harness.promised(() =>
        httpbis.signMessage({ key: messageSigner, fields: ["@method", "@target-uri"] }, request)
      )
    },
    {
      name: "peer: web-bot-auth",
      loop: Harness.promised(() => WebBotAuth.signatureHeaders(request, webBotAuth, times()))
    },
    {
      name: "peer: web-bot-auth, sync over node:crypto",
      loop: Harness.plain(() => WebBotAuth.signatureHeadersSync(request, webBotAuthSync, times()))
    },
    {
      name: "peer: @noble/ed25519, by the plain functions",
      loop: Harness.promised(async () => {
        const timestamp = now()
        return headerOf(timestamp, await Noble.signAsync(payloadOf(timestamp), Agent.seed))
      })
    }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const header: Harness.Group = {
  name: "header",
  title: "A header for one request, against signing alone",
  cases: make
}
