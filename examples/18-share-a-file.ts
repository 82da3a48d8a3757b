/** Eight processes of one person, started at once: they share the agent in `auth.json`, and its task. */
import { RunAuth, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import * as Workers from "./workers.ts"

/** What each process does. */
const worker = Effect.gen(function*() {
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* Console.log(credential._tag, response.status, yield* response.text)
}).pipe(Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })))

const program: Effect.Effect<void, unknown> = process.argv[2] === "worker"
  ? worker
  : Workers.run({ file: import.meta.filename, processes: 8, login: "Shared" })

program.pipe(NodeRuntime.runMain())
