import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"

const PACKAGES = ["core", "login", "node", "server", "sql", "authapi", "testing"]

/** With options, and with options from configuration, it is the same layer. */
const nameOf = (layer: string) => layer.replace(/(With|Config)$/, "")

it.effect("an example uses every public layer", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const read = (folder: string, files: ReadonlyArray<string>) =>
      Effect.forEach(files, (file) => fs.readFileString(`${folder}/${file}`))
    const code = (yield* Effect.forEach(
      ["examples", "examples/agent-cli"],
      (folder) =>
        Effect.flatMap(fs.readDirectory(folder), (files) => read(folder, files.filter((file) => file.endsWith(".ts"))))
    )).flat().join("\n")

    const layers: Array<string> = []
    for (const name of PACKAGES) {
      const folder = `packages/${name}/src`
      const modules = (yield* fs.readDirectory(folder, { recursive: true }))
        .filter((file) => /(?:^|\/)[A-Z]\w+\.ts$/.test(file) && !file.startsWith("internal/"))
      for (const [index, text] of (yield* read(folder, modules)).entries()) {
        for (const [, layer] of text.matchAll(/^export (?:const|function) (layer\w*)/gm)) {
          layers.push(`${modules[index]!.replace(/^.*\//, "").replace(/ts$/, "")}${layer}`)
        }
      }
    }
    assert.isAbove(layers.length, 80)
    const unused = layers.filter((layer) => !new RegExp(`\\b${nameOf(layer)}(With|Config)?\\b`).test(code))
    assert.deepStrictEqual(unused, [])
  }).pipe(Effect.provide(NodeContext.layer)))
