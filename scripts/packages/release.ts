/** The next release, in a copy: a change that breaks makes one minor version of all packages, and of their peers. */
import { Effect } from "effect"
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { manifests, SCOPE } from "./manifests.mjs"
import { check, ensure, run } from "./run.ts"

const nextVersion = (folder: string) =>
  Effect.gen(function*() {
    const cwd = join(folder, "release")
    const published = manifests()
    for (
      const path of ["package.json", "package-lock.json", ".changeset/config.json", "scripts", "packages", "examples"]
    ) {
      cpSync(path, join(cwd, path), {
        recursive: true,
        filter: (path) => !/\b(node_modules|src|dist|build)$/.test(path)
      })
    }
    symlinkSync(join(process.cwd(), "node_modules"), join(cwd, "node_modules"))
    writeFileSync(join(cwd, ".changeset/breaks.md"), `---\n"${SCOPE}core": minor\n---\n\nSomething that breaks.\n`)
    const git = (...args: Array<string>) =>
      run("git", ["-c", "user.name=x", "-c", "user.email=x@localhost", ...args], { cwd })
    yield* git("init", "--quiet", "--initial-branch=main")
    yield* git("add", ".changeset")
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
