/**
 * The file that the Codex client keeps, `auth.json`, as the place of a person's login and of the agent that is made for
 * it. The reference client reads and writes it too, under locks of its own; what it knows stays as it wants it.
 *
 * @since 0.1.0
 */
import { toEffect } from "@agent-identity/core/run/either"
import * as ChatGptLogin from "@agent-identity/login/ChatGptLogin"
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import * as FsPromises from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Beside from "./internal/authFileBeside.ts"
import * as Disk from "./internal/authFileDisk.ts"
import * as Format from "./internal/authFileFormat.ts"
import * as InPlace from "./internal/authFileInPlace.ts"
import { type Lock, lockOf, withLock } from "./internal/authFileLock.ts"
import { onDisk } from "./internal/onDisk.ts"

/**
 * The path of `auth.json` in `CODEX_HOME`, in `~/.codex` by default. Blank variables are treated as unset. Fails where
 * there is neither `CODEX_HOME` nor a home folder, and where `CODEX_HOME` is relative to a working directory that has been
 * deleted.
 *
 * @example
 * import { AuthFile } from "@agent-identity/node"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const environment = ConfigProvider.fromMap(new Map([["CODEX_HOME", "/srv/codex"]]))
 * const file = await Effect.runPromise(Effect.withConfigProvider(AuthFile.defaultFile, environment))
 *
 * assert.deepStrictEqual(file, "/srv/codex/auth.json")
 *
 * @since 0.1.0
 * @category constructors
 */
export const defaultFile: Effect.Effect<string, ConfigError.ConfigError> = Effect.flatMap(
  Config.option(Config.string("CODEX_HOME")),
  (variable) => {
    const given = Option.getOrElse(variable, () => "").trim()
    const home = given === "" ? homeFolder() : given
    if (home === undefined) {
      return Effect.fail(ConfigError.MissingData(
        ["CODEX_HOME"],
        "neither CODEX_HOME nor HOME is set, and this user has no home folder; set CODEX_HOME to an absolute path"
      ))
    }
    const file = absolute(Path.join(home, "auth.json"))
    return file === undefined
      ? Effect.fail(ConfigError.InvalidData(["CODEX_HOME"], `${home} is a ${noFolder}`))
      : Effect.succeed(file)
  }
)

/** Of the environment, or else of the list of users, which need not know this one: Node throws then. */
const homeFolder = (): string | undefined => {
  try {
    const home = Os.homedir().trim() || Os.userInfo().homedir
    return Path.join(home, ".codex")
  } catch {
    return undefined
  }
}

/** Undefined for a relative path where the working directory has been deleted: Node throws then. */
const absolute = (path: string): string | undefined => {
  try {
    return Path.resolve(path)
  } catch {
    return undefined
  }
}

const noFolder = "relative path, and the working directory of this process has been deleted; give an absolute path"

/**
 * The ChatGPT login in the file, read anew each time. Never another kind of login, and where a workspace is given, none
 * of another one. An agent in the file, even a broken one, does not matter.
 *
 * @example
 * import { ChatGptLogin } from "@agent-identity/login"
 * import { AuthFile } from "@agent-identity/node"
 * import { Effect } from "effect"
 *
 * const login = Effect.flatMap(ChatGptLogin.ChatGptLogin, ({ current }) => current)
 *
 * const error = await Effect.runPromise(
 *   Effect.flip(Effect.provide(login, AuthFile.layerLogin({ file: "/nowhere/auth.json" })))
 * )
 * assert.deepStrictEqual(error.reason, "LoggedOut")
 *
 * @since 0.1.0
 * @category layers
 */
