/**
 * A WebSocket to a provider, whose handshake carries the run's identity.
 *
 * @since 0.1.0
 */
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as Refusal from "@agent-identity/core/Refusal"
import * as Caller from "@agent-identity/core/run/caller"
import { decompress } from "@agent-identity/core/run/decompress"
import * as Http from "@agent-identity/core/run/http"
import * as RunAuth from "@agent-identity/core/RunAuth"
import type { TaskId } from "@agent-identity/core/TaskId"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Headers from "@effect/platform/Headers"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Socket from "@effect/platform/Socket"
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Agent, IncomingMessage } from "node:http"
import { brotliDecompressSync } from "node:zlib"
import type { WebSocket } from "ws"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * Why there is no connection, as the `cause` of a `SocketGenericError`.
 *
 * - `Refused`: the server answered the handshake with `status`; 426 asks for plain HTTP
 * - `AgentDeleted`: it says that the agent is no more
 * - `Transport`: it cannot be reached, or the connection broke, without a close frame or without an answer to a ping
 * - `Certificate`: the server's certificate is not trusted, has expired, or is of another name
 *
 * @since 0.1.0
 * @category errors
 */
export class ProviderSocketError
  extends Schema.TaggedError<ProviderSocketError>("@agent-identity/node/ProviderSocketError")("ProviderSocketError", {
    reason: Schema.Literal("Refused", "AgentDeleted", "Transport", "Certificate"),
    url: Schema.String,
    detail: Schema.String,
    status: Schema.optional(Schema.Number)
  })
{
  /**
   * @since 0.1.0
   */
  override get message() {
    return `No WebSocket to ${this.url}: ${this.detail}`
  }
}

/**
 * The close code when the run's task was replaced: dial again for the new one. From the range for applications (RFC
 * 6455).
 *
 * @since 0.1.0
 * @category constants
 */
export const taskReplaced = 4001

/**
 * The close code when the run is over.
 *
 * @since 0.1.0
 * @category constants
 */
export const runEnded = 4002

/**
 * What an app says of its socket.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Of the app's own, on every handshake. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Subprotocols, the preferred one first; none by default. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** What connects, in the place of the proxies and certificate authorities of the environment. */
  readonly agent?: Agent | undefined
  /** How long a handshake may take; 10 seconds by default. */
  readonly openTimeout?: Duration.DurationInput | undefined
  /** How long after the last one a ping is sent; 30 seconds by default. */
  readonly pingInterval?: Duration.DurationInput | undefined
  /** How long a pong may take, before the connection is given up as `Transport`; 30 seconds by default. */
  readonly pongTimeout?: Duration.DurationInput | undefined
  /** Which close codes are an error; all but 1000 by default. 1006 is a connection that ended without a close frame. */
  readonly closeCodeIsError?: ((code: number) => boolean) | undefined
}

