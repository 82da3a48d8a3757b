/**
 * A provider's own token from a command line, such as a password manager or a cloud's own tool.
 *
 * @since 0.1.0
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Command from "@effect/platform/Command"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/**
 * Why there is no token. What the command printed is not shown.
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
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly command: string
  readonly args?: ReadonlyArray<string> | undefined
  /** How long it may take; 5 seconds by default. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How long its token is used before it runs again; 5 minutes by default. */
  readonly lifetime?: Duration.DurationInput | undefined
}

/**
 * Runs the command, without a shell, and takes what it prints, trimmed, for the token. A token is kept for its lifetime
 * and a failure is not; whoever asks meanwhile waits for the one run.
 *
 * @example
 * import { AuthCommand } from "@agent-identity/node"
 * import type { Provider } from "@agent-identity/core"
 * import { Effect } from "effect"
 *
 * const gateway = Effect.map(
 *   AuthCommand.make({ command: "gcloud", args: ["auth", "print-access-token"] }),
 *   (authCommand): Provider.Provider => ({ name: "gateway", baseUrl: "https://llm.example/v1", authCommand })
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Effect.Effect<Redacted.Redacted<string>, AuthCommandError>> =>
  Effect.gen(function*() {
    const lifetime = Duration.toMillis(options.lifetime ?? "5 minutes")
    const one = yield* Effect.makeSemaphore(1)
    let kept: { readonly token: Redacted.Redacted<string>; readonly until: number } | undefined
    return one.withPermits(1)(Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      if (kept !== undefined && now < kept.until) return kept.token
      const token = yield* run(options)
      kept = { token, until: now + lifetime }
      return token
    }))
  })

const MAX_OUTPUT_CHARACTERS = 64 * 1024

const run = (options: Options): Effect.Effect<Redacted.Redacted<string>, AuthCommandError> => {
  const fail = (reason: AuthCommandError["reason"], detail: string) =>
    new AuthCommandError({ reason, command: options.command, detail })
  return Effect.gen(function*() {
    const child = yield* Command.start(Command.make(options.command, ...options.args ?? []))
    const output = yield* child.stdout.pipe(
      Stream.decodeText(),
      Stream.runFold("", (text, chunk) => text.length > MAX_OUTPUT_CHARACTERS ? text : text + chunk)
    )
    const exitCode = yield* child.exitCode
    if (exitCode !== 0) return yield* fail("Failed", `ended with exit code ${exitCode}`)
    const token = output.trim()
    return /^[\x21-\x7e]+$/.test(token) && token.length <= MAX_OUTPUT_CHARACTERS
      ? Redacted.make(token)
      : yield* fail("NoToken", "printed no token: one line of visible ASCII")
  }).pipe(
    Effect.scoped,
    Effect.provide(NodeContext.layer),
    Effect.catchTags({
      BadArgument: () => fail("CannotRun", "cannot be run"),
      SystemError: (error) => fail("CannotRun", `cannot be run (${error.reason})`)
    }),
    Effect.timeoutFail({
      duration: options.timeout ?? "5 seconds",
      onTimeout: () => fail("Timeout", `did not end within ${Duration.format(options.timeout ?? "5 seconds")}`)
    })
  )
}
