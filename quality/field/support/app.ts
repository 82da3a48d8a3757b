/** An app as a process: commands in, lines out. */
import { type ChildProcess, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterTests } from "./cleanup.ts"

/** What an error of an app says of itself. */
export interface Described {
  readonly _tag?: string
  readonly reason?: string
  readonly status?: number
  readonly code?: number
  readonly attempts?: number
  readonly message?: string
  readonly cause?: Described
}

/** What came of a step; of a whole run in its last line. */
export interface Line {
  readonly asked?: string
  readonly millis: number
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly length?: number
  readonly text?: string
  readonly account?: string
  readonly statuses?: ReadonlyArray<number>
  readonly messages?: ReadonlyArray<string>
  readonly task?: string
  readonly keys?: ReadonlyArray<string>
  readonly error?: Described
  readonly logs?: ReadonlyArray<string>
}

export interface Command {
  readonly environment?: Readonly<Record<string, string>>
  readonly options?: object
  readonly chatGpt?: object
  readonly configWith?: object
  readonly transport?: boolean | "layered"
  readonly portable?: object
  readonly urls?: object
  readonly file?: string
  readonly keySet?: object
  readonly script?: string
  readonly steps: ReadonlyArray<object>
  readonly within?: number
}

/** The lines of the steps, and the line of the end. */
export interface Result {
  readonly steps: ReadonlyArray<Line>
  readonly end: Line
}

export interface App {
  readonly process: ChildProcess
  readonly run: (command: Command) => Promise<Result>
  /** The only step of a run. */
  readonly step: (step: object, command?: Omit<Command, "steps">) => Promise<Line>
}

const folder = fileURLToPath(new URL("../app", import.meta.url))

/** A folder that is gone after the tests of the file. */
export const temporaryFolder = (): string => {
  const path = Fs.mkdtempSync(Path.join(Os.tmpdir(), "field-"))
  afterTests(() => Fs.rmSync(path, { recursive: true, force: true }))
  return path
}

/**
 * Starts an app with this environment and no other, except for a home that is empty. `preload` are modules of `app/` that
 * are loaded before it; `launcher` is a command that becomes the command that follows it.
 */
export const start = (
  environment: Readonly<Record<string, string | undefined>>,
  preload: ReadonlyArray<string> = [],
  program = "app.mjs",
  launcher: ReadonlyArray<string> = []
): App => {
  const imports = preload.flatMap((name) => ["--import", Path.join(folder, name)])
  const [command, ...args] = [...launcher, process.execPath, ...imports, Path.join(folder, program)]
  const child = spawn(command!, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: temporaryFolder(), ...environment },
    stdio: ["pipe", "pipe", "inherit"]
  })
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  afterTests(async () => {
    child.kill("SIGKILL")
    await exited
  })

  const waiting = new Map<number, { readonly steps: Array<Line>; readonly done: (result: Result) => void }>()
  createInterface({ input: child.stdout! }).on("line", (text) => {
    const { end, id, ...line } = JSON.parse(text)
    const { done, steps } = waiting.get(id)!
    if (end !== true) return steps.push(line)
    waiting.delete(id)
    done({ steps, end: line })
  })

  let last = 0
  const run = (command: Command) =>
    new Promise<Result>((resolve, reject) => {
      const id = ++last
      waiting.set(id, { steps: [], done: resolve })
      void exited.then(() => reject(new Error("the app has ended")))
      child.stdin!.write(`${JSON.stringify({ id, ...command })}\n`)
    })
  const step = async (step: object, command: Omit<Command, "steps"> = {}) => {
    const { end, steps } = await run({ ...command, steps: [step] })
    return steps[0] ?? end
  }
  return { process: child, run, step }
}
