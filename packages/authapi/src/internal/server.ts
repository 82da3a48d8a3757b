/** All that the server answers, composed: AuthAPI, token issuer, Responses endpoint, documentation, admin route. */
import * as Jwks from "@agent-identity/core/Jwks"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as AgentAssertionVerifier from "@agent-identity/server/AgentAssertionVerifier"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as AgentDirectoryCache from "@agent-identity/server/AgentDirectoryCache"
import * as AgentIdentityIssuer from "@agent-identity/server/AgentIdentityIssuer"
import * as AuthApi from "@agent-identity/server/AuthApi"
import * as AuthApiDocs from "@agent-identity/server/AuthApiDocs"
import * as AuthApiHandlers from "@agent-identity/server/AuthApiHandlers"
import * as IssuerApi from "@agent-identity/server/IssuerApi"
import * as IssuerApiHandlers from "@agent-identity/server/IssuerApiHandlers"
import * as NodeServer from "@agent-identity/server/NodeServer"
import * as RegistrationBearer from "@agent-identity/server/RegistrationBearer"
import * as RegistrationLimits from "@agent-identity/server/RegistrationLimits"
import * as ServerMiddleware from "@agent-identity/server/ServerMiddleware"
import * as LibsqlFile from "@agent-identity/sql/LibsqlFile"
import * as Postgres from "@agent-identity/sql/Postgres"
import * as SqlAgentDirectory from "@agent-identity/sql/SqlAgentDirectory"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Path from "@effect/platform/Path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import * as ResponsesHandlers from "../ResponsesHandlers.ts"
import * as Admin from "./admin.ts"
import { CommandError, type ServeOptions } from "./options.ts"
import * as State from "./state.ts"

/** Once it is built it answers on a loopback port. */
export const layer = (options: ServeOptions, print: (text: string) => Effect.Effect<void>) =>
  Layer.unwrapScoped(Effect.gen(function*() {
    // The folder is the port's, and is needed before the server listens.
    const port = options.port === 0 ? yield* NodeServer.freePort : options.port
    const folder = yield* State.makeFolder(port)
    const token = randomBytes(32).toString("base64url")
    const data = options.data ?? (yield* Path.Path).join(folder, "directory.db")
    const outside = yield* readOutsideIssuer(options.jwks)

    const Database: Layer.Layer<AgentDirectory.AgentDirectory, { readonly message: string }> =
      options.databaseUrl === undefined
        ? Layer.provide(SqlAgentDirectory.layer, LibsqlFile.layer({ file: data }))
        : Layer.provide(SqlAgentDirectory.layer, Postgres.layer({ url: Redacted.make(options.databaseUrl) }))
    const Directory = AgentDirectoryCache.layer(Database)
    const Bearer = options.bearer === undefined
      ? RegistrationBearer.layerNone
      : RegistrationBearer.layerTokens({ "--bearer": Redacted.make(options.bearer) })
    const Issuer = AgentIdentityIssuer.layerWith({ alsoTrusted: outside.keys })

    const Routes = Layer.mergeAll(
      HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
        Layer.provide(AuthApiHandlers.layerWith({ sealed: options.sealed })),
        Layer.provide([Bearer, RegistrationLimits.layerMemory()])
      ),
      HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(Layer.provide(IssuerApiHandlers.layer)),
      Layer.provide(ResponsesHandlers.layer, AgentAssertionVerifier.layer),
      AuthApiDocs.layer,
      ServerMiddleware.layerErrors,
      Admin.layer({ port, token, jwks: outside.jwks })
    )
    return NodeServer.layer(Routes, {
      port,
      ready: Effect.flatMap(AgentDirectory.AgentDirectory, ({ check }) => check),
      routerConfig: AuthApi.routerConfig,
      middleware: makeMiddleware(print)
    }).pipe(
      Layer.provide(Directory),
      Layer.provide([Issuer, NodeSigning.layer]),
      // Not before it listens: the token on the port may be another server's.
      (server) => Layer.provideMerge(Layer.scopedDiscard(State.keepAdminToken(port, token)), server),
      Layer.tap(() => print(announcement(`http://127.0.0.1:${port}`, options, data)))
    )
  }))

/** A line for each request. */
const makeMiddleware = (print: (text: string) => Effect.Effect<void>) => {
  const printRequest = HttpMiddleware.make((app) =>
    Effect.gen(function*() {
      const { method, url } = yield* HttpServerRequest.HttpServerRequest
      const [took, response] = yield* Effect.timed(app)
      const time = new Date(yield* Clock.currentTimeMillis).toISOString().slice(11, 19)
      const [path] = url.split("?")
      yield* print(`${time} ${method} ${path} -> ${response.status} in ${Duration.toMillis(took).toFixed()} ms`)
      return response
    })
  )
  return <E, R>(app: HttpApp.Default<E, R>) => ServerMiddleware.requestId(printRequest(app))
}

const announcement = (origin: string, options: ServeOptions, data: string): string => `
  AuthAPI        ${origin}/api/accounts
  key set        ${origin}${IssuerApi.jwksPath}
  provider       ${origin}/backend-api/codex
  documentation  ${origin}/docs
  kept in        ${options.databaseUrl === undefined ? data : "PostgreSQL"}

A client of this library, and Codex:

  export CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL=${origin}/api/accounts
  export CODEX_AGENT_IDENTITY_JWKS_BASE_URL=${origin}/backend-api
  export CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL=${origin}/backend-api/codex
  export CODEX_ACCESS_TOKEN=$(npm run --silent authapi -- mint --port ${new URL(origin).port} --runtime-id agent-1)
  codex exec -c 'openai_base_url="${origin}/backend-api/codex"' --skip-git-repo-check 'Who am I?'
`

/** The keys of `--jwks`: to stand beside our own, and to verify with. */
const readOutsideIssuer = (file: string | undefined) =>
  Effect.gen(function*() {
    if (file === undefined) return { keys: [], jwks: Option.none<Jwks.Service>() }
    const unusable = (why: string) => new CommandError({ message: `--jwks ${file} ${why}` })
    const fs = yield* FileSystem.FileSystem
    const text = yield* Effect.mapError(fs.readFileString(file), () => unusable("cannot be read"))
    const { keys } = yield* Effect.mapError(
      Schema.decode(Schema.parseJson(IssuerApi.KeySet))(text),
      () => unusable("is no key set of RSA public keys, each with kid, n, e, use sig and alg RS256")
    )
    const context = yield* Effect.mapError(Layer.build(Jwks.layerStatic({ keys })), (error) => unusable(error.message))
    return { keys, jwks: Option.some(Context.get(context, Jwks.Jwks)) }
  })
