/**
 * An app as users write it, of the packages as they are published. A command is one run: with `options` it is
 * `NodeAgentIdentity.layer(options)`, with `chatGpt` it is `layerChatGpt`, and else `layerConfig`. With `transport` it brings
 * one of its own; with `portable` it is `core` alone over `fetch`, as on any JavaScript runtime.
 */
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as Fetch from "@agent-identity/core/Fetch"
import * as Run from "@agent-identity/core/Run"
import * as RunTask from "@agent-identity/core/RunTask"
import * as Signing from "@agent-identity/core/Signing"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeAgentIdentity from "@agent-identity/node/NodeAgentIdentity"
import * as NodeTransport from "@agent-identity/node/NodeTransport"
import * as ProviderSocket from "@agent-identity/node/ProviderSocket"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, Layer, Redacted } from "effect"
import { outcomeOf, serve } from "./commands.mjs"

const steps = {
  get: ({ get, headers = {} }) => Effect.flatMap(HttpClient.get(get, { headers }), answerOf),
  /** Ends with the status, and leaves the body. */
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
  task: () => Effect.map(Effect.flatMap(RunTask.RunTask, ({ current }) => current), (task) => ({ task }))
}

const answerOf = (response) =>
  Effect.map(Effect.exit(Effect.map(response.arrayBuffer, textOf)), (body) => ({
    status: response.status,
    headers: response.headers,
    ...outcomeOf(body)
  }))

const fetchWith = ({ fetch: url, init }) => (fetch) =>
  Effect.tryPromise({
    try: async () => {
      const response = await fetch(url, init)
      const headers = Object.fromEntries(response.headers)
      return { status: response.status, headers, ...textOf(await response.arrayBuffer()) }
    },
    catch: (error) => error
  })

const textOf = (buffer) => ({ length: buffer.byteLength, text: Buffer.from(buffer).toString().slice(0, 4096) })

const layerOf = ({ chatGpt, configWith, options, portable, transport }) => {
  if (configWith !== undefined) return NodeAgentIdentity.layerConfigWith(configWith)
  if (portable !== undefined) return layerPortable(portable)
  if (chatGpt !== undefined) return NodeAgentIdentity.layerChatGpt(chatGpt)
  if (options === undefined) return NodeAgentIdentity.layerConfig
  const { privateKey, token, ...rest } = options
  return NodeAgentIdentity.layer({
    ...rest,
    ...(token === undefined
      ? { privateKey: Redacted.make(privateKey) }
      : { credential: { _tag: "Token", token: Redacted.make(token) } }),
    ...(transport === true ? { transport: Transport } : undefined),
    ...(transport === "layered" ? { transport: NodeTransport.layer } : undefined)
  })
}

const layerPortable = ({ agentRuntimeId, privateKey, taskId, ...urls }) =>
  Run.layerWith(AgentIdentity.layer({ agentRuntimeId, privateKey: Redacted.make(privateKey) }), { taskId }).pipe(
    Layer.provideMerge(Layer.merge(UrlDerivation.layerCustom({ ...urls, loopbackHttp: true }), FetchHttpClient.layer)),
    Layer.provide(Signing.layer)
  )

/** A transport of the app's own, which says so in a header. */
const Transport = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, HttpClient.mapRequest(HttpClientRequest.setHeader("x-transport", "own")))
).pipe(Layer.provide(NodeHttpClient.layerUndici))

serve(layerOf, steps)
