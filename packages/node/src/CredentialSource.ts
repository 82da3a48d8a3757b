/**
 * Where a run's credential comes from: the environment, or the file that the Codex client keeps.
 *
 * @since 0.1.0
 */
import type * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentKey from "@agent-identity/core/AgentKey"
import * as Text from "@agent-identity/core/protocol/text"
import { toEffect } from "@agent-identity/core/run/either"
import { TaskId } from "@agent-identity/core/TaskId"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as AuthFile from "./AuthFile.ts"
import * as Disk from "./internal/authFileDisk.ts"
import { onDisk } from "./internal/onDisk.ts"

/**
 * Why there is no credential. `source` is the variable or the file; nothing of its content is shown.
 *
 * - `NotFound`: there is none
 * - `PersonalAccessToken`: a token `at-…`, which is no agent identity
 * - `ApiKey`: a key `sk-…`, which is none either
 * - `Unreadable`: the file
 * - `Invalid`: what is in the file or the variable cannot be understood, or another variable contradicts it
 *
 * @since 0.1.0
 * @category errors
 */
export class CredentialSourceError extends Schema.TaggedError<CredentialSourceError>(
  "@agent-identity/node/CredentialSourceError"
)("CredentialSourceError", {
  reason: Schema.Literal("NotFound", "PersonalAccessToken", "ApiKey", "Unreadable", "Invalid"),
  source: Schema.String,
  detail: Schema.String
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `No agent identity from ${this.source}: ${this.detail}`
  }
}

/**
 * A token, or the record of an agent with a key of its own and, perhaps, a task that it already has.
 *
 * @since 0.1.0
 * @category models
 */
export type Credential =
  | { readonly _tag: "Token"; readonly token: Redacted.Redacted<string> }
  | {
    readonly _tag: "Record"
    readonly record: AgentIdentity.Options
    readonly taskId: TaskId | undefined
  }

/**
 * The first of these that is there: an agent with a key of its own (`CODEX_AGENT_IDENTITY_RUNTIME_ID`, with the key in
 * `CODEX_AGENT_IDENTITY_PRIVATE_KEY` or in the file `CODEX_AGENT_IDENTITY_KEY_FILE`), the token in `CODEX_ACCESS_TOKEN`
 * or in the older `CODEX_AGENT_IDENTITY`, and `auth.json` in `CODEX_HOME` (`~/.codex` by default) with `auth_mode`
 * `agentIdentity`. Fails where a key and a token are set: they may be of two agents. Which one it is stands in a line at
 * debug. Blank variables are treated as unset.
 *
 * @example
 * import { CredentialSource } from "@agent-identity/node"
 * import { NodeContext } from "@effect/platform-node"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const environment = ConfigProvider.fromMap(new Map([["CODEX_ACCESS_TOKEN", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"]]))
 * const credential = await Effect.runPromise(CredentialSource.fromConfig.pipe(
 *   Effect.withConfigProvider(environment),
 *   Effect.provide(NodeContext.layer)
 * ))
 *
 * assert.deepStrictEqual(credential._tag, "Token")
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromConfig: Effect.Effect<
  Credential,
  CredentialSourceError | ConfigError.ConfigError,
  FileSystem.FileSystem | Path.Path
> = Effect.gen(function*() {
  const agent = yield* fromKeyVariables
  for (const name of ["CODEX_ACCESS_TOKEN", "CODEX_AGENT_IDENTITY"]) {
    const token = yield* secretVariable(name)
    if (token === undefined) continue
    if (agent !== undefined) return yield* invalid(name, `${runtimeIdVariable} is set too; unset one of them`)
    yield* Effect.logDebug(`Agent identity from ${name}`)
    return yield* fromToken(name, token)
  }
  return agent ?? (yield* fromAuthFile(yield* AuthFile.defaultFile))
})

const variable = (name: string) =>
  Effect.map(Config.option(Config.string(name)), (value) => Option.getOrUndefined(value)?.trim() || undefined)

const secretVariable = (name: string) =>
  Effect.map(
    Config.option(Config.redacted(name)),
    (value) => Option.getOrUndefined(Option.map(value, Redacted.value))?.trim() || undefined
  )

const runtimeIdVariable = "CODEX_AGENT_IDENTITY_RUNTIME_ID"
const privateKeyVariable = "CODEX_AGENT_IDENTITY_PRIVATE_KEY"
const keyFileVariable = "CODEX_AGENT_IDENTITY_KEY_FILE"

const fromKeyVariables = Effect.gen(function*() {
  const agentRuntimeId = yield* variable(runtimeIdVariable)
  const around = Text.aroundToken(agentRuntimeId ?? "")
  if (around !== undefined) return yield* invalid(runtimeIdVariable, around)
  const text = yield* secretVariable(privateKeyVariable)
  const file = yield* variable(keyFileVariable)
  if (agentRuntimeId === undefined) {
    return text === undefined && file === undefined
      ? undefined
      : yield* invalid(runtimeIdVariable, "it is not set, and a key is; set it to the runtime id of the agent")
  }
  if (text !== undefined && file !== undefined) {
    return yield* invalid(privateKeyVariable, `${keyFileVariable} is set too; unset one of them`)
  }
  const aroundFile = Text.aroundToken(file ?? "")
  if (aroundFile !== undefined) return yield* invalid(keyFileVariable, aroundFile)
  const privateKey = file !== undefined
    ? yield* readKeyFile(file)
    : text !== undefined
    ? yield* checkKey(privateKeyVariable, text)
    : yield* invalid(privateKeyVariable, `neither it nor ${keyFileVariable} is set; set one of them`)
  yield* Effect.logDebug(`Agent identity from ${runtimeIdVariable}`)
  return { _tag: "Record", record: { agentRuntimeId, privateKey }, taskId: undefined } as const
})

/**
 * The key in a file, in a format that `AgentKey.parse` reads.
 * @internal
 */
