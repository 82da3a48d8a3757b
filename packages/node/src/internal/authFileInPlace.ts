/**
 * Writes a file where it stands, for one that no other can take the place of: it is mounted, or its owner is another user.
 *
 * What was there and what comes are kept beside it first, in a journal. A process that is killed in the middle leaves a
 * file each byte of which is of the one or of the other. Such a file is read as what was coming, and whoever holds the
 * lock next writes that again. Any other file is somebody's later work: the journal is of no use then, and is removed.
 * Whether the file is JSON does not tell: a mixture of two records of the same length may be JSON, with half a key in it.
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
 * None where this user cannot read it. And none of a user who neither owns the file nor is this one: who may make files
 * in the folder need not be one who may write this file.
 *
 * @internal
 */
export const find = (file: string, owner: bigint): Journal | undefined => {
  try {
    const stat = Fs.lstatSync(journalOf(file), { bigint: true, throwIfNoEntry: false })
    if (stat?.isFile() !== true) return undefined
    if (stat.uid !== owner && stat.uid !== BigInt(process.geteuid?.() ?? 0)) return undefined
    const json: unknown = JSON.parse(Fs.readFileSync(journalOf(file), "utf8"))
    return Predicate.isRecord(json) && typeof json.before === "string" && typeof json.after === "string"
      ? { before: Buffer.from(json.before), after: Buffer.from(json.after) }
      : undefined
  } catch {
    return undefined
  }
}

/** Whether these bytes are what a write leaves that was broken off. Zeros are what a power cut leaves. @internal */
export const isTorn = ({ after, before }: Journal, bytes: Buffer): boolean =>
  (bytes.length === before.length || bytes.length === after.length) && !bytes.equals(before) && !bytes.equals(after) &&
  bytes.every((byte, index) => byte === (before[index] ?? SPACE) || byte === (after[index] ?? SPACE) || byte === 0)

/** Finishes what a killed process has begun: true where there was such. For the holder of the lock. @internal */
export const recover = async (file: string, lock: Lock): Promise<boolean> => {
  const journal = find(file, Fs.statSync(file, { bigint: true }).uid)
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
 * `notNow` is asked directly before a change, and names what is in its way. `Detached`: the file is mounted here, and the
 * host has another by now, so that nobody else sees this one.
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
    makePrivate(handle.fd)
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
const makePrivate = (fd: number): void => {
  try {
    Fs.fchmodSync(fd, 0o600)
  } catch {
    // Another user's: who may read it is known to its owner.
  }
}

/**
 * Never emptied before: others would find nothing, and a full disk would leave nothing. The space is found before anything
 * is written over, and then it is one write. Around JSON, spaces mean nothing.
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
