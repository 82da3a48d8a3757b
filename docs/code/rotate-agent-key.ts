/** An agent of your own backend gets another key: its id stays, and the old key is refused from then on. */
import { AgentIdentity, AgentKey, Run, Signing, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory } from "@agent-identity/server"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Logger, LogLevel } from "effect"
import { Backend, makeAgent } from "../../examples/backend.ts"

/** Where you keep the directory: the private half of the new key goes to the agent, the public half here. */
const rotate = (agentRuntimeId: AgentDirectory.Agent["agentRuntimeId"]) =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const signing = yield* Signing.Signing
    const key = yield* AgentKey.generate()
    const { publicKey } = yield* signing.importPrivateKey(key)
    yield* directory.putAgent({ agentRuntimeId, publicKey })
    return AgentKey.toPkcs8(key)
  })

const ask = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const { status } = yield* HttpClient.get(`${environment.providers[0]}/models`)
  return status
})

const program = Effect.gen(function*() {
  const { agentRuntimeId, privateKey } = yield* makeAgent("agent-demo")
  const runWith = (privateKey: AgentIdentity.Options["privateKey"]) =>
    Effect.provide(Run.layer(AgentIdentity.layer({ agentRuntimeId, privateKey })))

  const newKey = yield* Effect.gen(function*() {
    yield* Console.log("the old key:", yield* ask)
    const newKey = yield* rotate(agentRuntimeId)
    yield* Console.log("the old key, after the rotation:", yield* ask)
    return newKey
  }).pipe(runWith(privateKey))
  yield* Console.log("a new run with the new key:", yield* runWith(newKey)(ask))
})

const Process = Layer.provideMerge(Layer.merge(Backend, NodeHttpClient.layerUndici), NodeSigning.layer)

program.pipe(Effect.provide(Process), Logger.withMinimumLogLevel(LogLevel.Error), NodeRuntime.runMain())
