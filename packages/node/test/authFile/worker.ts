/**
 * A process that uses the file: `worker <what> <file> [<times>]`. Prints one line of JSON for each result. With `KILL_AT` it
 * kills itself at that change of the disk, near its end where it is a write in place.
 */
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as AuthFile from "@agent-identity/node/AuthFile"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import NodeFs, * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { setTimeout } from "node:timers/promises"
import lockfile from "proper-lockfile"
import { BINDING, countOf, increment } from "./counter.ts"

const [, , what, file = "", times = "1"] = process.argv
const say = (value: unknown) => Fs.writeSync(1, `${JSON.stringify(value)}\n`)

const killAt = Number(process.env.KILL_AT)
let changes = 0
const isKilled = () => ++changes === killAt
const kill = () => process.kill(process.pid, "SIGKILL")
if (killAt > 0) {
  const writeSync = NodeFs.writeSync as (...args: ReadonlyArray<unknown>) => number
  Object.assign(NodeFs, {
    writeSync: (...args: ReadonlyArray<unknown>) => {
      const [descriptor, bytes, offset, length, position] = args
      if (typeof bytes !== "string" && isKilled()) {
        writeSync(descriptor, bytes, offset, Math.max(1, Number(length) - 200), position)
        kill()
      }
      return writeSync(...args)
    }
  })
  for (const name of ["ftruncateSync", "mkdirSync", "renameSync", "rmdirSync", "rmSync"] as const) {
    const original = NodeFs[name] as (...args: ReadonlyArray<unknown>) => unknown
    Object.assign(NodeFs, {
      [name]: (...args: ReadonlyArray<unknown>) => {
        if (isKilled()) kill()
        return original(...args)
      }
    })
  }
  syncBuiltinESMExports()
  const handle = await FsPromises.open(process.execPath)
  const prototype: { sync: () => Promise<void> } = Object.getPrototypeOf(handle)
  await handle.close()
  const { sync } = prototype
  prototype.sync = function() {
    if (isKilled()) kill()
    return sync.call(this)
  }
}

const store = Effect.runSync(
  Effect.provide(CredentialStore.CredentialStore, AuthFile.layerCredentialStore({ file }))
)

if (what === "read") {
  const result = await Effect.runPromise(Effect.either(store.get(BINDING)))
  say(Either.isLeft(result) ? result.left.reason : "read")
} else if (what === "watch") {
  // What it sees that is no record as one process has written it.
  const torn = new Set<string>()
  let reads = 0
  for (; reads < Number(times); reads++) {
    const result = await Effect.runPromise(Effect.either(store.get(BINDING)))
    if (Either.isLeft(result)) torn.add(result.left.message)
    else if (Option.isSome(result.right)) {
      const { record } = result.right.value
      if (record.state !== "ready" || record.registeredAt !== countOf(record)) torn.add(JSON.stringify(record))
    }
  }
  say({ reads, torn: [...torn] })
} else if (what === "hold") {
  const release = await lockfile.lock(file, { stale: 2000, lockfilePath: `${file}.agent-identity-lock` })
  say("held")
  await setTimeout(Number(times))
  say("released")
  await release()
} else {
  // Each success is said, and the first error ends it.
  for (let count = 0; count < Number(times);) {
    const result = await Effect.runPromise(Effect.either(increment(store)))
    if (Either.isLeft(result)) {
      say(result.left.reason)
      break
    }
    if (Option.isSome(result.right)) {
      count++
      if (what === "count") say(result.right.value)
    }
  }
}
