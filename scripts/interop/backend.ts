/** Our backend, and everything that a client sends to it, verified apart from the handlers that answer. */
import { ResponsesApi, ResponsesHandlers } from "@agent-identity/authapi"
import { AccountId, AgentKey, AgentRuntimeId, SignedPayload, Signing } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AgentIdentityIssuer,
  AuthApi,
  AuthApiHandlers,
  IssuerApi,
  IssuerApiHandlers,
  RegistrationBearer,
  RegistrationLimits
} from "@agent-identity/server"
import { HttpApp, HttpLayerRouter, HttpMiddleware, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Either, Encoding, Layer, Option, Redacted, Schema } from "effect"
import { createServer } from "node:http"
import { TLSSocket } from "node:tls"
import type { Certificate } from "./certificates.ts"
import * as Logins from "./loginIssuer.ts"

export const AGENT = AgentRuntimeId.AgentRuntimeId.make("agent-interop")

/** What was sent, what was answered, and whether its signature is the agent's: undefined where there is none. */
export interface Seen {
  readonly method: string
  readonly path: string
  readonly scheme: string
  readonly encoding: string
  readonly status: number | string
  readonly authorization: string | undefined
  readonly kind: "registration" | "assertion" | "bearer" | "other"
  readonly verified: boolean | undefined
  /** Of a registration: whether the task id that was answered is sealed. */
  readonly sealed: boolean | undefined
}

/** The agent's public key is what both kinds of signature are verified with. */
const makeRecorder = (seen: Array<Seen>) =>
  Effect.gen(function*() {
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const directory = yield* AgentDirectory.AgentDirectory
    const signing = yield* Signing.Signing

    const verifyRegistration = (agentRuntimeId: string, body: string) =>
      Effect.gen(function*() {
        const agent = yield* Effect.flatten(directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(agentRuntimeId)))
        const { signature, timestamp } = yield* decodeRegistration(body)
        const { verify } = yield* signing.importPublicKey(agent.publicKey)
        const isSigned = yield* verify(
          SignedPayload.taskRegistration(agent.agentRuntimeId, timestamp),
          Either.getOrThrow(Encoding.decodeBase64(signature))
        )
        // The client writes these members, in this order, and nothing else.
        return isSigned && body === JSON.stringify({ timestamp, signature })
      })

    const judge = (request: HttpServerRequest.HttpServerRequest, path: string) => {
      const { authorization } = request.headers
      const [, id] = /^\/api\/accounts\/v1\/agent\/([^/]+)\/task\/register$/.exec(path) ?? []
      if (id !== undefined) {
        return Effect.flatMap(request.text, (body) => verifyRegistration(decodeURIComponent(id), body)).pipe(
          Effect.orElseSucceed(() => false),
          Effect.map((verified) => ({ kind: "registration" as const, verified }))
        )
      }
      if (authorization === undefined) return Effect.succeed({ kind: "other" as const, verified: undefined })
      if (/^bearer /i.test(authorization)) return Effect.succeed({ kind: "bearer" as const, verified: undefined })
      return Effect.map(Effect.isSuccess(verify(authorization)), (verified) => ({
        kind: "assertion" as const,
        verified
      }))
    }

    return HttpMiddleware.make((app) =>
      Effect.gen(function*() {
        const request = yield* HttpServerRequest.HttpServerRequest
        const { authorization, "content-encoding": encoding = "-", upgrade } = request.headers
        const path = request.url.replace(/\?.*/, "")
        const judged = yield* judge(request, path)
        yield* HttpApp.appendPreResponseHandler((_request, response) =>
          Effect.sync(() => {
            const method = upgrade === undefined ? request.method : `${request.method} (${upgrade})`
            const scheme = authorization?.split(" ")[0] ?? "-"
            const sealed = judged.kind === "registration" ? isSealed(response) : undefined
            seen.push({ method, path, scheme, encoding, status: response.status, authorization, sealed, ...judged })
            return response
          })
        )
        return yield* app
      })
    )
  })

const isSealed = ({ body }: HttpServerResponse.HttpServerResponse): boolean =>
  body._tag === "Uint8Array" && new TextDecoder().decode(body.body).startsWith("{\"encrypted_task_id\":")

const decodeRegistration = Schema.decode(
  Schema.parseJson(Schema.Struct({ timestamp: Schema.String, signature: Schema.String }))
)

/** The hosts that a client without a variable for them asks for. */
export const HOSTS = ["chatgpt.com", "auth.openai.com"]

