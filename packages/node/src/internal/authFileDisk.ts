/** Reads a file, and puts another text in its place if it is still what was read. */
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Beside from "./authFileBeside.ts"
import * as InPlace from "./authFileInPlace.ts"
import type { Lock } from "./authFileLock.ts"

/** @internal */
export interface Snapshot {
  readonly bytes: Buffer
  readonly stat: Fs.BigIntStats
}

/** Undefined where it is being written at this moment. @internal */
export const read = async (given: string): Promise<Snapshot | undefined> => {
  // What is written of it stands beside the file that a link leads to.
  const file = await FsPromises.realpath(given)
  // The open of a pipe waits for whoever writes into it, and nothing ends that.
  if ((await FsPromises.stat(file)).isFIFO()) throw Object.assign(new Error("it is a pipe"), { code: "EINVAL" })
  const handle = await FsPromises.open(file, "r")
  try {
    // In this order: if it is changed between the two, it is not what it was.
    const stat = await handle.stat({ bigint: true })
    const bytes = await handle.readFile()
    const journal = InPlace.find(file, stat)
    if (journal !== undefined && InPlace.isTorn(journal, bytes)) return { bytes: journal.after, stat }
    // Without a journal, a write that was under way at the first look is done by the second.
    const again = Buffer.alloc(bytes.length + 1)
    const { bytesRead } = await handle.read(again, 0, again.length, 0)
    return again.subarray(0, bytesRead).equals(bytes) ? { bytes, stat } : undefined
  } finally {
    await handle.close()
  }
}

/**
 * By a temporary file and a rename, so that a crash, or a full disk, leaves the old one; and in place where the file is a
 * mount, or where a new file could not be its owner's. `Changed` and `LockLost`: nothing was written.
 *
 * Not by `write-file-atomic`: the reference takes no lock of ours, so whether the file is still the same has to be looked
 * at directly before the rename, and there is no way into that library at that point.
 *
 * @internal
 */
export const replace = async (
  file: string,
  before: Snapshot,
  text: string,
  lock: Lock
): Promise<"Replaced" | "Changed" | "LockLost" | "Detached"> => {
  // Directly before a change: from here to there nothing else runs in this process, and other processes have a few
  // microseconds. The bytes too: two changes within one tick of the file system's clock have the same time.
  const notNow = () => {
    if (!Fs.readFileSync(file).equals(before.bytes)) return "Changed"
    if (!lock.isOurs()) return "LockLost"
    const { ino, mtimeNs, size } = Fs.statSync(file, { bigint: true })
    return ino !== before.stat.ino || mtimeNs !== before.stat.mtimeNs || size !== before.stat.size
      ? "Changed"
      : undefined
  }
  const temporary = Beside.temporaryOf(file)
  try {
    if (await Beside.write(temporary, text, before.stat)) {
      const outcome = notNow() ?? rename(temporary, file)
      if (outcome !== "Mounted") return outcome
    }
  } finally {
    Beside.removeQuietly(temporary)
  }
  return await InPlace.overwrite(file, before, text, lock, notNow)
}

const rename = (temporary: string, file: string): "Replaced" | "Changed" | "Mounted" => {
  try {
    // Where it was swept away, or the folder is gone, the next look says so.
    return Beside.rename(temporary, file) ? "Replaced" : "Changed"
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EBUSY" || code === "EXDEV") return "Mounted"
    throw error
  }
}
