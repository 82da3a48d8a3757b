/** A process that uses the file: `worker <what> <file> [<times>]`. Prints one line of JSON for each result. */
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as AuthFile from "@agent-identity/node/AuthFile"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { setTimeout } from "node:timers/promises"
import lockfile from "proper-lockfile"
import { BINDING, increment } from "./counter.ts"

const [, , what, file = "", times = "1"] = process.argv
const say = (value: unknown) => Fs.writeSync(1, `${JSON.stringify(value)}\n`)

const store = Effect.runSync(
  Effect.provide(CredentialStore.CredentialStore, AuthFile.layerCredentialStore({ file }))
)

if (what === "read") {
  const result = await Effect.runPromise(Effect.either(store.get(BINDING)))
  say(Either.isLeft(result) ? result.left.reason : "read")
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
