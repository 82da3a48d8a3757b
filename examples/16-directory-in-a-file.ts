/** A directory of agents that outlives its server, in a file: what is put in by one process is there for the next. */
import { AgentKey, AgentRuntimeId, Signing } from "@agent-identity/core"
import { AgentDirectory } from "@agent-identity/server"
import { LibsqlFile, SqlAgentDirectory } from "@agent-identity/sql"
import { Console, Effect, Layer, Option } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"

const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-demo")

const register = Effect.gen(function*() {
  const directory = yield* AgentDirectory.AgentDirectory
  const signing = yield* Signing.Signing
  const { publicKey } = yield* signing.importPrivateKey(yield* AgentKey.generate())
  yield* directory.putAgent({ agentRuntimeId, publicKey })
  return yield* directory.issueTask(agentRuntimeId)
}).pipe(Effect.provide(Signing.layer))

const folder = mkdtempSync(`${tmpdir()}/agents-`)

const Directory = SqlAgentDirectory.layer.pipe(Layer.provide(LibsqlFile.layer({ file: `${folder}/agents.db` })))

/** Opens the file, and closes it at the end. */
const withFile = Effect.provide(Directory)

const program = Effect.gen(function*() {
  const { taskId } = yield* withFile(register)
  const task = yield* withFile(Effect.flatMap(AgentDirectory.AgentDirectory, (_) => _.findTask(taskId)))
  yield* Console.log(Option.isSome(task) ? "the task is still there" : "the task is gone")
})

await Effect.runPromise(program)
rmSync(folder, { recursive: true })