export const readKeyFile = (
  file: string
): Effect.Effect<Redacted.Redacted<Uint8Array>, CredentialSourceError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const source = file === "" || isKey(file) ? "the key file" : file
    const bytes = yield* Effect.mapError(fs.readFile(file), (error) =>
      new CredentialSourceError({
        reason: "Unreadable",
        source,
        detail: file === ""
          ? "its path is empty"
          : source !== file
          ? "its path looks like a key; give the path of a file that holds the key"
          : error._tag === "SystemError" && error.reason === "NotFound"
          ? "there is no such file"
          : "the file cannot be read"
      }))
    return yield* checkKey(source, bytes)
  })

/** Variables get swapped: a key in the place of a path is not shown. */
const isKey = (path: string): boolean =>
  /[\n\r]|^(?:MC4C|MFEC|MHIC|-----|\{|eyJ|at-)|^(?:[0-9a-f:]{64,}|[\w+/-]{43}=?|[\w+/-]{86}(?:==)?)$/.test(path)

const checkKey = <A extends string | Uint8Array>(source: string, key: A) =>
  Effect.mapBoth(toEffect(AgentKey.parse(Redacted.make(key))), {
    onFailure: (error) => invalid(source, error.message),
    onSuccess: () => Redacted.make(key)
  })

const invalid = (source: string, detail: string) => new CredentialSourceError({ reason: "Invalid", source, detail })

/**
 * A Codex `auth.json`, read and never written. Only with `auth_mode` `agentIdentity` is its `agent_identity` a
 * credential, a token or a record; beside a ChatGPT login it is left alone.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromAuthFile = (
  file: string
): Effect.Effect<Credential, CredentialSourceError> =>
  Effect.gen(function*() {
    const fail = (reason: CredentialSourceError["reason"], detail: string) =>
      new CredentialSourceError({ reason, source: file, detail })
    const noJson = fail("Invalid", "it is no JSON object with a text as `auth_mode`")
    const auth = yield* onDisk(() => Disk.read(file), (error) =>
      error.code === "ENOENT"
        ? fail(
          "NotFound",
          `there is no such file, and CODEX_ACCESS_TOKEN is not set; set it to an agent identity JWT, or ${runtimeIdVariable} and a key`
        )
        : fail("Unreadable", "the file cannot be read")).pipe(
        Effect.flatMap((found) => {
          if (found === undefined) return noJson
          return Text.isUtf16(found.bytes)
            ? fail("Invalid", "it is written in UTF-16; save it as UTF-8")
            : Effect.mapError(Effect.flatMap(Effect.try(() => utf8.decode(found.bytes)), decodeAuthFile), () => noJson)
        }),
        // Older versions of the reference empty the file and then write it: a moment later it may be whole.
        Effect.retry({ schedule: Schedule.spaced("20 millis"), times: 6, while: ({ reason }) => reason === "Invalid" }),
        Effect.withClock(Clock.make())
      )
    if (auth.auth_mode !== "agentIdentity" || auth.agent_identity == null) {
      if (auth.agent_identity != null) {
        yield* Effect.logDebug(`The agent identity in ${file} is ignored: it stands beside another login`)
      }
      return yield* fail("NotFound", "the login in it is no agent identity; set CODEX_ACCESS_TOKEN to one")
    }
    yield* Effect.logDebug(`Agent identity from ${file}`)
    if (typeof auth.agent_identity === "string") return yield* fromToken(file, auth.agent_identity.trim())
    const record = yield* Effect.mapError(
      decodeRecord(auth.agent_identity),
      ({ issue }) =>
        fail("Invalid", `\`agent_identity\` is no token and no whole record: ${wrongMembers(issue).join(", ")}`)
    )
    return {
      _tag: "Record",
      record: {
        agentRuntimeId: record.agent_runtime_id,
        privateKey: record.agent_private_key,
        accountId: record.account_id,
        fedramp: record.chatgpt_account_is_fedramp
      },
      taskId: Schema.is(TaskId)(record.task_id) ? record.task_id : undefined
    }
  })

/** Not by a formatter of Schema's: it would write out what was given, which is secret, and may be too deep to be written. */
const wrongMembers = (issue: ParseResult.ParseIssue): ReadonlyArray<string> =>
  issue._tag === "Composite"
    ? Array.ensure(issue.issues).flatMap((part) => part._tag === "Pointer" ? Array.ensure(part.path).map(String) : [])
    : ["no object"]

/** Other kinds of tokens get into the same variable. */
const fromToken = (source: string, token: string): Effect.Effect<Credential, CredentialSourceError> => {
  const fail = (reason: CredentialSourceError["reason"], detail: string) =>
    new CredentialSourceError({ reason, source, detail })
  const around = Text.aroundToken(token)
  if (around !== undefined) return fail("Invalid", around)
  if (token.startsWith("at-")) {
    return fail(
      "PersonalAccessToken",
      "it is a personal access token (`at-…`), which is no agent identity; give an agent identity JWT"
    )
  }
  return /^sk-/i.test(token)
    ? fail("ApiKey", "it is an API key (`sk-…`), which is no agent identity; give an agent identity JWT")
    : Effect.succeed({ _tag: "Token", token: Redacted.make(token) })
}

/** Strict: a broken id would be another one. */
const utf8 = new TextDecoder("utf-8", { fatal: true })

const decodeAuthFile = Schema.decode(Schema.parseJson(Schema.Struct({
  auth_mode: Schema.optional(Schema.NullOr(Schema.String)),
  agent_identity: Schema.optional(Schema.Unknown)
})))

const decodeRecord = Schema.decodeUnknown(
  Schema.Struct({
    agent_runtime_id: Schema.String,
    agent_private_key: Schema.Redacted(Schema.String),
    account_id: Schema.String,
    chatgpt_account_is_fedramp: Schema.Boolean,
    chatgpt_user_id: Schema.String,
    // A blank task is none.
    task_id: Schema.optional(Schema.NullOr(Schema.Union(TaskId, Schema.String.pipe(Schema.pattern(/^\s*$/)))))
  }),
  { errors: "all" }
)
