/** A provider on a loopback port that does what a test says, and a run whose requests go there. */
import type { AgentIdentity } from "@agent-identity/core"
import {
  AgentAssertion,
  AssertionHeader,
  ProviderAuth,
  RunAuth,
  RunTask,
  type TaskRegistration
} from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { Effect, Either, Layer, Option, Tracer } from "effect"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"

/** A request as it came in, with its whole body. */
export interface Seen {
  readonly url: string
  readonly headers: Http.IncomingHttpHeaders
  readonly body: Buffer
  /** The task that its assertion names. */
  readonly task: string | undefined
}

export const taskOf = (authorization: string | undefined): string | undefined =>
  authorization === undefined
    ? undefined
    : Either.getOrUndefined(Either.map(AssertionHeader.decode(authorization), ({ taskId }) => taskId))

export const serve = (answer: (seen: Seen, response: Http.ServerResponse) => void) =>
  Effect.gen(function*() {
    const requests: Array<Seen> = []
    const origin = yield* listen((request, response) => {
      const chunks: Array<Buffer> = []
      request.on("data", (chunk) => chunks.push(chunk))
      request.on("end", () => {
        const seen: Seen = {
          url: request.url!,
          headers: request.headers,
          body: Buffer.concat(chunks),
          task: taskOf(request.headers.authorization)
        }
        requests.push(seen)
        answer(seen, response)
      })
    })
    return { origin, url: `${origin}/codex/responses`, requests }
  })

/** The origin of a server whose requests are handled as they come in. */
export const listen = (handle: Http.RequestListener) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.async<Http.Server>((resume) => {
        const server = Http.createServer(handle)
        server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.closeAllConnections()
          server.close()
        })
    ),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  )

export const json = (response: Http.ServerResponse, status: number, body: unknown) => {
  response.writeHead(status, { "content-type": "application/json" })
  response.end(JSON.stringify(body))
}

export const invalidTask = { error: { code: "task_expired", message: "register another" } }

/** Takes these tasks and no other. */
export const serveTasks = (...tasks: ReadonlyArray<string>) =>
  serve((seen, response) =>
    seen.task !== undefined && tasks.includes(seen.task)
      ? json(response, 200, { task: seen.task })
      : json(response, 401, invalidTask)
  )

/** A run of the fake agent for this provider, whose first task is `task-1`. */
export const layerRun = (
  origin: string,
  registration: Layer.Layer<TaskRegistration.TaskRegistration | Fakes.Registrations> = Fakes.layerTaskRegistration
) =>
  providerAuthOf(
    Layer.provide(Fakes.layerAgentIdentityWith({ accountId: "acct-1" }), Fakes.layerSigning),
    registration
  ).pipe(
    Layer.provideMerge(Fakes.layerUrlDerivationWith({
      authApi: `${origin}/accounts`,
      jwksBase: `${origin}/accounts`,
      providers: [`${origin}/codex`],
      loopbackHttp: true
    }))
  )

/** A run of this agent, from its registration to the credentials that it sends. */
export const providerAuthOf = <E>(
  identity: Layer.Layer<AgentIdentity.AgentIdentity, E>,
  registration: Layer.Layer<TaskRegistration.TaskRegistration | Fakes.Registrations>
) => {
  const agent = Layer.merge(identity, registration)
  const task = RunTask.layer(agent)
  const assertion = AgentAssertion.layer(Layer.merge(agent, task))
  const auth = RunAuth.layer(Layer.merge(assertion, task))
  return Layer.mergeAll(ProviderAuth.layer(auth), auth, assertion, task, agent)
}

/** A span that has ended. */
export interface EndedSpan {
  readonly name: string
  readonly parent: string | undefined
  readonly attributes: ReadonlyMap<string, unknown>
  readonly failed: boolean
}

/** Keeps the spans of an effect. */
export const tracing = () => {
  const spans: Array<EndedSpan> = []
  const tracer = Tracer.make({
    context: (f) => f(),
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map<string, unknown>()
      const outer = Option.getOrUndefined(parent)
      return {
        _tag: "Span",
        name,
        spanId: "00f067aa0ba902b7",
        traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
        parent,
        context,
        status: { _tag: "Started", startTime },
        attributes,
        links,
        sampled: true,
        kind,
        end: (_, exit) =>
          void spans.push({
            name,
            parent: outer?._tag === "Span" ? outer.name : undefined,
            attributes,
            failed: exit._tag === "Failure"
          }),
        attribute: (key, value) => void attributes.set(key, value),
        event: () => undefined,
        addLinks: () => undefined
      }
    }
  })
  return { spans, trace: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.withTracer(effect, tracer) }
}
