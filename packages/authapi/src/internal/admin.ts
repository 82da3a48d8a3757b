/**
 * The admin route: makes and takes agents for whoever can read this user's files, and for nobody else. A page in a browser
 * cannot ask it: a request with an `Origin`, or for another host than this machine, is refused.
 */
import * as AccountId from "@agent-identity/core/AccountId"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as AgentKey from "@agent-identity/core/AgentKey"
import * as AgentRuntimeId from "@agent-identity/core/AgentRuntimeId"
import * as Jwks from "@agent-identity/core/Jwks"
import * as Signing from "@agent-identity/core/Signing"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import * as AgentIdentityIssuer from "@agent-identity/server/AgentIdentityIssuer"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { timingSafeEqual } from "node:crypto"
import { CommandError } from "./options.ts"

export const MintRequest = Schema.Struct({
  runtimeId: AgentRuntimeId.AgentRuntimeId,
  account: AccountId.AccountId,
  user: Schema.NonEmptyString,
  email: Schema.optional(Schema.String),
  plan: Schema.NonEmptyString,
  fedramp: Schema.Boolean
})

export const TrustRequest = Schema.Struct({ token: Schema.NonEmptyString })

/** `jwks` has the keys of an outside issuer; none where there is no such issuer. */
export const layer = (options: {
  readonly port: number
  readonly token: string
  readonly jwks: Option.Option<Jwks.Service>
}) =>
  HttpLayerRouter.use((router) =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const issuer = yield* AgentIdentityIssuer.AgentIdentityIssuer
      const signing = yield* Signing.Signing

      const put = (agentRuntimeId: AgentRuntimeId.AgentRuntimeId, key: AgentKey.AgentKey) =>
        Effect.gen(function*() {
          const { publicKey } = yield* signing.importPrivateKey(key)
          yield* signing.checkPublicKey(publicKey)
          yield* directory.putAgent({ agentRuntimeId, publicKey })
        })

      const mint = (request: typeof MintRequest.Type) =>
        Effect.gen(function*() {
          const key = yield* AgentKey.generate()
          yield* put(request.runtimeId, key)
          const token = yield* issuer.issue({
            agentRuntimeId: request.runtimeId,
            privateKey: AgentKey.toPkcs8(key),
            accountId: request.account,
            chatgptUserId: request.user,
            email: request.email,
            planType: request.plan,
            fedramp: request.fedramp
          })
          return { token: Redacted.value(token) }
        })

      const trust = (request: typeof TrustRequest.Type) =>
        Effect.gen(function*() {
          if (Option.isNone(options.jwks)) {
            return yield* new CommandError({
              message: "the server was started without --jwks: it trusts no outside issuer"
            })
          }
          const verifier = yield* Effect.provideService(AgentIdentityJwt.make(), Jwks.Jwks, options.jwks.value)
          const { agentRuntimeId, key } = yield* verifier.verify(Redacted.make(request.token))
          yield* put(agentRuntimeId, key)
          return { agentRuntimeId }
        })

      const route = <A, I>(
        schema: Schema.Schema<A, I>,
        act: (request: A) => Effect.Effect<object, { readonly message: string }>
      ) =>
        protect(
          options,
          Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) =>
            request.json.pipe(
              HttpIncomingMessage.withMaxBodySize(Option.some(FileSystem.Size(64 * 1024))),
              Effect.flatMap(Schema.decodeUnknown(schema)),
              Effect.flatMap(act),
              Effect.map((answer) => HttpServerResponse.unsafeJson(answer)),
              Effect.catchAll((error) => refuse(400, "refused", explain(error)))
            ))
        )

      yield* router.add("POST", "/admin/mint", route(MintRequest, mint))
      yield* router.add("POST", "/admin/trust", route(TrustRequest, trust))
    })
  )

const protect = <E, R>(
  { port, token }: { readonly port: number; readonly token: string },
  app: HttpApp.Default<E, R>
): HttpApp.Default<E, R> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }): HttpApp.Default<E, R> => {
    const hosts = [`127.0.0.1:${port}`, `localhost:${port}`]
    if (headers.origin !== undefined) return refuse(403, "browser", "The admin route is not for pages.")
    if (!hosts.includes(headers.host ?? "")) return refuse(403, "host", "The admin route is for this machine.")
    return isEqual(headers.authorization ?? "", `Bearer ${token}`)
      ? app
      : refuse(401, "token", "The admin route wants the server's admin token.")
  })

const explain = (error: { readonly message: string }): string =>
  ParseResult.isParseError(error)
    ? ParseResult.ArrayFormatter.formatErrorSync(error).map(({ message, path }) => `${path.join(".")}: ${message}`)
      .join("\n")
    : error.message

const refuse = (status: number, code: string, message: string) =>
  Effect.succeed(HttpServerResponse.unsafeJson({ error: { code, message } }, { status }))

const isEqual = (given: string, wanted: string): boolean => {
  const [left, right] = [Buffer.from(given), Buffer.from(wanted)]
  return left.length === right.length && timingSafeEqual(left, right)
}
