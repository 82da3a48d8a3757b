/** How large a minimal program gets for a browser or an edge runtime, from what is built. */
import * as Effect from "effect/Effect"
import * as Esbuild from "esbuild"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import * as Harness from "../harness.ts"

const PLAIN = `
  import { FetchHttpClient, HttpClient } from "@effect/platform"
  import { Effect } from "effect"
  HttpClient.get("https://chatgpt.com/backend-api/codex/models").pipe(
    Effect.flatMap((response) => response.json),
    Effect.provide(FetchHttpClient.layer),
    Effect.runPromise
  )
`

/** The example of `Run.layer`. */
const SIGNED = `
  import { AgentIdentity, Run, Signing, UrlDerivation } from "@agent-identity/core"
  import { FetchHttpClient, HttpClient } from "@effect/platform"
  import { Config, Effect, Layer } from "effect"
  const options = Config.unwrap({
    agentRuntimeId: Config.string("AGENT_RUNTIME_ID"),
    privateKey: Config.redacted("AGENT_PRIVATE_KEY")
  })
  const Identity = Layer.unwrapEffect(Effect.map(options, AgentIdentity.layer))
  const AgentRun = Run.layer(Identity).pipe(
    Layer.provide([UrlDerivation.layer, Signing.layer, FetchHttpClient.layer])
  )
  HttpClient.get("https://chatgpt.com/backend-api/codex/models").pipe(
    Effect.flatMap((response) => response.json),
    Effect.provide(AgentRun),
    Effect.runPromise
  )
`

interface Size {
  readonly min: number
  readonly gzip: number
}

/** `eager` is what is loaded with the program, `whole` has what it may import later besides. */
const bundle = async (program: string): Promise<{ readonly eager: Size; readonly whole: Size }> => {
  const { metafile, outputFiles } = await Esbuild.build({
    stdin: {
      contents: program,
      resolveDir: fileURLToPath(new URL("../..", import.meta.url)),
      sourcefile: "program.js"
    },
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    outdir: "/",
    write: false,
    metafile: true,
    absWorkingDir: "/",
    logLevel: "error"
  })
  const sizes = new Map(outputFiles.map((file) => [
    file.path.slice(1),
    { min: file.contents.length, gzip: gzipSync(file.contents, { level: 9 }).length }
  ]))
  const add = (names: Iterable<string>) =>
    [...names].reduce<Size>(
      (sum, name) => ({ min: sum.min + sizes.get(name)!.min, gzip: sum.gzip + sizes.get(name)!.gzip }),
      { min: 0, gzip: 0 }
    )
  const eager = new Set<string>()
  const visit = (name: string) => {
    if (eager.has(name)) return
    eager.add(name)
    for (const { kind, path } of metafile.outputs[name]!.imports) if (kind === "import-statement") visit(path)
  }
  visit(
    Object.keys(metafile.outputs).find((name) =>
      metafile.outputs[name]!.entryPoint !== undefined &&
      metafile.outputs[name]!.entryPoint!.endsWith("program.js")
    )!
  )
  return { eager: add(eager), whole: add(sizes.keys()) }
}

const run = Effect.promise(async () => {
  const [plain, signed] = await Promise.all([bundle(PLAIN), bundle(SIGNED)])
  const row = (name: string, bytes: number, baseline: number) =>
    Harness.row({ name, unit: "bytes", values: [bytes], baseline: [baseline] })
  return [
    row("baseline: a plain request, min", plain.whole.min, plain.whole.min),
    row("a signed request, min", signed.eager.min, plain.whole.min),
    row("a signed request, min, with what loads later", signed.whole.min, plain.whole.min),
    row("baseline: a plain request, gzip", plain.whole.gzip, plain.whole.gzip),
    row("a signed request, gzip", signed.eager.gzip, plain.whole.gzip),
    row("a signed request, gzip, with what loads later", signed.whole.gzip, plain.whole.gzip)
  ]
})

export const bundleSize: Harness.Group = {
  name: "bundle",
  title: "esbuild's bundle of a minimal program, against the same without an identity",
  rows: () => run
}
