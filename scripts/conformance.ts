/**
 * Runs every vector file of the folders given, by default this repository's own, against both signing layers.
 *
 * npm run conformance -- [folder...]
 */
import { Signing } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import * as Conformance from "@agent-identity/testing/Conformance"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { fileURLToPath } from "node:url"

const given = process.argv.slice(2)

const program = Effect.gen(function*() {
  const report = yield* Conformance.run({
    folders: given.length > 0 ? given : [fileURLToPath(new URL("../packages/testing/vectors", import.meta.url))],
    signings: [["Signing.layer", Signing.layer], ["NodeSigning.layer", NodeSigning.layer]]
  })
  yield* Console.log(Conformance.format(report))
  return Conformance.succeeded(report)
}).pipe(
  Effect.catchTag("ConformanceError", (error) => Effect.as(Console.error(error.message), false)),
  // Not `process.exit`, which may cut what is still being written.
  Effect.tap((succeeded) => Effect.sync(() => void (process.exitCode = succeeded ? 0 : 1)))
)

NodeRuntime.runMain(Effect.provide(program, NodeContext.layer))
