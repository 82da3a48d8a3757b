/** For the examples with many processes: starts a program many times at once, beside one backend. */
import { UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { Command } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { environmentOf, makeBackend, makeLogin } from "./backend.ts"

/** Prints what the processes print, each of which has the argument `worker`, and what they have registered all together. */
export const run = (options: {
  readonly file: string
  readonly processes: number
  /** Whether they have one login together, or each has one of its own. */
  readonly login: "Shared" | "Each"
}) => {
  const registered: Array<string> = []
  const count = (line: string) =>
    Effect.sync(() => {
      if (line.includes("/agent/register")) registered.push("an agent")
      if (line.includes("/task/register")) registered.push("a task")
    })
  return Effect.gen(function*() {
    const { environment } = yield* UrlDerivation.UrlDerivation
    const shared = yield* makeLogin
    const start = Effect.flatMap(
      options.login === "Each" ? makeLogin : Effect.succeed(shared),
      (folder) =>
        Command.make(process.execPath, ...process.execArgv, options.file, "worker").pipe(
          Command.env({ ...environmentOf(environment), CODEX_HOME: folder, CODEX_ACCESS_TOKEN: "" }),
          Command.stderr("inherit"),
          Command.lines
        )
    )
    const lines = yield* Effect.replicateEffect(start, options.processes, { concurrency: "unbounded" })
    for (const line of lines.flat()) yield* Console.log(line)
    yield* Console.log(`${options.processes} processes: ${registered.join(", ")}`)
  }).pipe(
    Effect.scoped,
    Effect.provide(makeBackend(count)),
    Effect.provide([NodeSigning.layer, NodeContext.layer])
  )
}
