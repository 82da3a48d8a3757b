/**
 * 200,000 mutated headers, keys, tokens, task answers and URLs: no defect, no hang, no growth of memory, and nothing
 * accepted that an independent strict oracle refuses. `HARD_SEED` and `HARD_CASES` make other and more of them.
 */
import {
  AgentIdentity,
  AgentIdentityJwt,
  AgentKey,
  AssertionHeader,
  Environment,
  Jwks,
  Provider,
  ProviderAuth,
  Run,
  Signing,
  TaskRegistration,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
import { Fakes } from "@agent-identity/testing"
import { HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { ed25519 } from "@noble/curves/ed25519.js"
import { Cause, Clock, Duration, Effect, Either, Exit, Layer, Logger, ManagedRuntime, Option, Redacted } from "effect"
import * as Crypto from "node:crypto"
import * as Harness from "./mutations/harness.ts"
import * as Mutate from "./mutations/mutate.ts"
import * as Oracle from "./mutations/oracle.ts"
import type { Random } from "./mutations/random.ts"

const LIMIT = 600_000 * Math.max(1, Number(process.env.HARD_CASES ?? 0) / 200_000)

const family = (given: Harness.Family) => it(`${given.name}: ${given.cases} cases`, () => Harness.run(given), LIMIT)

/** What came of it: a value, or an error of the library's own, which has a reason and shows nothing it should not. */
const outcome = <A, E extends { readonly reason: string; readonly message: string }>(
  exit: Exit.Exit<A, E>
): A | undefined => {
  if (Exit.isSuccess(exit)) return exit.value
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) return assert.fail(`a defect: ${Cause.pretty(exit.cause)}`)
  assert.isString(failure.value.reason)
  assert.isAtMost(failure.value.message.length, 16_384)
  return undefined
}

const ofEither = <A, E extends { readonly reason: string; readonly message: string }>(either: Either.Either<A, E>) =>
  outcome(Either.isRight(either) ? Exit.succeed(either.right) : Exit.fail(either.left))

/** The library's word and the oracle's. */
const agree = <A>(what: string, ours: A | undefined, theirs: A | undefined): "accepted" | "refused" => {
  if (theirs === undefined && ours !== undefined) assert.fail(`accepted, and the oracle refuses it: ${shown(what)}`)
  if (ours === undefined && theirs !== undefined) assert.fail(`refused, and the oracle accepts it: ${shown(what)}`)
  assert.deepEqual(ours, theirs, shown(what))
  return ours === undefined ? "refused" : "accepted"
}

const shown = (what: string): string => JSON.stringify(what.length > 3_000 ? `${what.slice(0, 3_000)}…` : what)

/** A clock that stands still. */
const NOW = 1_776_902_400
const clockAt = (millis: () => number, sleep: Clock.Clock["sleep"] = () => Effect.never): Clock.Clock => ({
  ...Clock.make(),
  unsafeCurrentTimeMillis: millis,
  unsafeCurrentTimeNanos: () => BigInt(Math.floor(millis())) * 1_000_000n,
  currentTimeMillis: Effect.sync(millis),
  currentTimeNanos: Effect.sync(() => BigInt(Math.floor(millis())) * 1_000_000n),
  sleep
})
const Still = Layer.mergeAll(Layer.setClock(clockAt(() => NOW * 1000)), Logger.remove(Logger.defaultLogger))

const seedOf = (index: number) => new Uint8Array(Crypto.createHash("sha256").update(`agent ${index}`).digest())
const derOf = (seed: Uint8Array): Mutate.Element => ({
  tag: 0x30,
  content: [
    { tag: 0x02, content: Uint8Array.of(0) },
    { tag: 0x30, content: [{ tag: 0x06, content: Uint8Array.of(0x2b, 0x65, 0x70) }] },
    { tag: 0x04, content: [{ tag: 0x04, content: seed }] }
  ]
})
const pkcs8Of = (seed: Uint8Array) => Buffer.from(Mutate.encodeDer(derOf(seed))).toString("base64")
const nativeKey = (seed: Uint8Array) =>
  Crypto.createPrivateKey({ key: Buffer.from(Mutate.encodeDer(derOf(seed))), format: "der", type: "pkcs8" })

// ---------------------------------------------------------------------------------------------------------------------
// Headers
// ---------------------------------------------------------------------------------------------------------------------

describe("headers", () => {
  const agents = ["agent-1", "agent 2/é?", "🛰", "x".repeat(256), "unknown"].map((id, index) => ({
    id,
    index,
    key: nativeKey(seedOf(index)),
    publicKey: Oracle.publicKeyOf({ seed: seedOf(index), publicKey: undefined })!
  }))
  const known = agents.filter(({ id }) => id !== "unknown")
  const tasks = ["task-1", "task:2:2026-04-23T00:00:00Z", "\"\\\t", "日本", "y".repeat(1024), "expired", "not there"]
  /** Each agent has all but the last of these, under names of its own where it is not the first. */
  const taskOf = (agent: number, task: number) => agent === 0 ? tasks[task]! : `${agent} ${tasks[task]}`.slice(0, 1024)

  const Directory = Layer.succeed(AgentDirectory.AgentDirectory, {
    ...AgentDirectory.makeMemory(),
    findAgent: (agentRuntimeId) =>
      Effect.sync(() => {
        const agent = known.find(({ id }) => id === agentRuntimeId)
        return agent === undefined ? Option.none() : Option.some({ agentRuntimeId, publicKey: agent.publicKey })
      }),
    findTask: (taskId) =>
      Effect.sync(() => {
        const agent = known.find(({ index }) => tasks.slice(0, -1).some((_, task) => taskOf(index, task) === taskId))
        if (agent === undefined) return Option.none()
        return Option.some({
          taskId,
          agentRuntimeId: agent.id as never,
          expiresAt: taskId.endsWith("expired") ? NOW * 1000 : NOW * 1000 + 1
        })
      })
  })
  const verifiers = [Signing.layer, NodeSigning.layer].map((signing) =>
    ManagedRuntime.make(AgentAssertionVerifier.layer.pipe(
      Layer.provide([Directory, signing]),
      Layer.provideMerge(Still)
    ))
  )
  const verify = (runtime: typeof verifiers[number], header: string) =>
    runtime.runPromiseExit(Effect.flatMap(AgentAssertionVerifier.AgentAssertionVerifier, (_) => _.verify(header)))

  const timestampOf = (seconds: number) => new Date(seconds * 1000).toISOString().replace(".000", "")
  const signed = (random: Random) => {
    const agent = random.oneIn(12) ? agents.at(-1)! : random.pick(known)
    const task = random.pick([0, 0, 1, 2, 3, 4, 4, 5, 6])
    const seconds = NOW + random.pick([0, 0, 0, 0, 0, 1, -1, 299, -299, 300, -300, 301, -301, 86_400])
    const members = { agent_runtime_id: agent.id, task_id: taskOf(agent.index, task), timestamp: timestampOf(seconds) }
    if (random.oneIn(8)) members.task_id = Mutate.hostileText(random, members.task_id)
    if (random.oneIn(12)) members.agent_runtime_id = Mutate.hostileText(random, members.agent_runtime_id)
    if (random.oneIn(12)) members.timestamp = random.pick(TIMES)
    const payload = `${members.agent_runtime_id}:${members.task_id}:${members.timestamp}`
    const signature = random.oneIn(30)
      ? withTorsion(seedOf(agent.index), Buffer.from(payload))
      : Crypto.sign(null, Buffer.from(payload), agent.key)
    if (random.oneIn(20)) signature.set(random.pick(SMALL_ORDER), 0)
    if (random.oneIn(20)) signature.set(random.pick(BIG_SCALARS)(signature.subarray(32)), 32)
    return {
      agent_runtime_id: members.agent_runtime_id,
      signature: random.oneIn(4) ? Mutate.base64(random, signature, "base64") : signature.toString("base64"),
      task_id: members.task_id,
      timestamp: members.timestamp
    }
  }
  const header = (random: Random): string => {
    const whole = Mutate.membersOf(signed(random))
    const members = random.oneIn(2) ? Mutate.stacked(random, whole, Mutate.membersMutations) : whole
    const mixed = random.oneIn(8)
      ? members.map((member) =>
        random.oneIn(3) ? Mutate.membersOf(signed(random)).find(([name]) => name === member[0]) ?? member : member
      )
      : members
    let bytes = Mutate.utf8(Mutate.render(random, mixed))
    if (random.oneIn(6)) bytes = Mutate.stacked(random, bytes, Mutate.bytesMutations)
    const token = random.oneIn(4) ? Mutate.base64(random, bytes, "base64url") : Buffer.from(bytes).toString("base64url")
    const text = `AgentAssertion ${token}`
    return random.oneIn(4) ? Mutate.stacked(random, text, Mutate.textMutations) : text
  }

  const decoded = (header: string) => {
    const ours = ofEither(AssertionHeader.decode(header))
    const theirs = Oracle.assertion(header)
    return { verdict: agree<object>(header, ours, theirs), theirs }
  }

  /** The order of the checks does not matter to whether it is accepted. */
  const verified = (assertion: Oracle.Assertion | undefined) => {
    if (assertion === undefined || Math.abs(Oracle.seconds(assertion.timestamp)! - NOW) > 300) return undefined
    const { agentRuntimeId, signature, taskId, timestamp } = assertion
    const agent = known.find(({ id }) => id === agentRuntimeId)
    if (agent === undefined) return undefined
    const isTheirs = [0, 1, 2, 3, 4].some((task) => taskOf(agent.index, task) === taskId)
    const payload = `${agentRuntimeId}:${taskId}:${timestamp}`
    return isTheirs && Oracle.isSigned(payload, signature, agent.publicKey)
      ? { agentRuntimeId, taskId, timestamp }
      : undefined
  }

  family({
    name: "decoded headers",
    cases: 44_000,
    accepted: [10, 60],
    run: (random) => decoded(header(random)).verdict
  })

  family({
    name: "verified headers",
    cases: 10_000,
    accepted: [5, 60],
    run: async (random) => {
      const given = header(random)
      const theirs = verified(decoded(given).theirs)
      // The portable layer takes milliseconds.
      const layers = random.oneIn(20) ? verifiers : verifiers.slice(1)
      for (const runtime of layers) agree<object>(given, outcome(await verify(runtime, given)), theirs)
      return theirs === undefined ? "refused" : "accepted"
    }
  })
})

const TIMES = [
  "2026-04-23T00:00:00.000Z",
  "2026-04-23T00:00:00+00:00",
  "2026-04-23t00:00:00z",
  "2026-04-23 00:00:00Z",
  "2026-04-22T24:00:00Z",
  "2026-04-22T23:59:60Z",
  "2026-02-29T00:00:00Z",
  "2024-02-29T00:00:00Z",
  "2026-04-31T00:00:00Z",
  "0000-01-01T00:00:00Z",
  "0000-02-29T23:59:59Z",
  "9999-12-31T23:59:59Z",
  "+02026-04-23T00:00:00Z",
  "-000001-01-01T00:00:00Z",
  "٢026-04-23T00:00:00Z",
  ""
]

/** Points of order 1, 2, 4 and 8, some of them written in a second way. */
const SMALL_ORDER = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
].map((hex) => Uint8Array.from(Buffer.from(hex, "hex")))

