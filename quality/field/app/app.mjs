/**
 * An app as users write it, of the packages as they are published. It takes commands on its standard input, a line of JSON
 * each, and prints a line for every step: what was asked, and what came of it.
 *
 * A command is one run. Its `environment` is laid over that of the process; with `options` it is
 * `NodeAgentIdentity.layer(options)`, with `chatGpt` it is `layerChatGpt`, and else `layerConfig`. With `transport` it brings
 * one of its own.
 */
import * as Fetch from "@agent-identity/core/Fetch"
import * as RunTask from "@agent-identity/core/RunTask"
import * as NodeAgentIdentity from "@agent-identity/node/NodeAgentIdentity"
import * as ProviderSocket from "@agent-identity/node/ProviderSocket"
import { HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Cause, ConfigProvider, Effect, Exit, Layer, Logger, Option, Redacted } from "effect"
import { createInterface } from "node:readline"

const steps = {
  get: ({ get, headers = {} }) => Effect.flatMap(HttpClient.get(get, { headers }), answerOf),
  post: ({ body, headers = {}, post }) =>
    Effect.flatMap(
      HttpClient.execute(HttpClientRequest.bodyText(HttpClientRequest.post(post, { headers }), body)),
      answerOf
    ),
  /** Ends with the status and the headers, and leaves the body. */
  status: ({ status }) => Effect.map(HttpClient.get(status), (response) => ({ status: response.status })),
  /** A `fetch` over the signing client. */
  fetch: (step) => Effect.flatMap(Effect.flatMap(HttpClient.HttpClient, Fetch.toFetch), fetchWith(step)),
  /** The `fetch` of Node, to compare with. */
  plainFetch: ({ plainFetch, ...step }) => fetchWith({ ...step, fetch: plainFetch })(fetch),
  socket: ({ options, send = [], socket: url }) =>
    Effect.gen(function*() {
      const messages = []
      const socket = yield* ProviderSocket.make(url, options)
      const write = yield* socket.writer
      yield* Effect.fork(Effect.forEach(send, (message) => write(JSON.stringify(message)), { discard: true }))
      const exit = yield* Effect.exit(socket.runRaw((message) => void messages.push(String(message))))
      return { messages, ...outcomeOf(exit) }
    }).pipe(Effect.scoped),
  task: () => Effect.map(Effect.flatMap(RunTask.RunTask, ({ current }) => current), (task) => ({ task })),
  wait: ({ wait }) => Effect.as(Effect.sleep(wait), {})
}

const answerOf = (response) =>
  Effect.map(Effect.exit(response.arrayBuffer), (body) => ({
    status: response.status,
    headers: response.headers,
    ...(Exit.isSuccess(body) ? textOf(Buffer.from(body.value)) : outcomeOf(body))
  }))

const fetchWith = ({ fetch: url, init }) => (fetch) =>
  Effect.tryPromise({
    try: async () => {
      const response = await fetch(url, init)
      const headers = Object.fromEntries(response.headers)
      return { status: response.status, headers, ...textOf(Buffer.from(await response.arrayBuffer())) }
    },
    catch: (error) => error
  })

const textOf = (bytes) => ({ length: bytes.length, text: bytes.toString().slice(0, 4096) })

const outcomeOf = (exit) =>
  Exit.isSuccess(exit)
    ? {}
    : { error: describe(Option.getOrElse(Cause.failureOption(exit.cause), () => Cause.squash(exit.cause))) }

const describe = (error) =>
  error === null || typeof error !== "object" ? { message: String(error) } : {
    _tag: error._tag,
    reason: error.reason,
    status: error.status,
    code: error.code,
    attempts: error.attempts,
    message: error.message,
    ...(error.cause === undefined ? undefined : { cause: describe(error.cause) })
  }

const layerOf = ({ chatGpt, options, transport }) =>
  chatGpt !== undefined
    ? NodeAgentIdentity.layerChatGpt(chatGpt)
    : options !== undefined
    ? NodeAgentIdentity.layer({ ...optionsOf(options), ...(transport === true ? { transport: Transport } : undefined) })
    : NodeAgentIdentity.layerConfig

/** A transport of the app's own, which says so in a header. */
const Transport = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, HttpClient.mapRequest(HttpClientRequest.setHeader("x-transport", "own")))
).pipe(Layer.provide(NodeHttpClient.layerUndici))

const optionsOf = (options) =>
  options.credential === undefined
    ? { ...options, privateKey: Redacted.make(options.privateKey) }
    : { ...options, credential: { ...options.credential, token: Redacted.make(options.credential.token) } }

/** A step that does not end is an outcome too. */
const within = (effect, { within = 8000 }) =>
  Effect.timeoutFail(Effect.interruptible(effect), {
    duration: within,
    onTimeout: () => ({ _tag: "NoEnd", message: `no end within ${within} ms` })
  })

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

const run = (command) =>
  Effect.gen(function*() {
    for (const step of command.steps) {
      const [kind] = Object.keys(step)
      const began = performance.now()
      const exit = yield* Effect.exit(within(steps[kind](step), step))
      print({
        id: command.id,
        asked: `${kind} ${step[kind]}`,
        millis: performance.now() - began,
        ...(Exit.isSuccess(exit) ? exit.value : outcomeOf(exit))
      })
    }
  }).pipe(Effect.provide(layerOf(command)))

const execute = async (command) => {
  const logs = []
  const log = Logger.make(({ annotations, logLevel, message }) => {
    logs.push([logLevel.label, ...[message].flat(), JSON.stringify(Object.fromEntries(annotations))].join(" "))
  })
  const began = performance.now()
  const exit = await Effect.runPromiseExit(
    within(run(command), { within: command.within ?? 25_000 }).pipe(
      Effect.withConfigProvider(
        ConfigProvider.orElse(
          ConfigProvider.fromMap(new Map(Object.entries(command.environment ?? {}))),
          () => ConfigProvider.fromEnv()
        )
      ),
      Effect.provide(Logger.replace(Logger.defaultLogger, log))
    )
  )
  print({ id: command.id, end: true, millis: performance.now() - began, logs, ...outcomeOf(exit) })
}

const lines = createInterface({ input: process.stdin })
lines.on("line", (line) => void execute(JSON.parse(line)))
lines.on("close", () => process.exit())
