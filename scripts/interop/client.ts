/** The real client: how to get it, how to keep it off the network, and how to run it. */
import { FileSystem } from "@effect/platform"
import { Console, Effect, Option, Schema } from "effect"
import { execFile } from "node:child_process"
import { homedir } from "node:os"
import { join } from "node:path"

/** What the checks are known to hold for. */
export const VERSION = "0.169.0"

/** It has 400 MB, so it is no dependency of this repository. */
const folder = join(homedir(), ".cache", "agent-identity", `codex-${VERSION}`)
const client = join(folder, "node_modules", "@openai", "codex", "bin", "codex.js")

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

const run = (file: string, args: ReadonlyArray<string>, { timeout, ...options }: RunOptions): Effect.Effect<Output> =>
  Effect.async((resume, signal) => {
    const limits = { timeout, signal, maxBuffer: 64 * 1024 * 1024 }
    const child = execFile(file, args, { ...options, ...limits }, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === "number" ? error.code : 1
      resume(Effect.succeed({ exitCode, stdout, stderr: stderr === "" ? error?.message ?? "" : stderr }))
    })
    // It waits for the end of its input.
    child.stdin?.end()
  })

export class ClientMissing extends Schema.TaggedError<ClientMissing>()("ClientMissing", { detail: Schema.String }) {}

/** Installs it unless it is there, without running any script of it. */
export const install = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const expected = `codex-cli ${VERSION}`
  const version = run(process.execPath, [client, "--version"], { timeout: 30_000 })
  if ((yield* version).stdout.trim() === expected) return

  yield* Console.log(`Installing @openai/codex ${VERSION} into ${folder}`)
  yield* Effect.orDie(fs.makeDirectory(folder, { recursive: true }))
  yield* Effect.orDie(fs.writeFileString(join(folder, "package.json"), "{ \"private\": true }\n"))
  const args = [
    "install",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--fetch-retries=1",
    `@openai/codex@${VERSION}`
  ]
  const npm = yield* run("npm", args, { timeout: 600_000, cwd: folder })
  if (npm.exitCode !== 0) return yield* new ClientMissing({ detail: lastLine(npm.stderr) })
  const installed = yield* version
  if (installed.stdout.trim() !== expected) return yield* new ClientMissing({ detail: lastLine(installed.stderr) })
})

const lastLine = (text: string): string => text.trim().split("\n").at(-1) ?? ""

/** How a command starts with a loopback interface and no other one, where this machine allows it. */
export const isolation: Effect.Effect<Option.Option<ReadonlyArray<string>>> = Effect.findFirst(
  [["--net"], ["--map-root-user", "--net"]].map((flags) => ["unshare", ...flags, "--"]),
  ([unshare = "", ...args]) =>
    Effect.map(run(unshare, [...args, ...LOOPBACK_UP, "true"], { timeout: 10_000 }), (_) => _.exitCode === 0)
).pipe(Effect.map(Option.map((command) => [...command, ...LOOPBACK_UP])))

const LOOPBACK_UP = ["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]

/** One run of the client with nothing but what is given here; without a home it has an empty one. */
const codex = (
  args: ReadonlyArray<string>,
  options: { readonly env: Record<string, string>; readonly home?: string | undefined }
) =>
  Effect.gen(function*() {
    const home = options.home ?? (yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped()))
    return yield* run(process.execPath, [client, ...args], {
      timeout: 60_000,
      cwd: home,
      env: { ...options.env, PATH: process.env.PATH ?? "", HOME: home, CODEX_HOME: home }
    })
  }).pipe(Effect.scoped)

/** It answers a prompt, and ends. */
export const codexExec = ({ config, prompt, ...options }: {
  readonly prompt: string
  readonly config: Record<string, string>
  readonly env: Record<string, string>
  readonly home?: string
}) =>
  codex([
    "exec",
    "--skip-git-repo-check",
    ...Object.entries(config).flatMap(([key, value]) => ["-c", `${key}=${JSON.stringify(value)}`]),
    prompt
  ], options)

/** What it says of the `auth.json` in that folder. */
export const codexLoginStatus = (home: string) =>
  Effect.map(codex(["login", "status"], { env: {}, home }), ({ stderr, stdout }) => stdout + stderr)
