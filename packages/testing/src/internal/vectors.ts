/** The kinds of conformance vectors: what a case of each holds, and what is to be found with it. */
import * as AgentAssertion from "@agent-identity/core/AgentAssertion"
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as AgentKey from "@agent-identity/core/AgentKey"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as AssertionHeader from "@agent-identity/core/AssertionHeader"
import * as Environment from "@agent-identity/core/Environment"
import * as Jwks from "@agent-identity/core/Jwks"
import { toEffect } from "@agent-identity/core/run/either"
import * as RunTask from "@agent-identity/core/RunTask"
import * as SealedBox from "@agent-identity/core/SealedBox"
import * as Signing from "@agent-identity/core/Signing"
import { TaskId } from "@agent-identity/core/TaskId"
import * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentAssertionVerifier from "@agent-identity/server/AgentAssertionVerifier"
import * as AgentDirectory from "@agent-identity/server/AgentDirectory"
import { ed25519 } from "@noble/curves/ed25519.js"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * One thing compared. A secret is `Redacted`. `expected` null is any typed error, a left `actual` an error in words.
 * @internal
 */
export interface Finding {
  readonly what: string
  readonly expected: Value | null
  readonly actual: Either.Either<Value, string>
}

export type Value = string | Redacted.Redacted<string>

const same = (what: string, expected: Value, got: Value): Finding => ({ what, expected, actual: Either.right(got) })

const outcome = (what: string, expected: string | null, got: Either.Either<string, object>): Finding => ({
  what,
  expected,
  actual: Either.mapLeft(got, typedError)
})

/** An error's names only: its message may quote what it was given. */
const typedError = (error: { readonly _tag?: unknown; readonly reason?: unknown }): string =>
  `a typed error (${[error._tag, error.reason].filter(Predicate.isString).join(" ")})`

/** Reads a case, with what the file says for all; left is what is wrong with it. @internal */
export type Kind = (
  given: unknown,
  file: { readonly jwks?: unknown }
) => Either.Either<Effect.Effect<ReadonlyArray<Finding>, never, Signing.Signing>, string>

const kind = <A, I>(
  members: Schema.Schema<A, I>,
  check: (
    given: A,
    file: { readonly jwks?: unknown }
  ) => Effect.Effect<ReadonlyArray<Finding>, object, Signing.Signing>
): Kind => {
  const decode = Schema.decodeUnknownEither(Schema.extend(Schema.Struct({ name: Schema.String }), members), {
    errors: "all",
    exact: true
  })
  const broken = (problem: string) =>
    Effect.succeed([{ what: "case", expected: "no error", actual: Either.left(problem) }])
  return (given, file) =>
    Either.mapBoth(decode(given), {
      // The error's own text quotes what was given.
      onLeft: (error) => {
        const paths = ParseResult.ArrayFormatter.formatErrorSync(error).map((issue) => issue.path.join("."))
        return `missing or ill-typed: ${Arr.dedupe(paths).join(", ") || "the case is no object"}`
      },
      onRight: (read) =>
        Effect.suspend(() => check(read, file)).pipe(
          Effect.catchAll((error) => broken(typedError(error))),
          Effect.catchAllDefect((defect) =>
            broken(`a defect (${defect instanceof Error ? defect.name : typeof defect})`)
          )
        )
    })
}

const importKey = (pkcs8: string) =>
  Effect.flatMap(
    Signing.Signing,
    (signing) => Effect.flatMap(toEffect(AgentKey.fromPkcs8(Redacted.make(pkcs8))), signing.importPrivateKey)
  )

/** Whether 16 characters in a row (all, of a shorter input) stand in the text: 12 bytes of a key in base64. */
const quotes = (text: string, input: string): boolean =>
  input !== "" && Arr.makeBy(Math.max(1, input.length - 15), (at) => input.slice(at, at + 16))
    .some((part) => text.includes(part))

