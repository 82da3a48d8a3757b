/** An app of your own: an agent identity JWT in `CODEX_ACCESS_TOKEN`, one layer, and plain requests that are signed. */
import { UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"

const program = Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* client.get(`${environment.providers[0]}/models`) // https://chatgpt.com/backend-api/codex
  yield* Console.log(response.status, yield* response.text)
})

program.pipe(Effect.provide(NodeAgentIdentity.layerConfig), NodeRuntime.runMain())
