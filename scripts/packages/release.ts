/** The next release, in a copy: a change that breaks makes one minor version of all packages, and of their peers. */
import { Effect } from "effect"
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { manifests, SCOPE } from "./manifests.mjs"
import { check, ensure, run } from "./run.ts"

const nextVersion = (folder: string) =>
  Effect.gen(function*() {
    const cwd = join(folder, "release")
    const published = manifests()
    const files = (yield* run("git", ["ls-files", "-co", "--exclude-standard"], { cwd: process.cwd() })).split("\n")
    for (
      const file of files.filter((_) =>
        /(^|\/)(package(-lock)?\.json|CHANGELOG\.md)$|^\.changeset\/config|^scripts\/.*\.mjs$/.test(_)
      )
    ) {
      mkdirSync(dirname(join(cwd, file)), { recursive: true })
      cpSync(file, join(cwd, file))
    }
    symlinkSync(join(process.cwd(), "node_modules"), join(cwd, "node_modules"))
    writeFileSync(join(cwd, ".changeset/breaks.md"), `---\n"${SCOPE}core": minor\n---\n\nSomething that breaks.\n`)
    const git = (...args: Array<string>) =>
      run("git", ["-c", "user.name=x", "-c", "user.email=x@localhost", ...args], { cwd })
    yield* git("init", "--quiet", "--initial-branch=main")
    yield* git("add", ".changeset", "package.json", "packages")
    yield* git("commit", "--quiet", "--message=x")
    yield* run("node", ["scripts/release-version.mjs"], { cwd })

    const [major, minor] = published[0]!.manifest.version.split(".").map(Number)
    const next = `${major}.${minor! + 1}.0`
    for (const { file, folder, manifest } of published) {
      const { peerDependencies, version } = JSON.parse(readFileSync(join(cwd, file), "utf8")) as typeof manifest
      yield* ensure(version === next, `${manifest.name} becomes ${version} and not ${next}`)
      yield* ensure(
        readFileSync(join(cwd, folder, "CHANGELOG.md"), "utf8").includes(`## ${next}\n`),
        `${folder} has no log of ${next}`
      )
      for (const [peer, range] of Object.entries(manifest.peerDependencies)) {
        const wanted = peer.startsWith(SCOPE) ? `^${next}` : range
        yield* ensure(
          peerDependencies[peer] === wanted,
          `${manifest.name} wants ${peer}@${peerDependencies[peer]}, not ${wanted}`
        )
      }
    }
    return `${published[0]!.manifest.version} to ${next}`
  })

export const checks = (folder: string) => check("npm run release:version", nextVersion(folder))
