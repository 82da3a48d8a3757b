/** The conformance vectors in a browser: the portable signing layer, over files that are given. */
import * as Signing from "@agent-identity/core/Signing"
import * as Conformance from "@agent-identity/testing/Conformance"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { Effect, Layer } from "effect"

const run = (files: Readonly<Record<string, string>>) => {
  const Files = FileSystem.layerNoop({
    readDirectory: () => Effect.succeed(Object.keys(files)),
    readFileString: (path) => Effect.succeed(files[path.slice("/vectors/".length)] ?? "")
  })
  return Conformance.run({ folders: ["/vectors"], signings: [["Signing.layer", Signing.layer]] }).pipe(
    Effect.map((report) => ({ succeeded: Conformance.succeeded(report), text: Conformance.format(report) })),
    Effect.provide(Layer.merge(Files, Path.layer)),
    Effect.runPromise
  )
}

Object.assign(globalThis, { run })
