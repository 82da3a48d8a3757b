/**
 * A Responses API in the little that its clients need: what is asked, and an answer that is one text, whole or as a
 * stream of events. Codex, the `openai` package and `@effect/ai-openai` read it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Where a ChatGPT backend answers.
 *
 * @since 0.1.0
 * @category constants
 */
export const responsesPath = "/backend-api/codex/responses"

/**
 * Where it lists its models.
 *
 * @since 0.1.0
 * @category constants
 */
export const modelsPath = "/backend-api/codex/models"

/**
 * What is looked at of a request; it may have more.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ResponsesRequest = Schema.Struct({
  /** A text, or the messages and other items of a conversation. */
  input: Schema.Union(Schema.String, Schema.Array(Schema.Unknown)),
  model: Schema.optional(Schema.String),
  stream: Schema.optional(Schema.Boolean)
}).annotations({ identifier: "ResponsesRequest" })

/**
 * A request as it was read.
 *
 * @since 0.1.0
 * @category models
 */
export type ResponsesRequest = typeof ResponsesRequest.Type

/**
 * The last thing that the user said; empty where that is no text.
 *
 * @example
 * import { ResponsesApi } from "@agent-identity/authapi"
 *
 * const input = [{ role: "user", content: "hello" }, { role: "user", content: [{ text: "are you " }, { text: "there?" }] }]
 *
 * assert.deepStrictEqual(ResponsesApi.askedOf({ input }), "are you there?")
 *
 * @since 0.1.0
 * @category getters
 */
export const askedOf = ({ input }: ResponsesRequest): string => {
  if (typeof input === "string") return input
  const content = input.filter(isUserMessage).at(-1)?.content
  if (content === undefined || typeof content === "string") return content ?? ""
  return content.map((part) => part.text ?? "").join("")
}

/**
 * An answer: its own id, when it was made in seconds since the Unix epoch, the model that is said to have given it, and
 * its text in the parts that a stream sends it in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Answer {
  readonly id: string
  readonly createdAt: number
  readonly model: string
  readonly deltas: ReadonlyArray<string>
}

/**
 * The answer as a whole: the object `response`.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toResponse = (answer: Answer) => response(answer, "completed", [message(answer, "completed")])

/**
 * The answer as a stream of Server-Sent Events, one text each.
 *
 * @since 0.1.0
 * @category encoding
 */
export const toEvents = (answer: Answer): ReadonlyArray<string> => {
  const at = { item_id: messageId(answer), output_index: 0, content_index: 0 }
  const text = answer.deltas.join("")
  const events = [
    { type: "response.created", response: response(answer, "in_progress", []) },
    { type: "response.output_item.added", output_index: 0, item: message(answer, "in_progress") },
    { type: "response.content_part.added", ...at, part: part("") },
    ...answer.deltas.map((delta) => ({ type: "response.output_text.delta", ...at, delta, logprobs: [] })),
    { type: "response.output_text.done", ...at, text, logprobs: [] },
    { type: "response.content_part.done", ...at, part: part(text) },
    { type: "response.output_item.done", output_index: 0, item: message(answer, "completed") },
    { type: "response.completed", response: toResponse(answer) }
  ]
  return events.map((event, sequence_number) =>
    `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number })}\n\n`
  )
}

const isUserMessage = Schema.is(Schema.Struct({
  role: Schema.Literal("user"),
  content: Schema.Union(Schema.String, Schema.Array(Schema.Struct({ text: Schema.optional(Schema.String) })))
}))

const messageId = ({ id }: Answer): string => `msg_${id}`

const part = (text: string) => ({ type: "output_text", text, annotations: [] })

const message = (answer: Answer, status: "in_progress" | "completed") => ({
  id: messageId(answer),
  type: "message",
  role: "assistant",
  status,
  content: status === "completed" ? [part(answer.deltas.join(""))] : []
})

const response = (answer: Answer, status: "in_progress" | "completed", output: ReadonlyArray<unknown>) => ({
  id: `resp_${answer.id}`,
  object: "response",
  created_at: answer.createdAt,
  status,
  model: answer.model,
  output,
  error: null,
  incomplete_details: null,
  instructions: null,
  metadata: null,
  parallel_tool_calls: true,
  temperature: null,
  tool_choice: "auto",
  tools: [],
  top_p: null
})
