/**
 * An AuthAPI of one's own on loopback, and commands that give it agents.
 *
 * npm run authapi -- --help
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type Command, CommandError, parse, usage } from "./internal/options.ts"
import * as Server from "./internal/server.ts"
import * as State from "./internal/state.ts"

const run = (command: Command) => {
  switch (command._tag) {
    case "Help":
      return Console.log(usage)
    case "Serve":
      return Layer.launch(Server.layer(command.options, Console.log))
    case "Mint":
      return Effect.flatMap(
        ask(command.port, "mint", command.options, Schema.Struct({ token: Schema.String })),
        ({ token }) => Console.log(token)
      )
    case "Trust":
      return Effect.flatMap(
        ask(command.port, "trust", { token: command.token }, Schema.Struct({ agentRuntimeId: Schema.String })),
        ({ agentRuntimeId }) => Console.log(`${agentRuntimeId} is in the directory now`)
      )
  }
}

/** Asks the server on this port, with the token that it has left where only this user reads it. */
const ask = <A, I>(port: number, path: string, body: unknown, answer: Schema.Schema<A, I>) =>
  Effect.gen(function*() {
    const token = yield* State.readAdminToken(port)
    if (Option.isNone(token)) {
      return yield* new CommandError({
        message: `No server of yours runs on port ${port}: npm run authapi -- --port ${port}`
      })
    }
    const client = yield* HttpClient.HttpClient
    const response = yield* client.post(`http://127.0.0.1:${port}/admin/${path}`, {
      headers: { authorization: `Bearer ${token.value}` },
      body: HttpBody.unsafeJson(body)
    })
    const json = yield* response.json
    const refused = Schema.decodeUnknownOption(Refusal)(json)
    return Option.isSome(refused)
      ? yield* new CommandError({ message: refused.value.error.message })
      : yield* Schema.decodeUnknown(answer)(json)
  }).pipe(
    Effect.catchTags({
      RequestError: () => new CommandError({ message: `Nobody answers on port ${port}` }),
      ResponseError: () => new CommandError({ message: `What answers on port ${port} is no server of this kind` }),
      ParseError: () => new CommandError({ message: `What answers on port ${port} is no server of this kind` })
    })
  )

const Refusal = Schema.Struct({ error: Schema.Struct({ message: Schema.String }) })

parse(process.argv.slice(2)).pipe(
  Effect.flatMap((command) => run(command)),
  // What is wrong with a command is a line, and no stack.
  Effect.catchAll((error) =>
    Effect.zipRight(Console.error(error.message), Effect.sync(() => void (process.exitCode = 1)))
  ),
  Effect.provide(Layer.merge(NodeContext.layer, NodeHttpClient.layerUndici)),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain({ disablePrettyLogger: true })
)
