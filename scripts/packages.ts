/**
 * The packages as strangers get them: what is in the tarballs, what npm would publish, and apps that install them, on
 * every Node, with every TypeScript, and in a browser.
 *
 * npm run check:packages
 */
import { NodeSigning } from "@agent-identity/node"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { join } from "node:path"
import { Backend } from "../examples/backend.ts"
import * as Browser from "./packages/browser.ts"
import * as Consumers from "./packages/consumers.ts"
import * as Release from "./packages/release.ts"
import { all, check, counts } from "./packages/run.ts"
import * as Tarballs from "./packages/tarballs.ts"

const program = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = yield* fs.makeTempDirectoryScoped()
  const tarballs = yield* check("npm pack", Tarballs.pack(folder))
  yield* all([
    Consumers.checks(folder, tarballs),
    Tarballs.checks(tarballs),
    Release.checks(folder)
  ])
  yield* Browser.checks(join(folder, "app"), tarballs)
  yield* Console.log(`${counts.passed} passed, ${counts.failed} failed`)
  process.exitCode = counts.failed === 0 ? 0 : 1
}).pipe(Effect.scoped)

program.pipe(
  Effect.provide(Backend.pipe(Layer.provideMerge(NodeSigning.layer), Layer.merge(NodeContext.layer))),
  NodeRuntime.runMain()
)
