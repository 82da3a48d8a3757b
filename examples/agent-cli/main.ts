/**
 * An agent on the command line that answers questions about the files of a folder: it searches and reads them as the model
 * asks. Every request of a run is signed for its one task; only the layer below says who the agent is.
 */
import { RunAuth, type UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import type { HttpClient } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Data, Effect, Layer, Logger } from "effect"
import { parseArgs } from "node:util"
import * as Agent from "./Agent.ts"
import * as Offline from "./Offline.ts"
import * as Provider from "./Provider.ts"
import * as Tools from "./Tools.ts"

const USAGE = `agent-cli [options] QUESTION
  --workspace FOLDER  whose files it is about; this folder by default
  --model NAME        gpt-5-codex by default
  --login             as the agent of a login with the Codex client, which is made where there is none
  --offline           a backend on loopback, and a script in the place of the model
By default the agent is that of the token in CODEX_ACCESS_TOKEN, or of the auth.json in CODEX_HOME.`

class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

const parse = (args: Array<string>) =>
  Effect.try({
    try: () =>
      parseArgs({
        args,
        allowPositionals: true,
        options: {
          workspace: { type: "string", default: "." },
          model: { type: "string", default: "gpt-5-codex" },
          login: { type: "boolean", default: false },
          offline: { type: "boolean", default: false }
        }
      }),
    catch: (error) => new UsageError({ message: `${(error as Error).message}\n${USAGE}` })
  }).pipe(
    Effect.filterOrFail(
      ({ positionals }) => positionals.length > 0,
      () => new UsageError({ message: `There is no question\n${USAGE}` })
    )
  )

type Run = Layer.Layer<
  RunAuth.RunAuth | UrlDerivation.UrlDerivation | HttpClient.HttpClient,
  NodeAgentIdentity.ChatGptError | Layer.Layer.Error<typeof Offline.layer>
>

/** Whose run it is. Everything else is the same. */
const runOf = (options: { readonly login: boolean; readonly offline: boolean }): Run =>
  options.offline
    ? Offline.layer
    : options.login
    ? NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })
    : NodeAgentIdentity.layerConfig

const main = Effect.gen(function*() {
  const { positionals, values } = yield* parse(process.argv.slice(2))
  const App = Agent.layer.pipe(
    Layer.provide([Provider.layer(values), Tools.layer(values.workspace)]),
    Layer.provideMerge(runOf(values))
  )
  yield* Effect.gen(function*() {
    const { ask } = yield* Agent.Agent
    const { current } = yield* RunAuth.RunAuth
    yield* Console.log(yield* ask(positionals.join(" ")))
    const { _tag, ...sent } = RunAuth.authorizationOf(yield* current)
    yield* Effect.logInfo(`Sent with ${_tag}`, sent)
  }).pipe(Effect.provide(App))
})

/** Its answer goes to stdout, all else to stderr. */
main.pipe(
  Effect.catchAll((error) =>
    Effect.zipRight(
      Console.error("message" in error ? error.message : String(error)),
      Effect.sync(() => process.exitCode = 1)
    )
  ),
  Effect.provide([NodeContext.layer, Logger.replace(Logger.defaultLogger, Logger.prettyLogger({ stderr: true }))]),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
