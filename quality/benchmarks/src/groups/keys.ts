/** A key, from text to a signer: once a process. And sealed boxes: once a registration at most. */
import * as AgentKey from "@agent-identity/core/AgentKey"
import * as SealedBox from "@agent-identity/core/SealedBox"
import * as Signing from "@agent-identity/core/Signing"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Jose from "jose"
import * as Crypto from "node:crypto"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"

const makeKeys = Effect.gen(function*() {
  const native = yield* Effect.provide(Signing.Signing, NodeSigning.layer)
  const portable = yield* Effect.provide(Signing.Signing, Signing.layer)
  const der = Buffer.from(Redacted.value(Agent.pkcs8), "base64")
  const pem = Agent.privateKey.export({ format: "pem", type: "pkcs8" }) as string
  const publicKey = new Uint8Array(Buffer.from(Agent.publicJwk.x!, "base64url"))
  const privateIn = (signing: Signing.Service) =>
    Harness.inFiber(() => Effect.flatMap(AgentKey.fromPkcs8(Agent.pkcs8), signing.importPrivateKey))
  return [
    {
      name: "raw: node:crypto createPrivateKey",
      loop: Harness.plain(() => Crypto.createPrivateKey({ key: der, format: "der", type: "pkcs8" }))
    },
    { name: "private key, native layer", loop: privateIn(native) },
    { name: "private key, portable layer", loop: privateIn(portable) },
    { name: "public key, native layer", loop: Harness.inFiber(() => native.importPublicKey(publicKey)) },
    { name: "public key, portable layer", loop: Harness.inFiber(() => portable.importPublicKey(publicKey)) },
    {
      name: "raw: node:crypto createPublicKey of a JWK",
      loop: Harness.plain(() => Crypto.createPublicKey({ key: Agent.publicJwk, format: "jwk" }))
    },
    { name: "peer: jose importPKCS8", loop: Harness.promised(() => Jose.importPKCS8(pem, "EdDSA")) }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const keys: Harness.Group = {
  name: "keys",
  title: "Import of a key with all checks, against createPrivateKey alone",
  cases: makeKeys
}

const makeBox = Effect.gen(function*() {
  const publicKey = new Uint8Array(Buffer.from(Agent.publicJwk.x!, "base64url"))
  const message = Buffer.from(Agent.taskId)
  const sealed = yield* SealedBox.seal(publicKey, message)
  const [own, other] = [Crypto.generateKeyPairSync("x25519"), Crypto.generateKeyPairSync("x25519")]
  return [
    {
      name: "raw: node:crypto X25519 alone",
      loop: Harness.plain(() => Crypto.diffieHellman({ privateKey: own.privateKey, publicKey: other.publicKey }))
    },
    { name: "open a sealed task id", loop: Harness.inFiber(() => SealedBox.open(Agent.seed, sealed)) },
    { name: "seal a task id", loop: Harness.inFiber(() => SealedBox.seal(publicKey, message)) }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const box: Harness.Group = {
  name: "box",
  title: "A sealed box, against one X25519 agreement of node:crypto (a box needs two of them)",
  cases: Effect.orDie(makeBox)
}
