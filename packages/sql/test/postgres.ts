/**
 * A PostgreSQL of the tests' own, from the machine's packages, on a free loopback port and in a temporary folder. As
 * vitest's `globalSetup` it is started once, and its URL is provided to the tests: "" where there is none.
 */
import { execFile, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    readonly postgresUrl: string
  }
}

export interface Server {
  /** With a password, which the server does not ask for, and which must not be seen anywhere. */
  readonly url: string
  readonly folder: string
  readonly start: () => Promise<void>
  readonly stop: () => Promise<void>
  /** Stops it, too. */
  readonly remove: () => Promise<void>
}

export const PASSWORD = "not-to-be-seen"

export const make = async (): Promise<Server> => {
  const bin = findBin()
  if (bin === undefined) throw new Error("there is no PostgreSQL on this machine (Debian: apt-get install postgresql)")
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "agent-identity-postgres-"))
  const data = Path.join(folder, "data")
  const port = await freePort()
  // PostgreSQL refuses to run as root. Its own user cannot read the folder that the tests run in.
  const isRoot = process.getuid?.() === 0
  if (isRoot) await run("chown", ["postgres:postgres", folder])
  const command = (program: string, ...args: ReadonlyArray<string>): ReadonlyArray<string> => [
    ...(isRoot ? ["runuser", "-u", "postgres", "--"] : []),
    Path.join(bin, program),
    ...args
  ]
  const postgres = (...args: Parameters<typeof command>) => {
    const [file, ...rest] = command(...args)
    return run(file!, rest)
  }
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off`
  const start = () => postgres("pg_ctl", "-D", data, "-w", "-t", "60", "-l", `${folder}/log`, "-o", options, "start")
  const stop = () => postgres("pg_ctl", "-D", data, "-w", "-m", "fast", "stop")

  // Cleans up when it is told to, and when this process dies of whatever: its standard input ends either way.
  const cleaner = spawn("sh", [
    "-c",
    `cat; cd /; "$@"; rm -rf '${folder}'`,
    "sh",
    ...command("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
  ], { stdio: ["pipe", "ignore", "ignore"], detached: true })
  const cleaned = new Promise<void>((resolve) => cleaner.once("exit", () => resolve()))
  const remove = () => {
    cleaner.stdin.end()
    return cleaned
  }
  try {
    await postgres("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    await start()
  } catch (error) {
    await remove()
    throw error
  }
  return { url: `postgres://postgres:${PASSWORD}@127.0.0.1:${port}/postgres`, folder, start, stop, remove }
}

export default async (project: TestProject): Promise<() => Promise<void>> => {
  if (findBin() === undefined) {
    console.warn("PostgreSQL: its tests are skipped, it is not on this machine (Debian: apt-get install postgresql)")
    project.provide("postgresUrl", "")
    return async () => {}
  }
  const server = await make()
  project.provide("postgresUrl", server.url)
  return server.remove
}

/** Where Debian has the newest version, else wherever there is one. */
const findBin = (): string | undefined => {
  const debian = "/usr/lib/postgresql"
  const versions = Fs.existsSync(debian) ? Fs.readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  return [
    ...versions.map((version) => Path.join(debian, version, "bin")),
    ...(process.env.PATH ?? "").split(Path.delimiter)
  ].find((bin) => ["initdb", "pg_ctl"].every((program) => Fs.existsSync(Path.join(bin, program))))
}

const run = async (file: string, args: ReadonlyArray<string>): Promise<void> => {
  await promisify(execFile)(file, args, { cwd: "/" })
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })
