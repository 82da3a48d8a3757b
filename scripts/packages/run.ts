/** How the checks of the packages run, side by side, and are told. */
import { Console, Data, Effect } from "effect"
import { execFile } from "node:child_process"
import { availableParallelism } from "node:os"

export class CheckFailed extends Data.TaggedError("CheckFailed")<{ readonly detail: string }> {}

export const counts = { passed: 0, failed: 0 }

/** Says how it went; what a check finds out comes after its name. */
export const check = <A, R>(name: string, body: Effect.Effect<A, CheckFailed, R>) =>
  body.pipe(
    Effect.tap((found) => {
      counts.passed++
      return Console.log(`${name}: passed${typeof found === "string" ? `, ${found}` : ""}`)
    }),
    Effect.tapError(({ detail }) => {
      counts.failed++
      return Console.log(`${name}: FAILED\n${detail}`)
    })
  )

/** All of them, side by side; one that fails stops what comes after it, and nothing beside it. */
export const all = <R>(checks: Iterable<Effect.Effect<unknown, CheckFailed, R>>) =>
  Effect.all(checks, { concurrency: "unbounded", mode: "either", discard: true })

export const ensure = (condition: boolean, detail: string): Effect.Effect<void, CheckFailed> =>
  condition ? Effect.void : new CheckFailed({ detail })

/** As many processes at a time as there are cores. */
const cores = Effect.unsafeMakeSemaphore(availableParallelism())

interface Options {
  readonly cwd: string
  readonly env?: Record<string, string>
}

export const execute = (command: string, args: ReadonlyArray<string>, { cwd, env }: Options) =>
  Effect.async<{ readonly exitCode: number; readonly output: string; readonly stdout: string }>((resume, signal) => {
    const options = { cwd, env: { ...process.env, ...env }, signal, timeout: 300_000, maxBuffer: 64 * 1024 * 1024 }
    execFile(command, args, options, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === "number" ? error.code : 1
      // What it says for itself, or what became of it.
      const output = `${stdout}${stderr}` || (error?.message ?? "")
      resume(Effect.succeed({ exitCode, stdout, output: error?.killed ? `${output}\ntook too long` : output }))
    }).stdin?.end()
  }).pipe(cores.withPermits(1))

/** What a command prints that has to succeed. */
export const run = (command: string, args: ReadonlyArray<string>, options: Options) =>
  Effect.flatMap(execute(command, args, options), ({ exitCode, output, stdout }) =>
    Effect.as(
      ensure(exitCode === 0, `${[command, ...args].join(" ")}\nended with ${exitCode}\n${output}`),
      stdout
    ))
