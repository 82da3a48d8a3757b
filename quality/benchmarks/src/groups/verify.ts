/** From a header to a verified agent and its live task. */
import * as AssertionHeader from "@agent-identity/core/AssertionHeader"
import * as Signing from "@agent-identity/core/Signing"
import * as Noble from "@noble/ed25519"
import * as Effect from "effect/Effect"
import { createSigner, createVerifier, httpbis } from "http-message-signatures"
import * as Jose from "jose"
import * as Crypto from "node:crypto"
import * as WebBotAuth from "web-bot-auth"
import { signerFromJWK, verifierFromJWK } from "web-bot-auth/crypto"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"
import * as Verifying from "../verifying.ts"

const request = { method: "GET", url: "https://chatgpt.com/backend-api/codex/models", headers: {} }

const make = Effect.gen(function*() {
  const { headers, payload, publicKey, signature, verifier } = yield* Verifying.makeAgent
  const native = yield* verifier({})
  const repeated = yield* verifier({})
  const portable = yield* verifier({}, Signing.layer)
  const [nextNative, nextPortable, nextDecoded] = [
    Verifying.cycle(headers),
    Verifying.cycle(headers),
    Verifying.cycle(headers)
  ]
  const same = headers.at(-1)!
  const received = Buffer.from(same)
  const { jose, jwt, message, signed, verifyWebBotAuth, webCrypto } = yield* Effect.promise(async () => {
    const key = await crypto.subtle.importKey("jwk", Agent.privateJwk, "Ed25519", false, ["sign"])
    const created = new Date()
    const expires = new Date(created.getTime() + 600_000)
    return {
      jose: await Jose.importJWK({ ...Agent.publicJwk, alg: "EdDSA" }),
      jwt: await new Jose.SignJWT({ task_id: Agent.taskId })
        .setProtectedHeader({ alg: "EdDSA" }).setIssuedAt().setExpirationTime("10m").sign(key),
      webCrypto: await crypto.subtle.importKey("jwk", Agent.publicJwk, "Ed25519", false, ["verify"]),
      message: await httpbis.signMessage({
        key: createSigner(Agent.privateKey, "ed25519", "agent"),
        fields: ["@method", "@target-uri"]
      }, request),
      signed: {
        ...request,
        headers: {
          ...await WebBotAuth.signatureHeaders(request, await signerFromJWK(Agent.privateJwk), { created, expires })
        }
      },
      verifyWebBotAuth: await verifierFromJWK(Agent.publicJwk)
    }
  })
  const keyLookup = () => Promise.resolve({ id: "agent", verify: createVerifier(Agent.publicKey, "ed25519") })

  return [
    {
      name: "raw: node:crypto verify",
      loop: Harness.plain(() => Crypto.verify(null, payload, Agent.publicKey, signature))
    },
    { name: "control: decoding the header", loop: Harness.plain(() => AssertionHeader.decode(nextDecoded())) },
    { name: "a new header", target: 1.15, loop: Harness.inFiber(() => native.verify(nextNative())) },
    { name: "the same header again", target: 0.03, loop: Harness.inFiber(() => repeated.verify(same)) },
    {
      // A server has it from a socket: the string is another one each time, and its hash is not known yet.
      name: "the same header again, read anew",
      loop: Harness.inFiber(() => repeated.verify(received.toString("latin1")))
    },
    { name: "a new header, portable layer", loop: Harness.inFiber(() => portable.verify(nextPortable())) },
    {
      name: "peer: WebCrypto verify alone",
      loop: Harness.promised(() => crypto.subtle.verify("Ed25519", webCrypto, signature, payload))
    },
    {
      name: "peer: jose jwtVerify EdDSA",
      loop: Harness.promised(() => Jose.jwtVerify(jwt, jose, { algorithms: ["EdDSA"] }))
    },
    {
      name: "peer: http-message-signatures",
      loop: Harness.promised(() => httpbis.verifyMessage({ keyLookup }, message))
    },
    { name: "peer: web-bot-auth", loop: Harness.promised(() => WebBotAuth.verify(signed, verifyWebBotAuth)) },
    {
      name: "peer: @noble/ed25519 verify alone",
      loop: Harness.promised(() => Noble.verifyAsync(signature, payload, publicKey))
    }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const verify: Harness.Group = {
  name: "verify",
  title: "From a header to a verified agent, against verifying a signature alone",
  cases: Effect.orDie(make)
}
