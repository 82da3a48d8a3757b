/**
 * Holds signing layers against conformance vectors, JSON made by other implementations, and against each other.
 *
 * A file's kind is the end of its name (`…assertions.json`, `…verification.json`), so that new cases need no code.
 * Nothing that is reported shows a private key.
 *
 * @since 0.1.0
 */
import type * as Signing from "@agent-identity/core/Signing"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Arr from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { type Finding, type Kind, kinds, type Value } from "./internal/vectors.ts"

/**
 * A folder that cannot be read. What is wrong inside a file is a failure in the report instead.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConformanceError extends Schema.TaggedError<ConformanceError>("@agent-identity/testing/ConformanceError")(
  "ConformanceError",
  { reason: Schema.Literal("NotFound", "Unreadable"), folder: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    const what = this.reason === "NotFound" ? "does not exist" : "cannot be read as a folder"
    return `${JSON.stringify(this.folder)} ${what}. Give folders of vector files.`
  }
}

/**
 * What became of one file. A case passes under every layer or not at all; `skipped` says why no case was run.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileReport {
  readonly name: string
  /** How many cases. */
  readonly passed: number
  readonly failures: ReadonlyArray<{ readonly name: string; readonly detail: string }>
  readonly skipped?: string | undefined
}

/**
 * What became of each folder, in the order given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Report {
  readonly folders: ReadonlyArray<{ readonly folder: string; readonly files: ReadonlyArray<FileReport> }>
}

/**
 * Runs all vector files of these folders, each case under every layer. A layer's name is what failures call it.
 *
 * @example
 * import { Signing } from "@agent-identity/core"
 * import { NodeSigning } from "@agent-identity/node"
 * import * as Conformance from "@agent-identity/testing/Conformance"
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import { fileURLToPath } from "node:url"
 *
 * const folder = fileURLToPath(new URL("../vectors", import.meta.resolve("@agent-identity/testing")))
 * const report = await Effect.runPromise(
 *   Conformance.run({ folders: [folder], signings: [["portable", Signing.layer], ["native", NodeSigning.layer]] }).pipe(
 *     Effect.provide(NodeContext.layer)
 *   )
 * )
 * assert.deepStrictEqual(Conformance.succeeded(report), true)
 *
 * @since 0.1.0
 * @category running
 */
export const run = (options: {
  readonly folders: ReadonlyArray<string>
  readonly signings: Arr.NonEmptyReadonlyArray<readonly [name: string, layer: Layer.Layer<Signing.Signing>]>
}): Effect.Effect<Report, ConformanceError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const listed = yield* Effect.forEach(options.folders, listFolder)
    const signings = yield* Effect.forEach(options.signings, ([name, layer]) =>
      Effect.map(Layer.build(layer), (context) => ({ name, context })))
    return {
      folders: yield* Effect.forEach(listed, (folder) =>
        runFolder(folder, signings))
    }
  }).pipe(Effect.scoped)

/**
 * Whether no case failed, and every folder held one.
 *
 * @since 0.1.0
 * @category reporting
 */
export const succeeded = (report: Report): boolean =>
  report.folders.every(({ files }) => sum(files).passed > 0 && sum(files).failed === 0)

/**
 * The report as text: a line for each file, an indented one for each failure, and the sum.
 *
 * @since 0.1.0
 * @category reporting
 */
export const format = ({ folders }: Report): string => {
  const result = (of: { readonly passed: number; readonly failed: number }) =>
    `${of.passed} passed, ${of.failed} failed`
  const lines = folders.flatMap(({ files, folder }) => [
    ...(folders.length > 1 ? [`${folder}:`] : []),
    ...files.flatMap((file) => [
      `${file.name}: ${file.skipped === undefined ? result(sum([file])) : `skipped, ${file.skipped}`}`,
      ...file.failures.map(({ detail, name }) => `  ${name}: ${detail}`)
    ]),
    ...(sum(files).passed + sum(files).failed === 0 ? [`${folder}: no vectors that this release runs`] : [])
  ])
  lines.push(result(sum(folders.flatMap(({ files }) => files))))
  // What a file says may hold line ends, and sequences that a terminal obeys.
  return lines.map((line) => line.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/gu, escape)).join("\n")
}

const sum = (files: ReadonlyArray<FileReport>) => ({
  passed: files.reduce((total, { passed }) => total + passed, 0),
  failed: files.reduce((total, { failures }) => total + failures.length, 0)
})

const escape = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