/** The group's order, and a scalar that is larger by it: the same signature, were it not for the rule. */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n
const number = (bytes: Uint8Array) => bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n)
const littleEndian = (value: bigint) =>
  Uint8Array.from({ length: 32 }, (_, at) => Number((value >> BigInt(8 * at)) & 0xffn))
const BIG_SCALARS: ReadonlyArray<(scalar: Uint8Array) => Uint8Array> = [
  (scalar) => littleEndian(number(scalar) + ORDER),
  () => littleEndian(ORDER),
  () => littleEndian(0n)
]

/**
 * A signature whose point has a part of order 8: right for who multiplies by the cofactor, wrong for who does not. Only
 * the owner of the key can make it.
 */
const withTorsion = (seed: Uint8Array, payload: Uint8Array): Buffer => {
  const { pointBytes, scalar } = ed25519.utils.getExtendedPublicKey(seed)
  const nonce = number(seed) % ORDER
  const point = ed25519.Point.BASE.multiply(nonce).add(ed25519.Point.fromBytes(SMALL_ORDER[4]!)).toBytes()
  const hash = Crypto.createHash("sha512").update(point).update(pointBytes).update(payload).digest()
  return Buffer.concat([point, littleEndian((nonce + (number(hash) % ORDER) * scalar) % ORDER)])
}

