/** A ChatGPT login in a real `auth.json` becomes one agent of a real AuthAPI, also of many processes, and of killed ones. */
import { ChatGptLogin } from "@agent-identity/login"
import { AuthFile } from "@agent-identity/node"
import { assert, describe } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import * as Fs from "node:fs"
import { setTimeout } from "node:timers/promises"
import * as File from "./authFile/files.ts"
import { Agents, requests } from "./backend.ts"
import { home, live, login, loginIn, run, slow } from "./chatGpt.ts"

/** Which lock there is, if any: a killed process leaves its own. */
const lockOf = (file: string) => {
  const lock = Fs.statSync(`${file}.agent-identity-lock`, { bigint: true, throwIfNoEntry: false })
  return lock && `${lock.ino} ${lock.birthtimeNs}`
}

describe("many processes", () => {
  live(
    "32 at once make one agent and one task, and all of them work",
    () =>
      Effect.gen(function*() {
        const worker = yield* File.bundle("run.ts")
        const { environment, file } = yield* home()
        const outputs = yield* Effect.promise(() =>
          Promise.all(
            Array.from({ length: 32 }, () => File.run(process.execPath, [worker, "once"], { env: environment }).done)
          )
        )
        const [first] = outputs
        assert.deepInclude(first?.[0], { sends: "Assertion", status: 200 }, JSON.stringify(outputs))
        for (const output of outputs) assert.deepStrictEqual(output, first!)
        const all = yield* requests
        assert.strictEqual(all.filter((_) => _ === "agent").length, 1)
        assert.strictEqual(all.filter((_) => _ === "register").length, 1)
        assert.strictEqual(all.filter((_) => _ === "models").length, 32)
        assert.deepStrictEqual(File.leftovers(file), [])
        assert.strictEqual((yield* Agents).size, 1)
      }),
    slow(100)
  )

  live(
    "200 kills -9 of a writer, 20 and more inside the lock: a whole file each time, and one agent",
    () =>
      Effect.gen(function*() {
        const worker = yield* File.bundle("run.ts")
        const counts = { kills: 0, inside: 0 }
        const started = performance.now()
        const lane = Effect.gen(function*() {
          const { environment, file } = yield* home()
          for (let round = 0; round < 25; round++) {
            const before = lockOf(file)
            const isInside = () => ![undefined, before].includes(lockOf(file))
            const { done, lines, process: child } = File.run(process.execPath, [worker, "renew"], { env: environment })
            yield* Effect.promise(async () => {
              // Some as soon as they have a lock of their own, the others at any moment from their start on.
              if (round % 3 === 0) { while (!isInside() && child.exitCode === null) await setTimeout(0) }
              else await setTimeout(Math.random() * 800)
              child.kill("SIGKILL")
              await done
            })
            counts.kills++
            for (const line of lines) assert.isString(line, JSON.stringify(line))
            if (isInside()) counts.inside++
            // It parses, and the login is whole.
            assert.deepStrictEqual(loginIn(file), JSON.parse(JSON.stringify(login())))
            assert.strictEqual(File.modeOf(file), 0o600)
          }
          // And the next one works, and cleans up.
          assert.strictEqual((yield* run(environment)).status, 200)
          const store = yield* File.storeOf(file)
          const { current } = yield* Effect.map(
            Layer.build(AuthFile.layerLogin({ file })),
            Context.get(ChatGptLogin.ChatGptLogin)
          )
          const { binding } = yield* current
          const { record, version } = Option.getOrThrow(yield* store.get(binding))
          assert.isTrue(yield* store.compareAndSwap(binding, Option.some(version), Option.some(record)))
          assert.deepStrictEqual(File.leftovers(file), [])
        })
        yield* Effect.all(Array.from({ length: 8 }, () => lane), { concurrency: "unbounded" })
        // The AuthAPI has seen one agent for each of the eight files.
        assert.strictEqual((yield* Agents).size, 8)
        const seconds = (performance.now() - started) / 1000
        yield* Effect.sync(() =>
          console.log(`${counts.kills} kills, ${counts.inside} inside the lock, ${seconds.toFixed(1)} s`)
        )
        assert.strictEqual(counts.kills, 200)
        assert.isAtLeast(counts.inside, 20)
      }),
    slow(20)
  )
})
