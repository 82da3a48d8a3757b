/**
 * A run without an account and without the internet: a backend on loopback, a new agent that it knows, and a script in the
 * place of the model. Only the model is made up: the token, the task and every signature are verified.
 */
import { ResponsesApi } from "@agent-identity/authapi"
import { UrlDerivation } from "@agent-identity/core"
import { NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { AgentAuthentication } from "@agent-identity/server"
import { HttpLayerRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect, Layer, Schema } from "effect"
import { makeAgent, makeBackend } from "../backend.ts"
import type { OutputItem } from "./Provider.ts"

/** Searches for the last word of the question, reads the first file with it, and answers with that file's first sentence. */
const script = (input: Request["input"]): OutputItem => {
  const outputs = input.flatMap(({ output }) => output ?? [])
  const [found, text] = outputs
  const file = found?.split(":")[0]
  const call = (name: string, args: object): OutputItem => ({
    type: "function_call",
    call_id: `call_${outputs.length + 1}`,
    name,
    arguments: JSON.stringify(args)
  })
  if (found === undefined) {
    return call("search_text", { text: /(\S+?)\W*$/.exec(input[0]?.content ?? "")?.[1] ?? "" })
  }
  if (text === undefined && found.includes(":")) return call("read_file", { path: file })
  return {
    type: "message",
    role: "assistant",
    content: [{ type: "output_text", text: text === undefined ? found : `${file}: ${/\w[^.]*\./.exec(text)?.[0]}` }]
  }
}

const Request = Schema.Struct({
  input: Schema.Array(
    Schema.Struct({ content: Schema.optional(Schema.String), output: Schema.optional(Schema.String) })
  )
})
type Request = typeof Request.Type

/** What the scripted model answers to the body of a request, as Server-Sent Events. */
export const answer = ({ input }: Request): string =>
  [
    { type: "response.output_item.done", item: script(input) },
    { type: "response.completed" }
  ].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("")

const ScriptedModel = HttpLayerRouter.add(
  "POST",
  ResponsesApi.responsesPath,
  HttpServerRequest.schemaBodyJson(Request).pipe(
    Effect.map((request) => HttpServerResponse.text(answer(request), { contentType: "text/event-stream" })),
    Effect.orElse(() => HttpServerResponse.empty({ status: 400 })),
    AgentAuthentication.middleware
  )
)

const Run = Layer.unwrapEffect(Effect.gen(function*() {
  const { token } = yield* makeAgent("agent-offline")
  const { environment } = yield* UrlDerivation.UrlDerivation
  return NodeAgentIdentity.layer({
    credential: { _tag: "Token", token },
    authApi: environment.authApi.href,
    jwksBase: new URL("/backend-api", environment.authApi).href,
    providers: environment.providers.map(({ href }) => href),
    loopbackHttp: true
  })
}))

export const layer = Run.pipe(
  Layer.provide(makeBackend((line) => Effect.logInfo(line), ScriptedModel)),
  Layer.provide(NodeSigning.layer)
)
