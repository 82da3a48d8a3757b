/** Opt in: a ChatGPT login becomes an agent, once. Every later run finds the agent and its task in `auth.json`. */
import { RunAuth, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { FileSystem, HttpClient } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { ConfigProvider, Console, Effect } from "effect"
import { environmentOf, makeBackend, makeLogin } from "./backend.ts"

/** The app: it knows nothing of who it is. */
const app = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* Console.log("  answer ", response.status, yield* response.text)
})

const sends = Effect.gen(function*() {
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
  yield* Console.log(
    "  sends  ",
    credential._tag,
    credential._tag === "Assertion" ? "" : `because ${credential.reason}`
  )
})

const program = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const folder = yield* makeLogin
  const asUser = Effect.withConfigProvider(
    ConfigProvider.fromMap(new Map(Object.entries({ ...environmentOf(environment), CODEX_HOME: folder })))
  )
  const run = (policy: "JwtOnly" | "ChatGptAuth") =>
    Effect.zipRight(sends, app).pipe(
      Effect.provide(NodeAgentIdentity.layerChatGpt({ policy, agentVersion: "1.0.0" })),
      asUser
    )

  yield* Console.log("Without opting in: the person's own token")
  yield* run("JwtOnly")
  yield* Console.log("\nThe first run: a new agent")
  yield* run("ChatGptAuth")
  yield* Console.log("\nThe second run: the same agent and task")
  yield* run("ChatGptAuth")

  const fs = yield* FileSystem.FileSystem
  const { agent_identity: agent } = JSON.parse(yield* fs.readFileString(`${folder}/auth.json`))
  yield* Console.log("\nKept:", agent.agent_runtime_id, agent.task_id, "of", agent.account_id)
})

program.pipe(
  Effect.scoped,
  Effect.provide(makeBackend((line) => Console.log("  server ", line))),
  Effect.provide([NodeSigning.layer, NodeContext.layer]),
  NodeRuntime.runMain()
)
