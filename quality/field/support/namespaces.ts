/** Namespaces of Linux: mounts and users of an app's own, where this machine allows them. */
import { spawnSync } from "node:child_process"

const works = (...args: ReadonlyArray<string>): boolean =>
  spawnSync("unshare", [...args, "true"], { stdio: "ignore" }).status === 0

const said = (what: string, allowed: boolean): boolean => {
  if (!allowed) console.log(`${what}: not allowed here, so the tests of it are skipped`)
  return allowed
}

/** Whether files can be given to another user. */
export const canGive = said("files of another user (root)", process.getuid?.() === 0)

export const canMount = said("mounts (unshare -rm)", works("-rm"))

/** A launcher of an app that sees these mounts. `$0` is what follows it. */
export const mounts = (
  script: string
): ReadonlyArray<string> => ["unshare", "-rm", "sh", "-ec", `${script}; exec "$0" "$@"`]

export const canBeNobody = said("a user that the machine does not know (unshare --map-user)", works("--map-user=12345"))

/** A launcher of an app whose user is in no list. */
export const nobody: ReadonlyArray<string> = ["unshare", "--map-user=12345", "--map-group=12345"]

/** A launcher of an app whose working directory has been deleted. */
export const nowhere: ReadonlyArray<string> = [
  "sh",
  "-ec",
  "folder=$(mktemp -d); cd \"$folder\"; rmdir \"$folder\"; exec \"$0\" \"$@\""
]