// ---------------------------------------------------------------------------------------------------------------------
// Keys
// ---------------------------------------------------------------------------------------------------------------------

describe("keys", () => {
  const layers = [Signing.layer, NodeSigning.layer].map((layer) => ManagedRuntime.make(layer))
  const both = async <A, E extends { readonly reason: string; readonly message: string }>(
    use: (signing: Signing.Service) => Effect.Effect<A, E>
  ): Promise<A | undefined> => {
    const exits = await Promise.all(
      layers.map((runtime) => runtime.runPromiseExit(Effect.flatMap(Signing.Signing, use)))
    )
    const [portable, native] = exits.map((exit) => outcome(exit)) as [A | undefined, A | undefined]
    assert.deepEqual(portable, native, "the two signing layers differ")
    return portable
  }

  const privateKey = (random: Random): string => {
    const seed = seedOf(random.below(4))
    const publicKey = Oracle.publicKeyOf({ seed, publicKey: undefined })!
    const v1 = derOf(seed)
    const content = v1.content as ReadonlyArray<Mutate.Element>
    const attributes: Mutate.Element = {
      tag: 0xa0,
      content: [{ tag: 0x30, content: new Uint8Array(random.pick([0, 2, 130, 300])) }]
    }
    const publicElement = { tag: 0x81, content: Buffer.concat([Uint8Array.of(0), publicKey]) }
    const version2 = [{ tag: 0x02, content: Uint8Array.of(1) }, ...content.slice(1)]
    const whole: Mutate.Element = {
      tag: 0x30,
      content: random.pick([
        content,
        [...content, attributes],
        version2,
        [...version2, publicElement],
        [...version2, attributes, publicElement],
        [...content, publicElement],
        [...version2, { ...publicElement, content: Buffer.concat([Uint8Array.of(0), random.pick(SMALL_ORDER)]) }]
      ])
    }
    let der = Mutate.encodeDer(Mutate.stacked(random, whole, Mutate.derMutations))
    if (random.oneIn(4)) der = Mutate.stacked(random, der, Mutate.bytesMutations)
    const text = Mutate.base64(random, der, "base64")
    return random.oneIn(4) ? Mutate.stacked(random, text, Mutate.textMutations) : text
  }

  const read = (text: string) => {
    const key = ofEither(AgentKey.fromPkcs8(Redacted.make(text)))
    const theirs = Oracle.pkcs8(text)
    const ours = key && { seed: Redacted.value(key.seed), publicKey: key.publicKey }
    return { verdict: agree<object>(text, ours, theirs && { ...theirs }), key, theirs }
  }

  family({
    name: "read private keys",
    cases: 37_000,
    accepted: [10, 60],
    run: (random) => read(privateKey(random)).verdict
  })

  family({
    name: "imported private keys",
    cases: 3_000,
    accepted: [5, 60],
    run: async (random) => {
      const text = privateKey(random)
      const { key, theirs } = read(text)
      if (key === undefined) return "refused"
      const payload = Mutate.utf8(text)
      const ours = await both((signing) =>
        Effect.flatMap(signing.importPrivateKey(key), (signer) =>
          Effect.map(signer.sign(payload), (signature) => ({
            publicKey: [...signer.publicKey],
            signature: [...signature]
          })))
      )
      const publicKey = Oracle.publicKeyOf(theirs!)
      return agree(
        text,
        ours,
        publicKey && {
          publicKey: [...publicKey],
          signature: [
            ...Oracle.sodium.crypto_sign_detached(
              payload,
              Oracle.sodium.crypto_sign_seed_keypair(theirs!.seed).privateKey
            )
          ]
        }
      )
    }
  })

  family({
    name: "checked public keys",
    cases: 2_000,
    accepted: [10, 70],
    run: async (random) => {
      const own = Oracle.publicKeyOf({ seed: seedOf(random.below(4)), publicKey: undefined })!
      const blob = Buffer.concat([
        Buffer.from("0000000b7373682d6564323535313900000020", "hex"),
        random.oneIn(6)
          ? random.pick(SMALL_ORDER)
          : random.oneIn(3)
          ? Mutate.stacked(random, own, Mutate.bytesMutations)
          : own
      ])
      const bytes = random.oneIn(8) ? Mutate.stacked(random, new Uint8Array(blob), Mutate.bytesMutations) : blob
      const text = `ssh-ed25519 ${Mutate.base64(random, bytes, "base64")}`
      const line = random.oneIn(6) ? Mutate.stacked(random, text, Mutate.textMutations) : text
      const theirs = Oracle.sshPublicKey(line)
      const given = ofEither(AgentKey.fromSshPublicKey(line))
      agree(line, given && [...given], theirs && [...theirs])
      if (theirs === undefined) return "refused"
      const ours = await both((signing) => Effect.as(signing.checkPublicKey(theirs), [...theirs]))
      return agree(line, ours, Oracle.isPublicKey(theirs) ? [...theirs] : undefined)
    }
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// Tokens
// ---------------------------------------------------------------------------------------------------------------------

describe("tokens", async () => {
  const issuers = ["first", "second", "stranger"].map((kid) => ({
    kid,
    ...Crypto.generateKeyPairSync("rsa", { modulusLength: 2048 })
  }))
  const trusted = issuers.slice(0, 2)
  const keys = trusted.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: "jwk" }), kid }))
  const runtime = ManagedRuntime.make(Layer.provideMerge(
    AgentIdentityJwt.layer(Jwks.layerStatic({ keys })),
    Still
  ))

  const claims = {
    iss: "https://chatgpt.com/codex-backend/agent-identity",
    aud: "codex-app-server",
    iat: NOW - 10,
    exp: NOW + 3_600,
    agent_runtime_id: "agent-1",
    agent_private_key: pkcs8Of(seedOf(1)),
    account_id: "acct-1",
    chatgpt_user_id: "user-1",
    email: "someone@example.com",
    plan_type: "pro",
    chatgpt_account_is_fedramp: false
  }

  const base64Url = (random: Random, bytes: Uint8Array) =>
    random.oneIn(8) ? Mutate.base64(random, bytes, "base64url") : Buffer.from(bytes).toString("base64url")

  const payload = (random: Random): Uint8Array => {
    const given: Record<string, unknown> = { ...claims }
    if (random.oneIn(3)) {
      Object.assign(
        given,
        random.pick<object>([
          { exp: NOW + random.pick([-61, -60, -59, 0, 1]) },
          { iat: NOW + random.pick([59, 60, 61, 3_600]) },
          { nbf: random.pick([NOW + 60, NOW + 61, 0, -1, null, "0", 1e300]) },
          { iss: random.pick([`${claims.iss}/`, [claims.iss], claims.iss.toUpperCase(), ""]) },
          { aud: random.pick([[claims.aud], `${claims.aud} `, ["a", claims.aud], null]) },
          { agent_runtime_id: Mutate.hostileText(random, "agent-1") },
          { account_id: Mutate.hostileText(random, "acct-1") },
          { email: random.pick([null, undefined, 7, ""]) },
          { plan_type: random.pick(["hc", "__proto__", "Pro", "", 7]) },
          { chatgpt_account_is_fedramp: random.pick([true, "false", 0, null]) },
          {
            agent_private_key: random.pick([`${claims.agent_private_key}\n`, claims.agent_private_key.slice(4), "", 7])
          }
        ])
      )
    }
    const members = Mutate.membersOf(JSON.parse(JSON.stringify(given)))
    const text = Mutate.render(
      random,
      random.oneIn(3) ? Mutate.stacked(random, members, Mutate.membersMutations) : members
    )
    return random.oneIn(6) ? Mutate.stacked(random, Mutate.utf8(text), Mutate.bytesMutations) : Mutate.utf8(text)
  }

  const header = (random: Random, kid: string): Uint8Array => {
    const given: Record<string, unknown> = { alg: "RS256", kid, typ: "JWT" }
    if (random.oneIn(4)) {
      Object.assign(
        given,
        random.pick<object>([
          { alg: random.pick(["none", "HS256", "RS384", "PS256", "rs256", ["RS256"], null]) },
          { kid: random.pick(["first", "second", "", "__proto__", null, 7, "First"]) },
          {
            crit: random.pick([["exp"], ["b64"], [], "b64", null]),
            b64: random.pick([true, false, "true", undefined])
          },
          { b64: random.pick([true, false]) },
          { jwk: issuers[2]!.publicKey.export({ format: "jwk" }), jku: "https://evil.example/jwks" }
        ])
      )
    }
    const members = Mutate.membersOf(JSON.parse(JSON.stringify(given)))
    return Mutate.utf8(
      Mutate.render(random, random.oneIn(6) ? Mutate.stacked(random, members, Mutate.membersMutations) : members)
    )
  }

  const signedBy = (issuer: typeof issuers[number], input: string) =>
    Crypto.sign("sha256", Buffer.from(input), issuer.privateKey)

  /** To sign one takes a millisecond: the unverified ones have another's signature. */
  const makeToken = (random: Random, isSigned: boolean): string => {
    const issuer = random.oneIn(10) ? issuers[2]! : random.pick(trusted)
    const input = `${base64Url(random, header(random, random.oneIn(10) ? "first" : issuer.kid))}.${
      base64Url(random, payload(random))
    }`
    const signature = isSigned ? signedBy(issuer, input) : Buffer.alloc(256, 7)
    const bytes = random.oneIn(8) ? Mutate.stacked(random, new Uint8Array(signature), Mutate.bytesMutations) : signature
    const token = `${input}.${base64Url(random, bytes)}`
    return random.oneIn(4) ? Mutate.stacked(random, token, Mutate.textMutations) : token
  }

  const ofClaims = (given: AgentIdentityJwt.UnverifiedClaims | undefined): Oracle.Claims | undefined =>
    given && {
      issuer: given.issuer,
      audience: given.audience,
      issuedAt: given.issuedAt,
      expiresAt: given.expiresAt,
      agentRuntimeId: given.agentRuntimeId,
      accountId: given.accountId,
      chatgptUserId: given.chatgptUserId,
      email: given.email,
      plan: given.plan.raw,
      fedramp: given.fedramp
    }

  family({
    name: "decoded tokens",
    cases: 26_000,
    accepted: [10, 60],
    run: (random) => {
      const given = makeToken(random, false)
      const ours = ofEither(AgentIdentityJwt.decodeUnverified(Redacted.make(given)))
      return agree(given, ofClaims(ours), Oracle.token(given)?.claims)
    }
  })

  family({
    name: "verified tokens",
    cases: 5_000,
    accepted: [10, 60],
    run: async (random) => {
      const given = makeToken(random, true)
      const exit = await runtime.runPromiseExit(
        Effect.flatMap(AgentIdentityJwt.AgentIdentityJwt, (_) => _.verify(Redacted.make(given)))
      )
      const ours = outcome(exit)
      const token = Oracle.token(given)
      const issuer = trusted.find(({ kid }) => kid === token?.header.get("kid"))
      const key = Oracle.pkcs8(String(token?.payload.get("agent_private_key")))
      const isGood = token !== undefined && issuer !== undefined && key !== undefined && Oracle.isInForce(token, NOW) &&
        Crypto.verify("sha256", Buffer.from(token.input), issuer.publicKey, token.signature)
      if (ours !== undefined && isGood) assert.deepEqual(Redacted.value(ours.key.seed), key.seed)
      return agree(given, ofClaims(ours), isGood ? token.claims : undefined)
    }
  })
})

