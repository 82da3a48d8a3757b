/** A server of `node:http` that knows nothing of Effect, with the verifier in front of what it answers. */
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
import { Effect, Exit, Layer, ManagedRuntime } from "effect"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const runtime = ManagedRuntime.make(AgentAssertionVerifier.layer.pipe(
  Layer.provide([AgentDirectory.layerMemory, NodeSigning.layer])
))

const verify = (authorization: string | undefined) =>
  Effect.flatMap(AgentAssertionVerifier.AgentAssertionVerifier, (_) => _.verify(authorization))

const server = createServer(async (request, response) => {
  const exit = await runtime.runPromiseExit(Effect.either(verify(request.headers.authorization)))
  if (Exit.isFailure(exit)) return response.writeHead(500).end()
  if (exit.value._tag === "Right") return response.writeHead(200).end(`hello ${exit.value.right.agentRuntimeId}\n`)
  const error = exit.value.left
  return error._tag === "AgentDirectoryError"
    ? response.writeHead(503, { "retry-after": "2" }).end()
    // The code is for the client, the reason for the log.
    : response.writeHead(401, { "content-type": "application/json" })
      .end(JSON.stringify({ error: { code: error.code } }))
})

await once(server.listen(0, "127.0.0.1"), "listening")
const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
console.log(response.status, await response.text())
server.close()
await runtime.dispose()
