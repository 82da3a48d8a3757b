import { AgentKey, Signing } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import * as Conformance from "@agent-identity/testing/Conformance"
import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { fileURLToPath } from "node:url"

type Signings = Parameters<typeof Conformance.run>[0]["signings"]

const VECTORS = fileURLToPath(new URL("../vectors", import.meta.url))
const BOTH: Signings = [["Signing.layer", Signing.layer], ["NodeSigning.layer", NodeSigning.layer]]

type Case = Readonly<Record<string, unknown>>

const casesOf = (file: string) =>
  Effect.gen(function*() {
    const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
    return (JSON.parse(yield* fs.readFileString(path.join(VECTORS, file))) as { cases: ReadonlyArray<Case> }).cases
  })

/** A temporary folder of these files: text as it is, cases as a vector file, with the key set of the tokens. */
const folderOf = (files: Readonly<Record<string, string | ReadonlyArray<unknown>>>) =>
  Effect.gen(function*() {
    const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
    const { jwks } = JSON.parse(yield* fs.readFileString(path.join(VECTORS, "tokens.json")))
    const folder = yield* fs.makeTempDirectoryScoped()
    for (const [name, content] of Object.entries(files)) {
      const text = typeof content === "string" ? content : JSON.stringify({ about: "a test", cases: content, jwks })
      yield* fs.writeFileString(path.join(folder, name), text)
    }
    return folder
  })

/** One temporary folder's outcome, and its lines. */
const runFiles = (files: Parameters<typeof folderOf>[0], signings: Signings = BOTH) =>
  Effect.gen(function*() {
    const folder = yield* folderOf(files)
    const report = yield* Conformance.run({ folders: [folder], signings })
    const lines = Conformance.format(report).replaceAll(folder, "<folder>").split("\n")
    return { succeeded: Conformance.succeeded(report), lines }
  })

/** The portable layer, with something else in the place of some of it. */
const altered = (alter: (real: Signing.Service) => Partial<Signing.Service>): Layer.Layer<Signing.Signing> =>
  Layer.effect(Signing.Signing, Effect.map(Signing.Signing, (real) => ({ ...real, ...alter(real) }))).pipe(
    Layer.provide(Signing.layer)
  )

const withSigner = (alter: (signer: Signing.Signer) => Partial<Signing.Signer>) =>
  altered((real) => ({
    importPrivateKey: (key) => Effect.map(real.importPrivateKey(key), (signer) => ({ ...signer, ...alter(signer) }))
  }))

/** The files of this repository, and how many cases each has. */
const KINDS = [
  ["assertions.json", 24],
  ["keys-read.json", 21],
  ["keys.json", 8],
  ["paths.json", 30],
  ["task-registration.json", 8],
  ["task-responses.json", 25],
  ["tokens.json", 36],
  ["verification.json", 39]
] as const

