/**
 * One run, one task, signed requests: an agent registers one task over real HTTP, three services of one app share it,
 * and a server verifies every request. Everything runs in this process, on a loopback port.
 */
import {
  AgentAssertion,
  AgentIdentity,
  AgentKey,
  AssertionHeader,
  Run,
  TaskId,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { HttpBody, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Context, Effect, Either, Layer, Logger, LogLevel, Redacted, Schema } from "effect"
import { makeAgent, makeBackend } from "./backend.ts"

// ---- The app: three services that know HttpClient and nothing of agent identities. ----

class Planner extends Context.Tag("Planner")<Planner, Ask>() {}
class Researcher extends Context.Tag("Researcher")<Researcher, Ask>() {}
class Writer extends Context.Tag("Writer")<Writer, Ask>() {}

type Ask = (input: string) => Effect.Effect<string, unknown>

const makeAsk = (name: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const { providers } = (yield* UrlDerivation.UrlDerivation).environment
    return (input: string) =>
      client.post(`${providers[0]}/responses`, { body: HttpBody.unsafeJson({ input }) }).pipe(
        Effect.flatMap((response) => response.json),
        Effect.flatMap(Schema.decodeUnknown(Schema.Struct({ agent: Schema.String, task: Schema.String }))),
        Effect.map(({ agent, task }) => `  ${name.padEnd(10)} accepted as ${agent}, ${task}`)
      )
  })

const Services = Layer.mergeAll(
  Layer.effect(Planner, makeAsk("planner")),
  Layer.effect(Researcher, makeAsk("researcher")),
  Layer.effect(Writer, makeAsk("writer"))
)

// ---- Wiring: what runs share, and the agent. ----

/** A new agent: its key is generated here, its public key goes into the backend's directory. */
const makeIdentity = Effect.gen(function*() {
  const { agentRuntimeId, privateKey, publicKey } = yield* makeAgent("agent-demo")
  yield* Console.log(`  agent      ${agentRuntimeId}, ${AgentKey.toSshPublicKey(publicKey)}`)
  return AgentIdentity.layer({ agentRuntimeId, privateKey })
})

const Process = NodeHttpClient.layerUndici.pipe(
  Layer.merge(makeBackend((line) => Console.log(`  server     ${line}`))),
  Layer.provideMerge(NodeSigning.layer)
)

// ---- Two runs. ----

const threeRequests = Effect.gen(function*() {
  const services = [yield* Planner, yield* Researcher, yield* Writer]
  const answers = yield* Effect.forEach(services, (ask) => ask("hello"), { concurrency: "unbounded" })
  yield* Effect.forEach(answers, (answer) => Console.log(answer))
})

/** The run's own header, changed to name another task, sent by a client that signs nothing. */
const tamperedRequest = (plain: HttpClient.HttpClient) =>
  Effect.gen(function*() {
    const { providers } = (yield* UrlDerivation.UrlDerivation).environment
    const assertion = yield* (yield* AgentAssertion.AgentAssertion).current
    const signed = Either.getOrThrow(AssertionHeader.decode(Redacted.value(assertion.header)))
    const tampered = AssertionHeader.encode({ ...signed, taskId: TaskId.TaskId.make("task-of-another-run") })
    const response = yield* plain.execute(
      HttpClientRequest.post(`${providers[0]}/responses`, {
        body: HttpBody.unsafeJson({ input: "hello" }),
        headers: { authorization: tampered }
      })
    )
    yield* Console.log(`  tampered   refused with ${response.status}: ${yield* response.text}`)
  })

const main = Effect.gen(function*() {
  const plain = yield* HttpClient.HttpClient
  // Built twice, it is two runs with a task each.
  const AgentRun = Layer.provideMerge(Services, Run.layer(yield* makeIdentity))

  yield* Console.log("\nFirst run: three services, one task")
  yield* threeRequests.pipe(
    Effect.zipRight(tamperedRequest(plain)),
    Effect.provide(AgentRun)
  )

  yield* Console.log("\nSecond run: a task of its own")
  yield* Effect.provide(threeRequests, AgentRun)
})

const printLog = Logger.make(({ annotations, message }) => {
  const fields = Array.from(annotations, ([name, value]) => `, ${name} ${value}`).sort().join("")
  globalThis.console.log(`  log        ${String(message)}${fields}`)
})

main.pipe(
  Effect.provide(Layer.provide(Process, Logger.replace(Logger.defaultLogger, printLog))),
  Logger.withMinimumLogLevel(LogLevel.Debug),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
