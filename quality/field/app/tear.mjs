/** A process that kills itself near the end of a write in place, which is where the agent stands: of the write of `FIELD_TEAR`, counted from 1. */
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"

const { writeSync } = fs
let writes = 0

fs.writeSync = (descriptor, bytes, offset, length, position) => {
  if (typeof bytes !== "string" && ++writes === Number(process.env.FIELD_TEAR)) {
    writeSync(descriptor, bytes, offset, Math.max(1, length - 200), position)
    process.kill(process.pid, "SIGKILL")
  }
  return writeSync(descriptor, bytes, offset, length, position)
}
syncBuiltinESMExports()
