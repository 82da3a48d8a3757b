/** Temporary files beside a file. They hold a key, so they are as private as the file. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Path from "node:path"

const mark = ".agent-identity-tmp-"

/** @internal */
export const temporaryOf = (file: string, name: string = Crypto.randomUUID()): string => `${file}${mark}${name}`

/** Whether others of its group may write it. @internal */
export const isOfGroup = ({ mode }: Fs.BigIntStats): boolean => (mode & 0o020n) !== 0n

/**
 * Writes a new file to the disk, with mode 0600, or 0660 where the group may write the file. False where this user may not
 * give it to the owner: then it is this user's own.
 *
 * @internal
 */
export const write = async (temporary: string, text: string, owner: Fs.BigIntStats): Promise<boolean> => {
  const handle = await FsPromises.open(temporary, "wx", 0o600)
  try {
    const { gid, uid } = await handle.stat({ bigint: true })
    const isOwners = uid === owner.uid && gid === owner.gid || await give(handle, owner)
    await handle.writeFile(text)
    if (isOfGroup(owner) && (isOwners || await give(handle, { uid, gid: owner.gid }))) await handle.chmod(0o660)
    await handle.sync()
    return isOwners
  } finally {
    await handle.close()
  }
}

const give = (handle: FsPromises.FileHandle, { gid, uid }: Pick<Fs.BigIntStats, "gid" | "uid">): Promise<boolean> =>
  handle.chown(Number(uid), Number(gid)).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      // EINVAL: the owner has no id in this user namespace.
      if (error.code === "EPERM" || error.code === "EINVAL") return false
      throw error
    }
  )

/** False where the temporary file is gone: somebody who holds the lock by now has swept it away. @internal */
export const rename = (temporary: string, file: string): boolean => {
  try {
    Fs.renameSync(temporary, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false
    throw error
  }
}

/**
 * Removes what killed processes left. Only for the holder of the lock: nobody else has temporary files then.
 *
 * @internal
 */
export const sweep = (file: string): void => {
  const start = temporaryOf(Path.basename(file), "")
  try {
    for (const name of Fs.readdirSync(Path.dirname(file))) {
      if (name.startsWith(start)) removeQuietly(Path.join(Path.dirname(file), name))
    }
  } catch {
    // A folder that cannot be listed: it is used all the same.
  }
}

/** Where it can be done: else a change is there, and may not outlive a power cut. @internal */
export const syncFolder = async (file: string): Promise<void> => {
  try {
    const handle = await FsPromises.open(Path.dirname(file), "r")
    await handle.sync().finally(() => handle.close())
  } catch {
    // Windows, and some network file systems.
  }
}

/** @internal */
export const removeQuietly = (file: string): void => {
  try {
    Fs.rmSync(file, { force: true })
  } catch {
    // The next one who holds the lock tries again.
  }
}
