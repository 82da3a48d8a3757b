/** Loaded before a program of ours: it is killed where it would put a new `auth.json` in its place, and holds the lock. */
import Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"

const { renameSync } = Fs
Fs.renameSync = (from, to) => {
  if (String(to).endsWith("auth.json")) process.kill(process.pid, "SIGKILL")
  renameSync(from, to)
}
syncBuiltinESMExports()
