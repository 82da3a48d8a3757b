/** What the model can do: read and search the text files of one folder, and nothing outside of it. */
import { FileSystem, Path } from "@effect/platform"
import { Chunk, Context, Effect, JSONSchema, Layer, type ParseResult, Schema, Stream } from "effect"
import type { FunctionCall, FunctionTool } from "./Provider.ts"

export class ToolError extends Schema.TaggedError<ToolError>()("ToolError", { message: Schema.String }) {}

export class Tools extends Context.Tag("agent-cli/Tools")<Tools, {
  readonly definitions: ReadonlyArray<FunctionTool>
  /** Calls a tool. What goes wrong is an answer, too: the model can try something else. */
  readonly call: (call: FunctionCall) => Effect.Effect<string>
}>() {}

const MAX_BYTES = 64 * 1024
const MAX_HITS = 50

/** A function whose arguments are what a schema says: for the model as JSON Schema, for the code as values. */
const tool = <A, I>(options: {
  readonly name: string
  readonly description: string
  readonly parameters: Schema.Schema<A, I>
  readonly run: (input: A) => Effect.Effect<string, ToolError>
}) => {
  const decode = Schema.decode(Schema.parseJson(options.parameters))
  return {
    definition: {
      name: options.name,
      description: options.description,
      parameters: JSONSchema.make(options.parameters)
    },
    call: (json: string): Effect.Effect<string, ToolError | ParseResult.ParseError> =>
      Effect.flatMap(decode(json), options.run)
  }
}

const make = (workspace: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const root = yield* fs.realPath(workspace)

    const inside = (name: string) => (file: string) =>
      file.startsWith(root === path.sep ? root : root + path.sep)
        ? Effect.succeed(file)
        : new ToolError({ message: `${name} is not in the workspace` })

    /** Where a path leads, by its name and once all links are followed. Nothing is said of what is outside. */
    const resolve = (name: string) =>
      inside(name)(path.resolve(root, name)).pipe(
        Effect.flatMap(fs.realPath),
        Effect.catchTags({
          BadArgument: () => new ToolError({ message: `${JSON.stringify(name)} is no path` }),
          SystemError: () => new ToolError({ message: `There is no file ${name}` })
        }),
        Effect.flatMap(inside(name))
      )

    const read = (name: string) =>
      Effect.gen(function*() {
        const file = yield* resolve(name)
        const { size, type } = yield* fs.stat(file)
        if (type !== "File") return yield* new ToolError({ message: `${name} is no file` })
        if (size > MAX_BYTES) return yield* new ToolError({ message: `${name} has more than ${MAX_BYTES} bytes` })
        return yield* fs.readFileString(file)
      }).pipe(
        Effect.catchAll((error) =>
          error._tag === "ToolError" ? error : new ToolError({ message: `${name} cannot be read` })
        )
      )

    /** A link is none of either, so that nobody is led outside or around in circles. */
    const kindOf = (name: string) =>
      Effect.gen(function*() {
        const file = path.join(root, name)
        return (yield* fs.realPath(file)) === file ? (yield* fs.stat(file)).type : "SymbolicLink"
      }).pipe(Effect.orElseSucceed(() => "Unknown"))

    /** The names of all files below a folder, without what is hidden or installed. */
    const files = (folder: string): Stream.Stream<string> =>
      fs.readDirectory(path.join(root, folder)).pipe(
        Effect.map((names) => names.sort()),
        Effect.orElseSucceed((): Array<string> => []),
        Stream.fromIterableEffect,
        Stream.filter((name) => !name.startsWith(".") && name !== "node_modules"),
        Stream.map((name) => path.join(folder, name)),
        Stream.flatMap((name) =>
          Stream.unwrap(
            Effect.map(kindOf(name), (kind) =>
              kind === "Directory" ? files(name) : kind === "File" ? Stream.make(name) : Stream.empty)
          )
        )
      )

    const tools = [
      tool({
        name: "read_file",
        description: "Reads a text file.",
        parameters: Schema.Struct({
          path: Schema.String.annotations({ description: "Relative to the workspace" })
        }),
        run: (input) =>
          read(input.path)
      }),
      tool({
        name: "search_text",
        description: "Finds the lines with this text in all files, in upper or lower case.",
        parameters: Schema.Struct({ text: Schema.NonEmptyString }),
        run: ({ text }) =>
          files("").pipe(
            Stream.mapEffect((name) => Effect.map(Effect.option(read(name)), (content) => ({ name, content })), {
              concurrency: 8
            }),
            Stream.flatMap(({ content, name }) =>
              Stream.fromIterable(content._tag === "Some" ? content.value.split("\n") : []).pipe(
                Stream.zipWithIndex,
                Stream.filter(([line]) => line.toLowerCase().includes(text.toLowerCase())),
                Stream.map(([line, index]) => `${name}:${index + 1}: ${line.trim()}`)
              )
            ),
            Stream.take(MAX_HITS),
            Stream.runCollect,
            Effect.map((hits) => Chunk.isEmpty(hits) ? "Nothing found" : Chunk.join(hits, "\n"))
          )
      })
    ]

    return Tools.of({
      definitions: tools.map(({ definition }) => definition),
      call: ({ arguments: json, name }) =>
        Effect.gen(function*() {
          const found = tools.find(({ definition }) => definition.name === name)
          if (found === undefined) return yield* new ToolError({ message: `There is no tool ${name}` })
          return yield* found.call(json)
        }).pipe(
          Effect.catchAll(({ message }) => Effect.succeed(`Error: ${message}`)),
          Effect.tap((output) => Effect.logInfo(`${name} ${json}`, `${output.length} characters`))
        )
    })
  })

/** Fails where the workspace is not there. */
export const layer = (workspace: string) => Layer.effect(Tools, make(workspace))
