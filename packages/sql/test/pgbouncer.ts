/** A PgBouncer of the tests' own, from the machine's packages, in front of their PostgreSQL. */
import { Effect, Redacted } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { freePort } from "./postgres.ts"

const program = "/usr/sbin/pgbouncer"
export const hasPgBouncer = Fs.existsSync(program)
if (!hasPgBouncer) {
  console.warn("PgBouncer: its tests are skipped, it is not on this machine (Debian: apt-get install pgbouncer)")
}

/** Its URL, while the scope is open. `settings` are lines of its configuration. */
export const pgBouncer = (url: Redacted.Redacted<string>, settings: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "agent-identity-pgbouncer-"))
        const port = await freePort()
        const target = new URL(Redacted.value(url))
        const file = Path.join(folder, "pgbouncer.ini")
        Fs.writeFileSync(
          file,
          `[databases]
* = host=127.0.0.1 port=${target.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
${settings}
`
        )
        Fs.chmodSync(folder, 0o755)
        // It refuses to run as root, as PostgreSQL does.
        const child = spawn(program, [...(process.getuid?.() === 0 ? ["-u", "postgres"] : []), file], {
          stdio: "ignore"
        })
        const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
        for (let attempt = 0; attempt < 100 && !(await answers(port)); attempt++) {
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
        return { folder, port, child, exited }
      }),
      ({ child, exited, folder }) =>
        Effect.promise(async () => {
          child.kill("SIGKILL")
          await exited
          Fs.rmSync(folder, { recursive: true, force: true })
        })
    ),
    ({ port }) => {
      const through = new URL(Redacted.value(url))
      through.port = String(port)
      return Redacted.make(through.href)
    }
  )

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect(port, "127.0.0.1", () => {
      socket.destroy()
      resolve(true)
    }).once("error", () => resolve(false))
  })