/** What the verifier answers where the directory knows this one agent, and the header's task as the agent's. */
const verify = (
  given: Record<"header" | "public_key_ssh" | "agent_runtime_id", string> & { readonly now: Date }
) =>
  Effect.gen(function*() {
    const publicKey = Either.getRight(AgentKey.fromSshPublicKey(given.public_key_ssh))
    const named = Either.getRight(AssertionHeader.decode(given.header))
    const directory = Layer.succeed(AgentDirectory.AgentDirectory, {
      ...AgentDirectory.makeMemory(),
      findAgent: (agentRuntimeId) =>
        Effect.succeed(Option.map(
          Option.filter(publicKey, () => agentRuntimeId === given.agent_runtime_id),
          (publicKey) => ({ agentRuntimeId, publicKey })
        )),
      findTask: (taskId) =>
        Effect.succeed(Option.map(
          Option.filter(named, (named) => named.taskId === taskId),
          ({ agentRuntimeId }) => ({ taskId, agentRuntimeId, expiresAt: Infinity })
        ))
    })
    const verifier = yield* Effect.provide(
      AgentAssertionVerifier.AgentAssertionVerifier,
      Layer.provide(AgentAssertionVerifier.layer, directory)
    )
    const signing = yield* Signing.Signing
    // A directory has such keys only as have passed the check where they were registered: no other signs anything.
    const checked = yield* Effect.either(Effect.flatMap(publicKey, signing.checkPublicKey))
    return yield* verifier.verify(given.header).pipe(
      Effect.as(Either.isRight(checked) ? "accepted" : "bad-signature"),
      Effect.catchTag("AssertionRefused", ({ reason }) => Effect.succeed(answers[reason] ?? reason)),
      Effect.withClock(stoppedAt(given.now))
    )
  })

const answers: { readonly [Reason in AgentAssertionVerifier.AssertionRefused["reason"]]?: string } = {
  Missing: "malformed",
  Malformed: "malformed",
  Stale: "stale",
  BadSignature: "bad-signature"
}

/** Time stands still, but whoever sleeps wakes up. */
const stoppedAt = (date: Date): Clock.Clock => {
  const [millis, nanos] = [date.getTime(), BigInt(date.getTime()) * 1_000_000n]
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => millis,
    currentTimeMillis: Effect.succeed(millis),
    unsafeCurrentTimeNanos: () => nanos,
    currentTimeNanos: Effect.succeed(nanos),
    sleep: (duration) => Clock.make().sleep(duration)
  }
}

const message = new TextEncoder().encode("conformance")
const hex = Encoding.encodeHex
const secretHex = (bytes: Uint8Array) => Redacted.make(hex(bytes))

