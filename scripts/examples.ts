/**
 * Runs every example as a reader would, each in a process of its own against the backend of this repository, and fails if
 * one of them fails or does not print what it is known to print.
 */
import { Command, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Option, Stream } from "effect"
import { availableParallelism } from "node:os"
import * as Postgres from "../packages/sql/test/postgres.ts"
import * as Environment from "./environment.ts"

/** By file, and what is given to it on its command line. */
const prints: Record<string, ReadonlyArray<RegExp>> = {
  "01-one-run.ts": [
    /First run.*\n.*task\/register -> 200\n.*Registered task 1 /,
    /planner +accepted as agent-demo, (task-\S+)\n +researcher accepted as agent-demo, \1\n +writer +accepted as agent-demo, \1\n/,
    /BadSignature\n.*-> 401\n +tampered +refused with 401: .*invalid_assertion/,
    /Second run.*\n.*task\/register -> 200\n.*Registered task 2 /
  ],
  "02-your-own-app.ts": [/^200 \{"agent":"agent-demo","task":"task-[\w-]+"\}$/m],
  "04-your-own-key.ts": [/^200 \{"agent":"agent-demo","task":"task-[\w-]+"\}$/m],
  "05-static-key-set.ts": [/says it is agent-demo\n.*Pro\.\nVerified without a request: agent-demo of account-demo$/m],
  "06-key-rotation.ts": [
    /^(.*jwks -> 200\n)A token of the first key is verified\.\n\1 *1,000 tokens of the second.*\nA token of the first key is still/m
  ],
  "07-many-runs.ts": [/^first: 200 with task-/m, /^second: 200 with task-/m, /^third: 200 with task-/m],
  "08-many-agents.ts": [
    /100 agents: 100 tasks\nevicted: .*its scope is closed; .*\nused again: another run.*\nan error of the app: the same run\n/,
    /before it is registered: status 401; .*\nat once after it: a task\n/
  ],
  "09-task-recovery.ts": [/^requests: 100\nanswered with 401: 100\nregistrations: 1\nsuccesses: 100$/m],
  "10-websocket.ts": [
    /server +agent-demo dialed with (task-\S+)\n +app +received hello\n.*app +Close: 4001: the run's task was replaced\n +server +agent-demo dialed with (?!\1\n)task-\S+\n +app +received hello\n/s
  ],
  "11-effect-ai.ts": [
    /taskId: (task-\S+)\n.*\ndelta Hello\ndelta , \ndelta agent-demo\nsent with .*_tag: 'Assertion'.*taskId: '\1'/s
  ],
  "12-openai-sdk.ts": [/^Hello, agent-demo$/m],
  "13-opentelemetry.ts": [
    /^span +TaskRegistration\.register, in run, agent_identity\.agent_runtime_id agent-demo, .*\.task_id task-\S+$/m,
    /http\.client GET, in first request, .*_id agent-demo, .*\.scheme Assertion, .*\.task_id (task-\S+)\n.*, in second request, .*\1\n/,
    /TaskRegistration\.register, in RunTask\.renew, .*\n.*RunTask\.renew, in renewal, .*\.task_id (task-\S+)\n.*, in third request, .*\.task_id (?!\1\n)task-/,
    /AgentAssertionVerifier\.refuse, in http\.server GET, .*\.refusal BadSignature, .*\.task_id task-of-another-run\n/,
    /^metric +agent_identity_task_registrations 2$/m,
    /^metric +agent_identity_task_renewals 1, key renewed$/m,
    /^metric +agent_identity_assertion_refusals 1, key BadSignature$/m,
    /^metric +agent_identity_signatures \d, key made$/m,
    /^(?!.*AgentAssertion )/s
  ],
  "14-providers.ts": [
    /^first party\n +resolved +RunAuth\n +sent with +Assertion, agent-demo, (task-\S+)\n +answer +\{"agent":"agent-demo","task":"\1"\}$/m,
    /^key of the environment\n +resolved +OwnBearer, environmentKey\n +sent with +Bearer, .*\n +answer +Bearer$/m,
    /^bearer token\n +resolved +OwnBearer, bearerToken\n +sent with +Bearer, .*\n +answer +Bearer$/m,
    /^auth command\n +resolved +OwnBearer, authCommand\n +sent with +Bearer, .*\n +answer +Bearer$/m,
    /^cloud\n +resolved +None, .* signed by aws\nlocal\n +resolved +None, .*\n +sent with +None, .*\n +answer +nothing$/m,
    /^asks without right\n +resolved +None, .*not first party\n +sent with +None, .*\n +answer +nothing$/m,
    /^(?!.*(token-of|key-of))/s
  ],
  "15-protect-your-api.ts": [
    /^a stranger: 401, AgentAssertion error="missing_assertion"$/m,
    /^the agent: 200, "the notes of agent-demo"$/m
  ],
  "16-directory-in-a-file.ts": [/^the task is still there$/m],
  "17-opt-in.ts": [
    /^Without opting in.*\n +sends +Bearer because .*JwtOnly/m,
    /^The first run.*\n.*agent\/register -> 200\n(.*\n){2}.*task\/register -> 200\n(.*\n){3} +sends +Assertion.*\n.*\n +answer +200/m,
    /^The second run.*\n +sends +Assertion.*\n +server.*models -> 200\n +answer +200 \{"agent":"(agent-\w+)","task":"(task-[\w-]+)"\}\n\nKept: \1 \2 of account-demo$/m
  ],
  "18-share-a-file.ts": [
    /^(Assertion 200 \{"agent":"agent-\w+","task":"task-[\w-]+"\}\n)(?:(?:.*\n)*?\1){7}(?:.*\n)*8 processes: an agent, a task$/m
  ],
  "19-share-a-database.ts": [
    /^(Assertion 200 \{"agent":"agent-\w+","task":"task-[\w-]+"\}\n)(?:(?:.*\n)*?\1){3}(?:.*\n)*4 processes: an agent, a task$/m
  ],
  "20-environments.ts": [
    /^Production\n.*auth\.openai\.com\S+\/agent-demo\/task\/register\n +FirstParty .*\n +BearerOnly .*\n( +Foreign .*\n){3}Staging\n/m,
    /^ +FirstParty .*wham\/usage\n +Foreign .*\/me$/m,
    /^Custom\n.*auth\.example\.com.*\n +FirstParty .*models.*\n +Foreign .*\/register$/m,
    /^Custom\n.*http:\/\/authapi:8787.*\n +FirstParty .*8080.*\n +Foreign .*8081.*$/m
  ],
  "21-agent-or-nothing.ts": [/^200 with Assertion, agent-\w+, task-\S+$/m, /^401 with None, .*JwtOnly/m],
  "22-another-issuer.ts": [
    /^by discovery: agent-demo\nfrom a file: agent-demo\nready-made: agent-demo\nas ChatGPT's: .*another issuer/m
  ],
  "23-strict-backend.ts": [
    /^an assertion: 200, again: 401, AgentAssertion error="replayed_assertion"$/m,
    /^a second run has a task\na third one: Throttled\nthe first one, handed on: 200$/m
  ],
  "24-server-on-postgres.ts": [/^200 for agent-demo with task-\S+$/m],
  "25-beside-your-tables.ts": [
    /cannot be added\n +in the directory: false, in the store: false\n.*\n +in the directory: true, in the store: true$/m
  ],
  "26-where-it-is-kept.ts": [
    /^nothing: ready\nAGENTS_FILE: ready\nDATABASE_URL: (ready|No connection to PostgreSQL.*)$/m
  ],
  "agent-cli/main.ts Who am I?": [/^Hello, agent-demo$/m],
  "agent-cli/main.ts --offline --workspace examples Which example shows a WebSocket?": [
    /^10-websocket\.ts: A WebSocket whose handshake is signed: .*$/m
  ],
  "28-transport.ts": [/^POST .*\/task\/register\n[^]*\nGET .*\/models\n200$/m],
  "29-stream-of-events.ts": [
    /code":"task_expired"[^]*task\/register -> 200\n[^]*"type":"response\.completed","text":"Hello, agent-demo"\}$/m
  ]
}

