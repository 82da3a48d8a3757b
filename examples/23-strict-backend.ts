/**
 * A backend of your own that is stricter than the real one, and its client: task ids are sealed for the agent's key, what
 * is signed is the form v2, each assertion counts once, and an agent gets two tasks a minute.
 */
import { ResponsesHandlers } from "@agent-identity/authapi"
import {
  AgentAssertion,
  AgentIdentity,
  AgentKey,
  AgentRuntimeId,
  Run,
  RunTask,
  Signing,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits,
  ServerMiddleware
} from "@agent-identity/server"
import * as AuthApiDocs from "@agent-identity/server/AuthApiDocs"
import * as NodeServer from "@agent-identity/server/NodeServer"
import { RateLimiter } from "@effect/experimental"
import { HttpClient, HttpClientRequest, HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Redacted } from "effect"

// ---- The backend. ----

/** Counted in this process; over `RateLimiter.layerStoreRedis` several servers count together. */
const Limits = RegistrationLimits.layer({ perAgent: 2 }).pipe(
  Layer.provide(RateLimiter.layer),
  Layer.provide(RateLimiter.layerStoreMemory)
)

const AuthApiRoutes = HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
  Layer.provide(AuthApiHandlers.layerWith({ sealed: true, skew: "1 minute" })),
  // Agents are put into the directory by hand; none is registered over the wire.
  Layer.provide([RegistrationBearer.layerNone, Limits])
)

const Verifier = AgentAssertionVerifier.layerWith({ payloadForm: "v2", repeats: "refuse", skew: "1 minute" })

const Routes = Layer.mergeAll(
  AuthApiRoutes,
  AuthApiDocs.layer, // a page at /docs
  ResponsesHandlers.layerResponses({ maxBodyBytes: 64 * 1024 }),
  ResponsesHandlers.layerModels,
  ServerMiddleware.layerErrors
)

const Server = NodeServer.layer(Routes, { port: 0, routerConfig: AuthApi.routerConfig }).pipe(
  Layer.provide(Verifier),
  Layer.provideMerge(AgentDirectory.layerMemoryWith({ taskLifetime: "1 hour" })),
  Layer.provideMerge(NodeSigning.layer)
)

// ---- Its client. ----

const Urls = Layer.unwrapEffect(HttpServer.addressFormattedWith((origin) =>
  Effect.succeed(UrlDerivation.layerCustom({
    authApi: `${origin}/api/accounts`,
    jwksBase: origin,
    providers: [`${origin}/backend-api/codex`],
    loopbackHttp: true
  }))
))

const makeIdentity = Effect.gen(function*() {
  const directory = yield* AgentDirectory.AgentDirectory
  const key = yield* AgentKey.generate()
  const { publicKey } = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
  const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-demo")
  yield* directory.putAgent({ agentRuntimeId, publicKey })
  return AgentIdentity.layer({ agentRuntimeId, privateKey: AgentKey.toPkcs8(key) })
})

const models = Effect.flatMap(
  UrlDerivation.UrlDerivation,
  ({ environment }) => HttpClient.get(`${environment.providers[0]}/models`)
)

/** Twice with the same assertion, as somebody would who has seen it. */
const replay = (plain: HttpClient.HttpClient) =>
  Effect.gen(function*() {
    const { environment } = yield* UrlDerivation.UrlDerivation
    const { header } = yield* Effect.flatMap(AgentAssertion.AgentAssertion, (_) => _.current)
    const request = HttpClientRequest.get(`${environment.providers[0]}/models`, {
      headers: { authorization: Redacted.value(header) }
    })
    const first = yield* plain.execute(request)
    const second = yield* plain.execute(request)
    yield* Console.log(`an assertion: ${first.status}, again: ${second.status}, ${second.headers["www-authenticate"]}`)
  })

const program = Effect.gen(function*() {
  const plain = yield* HttpClient.HttpClient
  const Identity = yield* makeIdentity
  const NewRun = Run.layerWith(Identity, { form: "v2" })

  const taskId = yield* Effect.gen(function*() {
    yield* replay(plain)
    return yield* (yield* RunTask.RunTask).current
  }).pipe(Effect.provide(NewRun))
  yield* Effect.provide(Console.log("a second run has a task"), NewRun)

  const error = yield* Effect.flip(Effect.provide(models, NewRun))
  yield* Console.log(`a third one: ${error._tag === "TaskRegistrationError" ? error.reason : error._tag}`)

  // In the same second its assertion would be the one that was sent before.
  yield* Effect.sleep("1 second")
  const handedOn = yield* Effect.provide(models, Run.layerWith(Identity, { form: "v2", taskId }))
  yield* Console.log(`the first one, handed on: ${handedOn.status}`)
})

const Process = Layer.provideMerge(Layer.merge(Urls, NodeHttpClient.layerUndici), Server)

program.pipe(Effect.provide(Process), NodeRuntime.runMain())
