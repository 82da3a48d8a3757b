/**
 * What the apps share: commands come on the standard input, a line of JSON each, and a line is printed for every step:
 * what was asked, and what came of it.
 */
import { Cause, ConfigProvider, Effect, Exit, Logger, Option } from "effect"
import { createInterface } from "node:readline"

/** Runs the steps of each command inside of its layer. Its `environment` is laid over that of the process. */
export const serve = (layerOf, steps) => {
  const lines = createInterface({ input: process.stdin })
  lines.on("line", (line) => void execute(layerOf, steps, JSON.parse(line)))
  lines.on("close", () => process.exit())
}

/** An answer, or a failure, as a line tells it. */
export const outcomeOf = (exit) =>
  Exit.isSuccess(exit)
    ? exit.value
    : { error: describe(Option.getOrElse(Cause.failureOption(exit.cause), () => Cause.squash(exit.cause))) }

const describe = (error) =>
  error === null || typeof error !== "object" ? { message: String(error) } : {
    _tag: error._tag,
    reason: error.reason,
    status: error.status,
    code: error.code,
    attempts: error.attempts,
    message: error.message,
    ...(error.cause === undefined ? undefined : { cause: describe(error.cause) })
  }

/** A step that does not end is an outcome too. */
const within = (effect, { within = 8000 }) =>
  Effect.timeoutFail(Effect.interruptible(effect), {
    duration: within,
    onTimeout: () => ({ _tag: "NoEnd", message: `no end within ${within} ms` })
  })

const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

const common = {
  wait: ({ wait }) => Effect.as(Effect.sleep(wait), {}),
  /** Sets the clocks of `clocks.mjs`. */
  clock: ({ clock: { monotonic = 0, wall = 0 } }) =>
    Effect.sync(() => {
      globalThis.fieldClocks.monotonic += monotonic
      globalThis.fieldClocks.wall += wall
      return {}
    })
}

const execute = async (layerOf, steps, command) => {
  const logs = []
  const log = Logger.make(({ annotations, logLevel, message }) => {
    logs.push([logLevel.label, ...[message].flat(), JSON.stringify(Object.fromEntries(annotations))].join(" "))
  })
  const all = { ...common, ...steps }
  const began = performance.now()
  const run = Effect.gen(function*() {
    for (const step of command.steps) {
      const [kind] = Object.keys(step)
      const began = performance.now()
      const exit = yield* Effect.exit(within(all[kind](step), step))
      print({ id: command.id, asked: kind, millis: performance.now() - began, ...outcomeOf(exit) })
    }
  })
  const exit = await Effect.runPromiseExit(
    within(Effect.provide(run, layerOf(command)), { within: command.within ?? 25_000 }).pipe(
      Effect.withConfigProvider(
        ConfigProvider.orElse(
          ConfigProvider.fromMap(new Map(Object.entries(command.environment ?? {}))),
          () => ConfigProvider.fromEnv()
        )
      ),
      Effect.provide(Logger.replace(Logger.defaultLogger, log))
    )
  )
  print({ id: command.id, end: true, millis: performance.now() - began, logs, ...outcomeOf(exit) })
}