/** What a case of each kind holds, and what is found with it. It stands last, for it is made of all the above. @internal */
export const kinds: Record<string, Kind> = {
  "keys.json": kind(
    Schema.Struct({
      seed_hex: Schema.Uint8ArrayFromHex,
      private_key_pkcs8_base64: Schema.String,
      private_key_pkcs8_v2_base64: Schema.String,
      public_key_ssh: Schema.String,
      public_key_hex: Schema.Uint8ArrayFromHex,
      x25519_public_hex: Schema.Uint8ArrayFromHex,
      x25519_secret_hex: Schema.Uint8ArrayFromHex
    }),
    (given) =>
      Effect.gen(function*() {
        const signing = yield* Signing.Signing
        const v1 = yield* toEffect(AgentKey.fromPkcs8(Redacted.make(given.private_key_pkcs8_base64)))
        const v2 = yield* toEffect(AgentKey.fromPkcs8(Redacted.make(given.private_key_pkcs8_v2_base64)))
        const written = AgentKey.toPkcs8({ seed: Redacted.make(given.seed_hex), publicKey: undefined })
        const signer = yield* signing.importPrivateKey(v2)
        const verifier = yield* signing.importPublicKey(
          yield* toEffect(AgentKey.fromSshPublicKey(given.public_key_ssh))
        )
        const checked = yield* Effect.either(signing.checkPublicKey(given.public_key_hex))
        const verified = yield* verifier.verify(message, yield* signer.sign(message))
        const opened = yield* signer.openSealed(yield* SealedBox.seal(given.public_key_hex, message))
        const [seed, publicKey] = [secretHex(given.seed_hex), hex(given.public_key_hex)]
        return [
          same("seed in v1", seed, secretHex(Redacted.value(v1.seed))),
          same("seed in v2", seed, secretHex(Redacted.value(v2.seed))),
          same("v1 written", Redacted.make(given.private_key_pkcs8_base64), written),
          same("public key in v2", publicKey, hex(v2.publicKey ?? new Uint8Array())),
          same("public key of the signer", publicKey, hex(signer.publicKey)),
          same("public key in the SSH line", publicKey, hex(verifier.publicKey)),
          same("check of the public key", "passed", Either.isRight(checked) ? "passed" : "failed"),
          same("SSH line written", given.public_key_ssh, AgentKey.toSshPublicKey(signer.publicKey)),
          same("its own signature", "good", verified ? "good" : "bad"),
          same("box sealed for it", hex(message), hex(opened)),
          same("x25519_public_hex", hex(given.x25519_public_hex), hex(ed25519.utils.toMontgomery(signer.publicKey))),
          same(
            "x25519_secret_hex",
            secretHex(given.x25519_secret_hex),
            secretHex(ed25519.utils.toMontgomerySecret(given.seed_hex))
          )
        ]
      })
  ),
  "keys-read.json": kind(
    Schema.Struct({ private_key: Schema.String, public_key_ssh: Schema.NullOr(Schema.String) }),
    (given) =>
      Effect.map(Effect.either(importKey(given.private_key)), (signer) => {
        const shown = Either.isLeft(signer) ? `${signer.left.message} ${JSON.stringify({ ...signer.left })}` : ""
        return [
          outcome("key", given.public_key_ssh, Either.map(signer, (read) => AgentKey.toSshPublicKey(read.publicKey))),
          same("shown of the input", "nothing", quotes(shown, given.private_key) ? "a part" : "nothing")
        ]
      })
  ),
  "assertions.json": kind(
    Schema.Struct({
      private_key_pkcs8_base64: Schema.String,
      public_key_ssh: Schema.String,
      agent_runtime_id: Schema.String,
      task_id: Schema.String,
      timestamp: Schema.Date,
      signature: Schema.String,
      header: Schema.String
    }),
    (given) =>
      Effect.gen(function*() {
        const identity = yield* AgentIdentity.make({
          agentRuntimeId: given.agent_runtime_id,
          privateKey: Redacted.make(given.private_key_pkcs8_base64)
        })
        const taskId = yield* Schema.decode(TaskId)(given.task_id)
        const agent = Layer.succeedContext(
          Context.make(AgentIdentity.AgentIdentity, identity).pipe(
            Context.add(TaskRegistration.TaskRegistration, { register: () => Effect.die("unused") })
          )
        )
        const task = Layer.scoped(RunTask.RunTask, RunTask.make({ taskId, registeredAt: undefined }))
        const assertion = yield* Effect.flatMap(AgentAssertion.AgentAssertion, ({ current }) => current).pipe(
          Effect.provide(AgentAssertion.layer(Layer.provideMerge(task, agent))),
          Effect.withClock(stoppedAt(given.timestamp))
        )
        const header = Redacted.value(assertion.header)
        const { signature } = yield* toEffect(AssertionHeader.decode(header))
        return [
          same("public_key_ssh", given.public_key_ssh, AgentKey.toSshPublicKey(identity.signer.publicKey)),
          same("signature", given.signature, Encoding.encodeBase64(signature)),
          same("header", given.header, header),
          same("verifier", "accepted", yield* verify({ ...given, now: given.timestamp }))
        ]
      })
  ),
  "verification.json": kind(
    Schema.Struct({
      header: Schema.String,
      now: Schema.Date,
      public_key_ssh: Schema.String,
      agent_runtime_id: Schema.String,
      expect: Schema.Literal("accepted", "stale", "bad-signature", "malformed", "refused")
    }),
    (given) =>
      Effect.map(verify(given), (answer) => [
        same("verifier", given.expect === "refused" && answer !== "accepted" ? answer : given.expect, answer)
      ])
  ),
  "task-registration.json": kind(
    Schema.Struct({
      private_key_pkcs8_base64: Schema.String,
      public_key_ssh: Schema.String,
      agent_runtime_id: AgentRuntimeId,
      timestamp: Schema.String,
      body: Schema.Record({ key: Schema.String, value: Schema.Unknown })
    }),
    (given) =>
      Effect.gen(function*() {
        const signer = yield* importKey(given.private_key_pkcs8_base64)
        const body = yield* TaskRegistration.requestBody(signer, given.agent_runtime_id, given.timestamp)
        const sorted = (members: object) => JSON.stringify(Object.fromEntries(Object.entries(members).sort()))
        return [
          same("public_key_ssh", given.public_key_ssh, AgentKey.toSshPublicKey(signer.publicKey)),
          same("body", sorted(given.body), sorted(body))
        ]
      })
  ),
  "task-responses.json": kind(
    Schema.Struct({
      private_key_pkcs8_base64: Schema.String,
      response: Schema.Unknown,
      task_id: Schema.NullOr(Schema.String)
    }),
    (given) =>
      Effect.gen(function*() {
        const signer = yield* importKey(given.private_key_pkcs8_base64)
        const body = new TextEncoder().encode(JSON.stringify(given.response))
        return [outcome("task_id", given.task_id, yield* Effect.either(TaskRegistration.readTaskId(signer, body)))]
      })
  ),
  "tokens.json": kind(
    Schema.Struct({ jwt: Schema.String, valid: Schema.NullOr(Schema.Boolean) }),
    ({ jwt, valid }, { jwks }) =>
      Effect.map(
        Effect.either(Effect.provide(
          AgentIdentity.AgentIdentity,
          Layer.provide(
            AgentIdentityJwt.layerIdentity(Redacted.make(jwt)),
            AgentIdentityJwt.layer(Jwks.layerStatic(jwks))
          )
        )),
        (identity) => {
          const answer = Either.map(identity, () => "a valid token")
          return [
            valid === null
              ? same("token", "an answer", "an answer")
              : outcome("token", valid ? "a valid token" : null, answer)
          ]
        }
      )
  ),
  "paths.json": kind(
    Schema.Union(
      Schema.Struct({ agent_runtime_id: Schema.String, base: Schema.String, refused: Schema.Literal(true) }),
      Schema.Struct({
        agent_runtime_id: Schema.String,
        base: Schema.String,
        refused: Schema.optional(Schema.Literal(false)),
        origin: Schema.String,
        path_prefix: Schema.String,
        segment_decodes_to: Schema.String,
        path_suffix: Schema.String
      })
    ),
    (given) =>
      Effect.gen(function*() {
        const url = yield* Effect.either(Effect.gen(function*() {
          const agentRuntimeId = yield* Schema.decode(AgentRuntimeId)(given.agent_runtime_id)
          const environment = yield* toEffect(Either.orElse(Environment.make({ chatGptBase: given.base }), () =>
            Environment.make({ authApi: given.base, providers: ["https://provider.test"], loopbackHttp: true })))
          return yield* toEffect(UrlDerivation.make(environment).taskRegistration(agentRuntimeId))
        }))
        if (given.refused) {
          return [outcome(
            "URL",
            null,
            Either.map(url, ({ href }) =>
              href)
          )]
        }
        const { href, origin, pathname } = new URL(yield* toEffect(url))
        const [start, end] = [given.path_prefix.length, pathname.length - given.path_suffix.length]
        const segment = pathname.slice(start, end)
        return [
          same("origin", given.origin, origin),
          same("path_prefix", given.path_prefix, pathname.slice(0, start)),
          same("path_suffix", given.path_suffix, pathname.slice(end)),
          same("segment_decodes_to", given.segment_decodes_to, yield* Effect.try(() => decodeURIComponent(segment))),
          same("raw /, ?, # and \\ in the segment", "", segment.replace(/[^/?#\\]/g, "")),
          // No user information, no query and no fragment, not even an empty one.
          same("URL", origin + pathname, href)
        ]
      })
  )
}
