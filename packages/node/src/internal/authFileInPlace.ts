/**
 * Writes a file in place where it cannot be replaced: it is a mount, or another user owns it.
 *
 * First a journal beside it keeps the text before and the text after. A process that is killed in the middle leaves a file
 * in which each byte is from one of the two. Readers take such a file for the text after, and the next holder of the lock
 * writes that. Any other content is somebody's later work, and the journal is removed. Whether the file parses does not
 * decide this: a mixture of two records of the same length may parse, with half a key in it.
 */
import * as Predicate from "effect/Predicate"
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import process from "node:process"
import * as Beside from "./authFileBeside.ts"
import type { Lock } from "./authFileLock.ts"

/** @internal */
export interface Journal {
  readonly before: Buffer
  readonly after: Buffer
}

const journalOf = (file: string) => Beside.temporaryOf(file, "journal")

/**
 * Undefined where this user cannot read it, and where its author may not write the file: a user who may create files in the
 * folder need not be allowed to write this one. Its author is this user, the file's owner, or one of the group that may.
 *
 * @internal
 */
export const find = (file: string, of: Fs.BigIntStats): Journal | undefined => {
  try {
    const stat = Fs.lstatSync(journalOf(file), { bigint: true, throwIfNoEntry: false })
    if (stat?.isFile() !== true) return undefined
    const isOfGroup = Beside.isOfGroup(of) && Beside.isOfGroup(stat) && stat.gid === of.gid
    if (stat.uid !== of.uid && stat.uid !== BigInt(process.geteuid?.() ?? 0) && !isOfGroup) return undefined
    const json: unknown = JSON.parse(Fs.readFileSync(journalOf(file), "utf8"))
    return Predicate.isRecord(json) && typeof json.before === "string" && typeof json.after === "string"
      ? { before: Buffer.from(json.before), after: Buffer.from(json.after) }
      : undefined
  } catch {
    return undefined
  }
}

/** Whether a write that was broken off has left these bytes. A power cut leaves zeros. @internal */
export const isTorn = ({ after, before }: Journal, bytes: Buffer): boolean =>
  (bytes.length === before.length || bytes.length === after.length) && !bytes.equals(before) && !bytes.equals(after) &&
  bytes.every((byte, index) => byte === (before[index] ?? SPACE) || byte === (after[index] ?? SPACE) || byte === 0)

/** Finishes the write of a killed process, and says whether there was one. For the holder of the lock. @internal */
export const recover = async (file: string, lock: Lock): Promise<boolean> => {
  const journal = find(file, Fs.statSync(file, { bigint: true }))
  if (journal === undefined || !isTorn(journal, Fs.readFileSync(file))) return false
  const handle = await FsPromises.open(file, "r+")
  try {
    const bytes = Fs.readFileSync(file)
    if (lock.isOurs() && isTorn(journal, bytes)) put(handle.fd, bytes.length, journal.after)
    await handle.sync()
    return true
  } finally {
    await handle.close()
  }
}

/**
 * `notNow` is called directly before a change, and returns what is in its way. `Detached`: the host has replaced the file
 * since it was mounted, so nobody else sees this one.
 *
 * @internal
 */
export const overwrite = async <NotNow extends string>(
  file: string,
  { bytes: before, stat }: { readonly bytes: Buffer; readonly stat: Fs.BigIntStats },
  text: string,
  lock: Lock,
  notNow: () => NotNow | undefined
): Promise<NotNow | "Replaced" | "Changed" | "Detached"> => {
  const journal = { before, after: Buffer.from(text) }
  const temporary = Beside.temporaryOf(file)
  const handle = await FsPromises.open(file, "r+")
  try {
    await Beside.write(temporary, JSON.stringify({ before: before.toString(), after: text }), stat)
    const early = notNow() ?? gone(handle.fd, file)
    if (early !== undefined) return early
    if (!Beside.rename(temporary, journalOf(file))) return "Changed"
    await Beside.syncFolder(file)
    // From here until it is written nothing else runs in this process.
    const late = notNow()
    if (late !== undefined) return late
    makePrivate(handle.fd, stat)
    try {
      put(handle.fd, before.length, journal.after)
    } catch (error) {
      put(handle.fd, Fs.fstatSync(handle.fd).size, before) // The disk is full.
      throw error
    }
    await handle.sync()
    return gone(handle.fd, file) ?? "Replaced"
  } finally {
    Beside.removeQuietly(temporary)
    if (lock.isOurs() && !isTornNow(journal, file)) Beside.removeQuietly(journalOf(file))
    await handle.close()
  }
}

const isTornNow = (journal: Journal, file: string): boolean => {
  try {
    return isTorn(journal, Fs.readFileSync(file))
  } catch {
    return false
  }
}

/** Whether the open file has no name any more. */
const gone = (fd: number, file: string): "Detached" | "Changed" | undefined => {
  const { dev, ino, nlink } = Fs.fstatSync(fd, { bigint: true })
  if (nlink > 0n) return undefined
  const found = Fs.statSync(file, { bigint: true, throwIfNoEntry: false })
  return found?.ino === ino && found.dev === dev ? "Detached" : "Changed"
}

/** Where it is this user's to decide. */
const makePrivate = (fd: number, before: Fs.BigIntStats): void => {
  try {
    Fs.fchmodSync(fd, Beside.isOfGroup(before) ? 0o660 : 0o600)
  } catch {
    // Another user's: who may read it is known to its owner.
  }
}

/**
 * The file is not emptied first: other readers would find nothing, and a full disk would leave nothing. A longer text first
 * gets its space at the end, then one write puts it over all. JSON may end in spaces.
 */
const put = (fd: number, length: number, text: Buffer): void => {
  writeAll(fd, spaces(text.length - length), length)
  writeAll(fd, Buffer.concat([text, spaces(length - text.length)]), 0)
  Fs.ftruncateSync(fd, text.length)
}

const SPACE = 0x20

const spaces = (count: number): Buffer => Buffer.alloc(Math.max(0, count), SPACE)

const writeAll = (fd: number, bytes: Buffer, position: number): void => {
  for (let at = 0; at < bytes.length;) at += Fs.writeSync(fd, bytes, at, bytes.length - at, position + at)
}
