/**
 * The lock of a file among our processes: a directory beside it, made by `proper-lockfile`. A process that finds one that is
 * older than two seconds, or has seen it stand still for that long, takes it over, so its holder has to look whether it
 * is still its own before it changes anything.
 *
 * Its name is not proper-lockfile's default: the Codex client keeps files `auth.lock` and `auth.json.lock` in the same
 * folder and locks them with `flock`, and a directory under either name breaks its login and logout. Those locks are not
 * taken here: Node has no `flock`, and the client holds them for the microseconds of its own write. What it changes
 * between our look and our write is noticed by the look directly before the write.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import process from "node:process"
import type * as ProperLockfile from "proper-lockfile"
import { onDisk } from "./onDisk.ts"

/** @internal */
export interface Lock {
  /** To be asked directly before a change. */
  readonly isOurs: () => boolean
}

/** @internal */
export const lockOf = (file: string): string => `${file}.agent-identity-lock`

const staleMillis = 2000

/**
 * For 10 seconds, at random moments, so that those who wait do not come all at once. Not by proper-lockfile's own
 * `retries`, which repeat every error: a folder that is read-only would be an error only after all of them.
 */
const waiting = Schedule.spaced("27 millis").pipe(
  Schedule.jitteredWith({ min: 0.2, max: 1.8 }),
  Schedule.upTo("10 seconds")
)

/**
 * `use` cannot be interrupted, and the lock is released after it whatever happens; the wait for the lock can. `file` is
 * no symbolic link: each way to it has to lead to the same lock. Fails with what `mkdir` fails with, and with
 * `ELOCKED`.
 *
 * @internal
 */
export const withLock = <A, E, E2>(
  file: string,
  onError: (error: NodeJS.ErrnoException) => E2,
  use: (lock: Lock) => Effect.Effect<A, E>
): Effect.Effect<A, E | E2> =>
  Effect.uninterruptibleMask((restore) => {
    const lock = make(file)
    return onDisk(lock.acquire, (error) => error).pipe(
      Effect.uninterruptible, // Else an interruption forgets a lock that was just made.
      Effect.retry({ schedule: waiting, while: (error) => error.code === "ELOCKED" }),
      // Other processes wait in real time, and so does this one, whatever clock its program has.
      Effect.withClock(Clock.make()),
      Effect.mapError(onError),
      restore,
      Effect.zipRight(use(lock)),
      Effect.ensuring(Effect.promise(lock.release))
    )
  })

const make = (file: string) => {
  let held: { readonly since: number; readonly inode: bigint; readonly handle: number | undefined } | undefined
  let seen: { readonly since: number; readonly inode: bigint; readonly mtimeNs: bigint } | undefined
  let made = false
  let compromised = false
  let release: (() => Promise<void>) | undefined

  const letGo = () => {
    if (held?.handle !== undefined) Fs.closeSync(held.handle)
    held = undefined
  }

  /** However old its time says it is: a clock that was wrong leaves locks that are of the future for a long time. */
  const hasStoodStill = ({ ino: inode, mtimeNs }: Fs.BigIntStats) => {
    if (seen?.inode !== inode || seen.mtimeNs !== mtimeNs) seen = { inode, mtimeNs, since: performance.now() }
    return performance.now() - seen.since >= staleMillis
  }

  const remove = (folder: string) => {
    const found = Fs.statSync(folder, { bigint: true, throwIfNoEntry: false })
    if (held !== undefined) {
      // Not if another has taken it over: then it is the other's.
      if (found?.ino === held.inode) Fs.rmdirSync(folder)
      return letGo()
    }
    // An old one, of which proper-lockfile has seen the age a while ago: another may have taken it over since.
    if (found === undefined) return
    // By the machine's clock, which has set the time of the file, whatever clock the program has.
    if (!hasStoodStill(found) && Number(found.mtimeMs) >= Date.now() - staleMillis) throw taken()
    Fs.rmdirSync(folder)
  }

  const fs = {
    realpath: Fs.realpath,
    stat: (folder: string, callback: (error: unknown, found?: Pick<Fs.Stats, "mtime">) => void) =>
      held !== undefined ? Fs.stat(folder, callback) : Fs.stat(
        folder,
        { bigint: true },
        (error, found) =>
          error === null && hasStoodStill(found) ? callback(null, { mtime: new Date(0) }) : callback(error, found)
      ),
    utimes: Fs.utimes,
    mkdir: (folder: string, callback: Callback) =>
      attempt(callback, () => {
        // By the monotonic clock, and before it is made: others see it younger than we do.
        const since = performance.now()
        Fs.mkdirSync(folder)
        made = true
        // As long as it is open, no other directory gets its inode number.
        const handle = openDirectory(folder)
        const { ino: inode } = handle === undefined
          ? Fs.statSync(folder, { bigint: true })
          : Fs.fstatSync(handle, { bigint: true })
        held = { since, inode, handle }
      }),
    rmdir: (folder: string, callback: Callback) => attempt(callback, () => remove(folder)),
    rmdirSync: remove // Where the process ends while it holds the lock.
  }

  return {
    acquire: async () => {
      const lockfile = await loaded()
      made = false
      try {
        release = await lockfile.lock(file, {
          lockfilePath: lockOf(file),
          stale: staleMillis,
          realpath: false,
          fs,
          onCompromised: () => {
            compromised = true
          }
        })
      } catch (error) {
        letGo()
        // The lock was removed as soon as it was made; it is not the folder that is gone.
        throw made && (error as NodeJS.ErrnoException).code === "ENOENT" ? taken() : error
      }
    },
    isOurs: () =>
      held !== undefined && !compromised && performance.now() - held.since < staleMillis &&
      Fs.statSync(lockOf(file), { bigint: true, throwIfNoEntry: false })?.ino === held.inode,
    release: async () => {
      // It fails where the lock is compromised, or the folder has become read-only: the lock grows old then.
      await release?.().catch(() => undefined)
      letGo()
    }
  }
}

let loading: Promise<Pick<typeof ProperLockfile, "lock">> | undefined

/**
 * When it is first needed, for it listens to the signals of the process from then on. One of them would end the process
 * where a file may not grow; Node ignores it, as we go on to do, and the write fails.
 */
const loaded = () =>
  loading ??= import("proper-lockfile").then(({ default: lockfile }) => {
    process.on("SIGXFSZ", () => undefined)
    return lockfile
  })

const taken = () => Object.assign(new Error("another has the lock"), { code: "ELOCKED" })

type Callback = (error: unknown) => void

const attempt = (callback: Callback, run: () => void) => {
  try {
    run()
  } catch (error) {
    return callback(error)
  }
  callback(null)
}

/** Windows opens no directory; its inode numbers do not come again soon. */
const openDirectory = (folder: string): number | undefined => {
  try {
    return Fs.openSync(folder, "r")
  } catch {
    return undefined
  }
}
