/**
 * Runs every numbered example as a reader would, each in a process of its own, and fails if one of them fails or does
 * not print what it is known to print.
 *
 * Examples that are written for ChatGPT in production run against the backend of this repository: where they name the
 * production URLs, a copy of them names the backend's.
 */
import { AgentKey, AgentRuntimeId, Signing, UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentDirectory } from "@agent-identity/server"
import { Command, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Redacted, Stream } from "effect"
import { Backend } from "../examples/backend.ts"

const examples: ReadonlyArray<{ readonly file: string; readonly prints: ReadonlyArray<RegExp> }> = [
  {
    file: "01-one-run.ts",
    prints: [
      /First run.*\n.*task\/register -> 200\n.*Registered task 1 /,
      /planner +accepted as agent-demo, (task-\S+)\n +researcher accepted as agent-demo, \1\n +writer +accepted as agent-demo, \1\n/,
      /BadSignature\n.*-> 401\n +tampered +refused with 401: .*invalid_assertion/,
      /Second run.*\n.*task\/register -> 200\n.*Registered task 2 /
    ]
  },
  { file: "02-your-own-app.ts", prints: [/^200 \{"agent":"agent-demo","task":"task-[\w-]+"\}$/m] }
]

/** An agent that the backend knows, in the environment of the examples. */
const makeAgent = Effect.gen(function*() {
  const signing = yield* Signing.Signing
  const directory = yield* AgentDirectory.AgentDirectory
  const key = yield* AgentKey.generate()
  const { publicKey } = yield* signing.importPrivateKey(key)
  yield* directory.putAgent({ agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-demo"), publicKey })
  return { AGENT_RUNTIME_ID: "agent-demo", AGENT_PRIVATE_KEY: Redacted.value(AgentKey.toPkcs8(key)) }
})

/** The file to run: the example itself, or its copy for the backend. */
const forBackend = (file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const { authApi, jwks, providers } = (yield* UrlDerivation.UrlDerivation).environment
    const source = yield* fs.readFileString(`examples/${file}`)
    if (!source.includes("https://chatgpt.com/backend-api/codex")) return `examples/${file}`
    const custom = {
      authApi: authApi.href,
      jwksBase: new URL("/backend-api", jwks).href,
      providers: providers.map((_) => _.href),
      loopbackHttp: true
    }
    yield* fs.makeDirectory("examples/build", { recursive: true })
    yield* fs.writeFileString(
      `examples/build/${file}`,
      source
        .replace("UrlDerivation.layer,", `UrlDerivation.layerCustom(${JSON.stringify(custom)}),`)
        .replaceAll("https://chatgpt.com/backend-api/codex", providers[0]!.href)
    )
    return `examples/build/${file}`
  })

const runExample = ({ file, prints }: (typeof examples)[number], environment: Record<string, string>) =>
  Effect.gen(function*() {
    const child = yield* Command.make("tsx", "--conditions=@agent-identity/source", yield* forBackend(file)).pipe(
      Command.env(environment),
      Command.stderr("inherit"),
      Command.start
    )
    const output = yield* child.stdout.pipe(Stream.decodeText(), Stream.mkString)
    const exitCode = yield* child.exitCode
    const missing = prints.filter((pattern) => !pattern.test(output))
    const passed = exitCode === 0 && missing.length === 0
    yield* Console.log(passed ? `${file}: passed` : `${file}: failed with exit code ${exitCode}\n${output}`)
    for (const pattern of missing) yield* Console.log(`  did not print ${pattern}`)
    return passed
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const environment = yield* makeAgent
  const passed = yield* Effect.forEach(examples, (example) => runExample(example, environment))
  process.exitCode = passed.every(Boolean) ? 0 : 1
})

program.pipe(
  Effect.provide(Backend.pipe(Layer.provideMerge(NodeSigning.layer), Layer.merge(NodeContext.layer))),
  NodeRuntime.runMain()
)
