import {
  AgentIdentity,
  AgentKey,
  type AgentRuntimeId,
  AssertionHeader,
  SignedPayload,
  Signing,
  TaskId,
  TaskRegistration,
  Timestamp,
  UrlDerivation
} from "@agent-identity/core"
import {
  AgentAssertionVerifier,
  AgentAuthentication,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import {
  HttpApi,
  HttpApiBuilder,
  HttpApiEndpoint,
  HttpApiGroup,
  HttpBody,
  HttpClient,
  HttpClientRequest,
  HttpLayerRouter,
  HttpServer
} from "@effect/platform"
import { NodeHttpClient, NodeHttpServer } from "@effect/platform-node"
import { Clock, Effect, Layer, Redacted, Schema } from "effect"

/** A protected route that says who called. */
export class WhoAmIApi extends HttpApi.make("WhoAmIApi").add(
  HttpApiGroup.make("whoami").add(
    HttpApiEndpoint.get("whoami", "/whoami")
      .addSuccess(Schema.Struct({ agent: Schema.String, task: Schema.String, timestamp: Schema.String }))
      .middleware(AgentAuthentication.AgentAuthentication)
  )
) {}

const WhoAmIHandlers = HttpApiBuilder.group(
  WhoAmIApi,
  "whoami",
  (handlers) =>
    handlers.handle(
      "whoami",
      () =>
        Effect.map(AgentAuthentication.VerifiedAgent, ({ agentRuntimeId, taskId, timestamp }) => ({
          agent: agentRuntimeId,
          task: taskId,
          timestamp
        }))
    )
)

/** Who may register agents, and with what token. */
export const tokens = { alice: "alices-token", bob: "bobs-token" }

export interface ServerOptions {
  readonly directory?: Layer.Layer<AgentDirectory.AgentDirectory> | undefined
  readonly bearer?: Layer.Layer<RegistrationBearer.RegistrationBearer> | undefined
  readonly limits?: Layer.Layer<RegistrationLimits.RegistrationLimits> | undefined
  readonly handlers?: AuthApiHandlers.Options | undefined
  /** More routes. */
  readonly routes?: Layer.Layer<never, never, HttpLayerRouter.HttpRouter> | undefined
}

/** The AuthAPI and the protected route on a loopback port, with a client that knows its base URL. */
export const layerServerWith = (options: ServerOptions) =>
  Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layerWith(options.handlers ?? {})),
      Layer.provide([
        options.bearer ?? RegistrationBearer.layerTokens({
          alice: Redacted.make(tokens.alice),
          bob: Redacted.make(tokens.bob)
        }),
        options.limits ?? RegistrationLimits.layerUnlimited
      ])
    ),
    HttpLayerRouter.addHttpApi(WhoAmIApi).pipe(Layer.provide(WhoAmIHandlers)),
    options.routes ?? Layer.empty,
    ServerMiddleware.layerErrors
  ).pipe(
    (routes) =>
      HttpLayerRouter.serve(routes, {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: AuthApi.routerConfig,
        middleware: ServerMiddleware.requestId
      }),
    Layer.provide(AgentAuthentication.layer),
    Layer.provideMerge(AgentAssertionVerifier.layer),
    Layer.provideMerge(options.directory ?? AgentDirectory.layerMemory),
    Layer.provideMerge(NodeHttpServer.layerTest)
  )

/** `layerServerWith` with this directory alone. */
export const layerServer = (directory?: Layer.Layer<AgentDirectory.AgentDirectory>) => layerServerWith({ directory })

/** Where the server listens: `http://127.0.0.1:port`. */
export const origin = HttpServer.addressWith((address) =>
  Effect.succeed(`http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}`)
)

export const REGISTER_AGENT = "/api/accounts/v1/agent/register"
export const agentPath = (agentRuntimeId: string) => `/api/accounts/v1/agent/${encodeURIComponent(agentRuntimeId)}`
export const registerTaskPath = (agentRuntimeId: string) => `${agentPath(agentRuntimeId)}/task/register`

export interface RequestOptions {
  /** JSON, or a text that goes out as it is. */
  readonly body?: unknown
  readonly text?: string
  readonly token?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
}

