/** The model: a typed client of the Responses API, over the `HttpClient` of whatever run it is in. */
import { UrlDerivation } from "@agent-identity/core"
import { Sse } from "@effect/experimental"
import { HttpClient, type HttpClientError, HttpClientRequest, type HttpClientResponse } from "@effect/platform"
import { Chunk, Context, Effect, type JSONSchema, Layer, Schedule, Schema, Stream } from "effect"

/** Why there is no answer of the model. */
export class ProviderError extends Schema.TaggedError<ProviderError>()("ProviderError", {
  reason: Schema.Literal("NotSent", "Unauthorized", "Throttled", "Refused", "Unavailable", "Failed", "Unreadable"),
  detail: Schema.String
}) {
  override get message() {
    return `The model has not answered: ${this.detail}`
  }
}

// ---- What goes over the wire: https://platform.openai.com/docs/api-reference/responses ----

export const FunctionCall = Schema.Struct({
  type: Schema.Literal("function_call"),
  call_id: Schema.String,
  name: Schema.String,
  arguments: Schema.String
})
export type FunctionCall = typeof FunctionCall.Type

export const Message = Schema.Struct({
  type: Schema.Literal("message"),
  role: Schema.Literal("assistant"),
  content: Schema.Array(Schema.Struct({ type: Schema.String, text: Schema.optional(Schema.String) }))
})

/** What the model has said. Of other kinds nothing is known but that they go back to it with the next turn. */
export const OutputItem = Schema.Union(FunctionCall, Message, Schema.Struct({ type: Schema.String }))
export type OutputItem = typeof OutputItem.Type

export const isFunctionCall = Schema.is(FunctionCall)
export const isMessage = Schema.is(Message)

export type InputItem =
  | OutputItem
  | { readonly type: "message"; readonly role: "user"; readonly content: string }
  | { readonly type: "function_call_output"; readonly call_id: string; readonly output: string }

/** A function that the model may call. */
export interface FunctionTool {
  readonly name: string
  readonly description: string
  readonly parameters: JSONSchema.JsonSchema7Root
}

/** The events of an answer that matter here. */
const Event = Schema.Union(
  Schema.Struct({ type: Schema.Literal("response.output_item.done"), item: OutputItem }),
  Schema.Struct({ type: Schema.Literal("response.completed") }),
  Schema.Struct({ type: Schema.Literal("response.incomplete", "response.failed"), response: Schema.Object }),
  Schema.Struct({ type: Schema.Literal("error"), message: Schema.String })
)
const NAMES = new Set<string | undefined>(Event.members.flatMap(({ fields }) => fields.type.literals))
const decodeEvent = Schema.decode(Schema.parseJson(Event), { onExcessProperty: "preserve" })

// ---- The service. ----

export interface Turn {
  readonly instructions: string
  readonly input: ReadonlyArray<InputItem>
  readonly tools: ReadonlyArray<FunctionTool>
}

export class Provider extends Context.Tag("agent-cli/Provider")<Provider, {
  /** What the model says next. */
  readonly respond: (turn: Turn) => Effect.Effect<ReadonlyArray<OutputItem>, ProviderError>
}>() {}

const make = (options: { readonly model: string }) =>
  Effect.gen(function*() {
    const { environment } = yield* UrlDerivation.UrlDerivation
    // Around the client that signs: each attempt is signed anew.
    const client = (yield* HttpClient.HttpClient).pipe(
      HttpClient.filterStatusOk,
      HttpClient.retryTransient({ times: 2, schedule: Schedule.jittered(Schedule.exponential("500 millis")) })
    )
    return Provider.of({
      respond: ({ input, instructions, tools }) =>
        HttpClientRequest.post(`${environment.providers[0]}/responses`).pipe(
          HttpClientRequest.accept("text/event-stream"),
          HttpClientRequest.bodyUnsafeJson({
            model: options.model,
            instructions,
            input,
            tools: tools.map((tool) => ({ type: "function", strict: false, ...tool })),
            stream: true,
            // The provider keeps nothing, so that what it has to know of its own thoughts comes along.
            store: false,
            include: ["reasoning.encrypted_content"]
          }),
          client.execute,
          Effect.catchTags({ RequestError: notSent, ResponseError: refused }),
          Effect.flatMap(readItems)
        )
    })
  })

export const layer = (options: {
  readonly model: string
}): Layer.Layer<Provider, never, HttpClient.HttpClient | UrlDerivation.UrlDerivation> =>
  Layer.effect(Provider, make(options))

const readItems = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.gen(function*() {
    const events = yield* response.stream.pipe(
      Stream.timeoutFail(() => unreadable("it was silent for two minutes"), "2 minutes"),
      Stream.decodeText(),
      Stream.pipeThroughChannel(Sse.makeChannel()),
      Stream.filter(({ event }) => NAMES.has(event)),
      Stream.mapEffect(({ data }) => decodeEvent(data)),
      Stream.takeUntil(({ type }) => type !== "response.output_item.done"),
      Stream.runCollect,
      Effect.catchTags({
        ParseError: () => unreadable("an event of its answer has another form than is known"),
        ResponseError: (error) => unreadable(`the connection broke: ${error.message}`)
      })
    )
    const items: Array<OutputItem> = []
    for (const event of Chunk.toReadonlyArray(events)) {
      switch (event.type) {
        case "response.output_item.done":
          items.push(event.item)
          break
        case "response.completed":
          return items
        case "error":
          return yield* new ProviderError({ reason: "Failed", detail: event.message })
        default:
          return yield* new ProviderError({
            reason: "Failed",
            detail: `it ended with ${event.type}: ${excerpt(JSON.stringify(event.response))}`
          })
      }
    }
    return yield* unreadable("its answer ended halfway")
  })

const notSent = (error: HttpClientError.RequestError) =>
  new ProviderError(
    error.reason === "Transport"
      ? { reason: "Unavailable", detail: `there is no connection to ${new URL(error.request.url).origin}` }
      : { reason: "NotSent", detail: error.description ?? error.message }
  )

const refused = ({ response }: HttpClientError.ResponseError) =>
  Effect.flatMap(Effect.orElseSucceed(response.text, () => ""), (body) => {
    const reason = response.status === 401
      ? "Unauthorized"
      : response.status === 429
      ? "Throttled"
      : response.status >= 500
      ? "Unavailable"
      : "Refused"
    return new ProviderError({ reason, detail: `the provider answers ${response.status}: ${excerpt(body)}` })
  })

const unreadable = (detail: string) => new ProviderError({ reason: "Unreadable", detail })

const excerpt = (text: string) => text.slice(0, 300)
