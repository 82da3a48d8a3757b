/** JSON that is nested as deep as its place has room for: an error with a name wherever it stands, and no defect. */
import { ResponsesApi, ResponsesHandlers } from "@agent-identity/authapi"
import { AgentIdentityJwt, AssertionHeader, Jwks, ProviderAuth, Signing, TaskRegistration } from "@agent-identity/core"
import { AgentRegistration } from "@agent-identity/login"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AuthApi,
  AuthApiHandlers,
  RegistrationBearer,
  RegistrationLimits
} from "@agent-identity/server"
import { Fakes } from "@agent-identity/testing"
import {
  HttpApp,
  HttpClient,
  HttpClientRequest,
  HttpClientResponse,
  HttpLayerRouter,
  HttpServer
} from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Config, Effect, Either, Layer, Option, Redacted } from "effect"

const KIBIBYTE = 1024

/** Lists in lists, and objects in objects, of so many characters; and a list that never ends. */
const nests = (length: number): ReadonlyArray<readonly [name: string, json: string]> => [
  ["lists", "[".repeat(length / 2) + "]".repeat(length / 2)],
  ["objects", "{\"a\":".repeat(length / 6) + "0" + "}".repeat(length / 6)],
  ["lists without an end", "[".repeat(length)]
]

const base64Url = (text: string) => Buffer.from(text).toString("base64url")

/** Answers everything with this. */
const answering = (status: number, body: string) =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.succeed(HttpClientResponse.fromWeb(
        request,
        new Response(body, { status, headers: { "content-type": "application/json" } })
      ))
    )
  )

