import { ProviderAuth } from "@agent-identity/core"
import { AuthCommand } from "@agent-identity/node"
import { Fakes } from "@agent-identity/testing"
import { FileSystem, HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, TestClock } from "effect"
import * as Fs from "node:fs"
import { inspect } from "node:util"

const node = (script: string): AuthCommand.Options => ({ command: process.execPath, args: ["-e", script] })

/** A script that prints its own number of runs as a token, kept in this file. */
const counting = (file: string) =>
  `const fs = require("fs"); fs.appendFileSync(${JSON.stringify(file)}, "x");` +
  `console.log("token-" + fs.readFileSync(${JSON.stringify(file)}).length)`

const temporaryFile = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempFileScoped())

describe("AuthCommand", () => {
  it.scoped("takes what the command prints, and keeps it for its lifetime", () =>
    Effect.gen(function*() {
      const token = yield* AuthCommand.make({ ...node(counting(yield* temporaryFile)), lifetime: "1 minute" })
      assert.strictEqual(Redacted.value(yield* token), "token-1")
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(Redacted.value(yield* token), "token-1")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Redacted.value(yield* token), "token-2")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("runs once for all who ask at the same time", () =>
    Effect.gen(function*() {
      const token = yield* AuthCommand.make(node(counting(yield* temporaryFile)))
      const tokens = yield* Effect.all(Array.from({ length: 50 }, () => token), { concurrency: "unbounded" })
      assert.deepStrictEqual(new Set(tokens.map(Redacted.value)), new Set(["token-1"]))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("does not keep a failure, and an asker that is interrupted harms nobody", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const token = yield* AuthCommand.make(node(
        `const fs = require("fs"); fs.appendFileSync(${JSON.stringify(file)}, "x");` +
          `if (fs.readFileSync(${JSON.stringify(file)}).length < 2) process.exit(3); console.log("token")`
      ))
      assert.strictEqual(
        (yield* Effect.flip(token)).message,
        `"${process.execPath}" ended with exit code 3; run it by hand to see why`
      )
      assert.strictEqual(Redacted.value(yield* token), "token")
    }).pipe(Effect.provide(NodeContext.layer)))

  const failures: ReadonlyArray<readonly [what: string, options: AuthCommand.Options, reason: string]> = [
    ["cannot be found", { command: "no-such-command-anywhere" }, "CannotRun"],
    ["fails", node("console.log('secret-output'); console.error('secret-error'); process.exit(1)"), "Failed"],
    ["prints nothing", node(""), "NoToken"],
    ["prints two lines", node("console.log('secret-output\\nsecret-output')"), "NoToken"],
    ["prints what is no header value", node("console.log('secret-output\\u00e9')"), "NoToken"],
    ["prints without an end", node("for (let i = 0; i < 1000; i++) console.log('x'.repeat(1024))"), "NoToken"]
  ]
  for (const [what, options, reason] of failures) {
    it.effect(`is a typed error where the command ${what}, without what it printed`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.flatten(AuthCommand.make(options)))
        assert.strictEqual(error.reason, reason)
        assert.notInclude(inspect(error, { depth: 9 }), "secret")
      }))
  }

  it.live("ends a command that takes too long", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(
        Effect.flatten(AuthCommand.make({ ...node("setTimeout(() => {}, 60000)"), timeout: "300 millis" }))
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
      const error = yield* Effect.flip(Effect.flatten(AuthCommand.make({ ...node(stubborn), timeout: "500 millis" })))
      assert.strictEqual(error.reason, "Timeout")
    }))

  it.scopedLive("fails for all who wait by one run", () =>
    Effect.gen(function*() {
      const file = yield* temporaryFile
      const script = `${counting(file)}; setTimeout(() => {}, 600000)`
      const token = yield* AuthCommand.make({ ...node(script), timeout: "2 seconds" })
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
        assert.strictEqual(Redacted.value(yield* Effect.flatten(AuthCommand.make(node(script)))), "token")
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
