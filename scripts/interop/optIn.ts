/**
 * One run of ours as a process, in the home and at the backend that its environment names. A line of JSON says what came
 * of it.
 */
import { RunAuth, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { Console, Effect, Logger } from "effect"

const program = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const { status } = yield* HttpClient.get(`${environment.providers[0]}/models`)
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, ({ current }) => current)
  return { status, ...RunAuth.authorizationOf(credential) }
}).pipe(
  Effect.scoped,
  Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })),
  Effect.catchAll((error) =>
    Effect.succeed({ error: error._tag, reason: "reason" in error ? error.reason : "", message: error.message })
  ),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))
)

await Effect.runPromise(Effect.flatMap(program, (outcome) => Console.log(JSON.stringify(outcome))))