export const layerLogin = (options: {
  readonly file: string
  /** The id of the only account whose login is taken. */
  readonly workspace?: string | undefined
}): Layer.Layer<ChatGptLogin.ChatGptLogin> => {
  const file = absolute(options.file)
  const fail = (reason: ChatGptLogin.ChatGptLoginError["reason"], detail: string) =>
    new ChatGptLogin.ChatGptLoginError({ reason, source: file ?? options.file, detail })
  if (file === undefined) {
    return Layer.succeed(ChatGptLogin.ChatGptLogin, { current: fail("Unreadable", `it is a ${noFolder}`) })
  }
  const current = read(file).pipe(
    Effect.mapError((error) => {
      if (error._tag === "NotWhole") return fail("Invalid", notJson)
      return error.cause.code === "ENOENT"
        ? fail("LoggedOut", "there is no such file; log in with ChatGPT")
        : fail("Unreadable", unreadable(error.cause))
    }),
    Effect.flatMap(Format.loginOf),
    Effect.mapError((error) => fail(error.reason, error.detail)),
    Effect.flatMap(({ accessToken, binding, fedramp }) =>
      options.workspace !== undefined && options.workspace !== binding.accountId
        ? fail("OtherWorkspace", "the login in it is of another workspace; log in to the one that is allowed")
        : Effect.succeed({ accessToken, binding, fedramp })
    )
  )
  return Layer.succeed(ChatGptLogin.ChatGptLogin, { current })
}

/**
 * Keeps the agent of the login in the file beside it. There is room for one; where another login's agent stands, it is
 * left alone (`Occupied`), and nobody else's login is read or written (`StaleAuth`).
 *
 * Any number of processes may use the file: it is locked for milliseconds by a directory beside it,
 * `auth.json.agent-identity-lock`, and replaced at once, with mode 0600. A file that is mounted, or that another user
 * owns, is written in place; if the process is killed meanwhile, the next one with the same folder finishes the write. A
 * file that is gone is never made again.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCredentialStore = (options: {
  readonly file: string
}): Layer.Layer<CredentialStore.CredentialStore> =>
  Layer.succeed(CredentialStore.CredentialStore, makeStore(options.file))

const makeStore = (given: string): CredentialStore.Service => {
  const file = absolute(given)
  const fail = (reason: CredentialStore.CredentialStoreError["reason"], detail: string) =>
    new CredentialStore.CredentialStoreError({ reason, store: file ?? given, detail })
  if (file === undefined) {
    const error = fail("Unreadable", `it is a ${noFolder}`)
    return { get: () => error, compareAndSwap: () => error }
  }
  const gone = () => fail("StaleAuth", "there is no such file any more: nobody is logged in")
  const onReadError = (error: NodeJS.ErrnoException) =>
    error.code === "ENOENT" ? gone() : fail("Unreadable", unreadable(error))
  const onWriteError = (error: NodeJS.ErrnoException) => {
    const code = error.code ?? ""
    if (code === "ENOENT") return gone()
    if (diskFull.has(code)) return fail("DiskFull", `there is no space left (${code}); make some`)
    return fail(
      "Unwritable",
      code === "EROFS"
        ? "the file or its mount is read-only (EROFS); mount it so that it can be written"
        : `it cannot be written (${code}); see that you may write it and its folder`
    )
  }
  const onLockError = (lock: string) => (error: NodeJS.ErrnoException) => {
    const code = error.code ?? ""
    if (code === "ELOCKED") return fail("Locked", `others hold the lock ${lock} all the time; try again later`)
    return code === "ENOENT" || code === "EROFS" || diskFull.has(code)
      ? onWriteError(error)
      : fail("Unwritable", `its lock ${lock} cannot be made (${code}); see that you may create files in that folder`)
  }

  /** The login in the file, which has to be of the binding, and the agent beside it. */
  const look = (auth: Format.AuthFile, binding: CredentialStore.Binding) =>
    Either.gen(function*() {
      const login = yield* Either.mapLeft(
        Format.loginOf(auth),
        () => fail("StaleAuth", "there is no ChatGPT login in it any more")
      )
      if (!Format.isOf(login, binding)) {
        return yield* Either.left(fail("StaleAuth", "it is the login of another account or user now"))
      }
      const entry = yield* Either.mapLeft(
        Format.entryOf(auth, binding),
        () => fail("Occupied", "another agent stands in it as `agent_identity`; remove that first, or log in again")
      )
      return { login, entry }
    })

  const swapOnce = (
    binding: CredentialStore.Binding,
    expected: Option.Option<string>,
    next: Option.Option<CredentialStore.AgentRecord>
  ) =>
    Effect.gen(function*() {
      // A symbolic link stays one: what it leads to is locked and replaced.
      const target = yield* onDisk(() => FsPromises.realpath(file), onReadError)
      const swap = (lock: Lock) =>
        Effect.gen(function*() {
          yield* onDisk(() => InPlace.recover(target, lock), onWriteError)
          const before = yield* onDisk(() => Disk.read(target), onReadError)
          const auth = before && Format.parse(before.bytes)
          if (before === undefined || auth === undefined) return yield* new NotWhole()
          if (lock.isOurs()) Beside.sweep(target)
          const { entry, login } = yield* toEffect(look(auth, binding))
          if (Option.getOrUndefined(entry)?.version !== Option.getOrUndefined(expected)) return false
          if (Option.isNone(entry) && Option.isNone(next)) return true
          const text = Format.withRecord(auth, login, next)
          const outcome = yield* onDisk(() => Disk.replace(target, before, text, lock), onWriteError)
          if (outcome === "Changed") return yield* new Changed()
          if (outcome === "LockLost") {
            return yield* fail("LockLost", "the lock was held for too long, or removed; try again")
          }
          if (outcome === "Detached") return yield* fail("Unwritable", detached)
          return true
        })
      const swapped = yield* withLock(target, onLockError(lockOf(target)), swap)
      if (swapped) yield* Effect.promise(() => Beside.syncFolder(target))
      return swapped
    })

  return {
    get: (binding) =>
      read(file).pipe(
        Effect.mapError((error) => error._tag === "NotWhole" ? fail("Invalid", notJson) : onReadError(error.cause)),
        Effect.flatMap((auth) => toEffect(look(auth, binding))),
        Effect.map(({ entry }) => entry)
      ),
    compareAndSwap: (binding, expected, next) =>
      swapOnce(binding, expected, next).pipe(
        untilWhole,
        Effect.retry({ times: 20, while: Predicate.isTagged("Changed") }),
        Effect.catchTags({
          NotWhole: () => fail("Invalid", notJson),
          Changed: () => fail("Locked", "others change the file all the time; try again later")
        })
      )
  }
}

