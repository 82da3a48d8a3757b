/** A certificate authority of the tests' own, made with `openssl`. */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { temporaryFolder } from "./app.ts"

export interface Certificate {
  readonly key: Buffer
  readonly cert: Buffer
}

export interface Authority {
  /** The path of its certificate. */
  readonly file: string
  readonly pem: string
  /** A certificate for these names (`DNS:…`, `IP:…`). */
  readonly issue: (names: ReadonlyArray<string>, days?: number) => Certificate
}

const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { stdio: ["ignore", "pipe", "pipe"] })

/** Without it tests of `https:` are skipped. */
export const available = (() => {
  try {
    return String(openssl("version")).startsWith("OpenSSL")
  } catch {
    return false
  }
})()

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]

export const make = (name = "Field CA"): Authority => {
  const folder = temporaryFolder()
  const path = (file: string) => Path.join(folder, file)
  const [key, cert] = [path("ca.key"), path("ca.pem")]
  openssl("req", "-x509", ...newKey, key, "-out", cert, "-days", "30", "-subj", `/CN=${name}`)
  let issued = 0
  return {
    file: cert,
    pem: Fs.readFileSync(cert, "utf8"),
    issue: (names, days = 30) => {
      const own = path(`${++issued}`)
      openssl("req", ...newKey, `${own}.key`, "-out", `${own}.csr`, "-subj", "/CN=field")
      Fs.writeFileSync(`${own}.ext`, `subjectAltName=${names.join(",")}\n`)
      const ca = ["-CA", cert, "-CAkey", key, "-CAcreateserial"]
      const rest = ["-out", `${own}.pem`, "-days", `${days}`, "-extfile", `${own}.ext`]
      openssl("x509", "-req", "-in", `${own}.csr`, ...ca, ...rest)
      return { key: Fs.readFileSync(`${own}.key`), cert: Fs.readFileSync(`${own}.pem`) }
    }
  }
}
