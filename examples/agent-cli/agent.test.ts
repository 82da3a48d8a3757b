/** The app's own parts, each over fakes of what it needs. */
import { ProviderAuth, RunTask } from "@agent-identity/core"
import { Fakes } from "@agent-identity/testing"
import { FileSystem, HttpClient, HttpClientError, HttpClientResponse } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, TestClock } from "effect"
import * as Agent from "./Agent.ts"
import * as Offline from "./Offline.ts"
import * as Provider from "./Provider.ts"
import * as Tools from "./Tools.ts"

const call = (name: string, input: unknown): Provider.FunctionCall => ({
  type: "function_call",
  call_id: `call_${name}`,
  name,
  arguments: typeof input === "string" ? input : JSON.stringify(input)
})

const message = (text: string): Provider.OutputItem => ({
  type: "message",
  role: "assistant",
  content: [{ type: "output_text", text }]
})

describe("the agent", () => {
  /** A model that says these things, turn by turn, and a tool that answers with its own name. */
  const model = (...turns: ReadonlyArray<ReadonlyArray<Provider.OutputItem>>) => {
    const inputs: Array<ReadonlyArray<Provider.InputItem>> = []
    const layer = Agent.layer.pipe(
      Layer.provide(Layer.succeed(Provider.Provider, {
        respond: ({ input }) => {
          inputs.push([...input])
          return Effect.succeed(turns[Math.min(inputs.length, turns.length) - 1]!)
        }
      })),
      Layer.provide(Layer.succeed(Tools.Tools, { definitions: [], call: ({ name }) => Effect.succeed(`by ${name}`) }))
    )
    const ask = Effect.flatMap(Agent.Agent, (_) => _.ask("why?")).pipe(Effect.provide(layer))
    return { inputs, ask }
  }

  it.effect("gives back all that was said and what the tools answered, in the order of the calls", () =>
    Effect.gen(function*() {
      const thought = { type: "reasoning", encrypted_content: "kept" }
      const said = [thought, call("one", {}), call("two", {})]
      const { ask, inputs } = model(said, [message("so"), message(" it is")])
      assert.strictEqual(yield* ask, "so it is")
      const question = { type: "message", role: "user", content: "why?" }
      assert.deepStrictEqual<unknown>(inputs, [
        [question],
        [
          question,
          ...said,
          { type: "function_call_output", call_id: "call_one", output: "by one" },
          { type: "function_call_output", call_id: "call_two", output: "by two" }
        ]
      ])
    }))

  it.effect("gives up a model that only calls tools", () =>
    Effect.gen(function*() {
      const { ask, inputs } = model([call("one", {})])
      assert.strictEqual((yield* Effect.flip(ask))._tag, "TooManyTurns")
      assert.strictEqual(inputs.length, 10)
    }))
})

describe("the provider", () => {
  const event = (type: string, more: object = {}) => `event: ${type}\ndata: ${JSON.stringify({ type, ...more })}\n\n`

  const said = event("response.output_item.done", { item: message("hello") })

  const task = (code: string) => Response.json({ error: { code } }, { status: 401 })

  /** Over all of our fakes and a wire that answers with these in turn, the last one again and again. */
  const over = (...answers: ReadonlyArray<() => Response>) => {
    const sent: Array<string | undefined> = []
    const Wire = Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request) => {
        sent.push(request.headers.authorization)
        const answer = answers[Math.min(sent.length, answers.length) - 1]
        return answer === undefined
          ? new HttpClientError.RequestError({ request, reason: "Transport" })
          : Effect.succeed(HttpClientResponse.fromWeb(request, answer()))
      })
    )
    const layer = Provider.layer({ model: "model-test" }).pipe(
      Layer.provide(Layer.provide(ProviderAuth.layerHttpClient(Fakes.layerProviderAuth), Wire)),
      Layer.provideMerge(Fakes.layer)
    )
    const respond = Effect.flatMap(Provider.Provider, (_) => _.respond({ instructions: "", input: [], tools: [] }))
    /** A minute passes, for the attempts. */
    const settled = Effect.gen(function*() {
      const fiber = yield* Effect.fork(Effect.exit(respond))
      yield* TestClock.adjust("1 minute")
      return yield* yield* Fiber.join(fiber)
    })
    return { sent, layer, respond, settled }
  }

  const failures: ReadonlyArray<readonly [name: string, answer: () => Response, expected: RegExp]> = [
    ["a refusal", () => task("invalid_assertion"), /^Unauthorized: .* answers 401: .*invalid_assertion/],
    ["a limit", () => new Response("slow down", { status: 429 }), /^Throttled: .* answers 429: slow down$/],
    ["another refusal", () => new Response("no such model", { status: 404 }), /^Refused: .*no such model$/],
    ["an outage", () => new Response("", { status: 503 }), /^Unavailable: .* answers 503/],
    [
      "a failed answer",
      () => new Response(said + event("response.failed", { response: { error: { code: "server_error" } } })),
      /^Failed: .*response\.failed.*server_error/
    ],
    ["an error in the stream", () => new Response(event("error", { message: "overloaded" })), /^Failed: .*overloaded$/],
    ["half an answer", () => new Response(said), /^Unreadable: .*ended halfway$/],
    [
      "an event in another form",
      () => new Response(event("response.output_item.done", { item: 1 }) + event("response.completed")),
      /^Unreadable: .*another form/
    ]
  ]
  for (const [name, answer, expected] of failures) {
    it.effect(`says what ${name} is`, () => {
      const { layer, settled } = over(answer)
      return Effect.gen(function*() {
        const error = yield* Effect.flip(settled)
        assert.match(`${error.reason}: ${error.message}`, expected)
      }).pipe(Effect.provide(layer))
    })
  }

  it.effect("says that there is no connection", () => {
    const { layer, sent, settled } = over()
    return Effect.gen(function*() {
      const error = yield* Effect.flip(settled)
      assert.strictEqual(error.detail, "there is no connection to https://provider.test")
      assert.strictEqual(sent.length, 3)
    }).pipe(Effect.provide(layer))
  })

  it.effect("tries again after an outage, and leaves out the events that it does not know", () => {
    const { layer, sent, settled } = over(
      () => new Response("", { status: 503 }),
      () => new Response(event("response.created") + said + event("response.completed"))
    )
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* settled, [message("hello")])
      assert.strictEqual(sent.length, 2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("goes on with another task once the provider has forgotten the first", () => {
    const { layer, respond, sent } = over(
      () => task("task_expired"),
      () => new Response(said + event("response.completed"))
    )
    return Effect.gen(function*() {
      const run = yield* RunTask.RunTask
      assert.strictEqual(yield* run.current, "task-1")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* respond, [message("hello")])
      assert.strictEqual(yield* run.current, "task-2")
      assert.strictEqual(new Set(sent).size, 2)
    }).pipe(Effect.provide(layer))
  })
})

