/**
 * Tokens of an issuer of your own: verified with its keys by discovery, from a file, and in the ready-made layer of a
 * process.
 */
import { AccountId, AgentIdentity, AgentIdentityJwt, AgentKey, AgentRuntimeId, Jwks } from "@agent-identity/core"
import { NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { AgentIdentityIssuer, IssuerApi, IssuerApiHandlers } from "@agent-identity/server"
import * as NodeServer from "@agent-identity/server/NodeServer"
import { FileSystem, HttpLayerRouter } from "@effect/platform"
import { NodeContext, NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"

// ---- The issuer: it serves its keys, and the document that says where they are. ----

const audience = "agents.example"

const Issuer = Layer.unwrapEffect(Effect.map(NodeServer.freePort, (port) =>
  NodeServer.layer(
    Layer.provide(HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi), IssuerApiHandlers.layer),
    { port }
  ).pipe(
    Layer.provideMerge(AgentIdentityIssuer.layerWith({
      issuer: `http://127.0.0.1:${port}/codex-backend/agent-identity`,
      audience,
      tokenLifetime: "15 minutes"
    }))
  )))

// ---- Those who take its tokens. ----

const program = Effect.gen(function*() {
  const { issue, issuer, jwks } = yield* AgentIdentityIssuer.AgentIdentityIssuer
  const token = yield* issue({
    agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-demo"),
    privateKey: AgentKey.toPkcs8(yield* AgentKey.generate()),
    accountId: AccountId.AccountId.make("account-demo"),
    chatgptUserId: "user-demo",
    planType: "team",
    fedramp: false
  })

  const whoIs = Effect.map(AgentIdentity.AgentIdentity, (_) => _.agentRuntimeId)
  const identityBy = <E, R>(keys: Layer.Layer<Jwks.Jwks, E, R>) =>
    AgentIdentityJwt.layerIdentity(token).pipe(
      Layer.provide(AgentIdentityJwt.layerWith(keys, { issuer, audience })),
      Layer.provide(NodeSigning.layer)
    )

  const Discovered = Jwks.layerDiscovery({ issuer, loopbackHttp: true })
  yield* Console.log("by discovery:", yield* Effect.provide(whoIs, identityBy(Discovered)))

  const fs = yield* FileSystem.FileSystem
  const file = yield* fs.makeTempFileScoped()
  yield* fs.writeFileString(file, JSON.stringify(yield* jwks))
  yield* Console.log("from a file:", yield* Effect.provide(whoIs, identityBy(Jwks.layerFile(file))))

  const Process = NodeAgentIdentity.layerProcess({
    credential: { _tag: "Token", token },
    issuer,
    audience,
    jwksJson: JSON.stringify(yield* jwks)
  })
  yield* Console.log("ready-made:", yield* Effect.provide(whoIs, Process))

  const Others = AgentIdentityJwt.layer(Discovered)
  const error = yield* Effect.flatMap(AgentIdentityJwt.AgentIdentityJwt, (_) => Effect.flip(_.verify(token))).pipe(
    Effect.provide(Others)
  )
  yield* Console.log("as ChatGPT's:", error.message)
})

program.pipe(
  Effect.scoped,
  Effect.provide([Issuer, NodeHttpClient.layerUndici, NodeContext.layer]),
  NodeRuntime.runMain()
)