const listFolder = (folder: string) =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory(folder)).pipe(
    Effect.mapError((error) => {
      const reason = error._tag === "SystemError" && error.reason === "NotFound" ? "NotFound" : "Unreadable"
      return new ConformanceError({ reason, folder })
    }),
    Effect.map((names) => ({ folder, names: names.filter((name) => name.endsWith(".json")).sort() }))
  )

type Signings = ReadonlyArray<{ readonly name: string; readonly context: Context.Context<Signing.Signing> }>

const runFolder = (
  { folder, names }: { readonly folder: string; readonly names: ReadonlyArray<string> },
  signings: Signings
) =>
  Effect.map(
    Effect.forEach(names, (name) => runFile(folder, name, signings)),
    (files) => ({ folder, files })
  )

const runFile = (folder: string, name: string, signings: Signings) =>
  Effect.gen(function*() {
    const report = (rest: Partial<FileReport>): FileReport => ({ name, passed: 0, failures: [], ...rest })
    // No key of the table is the end of another.
    const kind = Object.entries(kinds).find(([end]) => name.endsWith(end))?.[1]
    if (kind === undefined) return report({ skipped: "unknown kind" })
    const malformed = (detail: string) => report({ failures: [{ name: "the file", detail }] })
    const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
    const text = yield* Effect.option(fs.readFileString(path.join(folder, name)))
    if (Option.isNone(text)) return malformed("cannot be read")
    const file = decodeFile(text.value)
    if (Option.isNone(file)) return malformed("is no JSON object with an array `cases`")
    const failures: Array<FileReport["failures"][number]> = []
    for (const [index, given] of file.value.cases.entries()) {
      const detail = yield* runCase(kind, given, file.value, signings)
      const name = Option.getOrElse(decodeName(given), () => `case ${index + 1}`)
      if (detail !== "") failures.push({ name: excerpt(name), detail })
    }
    return report({ passed: file.value.cases.length - failures.length, failures })
  })

const decodeFile = Schema.decodeUnknownOption(
  Schema.parseJson(Schema.Struct({ cases: Schema.Array(Schema.Unknown), jwks: Schema.optional(Schema.Unknown) }))
)
const decodeName = Schema.decodeUnknownOption(Schema.pluck(Schema.Struct({ name: Schema.String }), "name"))

/** What is wrong with a case under any layer, or between layers; empty where nothing is. */
const runCase = (kind: Kind, given: unknown, file: { readonly jwks?: unknown }, signings: Signings) =>
  Effect.gen(function*() {
    const check = kind(given, file)
    if (Either.isLeft(check)) return check.left
    const results = yield* Effect.forEach(
      signings,
      ({ context, name }) =>
        Effect.map(Effect.provide(check.right, context), (findings) => ({
          name,
          problem: Arr.filterMap(findings, describe).join("; "),
          answer: findings.map(({ actual, what }) => `${what} ${show(actual)}`).join(", ")
        }))
    )
    const grouped = (by: "problem" | "answer") =>
      Object.entries(Arr.groupBy(results, (result) => result[by])).filter(([text]) => text !== "")
        .map(([text, group]) => `[${group.map(({ name }) => name).join(", ")}] ${text}`)
    const problems = grouped("problem")
    if (problems.length > 0) return problems.join("; ")
    // An expectation may leave the answer open (refused, a typed error): the layers still have to give the same one.
    const answers = grouped("answer")
    return answers.length > 1 ? `the layers disagree: ${answers.join(", ")}` : ""
  })

/** How it differs from what was expected; none where it does not. */
const describe = ({ actual, expected, what }: Finding): Option.Option<string> => {
  if (expected === null) {
    return Either.isLeft(actual) ? Option.none() : Option.some(`${what}: expected a typed error, got ${show(actual)}`)
  }
  if (Equal.equals(actual, Either.right(expected))) return Option.none()
  const [wanted, got] = [String(expected), String(Either.merge(actual))]
  // Where two long texts part is what is worth seeing of them.
  let from = 0
  while (from < wanted.length && wanted[from] === got[from]) from++
  return Option.some(`${what}: expected ${show(Either.right(expected), from)}, got ${show(actual, from)}`)
}

const show = (actual: Either.Either<Value, string>, from = 0): string =>
  Either.isRight(actual) && Predicate.isString(actual.right)
    ? JSON.stringify(excerpt(actual.right, from))
    : String(Either.merge(actual))

const excerpt = (text: string, from = 0): string => {
  if (text.length <= 80) return text
  const start = Math.max(0, from - 20)
  return `${start > 0 ? "…" : ""}${text.slice(start, start + 60)}${start + 60 < text.length ? "…" : ""}`
}
