/** Eight processes of one person, started at once: they share the agent in `auth.json`, and its task. */
import { RunAuth, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { Command, HttpClient } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { environmentOf, makeBackend, makeLogin } from "./backend.ts"

/** What each process does, by the environment that it is started with. */
const worker = Effect.gen(function*() {
  const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
  const { environment } = yield* UrlDerivation.UrlDerivation
  const response = yield* HttpClient.get(`${environment.providers[0]}/models`)
  yield* Console.log(credential._tag, response.status, yield* response.text)
}).pipe(Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" })))

const registrations: Array<string> = []

const parent = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const folder = yield* makeLogin
  const start = Command.make(process.execPath, ...process.execArgv, import.meta.filename, "worker").pipe(
    Command.env({ ...environmentOf(environment), CODEX_HOME: folder, CODEX_ACCESS_TOKEN: "" }),
    Command.stderr("inherit"),
    Command.lines
  )
  const lines = yield* Effect.all(Array.from({ length: 8 }, () => start), { concurrency: "unbounded" })
  for (const line of lines.flat()) yield* Console.log(line)
  yield* Console.log(`8 processes: ${registrations.join(", ")}`)
}).pipe(
  Effect.scoped,
  Effect.provide(makeBackend((line) =>
    Effect.sync(() => {
      if (line.includes("/agent/register")) registrations.push("an agent")
      if (line.includes("/task/register")) registrations.push("a task")
    })
  )),
  Effect.provide([NodeSigning.layer, NodeContext.layer])
)

const program: Effect.Effect<void, unknown> = process.argv[2] === "worker" ? worker : parent

program.pipe(NodeRuntime.runMain())
