/** A certificate authority that lasts for one run, made with `openssl`. */
import { FileSystem } from "@effect/platform"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

export interface Certificate {
  readonly key: Buffer
  readonly cert: Buffer
  /** The path of the authority's certificate. */
  readonly authority: string
}

/** A certificate for these hosts. */
export const make = (hosts: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const folder = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())
    return yield* Effect.sync((): Certificate => {
      const path = (name: string) => join(folder, name)
      const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { stdio: "pipe" })
      const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]
      const authority = path("authority.pem")
      openssl("req", "-x509", ...newKey, path("authority.key"), "-out", authority, "-days", "2", "-subj", "/CN=interop")
      openssl("req", ...newKey, path("own.key"), "-out", path("own.csr"), "-subj", "/CN=interop")
      writeFileSync(path("own.ext"), `subjectAltName=${hosts.map((host) => `DNS:${host}`).join()}\n`)
      const signer = ["-CA", authority, "-CAkey", path("authority.key"), "-CAcreateserial"]
      const rest = ["-out", path("own.pem"), "-days", "2", "-extfile", path("own.ext")]
      openssl("x509", "-req", "-in", path("own.csr"), ...signer, ...rest)
      return { key: readFileSync(path("own.key")), cert: readFileSync(path("own.pem")), authority }
    })
  })