// ---------------------------------------------------------------------------------------------------------------------
// Answers to a task registration
// ---------------------------------------------------------------------------------------------------------------------

describe("task answers", () => {
  const seed = seedOf(1)
  const publicKey = Oracle.publicKeyOf({ seed, publicKey: undefined })!
  const recipient = Oracle.sodium.crypto_sign_ed25519_pk_to_curve25519(publicKey)
  const stranger = Oracle.sodium.crypto_box_seed_keypair(seedOf(8)).publicKey
  const open = Oracle.openSealed(seed)
  /** As libsodium does it, but for the ephemeral key, which is the same in every run. */
  const seal = (bytes: Uint8Array, to = recipient) => {
    const ephemeral = Oracle.sodium.crypto_box_seed_keypair(seedOf(9))
    const nonce = Oracle.sodium.crypto_generichash(24, Buffer.concat([ephemeral.publicKey, to]), null)
    const box = Oracle.sodium.crypto_box_easy(bytes, nonce, to, ephemeral.privateKey)
    return new Uint8Array(Buffer.concat([ephemeral.publicKey, box]))
  }
  // Sealing takes longer than all else here.
  const boxes = [
    seal(Mutate.utf8("task-1")),
    seal(Mutate.utf8("日本")),
    seal(Mutate.utf8("")),
    seal(Mutate.utf8("y".repeat(1025))),
    seal(Uint8Array.of(0xff)),
    seal(Mutate.utf8("\ufeff")),
    seal(Mutate.utf8("task-1"), stranger)
  ]

  interface Answer {
    readonly status: number
    readonly headers: Record<string, string>
    readonly body: Uint8Array
  }

  const STATUSES = [200, 200, 201, 202, 299, 204, 206, 301, 307, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 599]

  const sealedBox = (random: Random) => {
    const box = random.pick(boxes)
    const bytes = random.oneIn(3) ? Mutate.stacked(random, box, Mutate.bytesMutations) : box
    return Mutate.base64(random, bytes, "base64")
  }

  const body = (random: Random): Uint8Array => {
    const members: Record<string, unknown> = {}
    for (const name of ["task_id", "taskId", "encrypted_task_id", "encryptedTaskId"]) {
      if (!random.oneIn(3)) continue
      members[name] = random.oneIn(6)
        ? random.pick([null, null, 7, "", " ", [], {}])
        : name.startsWith("encrypted")
        ? sealedBox(random)
        : random.oneIn(3)
        ? Mutate.hostileText(random, "task-1")
        : `task-${random.below(9)}`
    }
    if (Object.keys(members).length === 0) members.task_id = "task-0"
    if (random.oneIn(30)) members.padding = "x".repeat(random.pick([65_000, 65_500, 70_000, 300_000]))
    const of = Mutate.membersOf(members)
    const text = Mutate.render(random, random.oneIn(3) ? Mutate.stacked(random, of, Mutate.membersMutations) : of)
    return random.oneIn(6) ? Mutate.stacked(random, Mutate.utf8(text), Mutate.bytesMutations) : Mutate.utf8(text)
  }

  const answer = (random: Random): Answer => {
    const headers: Record<string, string> = {
      "content-type": random.pick(["application/json", "text/html", "application/json; charset=utf-16", ""])
    }
    if (random.oneIn(3)) {
      const [day, date] = new Date((NOW + random.pick([0, 5, 19, 20, 21, -5])) * 1000).toUTCString().split(", ")
      headers["retry-after"] = random.pick(
        ["0", "1", "5", "20", "21", "3600", "9".repeat(400), "-1", "1.5", "", "soon", `${day}, ${date}`, `${date}`]
      )
    }
    if (random.oneIn(12)) headers["content-length"] = random.pick(["0", "5", "99999999", "x"])
    if (random.oneIn(12)) headers["content-encoding"] = random.pick(["gzip", "identity"])
    return { status: random.oneIn(4) ? random.pick(STATUSES) : 200, headers, body: body(random) }
  }

  /** The answers of this case, and how many were asked for. */
  let script: ReadonlyArray<Answer | "transport"> = []
  let asked = 0
  const Stub = Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.suspend(() => {
        const next = script[asked++]!
        if (next === "transport") return new HttpClientError.RequestError({ request, reason: "Transport" })
        const hasBody = next.status !== 204
        return Effect.succeed(HttpClientResponse.fromWeb(
          request,
          new Response(hasBody ? Uint8Array.from(next.body) : null, { status: next.status, headers: next.headers })
        ))
      })
    )
  )
  const waits = makeWaits()
  const runtime = ManagedRuntime.make(
    TaskRegistration.layer(
      AgentIdentity.layer({ agentRuntimeId: "agent-1", privateKey: Redacted.make(pkcs8Of(seed)) })
    ).pipe(
      Layer.provide([Fakes.layerUrlDerivation, Stub]),
      Layer.provide(NodeSigning.layer),
      Layer.provideMerge(Layer.mergeAll(Layer.setClock(waits.clock), Logger.remove(Logger.defaultLogger)))
    )
  )

  /** None where the form of a `Retry-After` leaves it open. */
  const expected = (answers: typeof script, now: number): Option.Option<string | undefined> => {
    for (const given of answers) {
      if (given === "transport") continue
      if (given.status >= 200 && given.status < 300) {
        return Option.some(Oracle.taskId(given.status === 204 ? new Uint8Array() : given.body, open))
      }
      if (given.status !== 429 && given.status < 500) return Option.some(undefined)
      const wait = Oracle.retryAfter(new Headers(given.headers).get("retry-after"), now)
      if (wait === undefined) return Option.none()
      if (wait !== "none" && wait > 20) return Option.some(undefined)
    }
    return Option.some(undefined)
  }

  family({
    name: "task answers",
    cases: 3_000,
    accepted: [10, 60],
    run: async (random) => {
      script = Array.from({ length: 3 }, () => random.oneIn(12) ? "transport" : answer(random))
      asked = 0
      waits.time.now = NOW * 1000
      const exit = await runtime.runPromiseExit(
        Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none()))
      )
      const ours = outcome(exit)?.taskId
      const last = script.length
      assert.isAtMost(asked, last)
      const what = JSON.stringify(
        script.map((given) =>
          given === "transport" ? given : [given.status, given.headers, Buffer.from(given.body).toString("latin1")]
        )
      )
      const theirs = expected(script, NOW)
      if (Option.isNone(theirs)) return ours === undefined ? "refused" : "accepted"
      return agree<string>(what, ours, theirs.value)
    }
  })
})

