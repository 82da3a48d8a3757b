/** The agent: asks the model, calls the tools that it asks for, and asks it again until it answers. */
import { Context, Effect, Layer, Schema } from "effect"
import * as Provider from "./Provider.ts"
import * as Tools from "./Tools.ts"

export class TooManyTurns extends Schema.TaggedError<TooManyTurns>()("TooManyTurns", { turns: Schema.Number }) {
  override get message() {
    return `There is no answer after ${this.turns} turns; ask for less at once`
  }
}

export class Agent extends Context.Tag("agent-cli/Agent")<Agent, {
  readonly ask: (prompt: string) => Effect.Effect<string, Provider.ProviderError | TooManyTurns>
}>() {}

const INSTRUCTIONS = "Answer the question about the files of the workspace. Look at them first."

const MAX_TURNS = 10

const make = Effect.gen(function*() {
  const provider = yield* Provider.Provider
  const tools = yield* Tools.Tools
  return Agent.of({
    ask: (prompt) =>
      Effect.gen(function*() {
        const input: Array<Provider.InputItem> = [{ type: "message", role: "user", content: prompt }]
        for (let turn = 0; turn < MAX_TURNS; turn++) {
          const said = yield* provider.respond({ instructions: INSTRUCTIONS, input, tools: tools.definitions })
          const calls = said.filter(Provider.isFunctionCall)
          if (calls.length === 0) return textOf(said)
          const outputs = yield* Effect.forEach(calls, (call) => Effect.map(tools.call(call), outputOf(call)), {
            concurrency: "unbounded"
          })
          input.push(...said, ...outputs)
        }
        return yield* new TooManyTurns({ turns: MAX_TURNS })
      })
  })
})

export const layer: Layer.Layer<Agent, never, Provider.Provider | Tools.Tools> = Layer.effect(Agent, make)

const outputOf = ({ call_id }: Provider.FunctionCall) => (output: string): Provider.InputItem => ({
  type: "function_call_output",
  call_id,
  output
})

const textOf = (said: ReadonlyArray<Provider.OutputItem>) =>
  said.filter(Provider.isMessage).flatMap(({ content }) => content).map(({ text }) => text ?? "").join("")