/**
 * A proxy for whatever the client wants elsewhere: it is written down and refused. With a certificate for them, it is the
 * server of `HOSTS`.
 */
const makeServer = ({ certificate, seen }: Options) => () => {
  const server = createServer()
  return server.on("connect", ({ url = "" }, socket) => {
    if (certificate !== undefined && HOSTS.some((host) => url === `${host}:443`)) {
      socket.on("error", () => {}).write("HTTP/1.1 200 Connection established\r\n\r\n")
      const { cert, key } = certificate
      server.emit("connection", new TLSSocket(socket, { isServer: true, cert, key, ALPNProtocols: ["http/1.1"] }))
      return
    }
    seen.push({
      method: "CONNECT",
      path: url,
      scheme: "-",
      encoding: "-",
      status: "refused",
      authorization: undefined,
      kind: "other",
      verified: undefined,
      sealed: undefined
    })
    socket.on("error", () => {}).end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
  })
}

/** For requests of a login: a Responses endpoint that takes its token, and an AuthAPI that never answers. */
const layerOfLogins = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    yield* router.add("GET", "/bearer/models", HttpServerResponse.unsafeJson({ models: [] }))
    yield* router.add("POST", "/bearer/responses", ({ headers }) =>
      Effect.sync(() => {
        if (!Logins.isIssued(headers.authorization ?? "")) return HttpServerResponse.empty({ status: 401 })
        const answer = { id: "answer", createdAt: 1, model: "model", deltas: [Logins.ANSWER] }
        return HttpServerResponse.text(ResponsesApi.toEvents(answer).join(""), { contentType: "text/event-stream" })
      }))
    yield* router.add("POST", "/never/*", Effect.never)
  })
)

interface Options {
  readonly seen: Array<Seen>
  readonly sealed?: boolean
  readonly certificate?: Certificate | undefined
}

/** The AuthAPI, the issuers and the Responses endpoint on a loopback port. */
export const makeBackend = (options: Options) =>
  Layer.unwrapEffect(Effect.map(makeRecorder(options.seen), (middleware) =>
    HttpLayerRouter.serve(
      Layer.mergeAll(
        HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
          Layer.provide(AuthApiHandlers.layerWith({ sealed: options.sealed ?? false })),
          Layer.provide([
            Layer.succeed(RegistrationBearer.RegistrationBearer, {
              ownerOf: (token) =>
                Effect.sync(() =>
                  Logins.isIssued(`Bearer ${Redacted.value(token)}`) ? Option.some("person") : Option.none()
                )
            }),
            RegistrationLimits.layerUnlimited
          ])
        ),
        HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(Layer.provide(IssuerApiHandlers.layer)),
        ResponsesHandlers.layer,
        Logins.layer,
        layerOfLogins
      ),
      { disableLogger: true, disableListenLog: true, routerConfig: AuthApi.routerConfig, middleware }
    ))).pipe(
      Layer.provideMerge(AgentAssertionVerifier.layer),
      Layer.provideMerge(Layer.mergeAll(AgentDirectory.layerMemory, AgentIdentityIssuer.layer, NodeSigning.layer)),
      Layer.provideMerge(NodeHttpServer.layer(makeServer(options), { port: 0, host: "127.0.0.1" }))
    )

/** A new agent of the backend, and a token that holds its key. */
export const makeToken = Effect.gen(function*() {
  const key = yield* AgentKey.generate()
  const { publicKey } = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(key))
  yield* Effect.flatMap(AgentDirectory.AgentDirectory, (_) => _.putAgent({ agentRuntimeId: AGENT, publicKey }))
  return yield* Effect.flatMap(AgentIdentityIssuer.AgentIdentityIssuer, (_) =>
    _.issue({
      agentRuntimeId: AGENT,
      privateKey: AgentKey.toPkcs8(key),
      accountId: AccountId.AccountId.make("account-interop"),
      chatgptUserId: "user-interop",
      // Until 0.136 the client wants one.
      email: "person@example.com",
      planType: "pro",
      fedramp: false
    }))
})

/** The AuthAPI has never heard of any task of the agent. */
export const forgetTasks = (agentRuntimeId: string) =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const agent = yield* Effect.flatten(directory.findAgent(AgentRuntimeId.AgentRuntimeId.make(agentRuntimeId)))
    yield* directory.removeAgent(agent.agentRuntimeId)
    yield* directory.putAgent(agent)
  })
