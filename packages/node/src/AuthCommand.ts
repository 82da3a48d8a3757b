/**
 * A provider's own token from a command line, such as a password manager or a cloud's own tool.
 *
 * @since 0.1.0
 */
import * as Text from "@agent-identity/core/protocol/text"
import type * as Provider from "@agent-identity/core/Provider"
import * as Moment from "@agent-identity/core/run/moment"
import * as SingleFlight from "@agent-identity/core/run/singleFlight"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Command from "@effect/platform/Command"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/**
 * Why there is no token. What the command printed is not shown.
 *
 * - `CannotRun`: there is no such command, or no permission to run it
 * - `Failed`: it ended with another exit code than 0, or by a signal
 * - `Timeout`: it did not end in time, and was killed
 * - `NoToken`: it printed something else than one line of visible ASCII
 *
 * @since 0.1.0
 * @category errors
 */
export class AuthCommandError extends Schema.TaggedError<AuthCommandError>("@agent-identity/node/AuthCommandError")(
  "AuthCommandError",
  { reason: Schema.Literal("CannotRun", "Failed", "Timeout", "NoToken"), command: Schema.String, detail: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `${JSON.stringify(this.command)} ${this.detail}`
  }
}

/**
 * A command, and for how long its answer is good.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Found as the platform finds it, in `PATH` for example. */
  readonly command: string
  /** As they are: there is no shell that would read them. */
  readonly args?: ReadonlyArray<string> | undefined
  /** How long it may take; 5 seconds by default. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long its token is used before it runs again, unless a server refuses it; 5 minutes by default. */
  readonly lifetime?: Duration.DurationInput | undefined
}

/**
 * Runs the command, without a shell, and takes what it prints, trimmed, for the token. A token is kept for its lifetime, or
 * until `renew` is told that it was refused; a failure is not kept. All who ask meanwhile share one run. The command has
 * ended when its process has: a child that it leaves behind may keep its output open.
 *
 * @example
 * import type { Provider } from "@agent-identity/core"
 * import { AuthCommand } from "@agent-identity/node"
 * import { Effect, Redacted } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const authCommand = yield* AuthCommand.make({ command: "echo", args: ["a-token"] })
 *   const gateway: Provider.Provider = { name: "gateway", baseUrl: "https://llm.example/v1", authCommand }
 *   assert.deepStrictEqual(Redacted.value(yield* gateway.authCommand!.current), "a-token")
 * })
 *
 * await Effect.runPromise(program)
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Provider.AuthCommand<AuthCommandError>> =>
  Effect.map(SingleFlight.make<Redacted.Redacted<string>, AuthCommandError>(), (flight) => {
    const lifetime = Duration.toMillis(options.lifetime ?? "5 minutes")
    let kept: { readonly token: Redacted.Redacted<string>; readonly since: Moment.Moment } | undefined

    const rerun = flight.share(Effect.flatMap(Moment.now, (since) =>
      Effect.map(run(options), (token) => {
        kept = { token, since }
        return token
      })))
    const notThis = (stale: Redacted.Redacted<string> | undefined) =>
      Effect.flatMap(
        Moment.now,
        (now) =>
          kept !== undefined && kept.token !== stale && Moment.isWithin(kept.since, lifetime, now)
            ? Effect.succeed(kept.token)
            : rerun
      )

    return { current: notThis(undefined), renew: notThis }
  })

const maxOutputCharacters = 64 * 1024

/**
 * Where a child that was left behind keeps the output open, its end does not come. All that the process has printed is there
 * to be read, and between two timers a busy event loop reads it.
 */
const drained = Effect.repeatN(Effect.sleep("50 millis"), 4)

const run = (options: Options): Effect.Effect<Redacted.Redacted<string>, AuthCommandError> => {
  const fail = (reason: AuthCommandError["reason"], detail: string) =>
    new AuthCommandError({ reason, command: options.command, detail })
  const timeout = options.timeout ?? "5 seconds"
  return Effect.gen(function*() {
    // `spawn` throws for these.
    if (/^\s*$|\0/.test(options.command) || options.args?.some((arg) => arg.includes("\0")) === true) {
      return yield* fail("CannotRun", "cannot be run: it is empty or has a NUL; name a program that there is")
    }
    // Its standard input is empty, and what it complains of is read and dropped: else a command may wait for us.
    const child = yield* Command.start(Command.feed(Command.make(options.command, ...options.args ?? []), ""))
    yield* Effect.forkScoped(Effect.ignore(Stream.runDrain(child.stderr)))
    let text = ""
    const reading = yield* child.stdout.pipe(
      Stream.decodeText(),
      Stream.runForEach((chunk) =>
        Effect.sync(() => {
          if (text.length <= maxOutputCharacters) text += chunk
        })
      ),
      Effect.forkScoped
    )
    const exitCode = yield* child.exitCode.pipe(
      Effect.mapError(() => fail("Failed", "was ended by a signal; run it by hand to see why")),
      Effect.timeoutFail({
        duration: timeout,
        onTimeout: () =>
          fail(
            "Timeout",
            `did not end within ${Duration.format(timeout)}; see that it asks nothing, or set a longer \`timeout\``
          )
      }),
      // Not with SIGTERM, which it may ignore.
      Effect.onError(() => Effect.ignore(child.kill("SIGKILL")))
    )
    if (exitCode !== 0) return yield* fail("Failed", `ended with exit code ${exitCode}; run it by hand to see why`)
    yield* Effect.raceFirst(Fiber.join(reading), drained)
    const token = text.trim()
    const around = Text.aroundToken(token)
    if (around !== undefined) return yield* fail("NoToken", `printed a token, but ${around}`)
    if (token.startsWith("{")) return yield* fail("NoToken", "printed JSON; it has to print the token alone")
    return /^[\x21-\x7e]+$/.test(token) && token.length <= maxOutputCharacters
      ? Redacted.make(token)
      : yield* fail("NoToken", "printed no token; it has to print one line of visible ASCII and nothing else")
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeContext.layer),
    Effect.catchTags({
      BadArgument: () => fail("CannotRun", "cannot be run; name a program that there is"),
      SystemError: (error) => fail("CannotRun", `cannot be run (${error.reason}); name a program that there is`)
    })
  )
}
