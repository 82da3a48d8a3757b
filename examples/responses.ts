/** A streamed answer of the Responses API: what its clients need to read a text, and no more. */
import { HttpServerResponse } from "@effect/platform"
import { Stream } from "effect"

/** Server-Sent Events with a text in several deltas. */
export const streamText = (model: string, deltas: ReadonlyArray<string>): HttpServerResponse.HttpServerResponse => {
  const text = deltas.join("")
  const at = { item_id: "msg_demo", output_index: 0, content_index: 0 }
  const part = (text: string) => ({ type: "output_text", text, annotations: [] })
  const item = (status: string, content: ReadonlyArray<unknown>) => ({
    id: at.item_id,
    type: "message",
    role: "assistant",
    status,
    content
  })
  const response = (status: string, output: ReadonlyArray<unknown>) => ({
    id: "resp_demo",
    object: "response",
    created_at: 0,
    status,
    model,
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
  const done = item("completed", [part(text)])
  const events = [
    { type: "response.created", response: response("in_progress", []) },
    { type: "response.output_item.added", output_index: 0, item: item("in_progress", []) },
    { type: "response.content_part.added", ...at, part: part("") },
    ...deltas.map((delta) => ({ type: "response.output_text.delta", ...at, delta, logprobs: [] })),
    { type: "response.output_text.done", ...at, text, logprobs: [] },
    { type: "response.content_part.done", ...at, part: part(text) },
    { type: "response.output_item.done", output_index: 0, item: done },
    { type: "response.completed", response: response("completed", [done]) }
  ]
  const lines = events.map((event, sequence_number) =>
    `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number })}\n\n`
  )
  return HttpServerResponse.stream(Stream.encodeText(Stream.fromIterable(lines)), { contentType: "text/event-stream" })
}
