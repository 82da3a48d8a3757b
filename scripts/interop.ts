/**
 * Runs the real client, `@openai/codex`, against our AuthAPI, issuers and Responses endpoint, and verifies everything that
 * it sends; and it and we use one home in turn, as two programs of one person do. It is installed outside of this
 * repository when it is first needed; where it cannot be had, nothing is checked. Where the machine allows it, nothing but
 * loopback is in reach.
 *
 * npm run interop                   with the newest
 * npm run interop -- --versions     one run with each of several versions
 */
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Client from "./interop/client.ts"
import * as Deployments from "./interop/deployments.ts"
import * as Logins from "./interop/logins.ts"
import * as TokenRuns from "./interop/tokenRuns.ts"

const withVersions = process.argv.includes("--versions")
const clients = withVersions ? [...Client.PAST, Client.NEWEST] : [Client.NEWEST]

const checkNewest = Effect.gen(function*() {
  const runs = yield* Effect.forEach(TokenRuns.newest, TokenRuns.run)
  const logins = yield* Logins.run
  return [...runs.flat(), ...logins.flat(), ...yield* Deployments.run]
})

const checkVersions = Effect.map(
  Effect.forEach(clients, (client) => TokenRuns.run(TokenRuns.ofVersion(client))),
  (runs) => runs.flat()
)

const ISOLATED = "AGENT_IDENTITY_INTEROP_ISOLATED"

const program = Effect.gen(function*() {
  if (process.env[ISOLATED] === undefined) {
    yield* Effect.forEach(clients, ({ version }) => Client.install(version))
    const isolation = yield* Client.isolation
    if (Option.isSome(isolation)) {
      // All of it once more from in there: the server has to be in reach of the client.
      const [command = "", ...args] = [
        ...isolation.value,
        process.execPath,
        ...process.execArgv,
        SCRIPT,
        ...process.argv.slice(2)
      ]
      const env = { ...process.env, [ISOLATED]: "1" }
      process.exitCode = spawnSync(command, args, { env, stdio: "inherit" }).status ?? 1
      return
    }
  }
  const network = process.env[ISOLATED] === undefined
    ? "the machine's network, by a proxy that refuses"
    : "loopback only"
  yield* Console.log(`@openai/codex ${clients.map(({ version }) => version).join(", ")} with ${network}`)
  const checks = yield* withVersions ? checkVersions : checkNewest
  const failed = checks.filter(({ passed }) => !passed).length
  yield* Console.log(`\n${checks.length - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
}).pipe(
  Effect.catchTag(
    "ClientMissing",
    ({ detail, version }) => Console.log(`Skipped: @openai/codex ${version} cannot be had here: ${detail}`)
  )
)

const SCRIPT = fileURLToPath(import.meta.url)

NodeRuntime.runMain(Effect.provide(program, NodeContext.layer))