describe("the tools", () => {
  /** A folder with a few files, beside a file that is nobody's business. */
  const withTools = <A, E>(use: (tools: Tools.Tools["Type"]) => Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const parent = yield* fs.makeTempDirectoryScoped()
      const folder = `${parent}/workspace`
      yield* fs.makeDirectory(`${folder}/notes`, { recursive: true })
      yield* fs.makeDirectory(`${folder}/node_modules`)
      yield* fs.makeDirectory(`${parent}/workspace-of-another`)
      yield* fs.writeFileString(`${parent}/secret.txt`, "a secret")
      yield* fs.writeFileString(`${parent}/workspace-of-another/secret.txt`, "a secret")
      yield* fs.writeFileString(`${folder}/a.txt`, "nothing here")
      yield* fs.writeFileString(`${folder}/notes/b.txt`, "first\n  The Second line")
      yield* fs.writeFileString(`${folder}/.hidden`, "second")
      yield* fs.writeFileString(`${folder}/node_modules/c.txt`, "second")
      yield* fs.writeFileString(`${folder}/big.txt`, "second".repeat(20_000))
      yield* fs.symlink(parent, `${folder}/outside`)
      yield* fs.symlink(folder, `${folder}/around`)
      yield* fs.symlink(`${parent}/secret.txt`, `${folder}/link.txt`)
      return yield* Effect.flatMap(Tools.Tools, use).pipe(Effect.provide(Tools.layer(folder)))
    }).pipe(Effect.scoped, Effect.provide(NodeContext.layer))

  const answers: ReadonlyArray<readonly [name: string, input: unknown, expected: RegExp]> = [
    ["read_file", { path: "notes/b.txt" }, /^first\n {2}The Second line$/],
    ["read_file", { path: "notes/../a.txt" }, /^nothing here$/],
    ["read_file", { path: "../secret.txt" }, /^Error: \.\.\/secret\.txt is not in the workspace$/],
    ["read_file", { path: "../workspace-of-another/secret.txt" }, /^Error: .* is not in the workspace$/],
    ["read_file", { path: "../none.txt" }, /^Error: \.\.\/none\.txt is not in the workspace$/],
    ["read_file", { path: "a\0b" }, /^Error: /],
    ["read_file", { path: "/etc/passwd" }, /^Error: \/etc\/passwd is not in the workspace$/],
    ["read_file", { path: "link.txt" }, /^Error: link\.txt is not in the workspace$/],
    ["read_file", { path: "outside/secret.txt" }, /^Error: .* is not in the workspace$/],
    ["read_file", { path: "." }, /^Error: \. is not in the workspace$/],
    ["read_file", { path: "notes" }, /^Error: notes is no file$/],
    ["read_file", { path: "none.txt" }, /^Error: There is no file none\.txt$/],
    ["read_file", { path: "big.txt" }, /^Error: big\.txt has more than 65536 bytes$/],
    ["read_file", { path: 1 }, /^Error: /],
    ["read_file", "not JSON", /^Error: /],
    ["search_text", { text: "second" }, /^notes\/b\.txt:2: The Second line$/],
    ["search_text", { text: "secret" }, /^Nothing found$/],
    ["search_text", { text: "" }, /^Error: /],
    ["delete_file", { path: "a.txt" }, /^Error: There is no tool delete_file$/]
  ]
  for (const [name, input, expected] of answers) {
    it.effect(`answer ${name} ${JSON.stringify(input)}`, () =>
      withTools((tools) => Effect.map(tools.call(call(name, input)), (output) => assert.match(output, expected))))
  }

  it.effect("are told to the model as JSON Schema, without what it cannot know", () =>
    withTools(({ definitions }) =>
      Effect.sync(() => {
        assert.deepStrictEqual(definitions.map(({ name, parameters }) => [name, "properties" in parameters]), [
          ["read_file", true],
          ["search_text", true]
        ])
      })
    ))
})

describe("the script of the model that is offline", () => {
  it("says that nothing was found", () => {
    const input = [{ content: "Where is x?" }, {}, { output: "Nothing found" }]
    assert.include(Offline.answer({ input }), "Nothing found")
  })
})