describe("JSON that is nested too deep", () => {
  for (const [name, deep] of nests(8 * KIBIBYTE)) {
    it(`in a header, ${name}`, () => {
      for (const json of [deep, `{"task_id":${deep}}`]) {
        const error = Either.flip(AssertionHeader.decode(`AgentAssertion ${base64Url(json)}`))
        assert.oneOf(Either.getOrThrow(error).reason, ["Json", "Members"])
      }
    })

    it(`in a token, ${name}`, () => {
      const header = `{"alg":"RS256","kid":"a","x":[]}`
      for (
        const token of [
          [deep, "{}"],
          [`{"alg":${deep}}`, "{}"],
          [header, deep],
          [header, `{"iss":${deep}}`],
          [header, `{"email":${deep}}`]
        ]
      ) {
        const error = Either.flip(
          AgentIdentityJwt.decodeUnverified(Redacted.make(`${token.map(base64Url).join(".")}.c2ln`))
        )
        assert.oneOf(Either.getOrThrow(error).reason, ["Malformed", "InvalidClaims"])
      }
    })
  }

  for (const [name, deep] of nests(60 * KIBIBYTE)) {
    it.effect(`in a key set, ${name}`, () =>
      Effect.gen(function*() {
        const find = (layer: Layer.Layer<Jwks.Jwks, Jwks.JwksError | { readonly _tag: "ConfigError" }>) =>
          Effect.either(Effect.provide(Effect.flatMap(Jwks.Jwks, (_) => _.find("a")), layer))
        for (const json of [deep, `{"keys":${deep}}`, `{"keys":[${deep}]}`, `{"keys":[{"kid":${deep}}]}`]) {
          const remote = Layer.provide(Jwks.layer(Fakes.layerUrlDerivation), answering(200, json))
          for (const layer of [remote, Jwks.layerConfig(Config.succeed(json))]) {
            const found = yield* find(layer as never)
            if (Either.isRight(found)) assert.lengthOf(found.right, 0)
            else assert.propertyVal(found.left, "reason", "InvalidKeySet")
          }
        }
      }))

    it.effect(`in the answer to a registration, ${name}`, () =>
      Effect.gen(function*() {
        for (const json of [deep, `{"task_id":${deep}}`, `{"agent_runtime_id":${deep}}`, `{"error":${deep}}`]) {
          for (const status of [200, 400, 403]) {
            const Client = Layer.merge(answering(status, json), Fakes.layerUrlDerivation)
            const task = yield* Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none()))
              .pipe(
                Effect.provide(Layer.provide(TaskRegistration.layer(Fakes.layerAgentIdentity), Client)),
                Effect.flip
              )
            const agent = yield* Effect.flatMap(AgentRegistration.AgentRegistration, (_) =>
              _.register({
                token: Redacted.make("token"),
                publicKey: new Uint8Array(32),
                billOfMaterials: { agentVersion: "1", agentHarnessId: "a", runningLocation: "b" }
              })).pipe(
                Effect.provide(Layer.provide(AgentRegistration.layer(Fakes.layerUrlDerivation), Client)),
                Effect.flip
              )
            for (const error of [task, agent]) {
              assert.strictEqual(error.reason, status === 200 ? "InvalidResponse" : "Status")
              assert.isBelow(error.message.length, 1_000)
            }
          }
        }
      }))

    it.effect(`in a refusal of the provider, ${name}`, () =>
      Effect.gen(function*() {
        for (const status of [401, 403]) {
          const json = `{"error":{"code":${deep}}}`
          const response = yield* Effect.gen(function*() {
            const { authorize } = yield* ProviderAuth.ProviderAuth
            const client = authorize(yield* HttpClient.HttpClient)
            return yield* client.execute(HttpClientRequest.get(`${Fakes.providerBase}/models`))
          }).pipe(Effect.provide(Layer.merge(answering(status, json), Fakes.layer)))
          assert.strictEqual(response.status, status)
          assert.strictEqual(yield* response.text, json)
        }
      }))
  }

  /** The server's handlers, without a socket. */
  const serve = Effect.gen(function*() {
    const router = yield* HttpLayerRouter.HttpRouter
    return HttpApp.toWebHandlerRuntime(yield* Effect.runtime<never>())(router.asHttpEffect())
  })
  const Anyone = Layer.succeed(AgentAssertionVerifier.AgentAssertionVerifier, {
    verify: () => Effect.succeed({ agentRuntimeId: "agent-1", taskId: "task-1", timestamp: "" } as never)
  })
  const Server = Layer.mergeAll(
    HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
      Layer.provide(AuthApiHandlers.layer),
      Layer.provide([
        RegistrationBearer.layerTokens({ person: Redacted.make("token") }),
        RegistrationLimits.layerUnlimited,
        AgentDirectory.layerMemory,
        Signing.layer
      ])
    ),
    Layer.provide(ResponsesHandlers.layer, Anyone)
  ).pipe(Layer.provideMerge(HttpLayerRouter.layer), Layer.provide(HttpServer.layerContext))

  const bodies: ReadonlyArray<readonly [path: string, room: number]> = [
    ["/api/accounts/v1/agent/register", 16 * KIBIBYTE],
    ["/api/accounts/v1/agent/agent-1/task/register", KIBIBYTE],
    [ResponsesApi.responsesPath, 1024 * KIBIBYTE]
  ]
  for (const [path, room] of bodies) {
    for (const [name, deep] of nests(room - 64)) {
      it.scoped(`in a body that is sent to ${path}, ${name}`, () =>
        Effect.gen(function*() {
          const handle = yield* serve
          for (const json of [deep, `{"input":${deep}}`, `{"timestamp":${deep}}`, `{"abom":${deep}}`]) {
            const response = yield* Effect.promise(() =>
              handle(
                new Request(`http://localhost${path}`, {
                  method: "POST",
                  headers: { authorization: "Bearer token", "content-type": "application/json" },
                  body: json
                })
              )
            )
            // Items of a list may be whatever they are.
            assert.oneOf(response.status, json.startsWith("{\"input\":[") ? [200, 400] : [400])
          }
        }).pipe(Effect.provide(Server)))
    }
  }
})
