import { ProviderAuth } from "@agent-identity/core"
import { AuthCommand } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import { FileSystem, HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted, TestClock } from "effect"
import * as Fs from "node:fs"
import { inspect } from "node:util"
import * as Clocks from "../../core/test/clocks.ts"

const node = (script: string): AuthCommand.Options => ({ command: process.execPath, args: ["-e", script] })

const shell = (script: string): AuthCommand.Options => ({ command: "sh", args: ["-c", script] })

const tokenOf = (options: AuthCommand.Options) => Effect.flatMap(AuthCommand.make(options), ({ current }) => current)

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.timed(effect), ([took, value]) => [Duration.toMillis(took), value] as const)

/** A script that prints its own number of runs as a token, kept in this file. */
const counting = (file: string) =>
  `const fs = require("fs"); fs.appendFileSync(${JSON.stringify(file)}, "x");` +
  `console.log("token-" + fs.readFileSync(${JSON.stringify(file)}).length)`

const temporaryFile = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempFileScoped())

describe("AuthCommand", () => {
  it.scoped("takes what the command prints, and keeps it for its lifetime", () =>
    Effect.gen(function*() {
      const { current: token } = yield* AuthCommand.make({
        ...node(counting(yield* temporaryFile)),
        lifetime: "1 minute"
      })
      assert.strictEqual(Redacted.value(yield* token), "token-1")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(Redacted.value(yield* token), "token-1")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Redacted.value(yield* token), "token-2")
    }).pipe(Effect.provide(NodeContext.layer)))

  for (const [what, change] of Object.entries(Clocks.changes)) {
    it.scopedLive(`runs again where ${what}, and not until then`, () => {
      const { change: set, clock, pass } = Clocks.make()
      return Effect.gen(function*() {
        const { current } = yield* AuthCommand.make(node(counting(yield* temporaryFile)))
        yield* current
        yield* pass(299_000)
        assert.strictEqual(Redacted.value(yield* current), "token-1")
        yield* set(change)
        assert.strictEqual(Redacted.value(yield* current), "token-2")
      }).pipe(Effect.provide(NodeContext.layer), Effect.withClock(clock))
    })
  }

  it.scoped("runs once for all who ask at the same time", () =>
    Effect.gen(function*() {
      const { current: token } = yield* AuthCommand.make(node(counting(yield* temporaryFile)))
      const tokens = yield* Effect.all(Array.from({ length: 50 }, () => token), { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(tokens.map(Redacted.value)), new Set(["token-1"]))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("does not keep a failure, and an asker that is interrupted harms nobody", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const { current: token } = yield* AuthCommand.make(node(
        `const fs = require("fs"); fs.appendFileSync(${JSON.stringify(file)}, "x");` +
          `if (fs.readFileSync(${JSON.stringify(file)}).length < 2) process.exit(3); console.log("token")`
      ))
      assert.strictEqual(
        (yield* Effect.flip(token)).message,
        `"${process.execPath}" ended with exit code 3; run it by hand to see why`
      )
      assert.strictEqual(Redacted.value(yield* token), "token")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("runs again once for all whose token was refused, and gives the new one to those who come later", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const { current, renew } = yield* AuthCommand.make(node(counting(file)))
      const first = yield* current
      const tokens = yield* Effect.all(Array.from({ length: 50 }, () => renew(first)), { concurrency: "unbounded" })
      for (const token of [...tokens, yield* renew(first), yield* current]) {
        assert.strictEqual(Redacted.value(token), "token-2")
      }
      assert.strictEqual(Redacted.value(yield* renew(yield* current)), "token-3")
      assert.strictEqual(Fs.readFileSync(file).length, 3)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("runs again once for all whose token was refused where it prints the same one", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const { current, renew } = yield* AuthCommand.make(
        node(`require("fs").appendFileSync(${JSON.stringify(file)}, "x"); console.log("token")`)
      )
      const first = yield* current
      for (const token of [yield* renew(first), yield* renew(first)]) {
        assert.strictEqual(Redacted.value(token), "token")
      }
      assert.strictEqual(Fs.readFileSync(file).length, 2)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("keeps a refused token where the command has no other", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const { current, renew } = yield* AuthCommand.make(node(
        `const fs = require("fs"); fs.appendFileSync(${JSON.stringify(file)}, "x");` +
          `if (fs.readFileSync(${JSON.stringify(file)}).length === 2) process.exit(3); console.log("token")`
      ))
      const first = yield* current
      assert.strictEqual((yield* Effect.flip(renew(first))).reason, "Failed")
      assert.strictEqual(yield* current, first)
      assert.notStrictEqual(yield* renew(first), first)
    }).pipe(Effect.provide(NodeContext.layer)))

  const failures: ReadonlyArray<readonly [what: string, options: AuthCommand.Options, reason: string]> = [
    ["is empty", { command: "" }, "CannotRun"],
    ["has a NUL", { command: "echo\0" }, "CannotRun"],
    ["cannot be found", { command: "no-such-command-anywhere" }, "CannotRun"],
    ["fails", node("console.log('secret-output'); console.error('secret-error'); process.exit(1)"), "Failed"],
    ["is ended by a signal", node("console.log('secret-output'); process.kill(process.pid, 'SIGKILL')"), "Failed"],
    ["prints nothing", node(""), "NoToken"],
    ["prints a token in quotes, as `az` does", node("console.log('\"secret-output\"')"), "NoToken"],
    ["prints a whole header", node("console.log('Authorization: Bearer secret-output')"), "NoToken"],
    ["prints JSON", node("console.log('{\"token\":\"secret-output\"}')"), "NoToken"],
    ["prints two lines", node("console.log('secret-output\\nsecret-output')"), "NoToken"],
    ["prints what is no header value", node("console.log('secret-output\\u00e9')"), "NoToken"],
    ["prints without an end", node("for (let i = 0; i < 1000; i++) console.log('x'.repeat(1024))"), "NoToken"]
  ]
  for (const [what, options, reason] of failures) {
    it.effect(`is a typed error where the command ${what}, without what it printed`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(tokenOf(options))
        assert.strictEqual(error.reason, reason)
        assert.notInclude(inspect(error, { depth: 9 }), "secret")
      }))
  }

  it.live("ends a command that takes too long", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        tokenOf({ ...node("setTimeout(() => {}, 60000)"), timeout: "300 millis" })
      )
      assert.strictEqual(
        error.message,
        `"${process.execPath}" did not end within 300ms; see that it asks nothing, or set a longer \`timeout\``
      )
    }))

  it.live("ends a command that ignores being told to end", () =>
    Effect.gen(function*() {
      // It would go on for longer than this test may.
      const stubborn = "process.on('SIGTERM', () => {}); setTimeout(() => {}, 600000); console.log('here')"
      const error = yield* Effect.flip(tokenOf({ ...node(stubborn), timeout: "500 millis" }))
      assert.strictEqual(error.reason, "Timeout")
    }))

  /** For longer than a command may take. */
  const child = (milliseconds: number, options: object) =>
    `require("child_process").spawn(process.execPath, ["-e", "setTimeout(() => {}, ${milliseconds})"], ${
      JSON.stringify(options)
    }).unref();`

  it.live("waits for no child that the command has left behind, with its output open", () =>
    Effect.gen(function*() {
      for (const detached of [false, true]) {
        const script = `${child(20_000, { detached, stdio: "inherit" })} console.log("token")`
        const [millis, token] = yield* timed(tokenOf({ ...node(script), timeout: "15 seconds" }))
        assert.strictEqual(Redacted.value(token), "token")
        assert.isBelow(millis, 15_000)
      }
    }))

  it.live("reads all that the command has printed, where a child keeps its output open", () =>
    Effect.gen(function*() {
      const token = yield* tokenOf(shell("sleep 10 & head -c 60000 /dev/zero | tr '\\0' x"))
      assert.lengthOf(Redacted.value(token), 60_000)
    }))

  it.live("waits for a command that has closed its output until it ends", () =>
    Effect.gen(function*() {
      const [millis, token] = yield* timed(tokenOf(shell("echo token; exec >&-; sleep 1")))
      assert.strictEqual(Redacted.value(token), "token")
      assert.isAtLeast(millis, 900)
      assert.strictEqual((yield* Effect.flip(tokenOf(shell("echo token; exec >&-; exit 3")))).reason, "Failed")
      const error = yield* Effect.flip(tokenOf({ ...shell("echo token; exec >&-; sleep 60"), timeout: "500 millis" }))
      assert.strictEqual(error.reason, "Timeout")
    }))

  it.live("ends a command that takes too long, whatever children it has", () =>
    Effect.gen(function*() {
      for (const detached of [false, true]) {
        const script = `${child(20_000, { detached, stdio: "inherit" })} setTimeout(() => {}, 600000)`
        const [millis, error] = yield* timed(Effect.flip(tokenOf({ ...node(script), timeout: "1 second" })))
        assert.strictEqual(error.reason, "Timeout")
        assert.isBelow(millis, 15_000)
      }
    }))

  it.scopedLive("ends the children of a command that takes too long", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const script = `sleep 600 & echo $! > ${file}; wait`
      yield* Effect.flip(tokenOf({ ...shell(script), timeout: "1 second" }))
      const pid = Number(Fs.readFileSync(file, "utf8"))
      assert.isAbove(pid, 0)
      const isThere = Effect.sync(() => {
        try {
          return process.kill(pid, 0)
        } catch {
          return false
        }
      })
      yield* Effect.repeat(Effect.zipRight(Effect.sleep("20 millis"), isThere), { while: (isThere) => isThere })
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("fails for all who wait by one run", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const script = `${counting(file)}; setTimeout(() => {}, 600000)`
      const { current: token } = yield* AuthCommand.make({ ...node(script), timeout: "2 seconds" })
      const errors = yield* Effect.all(Array.from({ length: 20 }, () => Effect.flip(token)), {
        concurrency: "unbounded"
      })
      assert.isTrue(errors.every(({ reason }) => reason === "Timeout"))
      // On a busy machine it may not have come to that.
      assert.isAtMost(Fs.readFileSync(file).length, 1)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.live("waits for no command that complains at length, or reads its input to the end", () =>
    Effect.gen(function*() {
      const complaining = "process.stderr.write('x'.repeat(1e6), () => console.log('token'))"
      const reading = "process.stdin.resume().on('end', () => console.log('token'))"
      for (const script of [complaining, reading]) {
        assert.strictEqual(Redacted.value(yield* tokenOf(node(script))), "token")
      }
    }))

  it.effect("is the token of a provider's requests", () =>
    Effect.gen(function*() {
      const authCommand = yield* AuthCommand.make(node("console.log('printed-token')"))
      const echo = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, Response.json(request.headers.authorization ?? null)))
      )
      const { authorizeProvider } = yield* ProviderAuth.ProviderAuth
      const client = yield* authorizeProvider(echo, { name: "own", baseUrl: "https://llm.example/v1", authCommand })
      const response = yield* client.get("https://llm.example/v1/models")
      assert.strictEqual(yield* response.json, "Bearer printed-token")
    }).pipe(Effect.provide(Fakes.layerProviderAuth)))
})