/** It was changed, by a program that does not take our lock, between our look at it and our write. */
class Changed extends Data.TaggedError("Changed") {}

/** What was read is no JSON object, or not the whole of one. */
class NotWhole extends Data.TaggedError("NotWhole") {}

class ReadError extends Data.TaggedError("ReadError")<{ readonly cause: NodeJS.ErrnoException }> {}

/**
 * Versions of the reference before 0.166 empty the file and then write it: what is not whole may be so a moment later. The wait is for another
 * process, in real time, whatever clock this one has; and outside of the lock.
 */
const untilWhole = <A, E, R>(effect: Effect.Effect<A, E | NotWhole, R>): Effect.Effect<A, E | NotWhole, R> =>
  effect.pipe(
    Effect.retry({
      schedule: Schedule.spaced("20 millis"),
      times: 6,
      while: (error: E | NotWhole) => error instanceof NotWhole
    }),
    Effect.withClock(Clock.make())
  )

const read = (file: string): Effect.Effect<Format.AuthFile, NotWhole | ReadError> =>
  untilWhole(Effect.flatMap(
    onDisk(() => Disk.read(file), (cause) => new ReadError({ cause })),
    (found) => {
      const auth = found && Format.parse(found.bytes)
      return auth === undefined ? new NotWhole() : Effect.succeed(auth)
    }
  ))

const notJson = "it is no JSON object in UTF-8; repair it, or log in again"

const unreadable = (error: NodeJS.ErrnoException) => `it cannot be read (${error.code}); see that you may read it`

const detached =
  "the host has replaced the file since it was mounted, so what is written here is lost; mount its folder instead"

const diskFull: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"])
