/** Runs over every transport, an app that asks again until it has its answer, and what came of each time it asked. */
import {
  AgentIdentity,
  AgentKey,
  AgentRuntimeId,
  AssertionHeader,
  ProviderAuth,
  Run,
  RunTask,
  Signing,
  TaskRegistration
} from "@agent-identity/core"
import { NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { FetchHttpClient, HttpBody, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Context, Effect, Either, Layer, Option, Stream } from "effect"
import type { Backend } from "./backend.ts"
import type { JumpingClock } from "./clock.ts"

const transports = {
  undici: NodeHttpClient.layerUndici,
  fetch: FetchHttpClient.layer,
  node: NodeHttpClient.layerWithoutAgent.pipe(
    Layer.provide(NodeHttpClient.makeAgentLayer({ keepAlive: true }))
  )
}

/** A run, and what it did below its signing client. */
export interface ChaosRun {
  readonly agent: string
  readonly client: HttpClient.HttpClient
  readonly current: () => string | undefined
  /** Registrations that were asked for, and the tasks that came of them. */
  readonly registrations: () => number
  readonly tasks: ReadonlyArray<string>
  /** Requests that left for the provider, and those of them that were not signed for the task of the moment. */
  readonly sent: () => number
  readonly wronglySigned: () => number
}

export const makeRuns = (backend: Backend, origin: string, clock: JumpingClock) =>
  Effect.forEach(Object.entries(transports), ([name, Transport]) =>
    Effect.gen(function*() {
      const agent = `agent-${name}`
      const key = yield* AgentKey.generate()
      const { publicKey } = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
      yield* backend.directory.putAgent({ agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(agent), publicKey })

      const tasks: Array<string> = []
      let registrations = 0
      let sent = 0
      let wronglySigned = 0
      let current = (): string | undefined => undefined

      /** The transport, which counts what is signed. Registrations are not: they have another path. */
      const Counted = Layer.effect(
        HttpClient.HttpClient,
        Effect.map(HttpClient.HttpClient, (client) =>
          HttpClient.transform(client, (answer, request) => {
            if (!request.url.startsWith(`${origin}/backend-api/codex`)) return answer
            const header = AssertionHeader.decode(request.headers.authorization ?? "")
            sent += 1
            if (Either.isLeft(header) || header.right.taskId !== current()) wronglySigned += 1
            return answer
          }))
      )
      const Observed = Layer.effect(
        TaskRegistration.TaskRegistration,
        Effect.map(TaskRegistration.make, ({ register }) => ({
          register: (stale) =>
            Effect.suspend(() => {
              registrations += 1
              return Effect.tap(register(stale), ({ taskId }) => Effect.sync(() => tasks.push(taskId)))
            })
        }))
      )

      const record = { agentRuntimeId: agent, privateKey: AgentKey.toPkcs8(key), accountId: "account-1" }
      const options: NodeAgentIdentity.Options = {
        credential: {
          _tag: "Record",
          record,
          taskId: undefined
        },
        authApi: `${origin}/api/accounts`,
        jwksBase: `${origin}/backend-api`,
        providers: [`${origin}/backend-api/codex`],
        loopbackHttp: true
      }
      // The one-line wiring has undici; over another transport the same is put together by hand.
      const Plain = NodeAgentIdentity.layerProcess(options)
      const Process = name === "undici" ? Plain : Layer.merge(Plain, Transport)
      const identity = AgentIdentity.layer(record)
      const context = yield* Layer.build(
        Run.layerWith(identity, { registration: Observed }).pipe(Layer.provide(Counted), Layer.provide(Process))
      ).pipe(Effect.withClock(clock.clock))
      const task = Effect.orElseSucceed(Context.get(context, RunTask.RunTask).current, () => undefined)
      current = () => Effect.runSync(task)
      const run: ChaosRun = {
        agent,
        client: Context.get(context, HttpClient.HttpClient),
        current,
        registrations: () => registrations,
        tasks,
        sent: () => sent,
        wronglySigned: () => wronglySigned
      }
      return run
    })).pipe(Effect.provide(NodeSigning.layer))

/** What came of asking once. */
export type Outcome =
  | { readonly _tag: "Accepted" }
  /** An answer other than 200, with the code of a refusal and the task that was sent. */
  | {
    readonly _tag: "Status"
    readonly status: number
    readonly code: string | undefined
    readonly task: string | undefined
  }
  /** No answer, half of one, or none for as long as the user cared to wait. */
  | { readonly _tag: "Transport" | "Broken" | "GivenUp" }
  /** What must never be: another request's answer, half of one taken as a whole, a request that is not sent or hangs. */
  | { readonly _tag: "Wrong"; readonly detail: string }
  | { readonly _tag: "Timeout" }

const TIMEOUT = "60 seconds"

/** Asks for the echo of `id`, as one of three kinds of request. */
export const ask = (run: ChaosRun, url: string, id: string, attempt: string): Effect.Effect<Outcome> => {
  const kind = KINDS[Number(id) % KINDS.length]!
  const payload = { model: "model-chaos", input: `request ${id}`, stream: kind === "events" }
  const body = kind === "streamed body"
    ? HttpBody.stream(Stream.encodeText(Stream.succeed(JSON.stringify(payload))), "application/json")
    : HttpBody.unsafeJson(payload)
  return Effect.gen(function*() {
    const response = yield* run.client.execute(
      HttpClientRequest.post(url, { body, headers: { "x-attempt": attempt } })
    )
    const sent = Option.getOrUndefined(ProviderAuth.authorizationOf(response))
    if (sent?._tag !== "Assertion") return wrong(`sent with ${sent?._tag}`)
    const text = yield* response.text
    if (response.status !== 200) {
      const outcome: Outcome = { _tag: "Status", status: response.status, code: codeOf(text), task: sent.taskId }
      return outcome
    }
    const said = kind === "events" ? lastEvent(text) : text
    const echo = parse(said) as {
      readonly agent?: string
      readonly task?: string
      readonly status?: string
      readonly output?: ReadonlyArray<{ readonly content: ReadonlyArray<{ readonly text: string }> }>
    } | undefined
    const answer = echo?.output?.[0]?.content[0]?.text
    if (answer !== `Hello, ${run.agent}. You asked: request ${id}` || echo?.status !== "completed") {
      return wrong(`request ${id} was answered ${JSON.stringify(text.slice(0, 300))}`)
    }
    if (kind !== "events" && (echo.agent !== run.agent || !run.tasks.includes(echo.task!))) {
      return wrong(`request ${id} was taken for ${echo.agent} and ${echo.task}`)
    }
    const outcome: Outcome = { _tag: "Accepted" }
    return outcome
  }).pipe(
    Effect.catchAll((error) => {
      if (error._tag === "ResponseError") return Effect.succeed<Outcome>({ _tag: "Broken" })
      return Effect.succeed<Outcome>(error.reason === "Transport" ? { _tag: "Transport" } : wrong(error.message))
    }),
    Effect.timeoutTo({
      duration: TIMEOUT,
      onSuccess: (outcome) => outcome,
      onTimeout: (): Outcome => ({ _tag: "Timeout" })
    })
  )
}

const KINDS = ["json", "json", "events", "events", "json", "json", "streamed body"] as const

const wrong = (detail: string): Outcome => ({ _tag: "Wrong", detail })

const parse = (text: string): unknown => Option.getOrUndefined(Option.liftThrowable(JSON.parse)(text))

const codeOf = (text: string) =>
  (parse(text) as { readonly error?: { readonly code?: string } } | undefined)?.error?.code

const lastEvent = (text: string): string =>
  JSON.stringify((parse(text.split("\n\n").at(-2)?.split("data: ").at(1) ?? "") as { response?: unknown })?.response)