/**
 * A clock whose waits are over once nothing else is left to do, the shortest first, if they are shorter than the timeout
 * of an attempt: retries do not take their time, and no attempt does either.
 */
function makeWaits() {
  const waiting = new Set<{ readonly at: number; readonly wake: () => void }>()
  const time = { now: 0 }
  let idle = 0
  const tick = () => {
    if (waiting.size === 0) return
    if (++idle > 3) {
      const next = [...waiting].reduce((first, one) => one.at < first.at ? one : first)
      waiting.delete(next)
      time.now = Math.max(time.now, next.at)
      idle = 0
      next.wake()
    }
    if (waiting.size > 0) setImmediate(tick)
  }
  const sleep = (millis: number): Effect.Effect<void> =>
    millis >= 30_000 ? Effect.never : Effect.async<void>((resume) => {
      const one = { at: time.now + millis, wake: () => resume(Effect.void) }
      if (waiting.size === 0) setImmediate(tick)
      waiting.add(one)
      idle = 0
      return Effect.sync(() => {
        waiting.delete(one)
        idle = 0
      })
    })
  return { time, clock: clockAt(() => time.now, (duration) => sleep(Duration.toMillis(duration))) }
}

// ---------------------------------------------------------------------------------------------------------------------
// URLs
// ---------------------------------------------------------------------------------------------------------------------

