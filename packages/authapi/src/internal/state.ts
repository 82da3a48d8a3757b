/** Where a server keeps what its commands need: a folder for each port, that only its owner reads. */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Os from "node:os"
import { CommandError } from "./options.ts"

export const folderOf = (port: number) =>
  Effect.gen(function*() {
    const path = yield* Path.Path
    const state = Option.getOrUndefined(yield* Config.option(Config.nonEmptyString("XDG_STATE_HOME"))) ??
      path.join(yield* home, ".local", "state")
    return path.join(state, "agent-identity", `authapi-${port}`)
  })

/** Node throws for a user that the machine does not know, where `HOME` is not set. */
const home = Effect.try({
  try: () => Os.homedir().trim() || Os.userInfo().homedir,
  catch: () =>
    new CommandError({ message: "HOME is not set, and this user has no home folder: set XDG_STATE_HOME to a folder" })
})

export const makeFolder = (port: number) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* folderOf(port)
    yield* fs.makeDirectory(folder, { recursive: true, mode: 0o700 })
    return folder
  })

const tokenFile = (port: number) =>
  Effect.flatMap(Path.Path, (path) => Effect.map(folderOf(port), (_) => path.join(_, "admin-token")))

/** Writes the admin token, and takes it away with the scope. A file of a server that was killed is replaced. */
export const keepAdminToken = (port: number, token: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = yield* tokenFile(port)
    const remove = Effect.ignore(fs.remove(file))
    yield* Effect.acquireRelease(
      Effect.zipRight(remove, fs.writeFileString(file, token, { mode: 0o600, flag: "wx" })),
      () => remove
    )
  })

/** None where no server runs on this port, or one of another user. */
export const readAdminToken = (port: number) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    return yield* Effect.option(Effect.flatMap(tokenFile(port), (file) => fs.readFileString(file)))
  })
