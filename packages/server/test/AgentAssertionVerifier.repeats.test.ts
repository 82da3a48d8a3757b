import { AgentIdentity, AgentKey, AssertionHeader, SignedPayload, Signing, Timestamp } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Exit, Fiber, Layer, TestClock } from "effect"

/** Signatures that were verified and keys that were imported so far. */
let verifications = 0
let imports = 0

const CountingSigning = Layer.effect(
  Signing.Signing,
  Effect.map(Signing.Signing, (signing): Signing.Service => ({
    ...signing,
    importPublicKey: (key) =>
      Effect.map(signing.importPublicKey(key), (verifier) => {
        imports++
        return {
          ...verifier,
          verify: (payload, signature) => Effect.suspend(() => (verifications++, verifier.verify(payload, signature)))
        }
      })
  }))
).pipe(Layer.provide(NodeSigning.layer))

const over = (options?: AgentAssertionVerifier.Options) =>
  AgentAssertionVerifier.layerWith(options ?? {}).pipe(
    Layer.provideMerge(RegisteredAgent.layer({ agentRuntimeId: "agent-1" })),
    Layer.provideMerge(AgentDirectoryCache.layer(AgentDirectory.layerMemory)),
    Layer.provideMerge(CountingSigning)
  )

/** Signs with the run's agent, for a new task unless one is given. */
const sign = (options: { readonly taskId?: AgentDirectory.Task["taskId"]; readonly members?: "reversed" } = {}) =>
  Effect.gen(function*() {
    const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
    const directory = yield* AgentDirectory.AgentDirectory
    const taskId = options.taskId ?? (yield* directory.issueTask(agentRuntimeId)).taskId
    const timestamp = Timestamp.format(yield* Clock.currentTimeMillis)!
    const signature = yield* signer.sign(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp))
    return { taskId, agentRuntimeId, header: AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature }) }
  })

const verify = (header: string) =>
  Effect.flatMap(AgentAssertionVerifier.AgentAssertionVerifier, (_) => _.verify(header))

const reason = (header: string) =>
  Effect.map(Effect.flip(verify(header)), (error) => error._tag === "AssertionRefused" ? error.reason : error._tag)

/** What an effect adds to the count of verified signatures. */
const verified = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const before = verifications
    return Effect.map(effect, () => verifications - before)
  })

describe("a public key", () => {
  const importsOf = (options: AgentAssertionVerifier.Options) =>
    Effect.gen(function*() {
      const headers = yield* Effect.replicateEffect(Effect.map(sign(), (_) => _.header), 3)
      const before = imports
      yield* Effect.forEach(headers, verify)
      return imports - before
    }).pipe(Effect.provide(over(options)))

  it.effect("is imported once for all assertions of its agent", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* importsOf({}), 1)
    }))

  it.effect("is imported for each assertion anew where none are kept", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* importsOf({ keyCapacity: 0 }), 3)
    }))
})

describe("an assertion that is sent again", () => {
  it.effect("costs a look-up, and no verification", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      const first = yield* verify(header)
      assert.strictEqual(yield* verified(Effect.repeatN(verify(header), 99)), 0)
      assert.deepStrictEqual(yield* verify(header), first)
    }).pipe(Effect.provide(over())))

  it.effect("is refused at once when its agent is removed, and accepted when the agent is back", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const { agentRuntimeId, header } = yield* sign()
      const { signer } = yield* AgentIdentity.AgentIdentity
      yield* verify(header)
      yield* directory.removeAgent(agentRuntimeId)
      assert.strictEqual(yield* reason(header), "UnknownAgent")
      yield* directory.putAgent({ agentRuntimeId, publicKey: signer.publicKey })
      assert.strictEqual(yield* reason(header), "UnknownTask")
    }).pipe(Effect.provide(over())))

  it.effect("is verified with the agent's new key when that changes", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const signing = yield* Signing.Signing
      const { agentRuntimeId, header } = yield* sign()
      yield* verify(header)
      const other = yield* signing.importPrivateKey(yield* AgentKey.generate())
      yield* directory.putAgent({ agentRuntimeId, publicKey: other.publicKey })
      assert.strictEqual(yield* reason(header), "BadSignature")
    }).pipe(Effect.provide(over())))

  it.effect("is refused when its time or its task is over", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      yield* verify(header)
      yield* TestClock.adjust("300 seconds")
      yield* verify(header)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* reason(header), "Stale")
    }).pipe(Effect.provide(over())))

  it.effect("is verified again once others have taken its place", () =>
    Effect.gen(function*() {
      const headers = yield* Effect.forEach([1, 2, 3], () => sign())
      for (const { header } of headers) yield* verify(header)
      assert.strictEqual(yield* verified(verify(headers[2]!.header)), 0)
      assert.strictEqual(yield* verified(verify(headers[0]!.header)), 1)
    }).pipe(Effect.provide(over({ capacity: 2 }))))

  it.effect("is not remembered where it was refused", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      const forged = header.slice(0, -8) + header.slice(-8).split("").reverse().join("")
      for (let times = 0; times < 3; times++) assert.include(["Malformed", "BadSignature"], yield* reason(forged))
    }).pipe(Effect.provide(over())))
})

