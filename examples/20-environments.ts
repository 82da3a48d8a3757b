/**
 * Where a run registers, and which URLs its identity goes to: in production, at another ChatGPT base, and at a backend of
 * your own.
 */
import { AgentRuntimeId, Environment, UrlDerivation } from "@agent-identity/core"
import { Console, Effect, Either } from "effect"

const agent = AgentRuntimeId.AgentRuntimeId.make("agent-demo")

const show = (...urls: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const { classify, environment, taskRegistration } = yield* UrlDerivation.UrlDerivation
    yield* Console.log(environment.name)
    yield* Console.log(`  registers at  ${Either.getOrThrow(taskRegistration(agent))}`)
    for (const url of urls) yield* Console.log(`  ${classify(new URL(url)).padEnd(12)}  ${url}`)
  })

const program = Effect.gen(function*() {
  yield* show(
    "https://chatgpt.com/backend-api/codex/responses",
    "https://chatgpt.com/backend-api/codex/analytics-events/events",
    "https://chatgpt.com/backend-api/codex/../me",
    "https://chatgpt.com.example/backend-api/codex/responses",
    "http://chatgpt.com/backend-api/codex/responses"
  ).pipe(Effect.provide(UrlDerivation.layer))

  yield* show("https://chatgpt-staging.com/backend-api/codex/responses").pipe(
    Effect.provide(UrlDerivation.layerChatGpt("https://chatgpt-staging.com/backend-api"))
  )

  // Further paths of ChatGPT's, which the Codex client signs too.
  yield* show("https://chatgpt.com/backend-api/wham/usage", "https://chatgpt.com/backend-api/me").pipe(
    Effect.provide(
      UrlDerivation.layerChatGpt("https://chatgpt.com/backend-api", { paths: Environment.chatGptPaths })
    )
  )

  yield* show("https://models.example.com/v1/responses", "https://auth.example.com/v1/agent/register").pipe(
    Effect.provide(UrlDerivation.layerCustom({
      authApi: "https://auth.example.com",
      jwksBase: "https://auth.example.com",
      providers: ["https://models.example.com/v1"]
    }))
  )

  // A Docker network, where the hosts have names of their own and no certificates.
  yield* show("http://models:8080/v1/responses", "http://models:8081/v1/responses").pipe(
    Effect.provide(UrlDerivation.layerCustom({
      authApi: "http://authapi:8787",
      providers: ["http://models:8080/v1"],
      privateNetworkHttp: ["authapi:8787", "models:8080"]
    }))
  )
})

await Effect.runPromise(program)