/**
 * A socket that dials at every `run`, with an assertion that is made for that handshake. It closes, with `taskReplaced`
 * or `runEnded`, once its task is no longer the run's. A handshake that is refused because the task is invalid renews
 * the task and is tried once more. Redirects are not followed. Where the URL is not first party nothing of the run is
 * sent. `https:` is taken for `wss:`.
 *
 * @example
 * import { ProviderSocket } from "@agent-identity/node"
 * import { Fakes } from "@agent-identity/testing"
 * import { Effect } from "effect"
 *
 * const listen = (url: string) =>
 *   Effect.flatMap(ProviderSocket.make(url), (socket) => socket.runRaw((message) => Effect.log(message))).pipe(
 *     Effect.retry({ while: (error) => error.reason === "Close" && error.code === ProviderSocket.taskReplaced })
 *   )
 *
 * // Nobody listens there.
 * const error = await Effect.runPromise(Effect.flip(listen("ws://127.0.0.1:1")).pipe(Effect.provide(Fakes.layer)))
 * assert.deepStrictEqual(error.reason, "Open")
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  url: string,
  options: Options = {}
): Effect.Effect<Socket.Socket, never, ProviderAuth.ProviderAuth | RunAuth.RunAuth> =>
  Effect.gen(function*() {
    const auth = yield* RunAuth.RunAuth
    const { headers } = yield* ProviderAuth.ProviderAuth
    const request = HttpClientRequest.get(url, { headers: options.headers ?? {} })
    const named = Caller.named(yield* Caller.CallerReference)
    const shownUrl = showUrl(url)
    const fail = (reason: ProviderSocketError["reason"], detail: string, status?: number) =>
      new ProviderSocketError({ reason, url: shownUrl, detail, status })

    /** The last dial. A socket runs once at a time. */
    let dial: Dial | undefined

    const acquire = Effect.gen(function*() {
      const { WebSocket } = yield* Effect.promise(() => import("ws"))
      const signed = yield* Effect.mapError(headers(request), openError)
      const dialed: Dial = {
        taskId: signed.authorization._tag === "Assertion" ? signed.authorization.taskId : undefined
      }
      dial = dialed
      yield* Effect.annotateCurrentSpan(RunAuth.attributes(signed.authorization))
      const closing = new AbortController()
      yield* Effect.addFinalizer(() => Effect.sync(() => closing.abort()))
      const agent = options.agent ??
        (yield* Effect.mapError(
          URL.canParse(url) ? NodeTransport.agentOf(new URL(url), closing.signal) : Effect.succeed(undefined),
          ({ message }) => openError(fail("Transport", message))
        ))
      const clientOptions = {
        ...(agent && { agent }),
        // A handshake of the run says who calls, also in a run that is composed of parts; one with others stays as it is.
        headers: {
          ...(signed.authorization._tag === "None" ? request : named(request)).headers,
          ...Redacted.value(signed.headers)
        },
        followRedirects: false,
        closeTimeout: closeTimeoutMillis
      }
      const socket = yield* Effect.acquireRelease(
        Effect.try({
          try: () => new WebSocket(url, options.protocols?.slice() ?? [], clientOptions),
          catch: () => openError(fail("Transport", "it is no URL of a WebSocket, or a header or protocol is not legal"))
        }),
        (socket) => Effect.sync(() => socket.close(1000))
      )
      // Without a listener an error ends the process, and a socket that is given up while it connects has one.
      socket.on("error", () => undefined)
      socket.on("open", () => void (dialed.opened = true))

      const refused = yield* Deferred.make<IncomingMessage>()
      socket.on("unexpected-response", (_, response) => Deferred.unsafeDone(refused, Effect.succeed(response)))
      yield* Effect.forkScoped(Effect.gen(function*() {
        const response = yield* Deferred.await(refused)
        dialed.refusal = { status: response.statusCode ?? 0, documents: yield* readRefusal(response) }
        socket.emit("error", new Error("refused"))
        socket.terminate()
      }))

      yield* Effect.forkScoped(keepAlive(socket, options, (detail) => void (dialed.broken = detail)))

      if (dialed.taskId !== undefined) {
        const { taskId } = dialed
        // A refused task is replaced, which closes the socket below.
        const recover = yield* FiberSet.makeRuntime<never>()
        socket.on("message", (message, isBinary) => {
          if (!isBinary && Refusal.isTaskInvalidEvent(String(message))) recover(Effect.ignore(auth.recover(taskId)))
        })
        yield* Effect.forkScoped(Effect.gen(function*() {
          dialed.end = ends[yield* auth.replaced(taskId)]
          socket.close(dialed.end.code, dialed.end.closeReason)
        }))
      }
      // The sockets of `ws` have the browser's interface, but are declared apart from it.
      return socket as unknown as globalThis.WebSocket
    })

    const socket = yield* Socket.fromWebSocket(acquire, {
      openTimeout: options.openTimeout ?? "10 seconds",
      closeCodeIsError: options.closeCodeIsError ?? ((code) => code !== 1000)
    })

    const ofConnection = (event: unknown) => {
      const { detail, reason } = Http.connectionFailure(
        Predicate.hasProperty(event, "error") ? event.error : undefined,
        (code) => `the connection failed${code}; check the network and the URL`
      )
      return fail(reason, detail)
    }

    const explain = (error: Socket.SocketGenericError): Socket.SocketError => {
      if (isOurs(error.cause) || error.reason === "OpenTimeout") return error
      const refusal = dial?.refusal
      const cause = refusal === undefined
        ? ofConnection(error.cause)
        : refusal.status !== 401 && refusal.documents.some(Refusal.isAgentDeleted)
        ? fail("AgentDeleted", "the agent has been deleted; make a new agent, and a new run for it", refusal.status)
        : fail("Refused", `the server answered the handshake with status ${refusal.status}`, refusal.status)
      // The event that it came as holds the handshake's headers.
      return new Socket.SocketGenericError({ reason: error.reason, cause })
    }

    /** Dials, and dials once more for a task that was renewed. */
    const supervise = <E, R>(
      run: Effect.Effect<void, Socket.SocketError | HandlerFailure<E>, R>,
      dialedBefore: boolean
    ): Effect.Effect<void, Socket.SocketError | E, R> =>
      Effect.matchEffect(Effect.suspend(() => (dial = undefined, run)), {
        onSuccess: () => dial?.end === undefined ? Effect.void : Effect.fail(closeError(dial.end)),
        onFailure: (error): Effect.Effect<void, Socket.SocketError | E, R> => {
          if (error instanceof HandlerFailure) return Effect.failCause(error.cause)
          const { end, opened, refusal, taskId } = dial ?? {}
          if (end !== undefined) {
            // Another one renewed the task while this one was still dialing.
            return opened !== true && !dialedBefore && end.code === taskReplaced
              ? supervise(run, true)
              : Effect.fail(closeError(end))
          }
          if (error.reason === "Close") {
            const detail = dial?.broken ?? "the connection ended without a close frame; dial again"
            return Effect.fail(
              error.code === 1006
                ? new Socket.SocketGenericError({ reason: "Read", cause: fail("Transport", detail) })
                : error
            )
          }
          const explained = explain(error)
          const isRefused = refusal?.status === 401 && refusal.documents.some(Refusal.isTaskInvalid)
          return taskId !== undefined && !dialedBefore && isRefused
            ? Effect.flatMap(
              Effect.mapError(auth.recover(taskId), openError),
              (next) => Option.isSome(next) ? supervise(run, true) : Effect.fail(explained)
            )
            : Effect.fail(explained)
        }
      })

    return Socket.Socket.of({
      [Socket.TypeId]: Socket.TypeId,
      run: (handler, options) => supervise(socket.run(guard(handler), options), false),
      runRaw: (handler, options) => supervise(socket.runRaw(guard(handler), options), false),
      writer: socket.writer
    })
  })