describe("a verifier that takes each assertion once", () => {
  const strict = over({ repeats: "refuse" })

  it.effect("refuses the second, whatever is around its bytes", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      yield* verify(header)
      assert.strictEqual(yield* reason(header), "Replayed")
      const { agent_runtime_id, signature, task_id, timestamp } = JSON.parse(
        Buffer.from(header.slice("AgentAssertion ".length), "base64url").toString()
      )
      const reordered = JSON.stringify({ timestamp, task_id, signature, agent_runtime_id })
      assert.strictEqual(
        yield* reason(`agentassertion ${Buffer.from(reordered).toString("base64url")}`),
        "Replayed"
      )
    }).pipe(Effect.provide(strict)))

  it.effect("has a code for it of its own", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      yield* verify(header)
      assert.propertyVal(yield* Effect.flip(verify(header)), "code", "replayed_assertion")
    }).pipe(Effect.provide(strict)))

  it.effect("accepts one of several at the same time", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      const exits = yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.exit(verify(header)), {
        concurrency: "unbounded"
      })
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    }).pipe(Effect.provide(strict)))

  it.effect("accepts a new one for the same task in the next second", () =>
    Effect.gen(function*() {
      const { header, taskId } = yield* sign()
      yield* verify(header)
      yield* TestClock.adjust("1 second")
      yield* verify((yield* sign({ taskId })).header)
    }).pipe(Effect.provide(strict)))

  it.effect("refuses new ones while it remembers as many as it may, and takes them when those are out of date", () =>
    Effect.gen(function*() {
      for (let times = 0; times < 2; times++) yield* verify((yield* sign()).header)
      assert.strictEqual(yield* reason((yield* sign()).header), "Replayed")
      yield* TestClock.adjust("301 seconds")
      yield* verify((yield* sign()).header)
    }).pipe(Effect.provide(over({ repeats: "refuse", capacity: 2 }))))
})

describe("ids", () => {
  it.effect("are not learned by asking: an unknown agent costs a verification like a bad signature, and is told the same", () =>
    Effect.gen(function*() {
      const { header } = yield* sign()
      const { agentRuntimeId, ...rest } = Either.getOrThrow(AssertionHeader.decode(header))
      const unknown = AssertionHeader.encode({ ...rest, agentRuntimeId: `${agentRuntimeId}9` as typeof agentRuntimeId })
      const signature = rest.signature.slice()
      signature[3]! ^= 1
      const forged = AssertionHeader.encode({ ...rest, agentRuntimeId, signature })
      assert.strictEqual(yield* verified(Effect.flip(verify(unknown))), 1)
      assert.strictEqual(yield* verified(Effect.flip(verify(forged))), 1)
      const codes = yield* Effect.forEach([unknown, forged], (header) => Effect.flip(verify(header)))
      assert.deepStrictEqual(codes.map((error) => "code" in error && error.code), [
        "invalid_assertion",
        "invalid_assertion"
      ])
      assert.deepStrictEqual(yield* Effect.forEach([unknown, forged], reason), ["UnknownAgent", "BadSignature"])
    }).pipe(Effect.provide(over())))
})

describe("revocation under load", () => {
  it.effect("lets no request through that begins after it", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const { agentRuntimeId, header } = yield* sign()
      yield* verify(header)
      let revoked = false
      let wrong = 0
      let accepted = 0
      const client = Effect.gen(function*() {
        for (let times = 0; times < 200; times++) {
          const begunAfter = revoked
          const exit = yield* Effect.exit(verify(header))
          if (Exit.isSuccess(exit)) {
            accepted++
            if (begunAfter) wrong++
          }
          yield* Effect.yieldNow()
        }
      })
      const revoke = Effect.gen(function*() {
        for (let times = 0; times < 50; times++) yield* Effect.yieldNow()
        yield* directory.removeAgent(agentRuntimeId)
        revoked = true
      })
      yield* Effect.all([...Array.from({ length: 50 }, () => client), revoke], { concurrency: "unbounded" })
      assert.strictEqual(wrong, 0)
      assert.isAbove(accepted, 0)
      assert.isBelow(accepted, 10_000)
    }).pipe(Effect.provide(over())))
})

describe("a slow directory", () => {
  it.effect("lets no assertion through a second time whose time is over meanwhile", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const slow: AgentDirectory.Service = {
        ...directory,
        findAgent: (id) => Effect.delay(directory.findAgent(id), "5 seconds")
      }
      const verifier = yield* Effect.provideService(
        AgentAssertionVerifier.make({ repeats: "refuse", capacity: 1 }),
        AgentDirectory.AgentDirectory,
        slow
      )
      const { header } = yield* sign()
      const first = yield* Effect.fork(verifier.verify(header))
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(first)
      yield* TestClock.adjust("295 seconds")
      const again = yield* Effect.fork(Effect.exit(verifier.verify(header)))
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(Exit.isFailure(yield* Fiber.join(again)))
    }).pipe(Effect.provide(over())))
})
