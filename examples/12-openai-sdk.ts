/** Code that is not Effect: OpenAI's own SDK, with a `fetch` that signs. */
import { Fetch, UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { HttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import OpenAI from "openai"

const ask = async (openai: OpenAI, input: string) => {
  let text = ""
  for await (const event of await openai.responses.create({ model: "gpt-5", input, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta
  }
  return text
}

const program = Effect.gen(function*() {
  const { environment } = yield* UrlDerivation.UrlDerivation
  const openai = new OpenAI({
    baseURL: environment.providers[0]!.href,
    fetch: yield* Fetch.toFetch(yield* HttpClient.HttpClient),
    // The SDK insists on a key. This one is not sent.
    apiKey: Fetch.placeholderKey
  })
  yield* Console.log(yield* Effect.tryPromise(() => ask(openai, "Who am I?")))
})

program.pipe(Effect.provide(NodeAgentIdentity.layerConfig), NodeRuntime.runMain())
