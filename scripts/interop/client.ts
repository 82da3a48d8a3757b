/** The real client: how to get it, how to keep it off the network, and how to run it. */
import { FileSystem } from "@effect/platform"
import { Console, Effect, Option, Schema } from "effect"
import { execFile } from "node:child_process"
import { homedir } from "node:os"
import { join } from "node:path"

/** The newest, which the checks are known to hold for. */
export const VERSION = "0.171.0"

/** What a run with an older version takes. */
export interface Past {
  readonly version: string
  /** The variable that it reads the token from; `CODEX_ACCESS_TOKEN` by default. */
  readonly tokenVariable?: string
  /**
   * Where it finds the AuthAPI and the key set: by the variables of the newest; at `chatgpt_base_url`, with the variable of
   * the AuthAPI; or nowhere but at OpenAI's hosts, which our proxy stands for then.
   */
  readonly finds: "variables" | "chatGptBase" | "hosts"
}

/** One of each way in which a client has found its backend, and the newest before this one. */
export const PAST: ReadonlyArray<Past> = [
  { version: "0.128.0", tokenVariable: "CODEX_AGENT_IDENTITY", finds: "chatGptBase" },
  { version: "0.136.0", finds: "chatGptBase" },
  { version: "0.145.0", finds: "hosts" },
  { version: "0.169.0", finds: "variables" }
]

export const NEWEST: Past = { version: VERSION, finds: "variables" }

/** It has 400 MB, so it is no dependency of this repository. */
const folderOf = (version: string) => join(homedir(), ".cache", "agent-identity", `codex-${version}`)
const scriptOf = (version: string) => join(folderOf(version), "node_modules", "@openai", "codex", "bin", "codex.js")

export interface Output {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

interface RunOptions {
  readonly timeout: number
  /** All of its environment; by default it has this process's. */
  readonly env?: Record<string, string>
  readonly cwd?: string
}

export const run = (
  file: string,
  args: ReadonlyArray<string>,
  { timeout, ...options }: RunOptions
): Effect.Effect<Output> =>
  Effect.async((resume, signal) => {
    const limits = { timeout, signal, maxBuffer: 64 * 1024 * 1024 }
    const child = execFile(file, args, { ...options, ...limits }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === "number" ? error.code : 1
      resume(Effect.succeed({ exitCode, stdout, stderr: stderr === "" ? error?.message ?? "" : stderr }))
    })
    // It waits for the end of its input.
    child.stdin?.end()
  })

export class ClientMissing extends Schema.TaggedError<ClientMissing>()("ClientMissing", {
  version: Schema.String,
  detail: Schema.String
}) {}

/** Installs it unless it is there, without running any script of it. */
export const install = (version: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = folderOf(version)
    const expected = `codex-cli ${version}`
    const asked = run(process.execPath, [scriptOf(version), "--version"], { timeout: 30_000 })
    if ((yield* asked).stdout.trim() === expected) return

    yield* Console.log(`Installing @openai/codex ${version} into ${folder}`)
    yield* Effect.orDie(fs.makeDirectory(folder, { recursive: true }))
    yield* Effect.orDie(fs.writeFileString(join(folder, "package.json"), "{ \"private\": true }\n"))
    const args = [
      "install",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      "--fetch-retries=1",
      `@openai/codex@${version}`
    ]
    const npm = yield* run("npm", args, { timeout: 600_000, cwd: folder })
    if (npm.exitCode !== 0) return yield* new ClientMissing({ version, detail: lastLine(npm.stderr) })
    const installed = yield* asked
    if (installed.stdout.trim() !== expected) {
      return yield* new ClientMissing({ version, detail: lastLine(installed.stderr) })
    }
  })

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? ""

/** How a command starts with a loopback interface and no other one, where this machine allows it. */
export const isolation: Effect.Effect<Option.Option<ReadonlyArray<string>>> = Effect.findFirst(
  [["--net"], ["--map-root-user", "--net"]].map((flags) => ["unshare", ...flags, "--"]),
  ([unshare = "", ...args]) =>
    Effect.map(run(unshare, [...args, ...LOOPBACK_UP, "true"], { timeout: 10_000 }), (_) => _.exitCode === 0)
).pipe(Effect.map(Option.map((command) => [...command, ...LOOPBACK_UP])))

const LOOPBACK_UP = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]

/** What a run of the client has besides its arguments. */
export interface CodexOptions {
  readonly env: Record<string, string>
  readonly config?: Readonly<Record<string, string | boolean>> | undefined
  /** Its `CODEX_HOME`; by default an empty one. */
  readonly home?: string | undefined
  /** The newest by default. */
  readonly version?: string | undefined
}

/** One run of the client with nothing but what is given here. */
export const codex = (args: ReadonlyArray<string>, { config = {}, env, version = VERSION, ...options }: CodexOptions) =>
  Effect.gen(function*() {
    const home = options.home ?? (yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped()))
    const settings = Object.entries(config).flatMap(([key, value]) => ["-c", `${key}=${JSON.stringify(value)}`])
    return yield* run(process.execPath, [scriptOf(version), ...args, ...settings], {
      timeout: 60_000,
      cwd: home,
      env: { ...env, PATH: process.env.PATH ?? "", HOME: home, CODEX_HOME: home }
    })
  }).pipe(Effect.scoped)

/** It answers a prompt, and ends. */
export const codexExec = (prompt: string, options: CodexOptions) =>
  codex(["exec", "--skip-git-repo-check", prompt], options)

/** The text of its program, to look for names in. */
export const programText = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const folder = join(folderOf(VERSION), "node_modules", "@openai")
  const files = (yield* fs.readDirectory(folder, { recursive: true })).filter((file) =>
    /\/bin\/codex(\.exe)?$/.test(file)
  )
  const program = yield* Effect.forEach(files, (file) => fs.readFile(join(folder, file)))
  return program.map((bytes) => Buffer.from(bytes).toString("latin1")).join("\n")
})