/**
 * `make` as the `Socket` of an app, such as an RPC client's.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  url: string,
  options?: Options
): Layer.Layer<Socket.Socket, never, ProviderAuth.ProviderAuth | RunAuth.RunAuth> =>
  Layer.effect(Socket.Socket, make(url, options))

interface Dial {
  readonly taskId: TaskId | undefined
  opened?: boolean
  /** Why it was given up here. */
  broken?: string
  refusal?: { readonly status: number; readonly documents: ReadonlyArray<unknown> }
  end?: { readonly code: number; readonly closeReason: string }
}

/** Pings while the connection is open, and ends it where no pong comes. */
const keepAlive = (socket: WebSocket, options: Options, giveUp: (detail: string) => void) =>
  Effect.gen(function*() {
    if (socket.readyState !== socket.OPEN) yield* once(socket, "open")
    const timeout = options.pongTimeout ?? "30 seconds"
    while (true) {
      yield* Effect.sleep(options.pingInterval ?? "30 seconds")
      socket.ping()
      const pong = yield* Effect.timeoutOption(once(socket, "pong"), timeout)
      if (Option.isSome(pong)) continue
      giveUp(`no answer to a ping within ${Duration.format(Duration.decode(timeout))}; dial again`)
      return socket.terminate()
    }
  })

const once = (socket: WebSocket, event: "open" | "pong") =>
  Effect.async<void>((resume) => {
    const listener = () => resume(Effect.void)
    socket.once(event, listener)
    return Effect.sync(() => socket.off(event, listener))
  })

/** What a handler failed with, apart from what the connection did. */
class HandlerFailure<E> {
  readonly cause: Cause.Cause<E>
  constructor(cause: Cause.Cause<E>) {
    this.cause = cause
  }
}

const guard =
  <Message, A, E, R>(handler: (message: Message) => Effect.Effect<A, E, R> | void) => (message: Message) => {
    const handled = handler(message)
    return Effect.isEffect(handled)
      ? Effect.catchAllCause(handled, (cause) => Effect.fail(new HandlerFailure(cause)))
      : undefined
  }

const ends = {
  Replaced: { code: taskReplaced, closeReason: "the run's task was replaced" },
  Ended: { code: runEnded, closeReason: "the run is over" }
}

/** Without user information and query, in whatever form they are written. */
const showUrl = (url: string): string => {
  if (!URL.canParse(url)) return "a value that is no URL"
  const { host, pathname, protocol } = new URL(url)
  return `${protocol}//${host}${pathname}`
}

/** How long a server may take to answer a close. */
const closeTimeoutMillis = 1000

const maxBodyBytes = 64 * 1024

const openError = (cause: unknown) => new Socket.SocketGenericError({ reason: "Open", cause })

const closeError = (end: { readonly code: number; readonly closeReason: string }) =>
  new Socket.SocketCloseError({ reason: "Close", ...end })

const isOurs = (cause: unknown): boolean =>
  cause instanceof ProviderSocketError || cause instanceof ProviderAuth.ProviderAuthError

/** Where it says why: in its headers alone where its body is too large, or not there within 5 seconds. */
const readRefusal = (response: IncomingMessage): Effect.Effect<ReadonlyArray<unknown>> => {
  const headers = Headers.fromInput(response.headers)
  const body = Refusal.isPossible({ status: response.statusCode ?? 0, headers })
    ? NodeStream.fromReadable<void, Uint8Array>(() => response, () => undefined).pipe(
      Stream.runFoldWhile(
        { chunks: [] as ReadonlyArray<Uint8Array>, length: 0 },
        ({ length }) => length <= maxBodyBytes,
        ({ chunks, length }, chunk) => ({ chunks: [...chunks, chunk], length: length + chunk.length })
      ),
      Effect.filterOrFail(({ length }) => length <= maxBodyBytes),
      Effect.timeout("5 seconds"),
      Effect.flatMap(({ chunks }) => decode(Buffer.concat(chunks), headers["content-encoding"])),
      Effect.orElseSucceed(() => undefined)
    )
    : Effect.succeed(undefined)
  return Effect.map(body, (body) => Refusal.documents(headers, body))
}

/** Brotli has no beginning to know it by. */
const decode = (body: Uint8Array, encoding: string | undefined) =>
  encoding?.trim().toLowerCase() === "br"
    ? Effect.try(() => brotliDecompressSync(body, { maxOutputLength: maxBodyBytes }))
    : decompress(body, maxBodyBytes)
