/** The certificate authorities that a process trusts, beside those that Node knows. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { X509Certificate } from "node:crypto"
import * as FsPromises from "node:fs/promises"
import process from "node:process"
import * as Tls from "node:tls"
import type { TransportFailure } from "./transportError.ts"

/** As the reference client reads them. Node reads `NODE_EXTRA_CA_CERTS` itself, but only for its own context. */
const variables = ["SSL_CERT_FILE", "CODEX_CA_CERTIFICATE"]

/**
 * A context with the authorities in the files that `SSL_CERT_FILE` and `CODEX_CA_CERTIFICATE` name, in addition to Node's
 * and those of `NODE_EXTRA_CA_CERTS`; undefined where neither is set, and Node's own context does.
 * @internal
 */
export const read: Effect.Effect<Tls.SecureContext | undefined, TransportFailure> = Effect.gen(function*() {
  const files: Array<readonly [source: string, file: string]> = []
  for (const source of variables) {
    const file = Option.getOrElse(
      yield* Effect.orElseSucceed(Config.option(Config.string(source)), () => Option.none<string>()),
      () => ""
    ).trim()
    if (file !== "") files.push([source, file])
  }
  if (files.length === 0) return undefined
  // Not by Config: what counts is the value that Node itself has read when the process started.
  const extra = process.env.NODE_EXTRA_CA_CERTS?.trim()
  const key = JSON.stringify([extra, files])
  if (made?.key === key) return made.context
  // Node warns of one that it cannot read, and goes on without.
  const nodes = extra ? yield* Effect.orElseSucceed(readFile("NODE_EXTRA_CA_CERTS", extra), () => []) : []
  const own = yield* Effect.forEach(files, ([source, file]) => readFile(source, file))
  const context = Tls.createSecureContext({ ca: [...Tls.rootCertificates, ...nodes, ...own.flat()] })
  made = { key, context }
  return context
})

/** To read them all takes time, and sockets ask at every dial. */
let made: { readonly key: string; readonly context: Tls.SecureContext } | undefined

const readFile = (source: string, file: string): Effect.Effect<ReadonlyArray<string>, TransportFailure> =>
  Effect.gen(function*() {
    const fail = (detail: string) => ({ reason: "InvalidCertificate", source, detail }) as const
    const text = yield* Effect.tryPromise({
      try: () => FsPromises.readFile(file, "latin1"),
      catch: () => fail(`the file ${file} cannot be read; give the path of a file of certificates in PEM`)
    })
    const certificates = text.match(/-----BEGIN (TRUSTED )?CERTIFICATE-----[^]*?-----END \1?CERTIFICATE-----/g) ?? []
    if (certificates.length === 0) return yield* Effect.fail(fail(`the file ${file} holds no certificate in PEM`))
    yield* Effect.forEach(certificates, (certificate, index) =>
      Effect.try({
        try: () => new X509Certificate(certificate),
        catch: () => fail(`certificate ${index + 1} in the file ${file} is damaged; give the file as it was made`)
      }), { discard: true })
    return certificates
  })