describe("Conformance", () => {
  it.live("both signing layers pass every vector of this repository", () =>
    Effect.gen(function*() {
      const report = yield* Conformance.run({ folders: [VECTORS], signings: BOTH })
      assert.deepStrictEqual(Conformance.format(report).split("\n"), [
        ...KINDS.map(([name, cases]) => `${name}: ${cases} passed, 0 failed`),
        "191 passed, 0 failed"
      ])
      assert.isTrue(Conformance.succeeded(report))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("a file's kind is the end of its name", () =>
    Effect.gen(function*() {
      const files: Record<string, ReadonlyArray<unknown>> = {}
      for (const [name] of KINDS) files[`extra-${name}`] = (yield* casesOf(name)).slice(0, 2)
      const { lines, succeeded } = yield* runFiles(files)
      assert.deepStrictEqual(lines, [
        ...KINDS.map(([name]) => `extra-${name}: 2 passed, 0 failed`),
        "16 passed, 0 failed"
      ])
      assert.isTrue(succeeded)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("unknown kinds are skipped with a line, other files without", () =>
    Effect.gen(function*() {
      const { lines, succeeded } = yield* runFiles({
        "README.md": "# Vectors",
        "b.json": "{}",
        "c-keys.json": (yield* casesOf("keys.json")).slice(0, 1)
      })
      assert.deepStrictEqual(lines, [
        "b.json: skipped, unknown kind",
        "c-keys.json: 1 passed, 0 failed",
        "1 passed, 0 failed"
      ])
      assert.isTrue(succeeded)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a flipped expectation fails by its name, once for all layers", () =>
    Effect.gen(function*() {
      const [first, second] = yield* casesOf("verification.json")
      const { lines, succeeded } = yield* runFiles({
        "verification.json": [{ ...first, expect: "stale" }, second]
      })
      assert.deepStrictEqual(lines, [
        "verification.json: 1 passed, 1 failed",
        "  as signed: [Signing.layer, NodeSigning.layer] verifier: expected \"stale\", got \"accepted\"",
        "1 passed, 1 failed"
      ])
      assert.isFalse(succeeded)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a typed error in the place of a value fails, and the other way round", () =>
    Effect.gen(function*() {
      const cases = yield* casesOf("task-responses.json")
      const named = (name: string) => cases.find((given) => given.name === name)
      const { lines } = yield* runFiles({
        "task-responses.json": [{ ...named("no member"), task_id: "task-123" }, {
          ...named("task_id 0"),
          task_id: null
        }]
      }, [["portable", Signing.layer]])
      assert.deepStrictEqual(lines, [
        "task-responses.json: 0 passed, 2 failed",
        "  no member: [portable] task_id: expected \"task-123\", got a typed error (InvalidResponse)",
        "  task_id 0: [portable] task_id: expected a typed error, got \"task-123\"",
        "0 passed, 2 failed"
      ])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("every member of a case counts: none may be missing or ill-typed", () =>
    Effect.gen(function*() {
      for (const [file] of KINDS) {
        const given = (yield* casesOf(file))[0]!
        const cases = Object.keys(given).filter((member) => member !== "name").flatMap((member) => {
          // JSON leaves out what is undefined.
          const without = { ...given, name: `without ${member}`, [member]: undefined }
          return [without, { ...given, name: `5 as ${member}`, [member]: 5 }]
        })
        const folder = yield* folderOf({ [file]: cases })
        const report = yield* Conformance.run({ folders: [folder], signings: BOTH })
        assert.deepStrictEqual(
          report.folders[0]!.files[0]!.failures.map(({ name }) => name),
          cases.map((of) => of.name)
        )
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("every member of a case counts: where one value is expected, another case's value does not pass", () =>
    Effect.gen(function*() {
      for (const file of ["assertions.json", "keys.json", "paths.json", "task-registration.json"] as const) {
        const all = yield* casesOf(file)
        const given = all[0]!
        const cases = Object.keys(given).filter((member) => member !== "name").flatMap((member) => {
          const other = all.find((its) =>
            member in its && JSON.stringify(its[member]) !== JSON.stringify(given[member])
          )
          return other === undefined ? [] : [{ ...given, [member]: other[member], name: `another ${member}` }]
        })
        assert.isNotEmpty(cases)
        const folder = yield* folderOf({ [file]: cases })
        const report = yield* Conformance.run({ folders: [folder], signings: BOTH })
        assert.deepStrictEqual(
          report.folders[0]!.files[0]!.failures.map(({ name }) => name),
          cases.map((of) => of.name)
        )
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a malformed file or case is a failure, and the others run", () =>
    Effect.gen(function*() {
      const good = (yield* casesOf("keys-read.json"))[0]!
      const { lines, succeeded } = yield* runFiles({
        "a-paths.json": "not JSON",
        "b-paths.json": "[]",
        "c-paths.json": "{\"cases\": {}}",
        "d-keys-read.json": [null, { name: "a", private_key: ["secret"] }, { ...good, name: 7 }, good]
      })
      assert.deepStrictEqual(lines, [
        "a-paths.json: 0 passed, 1 failed",
        "  the file: is no JSON object with an array `cases`",
        "b-paths.json: 0 passed, 1 failed",
        "  the file: is no JSON object with an array `cases`",
        "c-paths.json: 0 passed, 1 failed",
        "  the file: is no JSON object with an array `cases`",
        "d-keys-read.json: 1 passed, 3 failed",
        "  case 1: missing or ill-typed: the case is no object",
        "  a: missing or ill-typed: private_key, public_key_ssh",
        "  case 3: missing or ill-typed: name",
        "1 passed, 6 failed"
      ])
      assert.isFalse(succeeded)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a file that cannot be read is a failure", () =>
    Effect.gen(function*() {
      const [fs, path] = [yield* FileSystem.FileSystem, yield* Path.Path]
      const folder = yield* folderOf({})
      yield* fs.makeDirectory(path.join(folder, "keys.json"))
      const report = yield* Conformance.run({ folders: [folder], signings: BOTH })
      assert.deepStrictEqual(report.folders[0]!.files[0]!.failures, [{ name: "the file", detail: "cannot be read" }])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a name cannot break its line", () =>
    Effect.gen(function*() {
      const { lines } = yield* runFiles({ "paths.json": [{ name: "a\nb\u001b[2Jc\ud800" }] })
      assert.include(lines[1], "a\\u000ab\\u001b[2Jc\\ud800: missing")
      assert.lengthOf(lines, 3)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a folder without a case does not succeed, beside one that does", () =>
    Effect.gen(function*() {
      const empty = yield* folderOf({ "keys.json": [], "other.json": "{}" })
      const full = yield* folderOf({ "keys.json": (yield* casesOf("keys.json")).slice(0, 1) })
      const report = yield* Conformance.run({ folders: [empty, full], signings: BOTH })
      assert.deepStrictEqual(Conformance.format(report).split("\n"), [
        `${empty}:`,
        "keys.json: 0 passed, 0 failed",
        "other.json: skipped, unknown kind",
        `${empty}: no vectors that this release runs`,
        `${full}:`,
        "keys.json: 1 passed, 0 failed",
        "1 passed, 0 failed"
      ])
      assert.isFalse(Conformance.succeeded(report))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a folder that does not exist is an error that names it, and so is a file", () =>
    Effect.gen(function*() {
      const path = yield* Path.Path
      const folder = yield* folderOf({ "keys.json": [] })
      const [missing, file] = [path.join(folder, "missing"), path.join(folder, "keys.json")]
      const notFound = yield* Effect.flip(Conformance.run({ folders: [folder, missing], signings: BOTH }))
      assert.strictEqual(notFound._tag, "ConformanceError")
      assert.strictEqual(notFound.reason, "NotFound")
      assert.strictEqual(notFound.message, `${JSON.stringify(missing)} does not exist. Give folders of vector files.`)
      const unreadable = yield* Effect.flip(Conformance.run({ folders: [file], signings: BOTH }))
      assert.strictEqual(unreadable.reason, "Unreadable")
      assert.include(unreadable.message, file)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a layer that signs wrongly is caught, and named", () =>
    Effect.gen(function*() {
      const wrong = withSigner(({ sign }) => ({
        sign: (payload) =>
          Effect.map(sign(payload), (signature) => signature.map((byte, at) => at === 0 ? ~byte : byte))
      }))
      for (const file of ["assertions.json", "keys.json", "task-registration.json"]) {
        const { lines, succeeded } = yield* runFiles({ [file]: (yield* casesOf(file)).slice(0, 1) }, [
          ["right", NodeSigning.layer],
          ["wrong", wrong]
        ])
        assert.isFalse(succeeded, file)
        assert.include(lines[1], "[wrong]")
        assert.notInclude(lines[1], "right")
        assert.strictEqual(lines.at(-1), "0 passed, 1 failed")
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a layer that throws is a failure of the case and shows nothing of the key", () =>
    Effect.gen(function*() {
      const throwing = altered(() => ({
        importPrivateKey: (key) => {
          throw new TypeError(Redacted.value(AgentKey.toPkcs8(key)))
        }
      }))
      const { lines } = yield* runFiles(
        { "keys-read.json": (yield* casesOf("keys-read.json")).filter(({ name }) => name === "v1") },
        [["throwing", throwing]]
      )
      assert.strictEqual(lines[1], "  v1: [throwing] case: expected \"no error\", got a defect (TypeError)")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a layer whose typed error holds the key is caught, and the key is not shown", () =>
    Effect.gen(function*() {
      const telling = altered((real) => ({
        importPrivateKey: (key) =>
          Effect.mapError(
            real.importPrivateKey(key),
            (error) => Object.assign(error, { input: Redacted.value(AgentKey.toPkcs8(key)) })
          )
      }))
      const { lines } = yield* runFiles(
        { "keys-read.json": (yield* casesOf("keys-read.json")).filter((given) => given.public_key_ssh === null) },
        [["telling", telling]]
      )
      assert.deepStrictEqual(lines, [
        "keys-read.json: 17 passed, 1 failed",
        "  v2 whose public key is another's: [telling] shown of the input: expected \"nothing\", got \"a part\"",
        "17 passed, 1 failed"
      ])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("no private key is shown where one is read otherwise than expected", () =>
    Effect.gen(function*() {
      const [one, other] = yield* casesOf("keys.json")
      const secrets = ["seed_hex", "private_key_pkcs8_base64", "private_key_pkcs8_v2_base64", "x25519_secret_hex"]
      const mixed = secrets.map((member) => ({ ...one, name: `another ${member}`, [member]: other![member] }))
      const { lines } = yield* runFiles({ "keys.json": mixed })
      assert.lengthOf(lines.filter((line) => line.startsWith("  another ")), secrets.length)
      for (const secret of secrets.flatMap((member) => [one![member], other![member]])) {
        assert.notInclude(lines.join("\n"), String(secret).slice(24, 44))
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("layers that both refuse, each for a reason of its own, disagree", () =>
    Effect.gen(function*() {
      const otherwise = altered((real) => ({
        importPrivateKey: (key) =>
          Effect.mapError(real.importPrivateKey(key), () => new Signing.SigningError({ reason: "InvalidPrivateKey" }))
      }))
      const { lines, succeeded } = yield* runFiles(
        { "keys-read.json": (yield* casesOf("keys-read.json")).filter((given) => given.public_key_ssh === null) },
        [["one", Signing.layer], ["other", otherwise]]
      )
      assert.deepStrictEqual(lines, [
        "keys-read.json: 17 passed, 1 failed",
        "  v2 whose public key is another's: the layers disagree:" +
        " [one] key a typed error (SigningError PublicKeyMismatch), shown of the input \"nothing\"," +
        " [other] key a typed error (SigningError InvalidPrivateKey), shown of the input \"nothing\"",
        "17 passed, 1 failed"
      ])
      assert.isFalse(succeeded)
    }).pipe(Effect.provide(NodeContext.layer)))
})