describe("URLs", () => {
  const KNOWN: ReadonlyMap<string, string> = new Map(
    ["chatgpt.com", "chat.openai.com", "gov.chatgpt.com", "chatgpt-staging.com"].flatMap((host) =>
      ["", "/backend-api", "/codex", "/backend-api/codex"].map((path) => [`https://${host}${path}`, host] as const)
    )
  )
  const authApiOf = (host: string) =>
    host === "chatgpt-staging.com" ? "https://auth.api.openai.org/api/accounts" : "https://auth.openai.com/api/accounts"

  const mutated = (random: Random, url: string) => {
    const text = Mutate.renderUrl(Mutate.stacked(random, Mutate.partsOf(url), Mutate.urlMutations))
    return random.oneIn(6) ? Mutate.stacked(random, text, Mutate.textMutations) : text
  }

  family({
    name: "ChatGPT bases",
    cases: 28_000,
    accepted: [5, 50],
    run: (random) => {
      const raw = mutated(random, random.pick([...KNOWN.keys()]))
      const ours = ofEither(Environment.make({ chatGptBase: raw }))
      const base = Oracle.base(raw)
      const key = base?.scheme === "https" && (base.port === "" || Number(base.port) === 443)
        ? `https://${base.host}${base.path}`
        : ""
      const host = KNOWN.get(key)
      return agree(
        raw,
        ours && [ours.authApi.href, ours.jwks?.href, ...ours.providers.map((provider) => provider.href)],
        host === undefined ? undefined : [
          authApiOf(host),
          key + (key.includes("/backend-api") ? "/wham" : "") + "/agent-identities/jwks",
          `https://${host}/backend-api/codex`
        ]
      )
    }
  })

  const LOOPBACK = /^(?:localhost|\[::1\]|127\.[0-9]+\.[0-9]+\.[0-9]+)$/

  family({
    name: "bases of one's own",
    cases: 30_000,
    accepted: [10, 60],
    run: (random) => {
      const raw = mutated(
        random,
        random.pick(["https://provider.test/api", "http://127.0.0.1:8787/api/accounts", "http://[::1]:1/x/y"])
      )
      const ours = ofEither(Environment.make({
        authApi: raw,
        providers: ["https://models.test"],
        loopbackHttp: random.oneIn(2)
      }))
      const base = Oracle.base(raw)
      if (ours === undefined) {
        assert.isFalse(
          base?.plain === true && base.scheme === "https",
          `refused, and nothing is wrong with it: ${shown(raw)}`
        )
        return "refused"
      }
      const { href, hostname, protocol } = ours.authApi
      if (base === undefined) return assert.fail(`accepted, and the oracle refuses it: ${shown(raw)}`)
      assert.isTrue(protocol === "https:" || LOOPBACK.test(hostname), `accepted without TLS: ${shown(raw)}`)
      if (base.plain) {
        const standard = base.port === "" || Number(base.port) === (base.scheme === "https" ? 443 : 80)
        const port = standard ? "" : `:${Number(base.port)}`
        assert.strictEqual(href.replace(/\/+$/, ""), `${base.scheme}://${base.host}${port}${base.path}`)
      }
      // What is made of it stays below it, whoever the agent is.
      const id = Mutate.hostileText(random, "agent-1")
      const url = ofEither(Environment.taskRegistrationUrl(ours, id as never))
      const segment = Oracle.segment(id)
      agree(id, url?.href, segment && `${href.replace(/\/+$/, "")}/v1/agent/${segment}/task/register`)
      return "accepted"
    }
  })

  const deployment = {
    providers: ["https://provider.test/backend-api/codex", "https://other.test:8443/v1", "http://127.0.0.1:9000/codex"],
    never: [
      "https://provider.test/backend-api/codex/accounts",
      "https://provider.test/backend-api/wham/agent-identities/jwks",
      "https://provider.test/backend-api/codex/wham/agent-identities/jwks",
      "https://other.test:8443/v1/agent-identities/jwks",
      "http://127.0.0.1:9000/codex/agent-identities/jwks"
    ],
    bearerOnly: [
      "https://provider.test/backend-api/codex/analytics-events",
      "https://other.test:8443/v1/analytics-events",
      "http://127.0.0.1:9000/codex/analytics-events"
    ],
    further: ["https://provider.test", "https://other.test:8443", "http://127.0.0.1:9000"].flatMap((origin) => [
      `${origin}/backend-api/wham`,
      `${origin}/ps/plugins`
    ])
  }
  const Urls = UrlDerivation.layerCustom({
    authApi: "https://provider.test/backend-api/codex/accounts",
    jwksBase: "https://provider.test/backend-api",
    providers: deployment.providers,
    paths: ["/backend-api/wham", "/ps/plugins"],
    loopbackHttp: true
  })
  let sent: ReadonlyArray<{ readonly href: string; readonly authorization: string | undefined }> = []
  const Stub = Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request, url) =>
      Effect.sync(() => {
        sent = [...sent, { href: url.href, authorization: request.headers.authorization }]
        return HttpClientResponse.fromWeb(request, new Response("ok"))
      })
    )
  )
  const runtime = ManagedRuntime.make(
    Layer.mergeAll(
      Run.layerWith(
        AgentIdentity.layer({ agentRuntimeId: "agent-1", privateKey: Redacted.make(pkcs8Of(seedOf(1))) }),
        { registration: Fakes.layerTaskRegistration, taskId: "task-1" as never }
      ).pipe(Layer.provide([NodeSigning.layer, Stub])),
      Stub
    ).pipe(Layer.provideMerge(Layer.orDie(Urls)), Layer.provideMerge(Still))
  )
  const start = ["", "/", "/responses", "/responses/compact?a=b#c"]

  family({
    name: "requested URLs",
    cases: 12_000,
    accepted: [10, 60],
    run: (random) => {
      const raw = mutated(random, random.pick([...deployment.providers, ...deployment.further]) + random.pick(start))
      sent = []
      const exit = runtime.runSyncExit(Effect.gen(function*() {
        const { authorize } = yield* ProviderAuth.ProviderAuth
        return yield* authorize(yield* HttpClient.HttpClient).execute(HttpClientRequest.get(raw))
      }))
      const response = outcome(exit)
      const [request, ...more] = sent
      assert.lengthOf(more, 0)
      if (response !== undefined) assert.isDefined(request)
      // Where it would have gone.
      const href = request?.href ?? (URL.canParse(raw) ? new URL(raw).href : undefined)
      if (href === undefined) return "refused"
      const party = Oracle.party(href, deployment)
      assert.strictEqual(request === undefined, party === "Ambiguous", `${party}: ${shown(raw)}`)
      const hasAssertion = request?.authorization !== undefined
      assert.strictEqual(hasAssertion, party === "FirstParty", `${party}: ${shown(raw)}`)
      if (hasAssertion) assert.match(request.authorization, /^AgentAssertion [\w-]+$/)
      const environment = runtime.runSync(Effect.map(UrlDerivation.UrlDerivation, (_) => _.environment))
      const resolved = Provider.resolve({ name: "p", baseUrl: raw, requiresFirstPartyAuth: true }, environment)
      if (resolved._tag === "RunAuth") assert.strictEqual(party, "FirstParty", shown(raw))
      return hasAssertion ? "accepted" : "refused"
    }
  })
})