/** A database for the examples that want one, where this machine has PostgreSQL. */
const database = Effect.acquireRelease(
  Effect.option(Effect.tryPromise(Postgres.make)),
  (server) => Option.isSome(server) ? Effect.promise(server.value.remove) : Effect.void
).pipe(Effect.map(Option.map(({ url }) => ({ DATABASE_URL: url }))))

const WANT_DATABASE = ["19-share-a-database.ts", "24-server-on-postgres.ts"]

const runExample = (example: string, environment: Record<string, string>) =>
  Effect.gen(function*() {
    const [file, ...args] = example.split(" ")
    const child = yield* Command.make("tsx", "--conditions=@agent-identity/source", `examples/${file}`, ...args).pipe(
      Command.env(environment),
      Command.stderr("inherit"),
      Command.start
    )
    const output = yield* child.stdout.pipe(Stream.decodeText(), Stream.mkString)
    const exitCode = yield* child.exitCode
    const expected = prints[example] ?? []
    const missing = expected.filter((pattern) => !pattern.test(output))
    const passed = exitCode === 0 && expected.length > 0 && missing.length === 0
    yield* Console.log(passed ? `${example}: passed` : `${example}: failed with exit code ${exitCode}\n${output}`)
    if (expected.length === 0) yield* Console.log("  scripts/examples.ts does not say what it prints")
    for (const pattern of missing) yield* Console.log(`  did not print ${pattern}`)
    return passed
  }).pipe(Effect.scoped)

const program = Effect.gen(function*() {
  const files = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory("examples"))
  const numbered = files.filter((file) => /^\d\d-.*\.ts$/.test(file) && !file.endsWith(".test.ts"))
  const examples = [...new Set([...numbered, ...Object.keys(prints)])].sort()
  const postgres = yield* database
  const environment = { ...yield* Environment.makeEnvironment, ...Option.getOrElse(postgres, () => ({})) }
  const runnable = examples.filter((file) => Option.isSome(postgres) || !WANT_DATABASE.includes(file))
  for (const file of examples) {
    if (!runnable.includes(file)) yield* Console.log(`${file}: skipped, PostgreSQL does not run on this machine`)
  }
  const passed = yield* Effect.forEach(runnable, (example) => runExample(example, environment), {
    concurrency: availableParallelism()
  })
  yield* Console.log(`${passed.filter(Boolean).length} passed, ${passed.filter((_) => !_).length} failed`)
  process.exitCode = passed.every(Boolean) ? 0 : 1
}).pipe(Effect.scoped)

program.pipe(
  Effect.provide(Layer.merge(Environment.layer, NodeContext.layer)),
  NodeRuntime.runMain()
)