/** What the server answers: its status, its headers, and its JSON where it has any. */
export const request = (method: "GET" | "HEAD" | "POST" | "DELETE", path: string, options: RequestOptions = {}) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const body = options.text !== undefined
      ? HttpBody.text(options.text, "application/json")
      : options.body !== undefined
      ? HttpBody.unsafeJson(options.body)
      : HttpBody.empty
    const response = yield* HttpClientRequest.make(method)(path).pipe(
      HttpClientRequest.setBody(body),
      HttpClientRequest.setHeaders(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
      HttpClientRequest.setHeaders(options.headers ?? {}),
      client.execute
    )
    const text = yield* response.text
    return {
      status: response.status,
      headers: response.headers,
      body: (text === "" ? undefined : JSON.parse(text)) as Record<string, unknown> | undefined
    }
  })

/** The form of every error, and its code. */
export const codeOf = ({ body }: { readonly body: unknown }): string =>
  Schema.decodeUnknownSync(
    Schema.Struct({ error: Schema.Struct({ code: Schema.String, message: Schema.NonEmptyString }) }),
    { onExcessProperty: "error" }
  )(body).error.code

/** A registered agent with its private key. */
export interface TestAgent {
  readonly agentRuntimeId: AgentRuntimeId.AgentRuntimeId
  readonly privateKey: Redacted.Redacted<string>
  readonly signer: Signing.Signer
}

export const newKey = Effect.gen(function*() {
  const key = yield* AgentKey.generate()
  const signer = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
  return { privateKey: AgentKey.toPkcs8(key), signer, line: AgentKey.toSshPublicKey(signer.publicKey) }
})

/** What the real client sends, with these members instead of its own. */
export const agentRegistration = (members: Readonly<Record<string, unknown>>): Record<string, unknown> => ({
  abom: { agent_version: "0.169.0", agent_harness_id: "codex-cli", running_location: "exec-linux" },
  capabilities: ["responsesapi"],
  ttl: null,
  ...members
})

/** Registers a new agent over the wire. */
export const registerAgent = (token: string = tokens.alice) =>
  Effect.gen(function*() {
    const { line, privateKey, signer } = yield* newKey
    const body = agentRegistration({ agent_public_key: line })
    const answer = yield* request("POST", REGISTER_AGENT, { token, body })
    const agentRuntimeId = answer.body?.agent_runtime_id as AgentRuntimeId.AgentRuntimeId
    return { agentRuntimeId, privateKey, signer } satisfies TestAgent
  })

export const signedTask = (agent: TestAgent, millis?: number) =>
  Effect.gen(function*() {
    const timestamp = Timestamp.format(millis ?? (yield* Clock.currentTimeMillis))!
    return yield* TaskRegistration.requestBody(agent.signer, agent.agentRuntimeId, timestamp)
  })

export const registerTask = (agent: TestAgent) =>
  Effect.flatMap(
    signedTask(agent),
    (body) => request("POST", registerTaskPath(agent.agentRuntimeId), { body })
  )

/** The task that an answer registered. */
export const taskOf = ({ body }: { readonly body: Record<string, unknown> | undefined }) =>
  TaskId.TaskId.make(String(body?.task_id))

export const signedHeader = (agent: TestAgent, taskId: TaskId.TaskId, millis?: number) =>
  Effect.gen(function*() {
    const { agentRuntimeId } = agent
    const timestamp = Timestamp.format(millis ?? (yield* Clock.currentTimeMillis))!
    const signature = yield* agent.signer.sign(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp))
    return AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
  })

export const whoami = (authorization: string) => request("GET", "/whoami", { headers: { authorization } })

/** Our own client of this server's AuthAPI, for this agent. */
export const layerClient = ({ agentRuntimeId, privateKey }: TestAgent) =>
  TaskRegistration.layer(AgentIdentity.layer({ agentRuntimeId, privateKey })).pipe(
    Layer.provide([
      Layer.unwrapEffect(Effect.map(origin, (url) =>
        UrlDerivation.layerCustom({
          authApi: `${url}/api/accounts`,
          jwksBase: `${url}/backend-api`,
          providers: ["https://provider.test"],
          loopbackHttp: true
        }))),
      NodeHttpClient.layerUndici
    ])
  )

/** Time that no TestClock stops. */
export const realTime = (millis: number) =>
  Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))
