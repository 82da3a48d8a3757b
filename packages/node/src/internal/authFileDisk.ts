/** Reads a file, and puts another in its place if it is still what was read. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Path from "node:path"
import type { Lock } from "./authFileLock.ts"

/** @internal */
export interface Snapshot {
  readonly bytes: Buffer
  readonly stat: Fs.BigIntStats
}

/** @internal */
export const read = async (file: string): Promise<Snapshot> => {
  const handle = await FsPromises.open(file, "r")
  try {
    // In this order: if it is changed between the two, it is not what it was.
    const stat = await handle.stat({ bigint: true })
    return { bytes: await handle.readFile(), stat }
  } finally {
    await handle.close()
  }
}

/**
 * By a temporary file and a rename, so that a crash, or a full disk, leaves the old one. `Changed` and `LockLost`:
 * nothing was written.
 *
 * Not by `write-file-atomic`: the reference takes no lock, so whether the file is still the same has to be looked at
 * directly before the rename, and there is no way into that library at that point.
 *
 * @internal
 */
export const replace = async (
  file: string,
  before: Snapshot,
  text: string,
  lock: Lock
): Promise<"Replaced" | "Changed" | "LockLost"> => {
  const temporary = `${file}${temporaryMark}${Crypto.randomUUID()}`
  try {
    const handle = await FsPromises.open(temporary, "wx", 0o600)
    try {
      const { gid, uid } = await handle.stat({ bigint: true })
      if (uid !== before.stat.uid || gid !== before.stat.gid) {
        await handle.chown(Number(before.stat.uid), Number(before.stat.gid))
      }
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    // From here to the rename nothing else runs in this process, and other processes have a few microseconds. The bytes
    // too: two changes within one tick of the file system's clock have the same time.
    if (!Fs.readFileSync(file).equals(before.bytes)) return "Changed"
    if (!lock.isOurs()) return "LockLost"
    const { ino, mtimeNs, size } = Fs.statSync(file, { bigint: true })
    if (ino !== before.stat.ino || mtimeNs !== before.stat.mtimeNs || size !== before.stat.size) return "Changed"
    return rename(temporary, file)
  } finally {
    removeQuietly(temporary)
  }
}

const rename = (temporary: string, file: string): "Replaced" | "Changed" => {
  try {
    Fs.renameSync(temporary, file)
    return "Replaced"
  } catch (error) {
    // Swept away by one who has the lock by now; or the folder is gone, which the next look says.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "Changed"
    throw error
  }
}

/**
 * Removes what killed processes left, for there is a key in it. Only for who holds the lock: nobody else has temporary
 * files then.
 *
 * @internal
 */
export const sweep = (file: string): void => {
  const start = Path.basename(file) + temporaryMark
  try {
    for (const name of Fs.readdirSync(Path.dirname(file))) {
      if (name.startsWith(start)) removeQuietly(Path.join(Path.dirname(file), name))
    }
  } catch {
    // A folder that cannot be listed: it is used all the same.
  }
}

/** Where it can be done: else the change is there, and may not outlive a power cut. @internal */
export const syncFolder = async (file: string): Promise<void> => {
  try {
    const handle = await FsPromises.open(Path.dirname(file), "r")
    await handle.sync().finally(() => handle.close())
  } catch {
    // Windows, and some network file systems.
  }
}

const temporaryMark = ".agent-identity-tmp-"

const removeQuietly = (file: string) => {
  try {
    Fs.rmSync(file, { force: true })
  } catch {
    // The next one who holds the lock tries again.
  }
}
