/** Effect's own OpenAI package over the signing client: no API key, and an answer that streams. */
import { ProviderAuth, type RunAuth, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { LanguageModel } from "@effect/ai"
import { OpenAiClient, OpenAiLanguageModel } from "@effect/ai-openai"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Option, Stream } from "effect"

/** What the last request was sent with. */
let sent = Option.none<RunAuth.Authorization>()

const OpenAi = Layer.unwrapEffect(Effect.map(UrlDerivation.UrlDerivation, ({ environment }) =>
  OpenAiClient.layer({
    apiUrl: environment.providers[0]!.href,
    transformClient: HttpClient.tap((response) => Effect.sync(() => sent = ProviderAuth.authorizationOf(response)))
  })))

const Model = Layer.provide(OpenAiLanguageModel.layer({ model: "gpt-5" }), OpenAi)

const program = Effect.gen(function*() {
  yield* LanguageModel.streamText({ prompt: "Who am I?" }).pipe(
    Stream.runForEach((part) => part.type === "text-delta" ? Console.log(`delta ${part.delta}`) : Effect.void)
  )
  yield* Console.log("sent with", Option.getOrThrow(sent))
})

program.pipe(Effect.provide(Layer.provideMerge(Model, NodeAgentIdentity.layerConfig)), NodeRuntime.runMain())
