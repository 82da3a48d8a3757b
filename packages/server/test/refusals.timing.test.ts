import {
  AgentKey,
  AgentRuntimeId,
  AssertionHeader,
  SignedPayload,
  Signing,
  TaskId,
  Timestamp
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory, AgentDirectoryCache } from "@agent-identity/server"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Layer, TestClock } from "effect"
import {
  agentPath,
  codeOf,
  layerServer,
  realTime,
  registerAgent,
  registerTaskPath,
  request,
  signedTask,
  tokens
} from "./utils.ts"

const idOf = (text: string) => AgentRuntimeId.AgentRuntimeId.make(text)
const unavailable = new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "gone" })

/** A verifier over a cache over a directory that counts what it is asked, and takes so long for an answer. */
const make = (options?: AgentDirectoryCache.Options & { readonly delayMillis?: number }) =>
  Effect.gen(function*() {
    const behind = AgentDirectory.makeMemory()
    const state = { queries: 0, isGone: false }
    const cache = AgentDirectoryCache.make({
      ...behind,
      findAgent: (id) =>
        Effect.suspend(() => {
          state.queries++
          if (state.isGone) return unavailable
          const delay = options?.delayMillis === undefined ? Effect.void : realTime(options.delayMillis)
          return Effect.zipRight(delay, behind.findAgent(id))
        })
    }, options)
    const { verify } = yield* AgentAssertionVerifier.make().pipe(
      Effect.provideService(AgentDirectory.AgentDirectory, cache)
    )
    const signing = yield* Signing.Signing
    const newSigner = Effect.flatMap(AgentKey.generate(), signing.importPrivateKey)
    const signer = yield* newSigner
    const put = (id: string, key: Signing.Signer = signer) =>
      behind.putAgent({ agentRuntimeId: idOf(id), publicKey: key.publicKey })

    /** An assertion by this key, that no other one is equal to. */
    let made = 0
    const headerOf = (id: string, key: Signing.Signer) =>
      Effect.gen(function*() {
        const agentRuntimeId = idOf(id)
        const { taskId } = yield* behind.issueTask(agentRuntimeId)
        const timestamp = Timestamp.format(yield* Clock.currentTimeMillis)!
        const signature = yield* key.sign(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp))
        return AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
      })
    const badHeaderOf = (id: string) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        AssertionHeader.encode({
          agentRuntimeId: idOf(id),
          taskId: TaskId.TaskId.make(`task-${made++}`),
          timestamp: Timestamp.format(now)!,
          signature: new Uint8Array(64).fill(1)
        }))

    /** What it answers, and how many queries that took. */
    const asked = <A, E extends AgentAssertionVerifier.AssertionRefused | AgentDirectory.AgentDirectoryError>(
      effect: Effect.Effect<A, E>
    ) =>
      Effect.gen(function*() {
        const before = state.queries
        const answer = yield* Effect.either(effect)
        return [Either.isRight(answer) ? "verified" : answer.left.reason, state.queries - before] as const
      })
    const refuse = (id: string) => Effect.flatMap(badHeaderOf(id), (header) => asked(verify(header)))
    const accept = (id: string, key: Signing.Signer = signer) =>
      Effect.flatMap(headerOf(id, key), (header) => asked(verify(header)))
    return { state, behind, put, newSigner, badHeaderOf, verify, refuse, accept }
  }).pipe(Effect.provide(NodeSigning.layer))

describe("the cost of a refusal behind a cache", () => {
  it.effect("is one query, whether the agent is remembered, known but not remembered, or unknown", () =>
    Effect.gen(function*() {
      const { accept, put, refuse } = yield* make()
      yield* put("warm")
      yield* put("cold")
      assert.deepStrictEqual(yield* accept("warm"), ["verified", 1])
      assert.deepStrictEqual(yield* accept("warm"), ["verified", 0])
      assert.deepStrictEqual(yield* refuse("warm"), ["BadSignature", 1])
      assert.deepStrictEqual(yield* refuse("cold"), ["BadSignature", 1])
      assert.deepStrictEqual(yield* refuse("unknown"), ["UnknownAgent", 1])
      for (let second = 0; second < 15; second++) {
        assert.deepStrictEqual(yield* refuse("warm"), ["BadSignature", 1])
        assert.deepStrictEqual(yield* refuse("cold"), ["BadSignature", 1])
        assert.deepStrictEqual(yield* refuse("unknown"), ["UnknownAgent", 1])
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(yield* accept("warm"), ["verified", 0])
    }))

  const quantiles = [0.1, 0.25, 0.5]
  const DELAY = 20
  /** By how much of a query the times may differ, at each of the quantiles. Without the second look it is 1. */
  const THRESHOLD = 0.5
  it.live(
    "takes as long, whether the agent is remembered, known but not remembered, or unknown",
    () =>
      Effect.gen(function*() {
        const { accept, badHeaderOf, put, verify } = yield* make({ delayMillis: DELAY, refreshesPerSecond: 1000 })
        const ROUNDS = 40
        yield* put("warm")
        yield* Effect.forEach(Array.from({ length: ROUNDS }), (_, round) => put(`cold-${round}`))
        yield* accept("warm")
        const times: Record<"warm" | "cold" | "unknown" | "unknown again", Array<number>> = {
          "warm": [],
          "cold": [],
          "unknown": [],
          "unknown again": []
        }
        const idsOf = (round: number) => ({
          "warm": "warm",
          "cold": `cold-${round}`,
          "unknown": `unknown-${round}`,
          "unknown again": "unknown"
        })
        for (let round = 0; round < ROUNDS; round++) {
          for (const [kind, id] of Object.entries(idsOf(round))) {
            const header = yield* badHeaderOf(id)
            const began = performance.now()
            yield* Effect.exit(verify(header))
            times[kind as keyof typeof times].push(performance.now() - began)
          }
        }
        const at = (values: Array<number>, quantile: number) =>
          values.sort((left, right) => left - right)[Math.floor(values.length * quantile)]!
        for (const quantile of quantiles) {
          const all = Object.values(times).map((values) => at(values, quantile))
          const difference = (Math.max(...all) - Math.min(...all)) / DELAY
          assert.isBelow(difference, THRESHOLD, `${Object.keys(times).join(", ")}: ${all.join(", ")}`)
        }
      }),
    30_000
  )

  it.effect("is one query for an agent of an AuthAPI, and for whoever deletes another's", () => {
    const behind = AgentDirectory.makeMemory()
    let queries = 0
    const cache = AgentDirectoryCache.make({
      ...behind,
      findAgent: (id) => Effect.suspend(() => (queries++, behind.findAgent(id)))
    })
    return Effect.gen(function*() {
      const agent = yield* registerAgent()
      const { signature } = { signature: Buffer.alloc(64, 1).toString("base64") }
      const body = { ...(yield* signedTask(agent)), signature }
      for (const id of [agent.agentRuntimeId, agent.agentRuntimeId, "unknown", "unknown"]) {
        const before = queries
        const registration = yield* request("POST", registerTaskPath(id), { body })
        assert.strictEqual(codeOf(registration), "invalid_registration")
        assert.strictEqual(queries - before, 1, id)
        const deletion = yield* request("DELETE", agentPath(id), { token: tokens.bob })
        assert.strictEqual(codeOf(deletion), "agent_not_found")
        assert.strictEqual(queries - before, 2, id)
      }
    }).pipe(
      Effect.provide(layerServer(Layer.succeed(AgentDirectory.AgentDirectory, cache))),
      Effect.provide(NodeSigning.layer)
    )
  })

  it.effect("is an error where the directory cannot be asked, for all of them", () =>
    Effect.gen(function*() {
      const { accept, put, refuse, state } = yield* make()
      yield* put("warm")
      yield* put("cold")
      yield* accept("warm")
      yield* refuse("unknown")
      state.isGone = true
      for (const id of ["warm", "cold", "unknown", "other"]) {
        assert.deepStrictEqual(yield* refuse(id), ["Unavailable", 1], id)
      }
      assert.deepStrictEqual(yield* accept("warm"), ["verified", 0])
    }))
})

describe("a change behind a cache", () => {
  it.effect("is seen before a signature is refused: another key, and an agent that was just added", () =>
    Effect.gen(function*() {
      const { accept, newSigner, put, refuse } = yield* make()
      const other = yield* newSigner
      yield* put("agent")
      yield* accept("agent")
      yield* refuse("new")
      yield* put("agent", other)
      yield* put("new")
      assert.deepStrictEqual(yield* accept("agent", other), ["verified", 1])
      assert.deepStrictEqual(yield* accept("agent", other), ["verified", 0])
      assert.deepStrictEqual(yield* accept("agent"), ["BadSignature", 1])
      assert.deepStrictEqual(yield* accept("new"), ["verified", 1])
      assert.deepStrictEqual(yield* accept("new"), ["verified", 0])
    }))

  it.effect("is seen at a refusal: an agent that was removed", () =>
    Effect.gen(function*() {
      const { accept, behind, put, refuse } = yield* make()
      yield* put("agent")
      yield* accept("agent")
      yield* behind.removeAgent(idOf("agent"))
      assert.deepStrictEqual(yield* refuse("agent"), ["UnknownAgent", 1])
      assert.deepStrictEqual(yield* accept("agent"), ["UnknownAgent", 1])
    }))
})

describe("a flood of bad signatures", () => {
  it.effect("is 100 queries a second, and no more after a rest", () =>
    Effect.gen(function*() {
      const { accept, put, refuse, state } = yield* make()
      yield* put("known")
      yield* accept("known")
      const flood = Effect.gen(function*() {
        const before = state.queries
        for (let times = 0; times < 250; times++) {
          assert.strictEqual((yield* refuse("known"))[0], "BadSignature")
          assert.strictEqual((yield* refuse("unknown"))[0], "UnknownAgent")
        }
        return state.queries - before
      })
      // And one for the agent that was not known to be unknown.
      assert.strictEqual(yield* flood, 101)
      assert.strictEqual(yield* flood, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* flood, 100)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* flood, 50)
      yield* TestClock.adjust("1 hour")
      // And one for each that had been forgotten.
      assert.strictEqual(yield* flood, 102)
      assert.deepStrictEqual(yield* accept("known"), ["verified", 0])
    }))

  it.effect("is answered from memory, for known and unknown agents as long", () =>
    Effect.gen(function*() {
      const { accept, put, refuse } = yield* make({ refreshesPerSecond: 0 })
      yield* put("known")
      yield* accept("known")
      assert.deepStrictEqual(yield* refuse("unknown"), ["UnknownAgent", 1])
      for (let second = 0; second < 10; second++) {
        assert.deepStrictEqual(yield* refuse("known"), ["BadSignature", 0])
        assert.deepStrictEqual(yield* refuse("unknown"), ["UnknownAgent", 0])
        yield* TestClock.adjust("1 second")
      }
      assert.deepStrictEqual(yield* refuse("known"), ["BadSignature", 1])
      assert.deepStrictEqual(yield* refuse("unknown"), ["UnknownAgent", 1])
    }))

  it.effect("leaves an agent that is not remembered its query", () =>
    Effect.gen(function*() {
      const { accept, put } = yield* make({ refreshesPerSecond: 0 })
      yield* put("agent")
      assert.deepStrictEqual(yield* accept("agent"), ["verified", 1])
    }))
})

describe("a directory without a cache", () => {
  it.effect("is asked once for a refusal", () =>
    Effect.gen(function*() {
      const behind = AgentDirectory.makeMemory()
      let queries = 0
      const directory: AgentDirectory.Service = {
        ...behind,
        findAgent: (id) => Effect.suspend(() => (queries++, behind.findAgent(id)))
      }
      const { verify } = yield* AgentAssertionVerifier.make().pipe(
        Effect.provideService(AgentDirectory.AgentDirectory, directory)
      )
      const { badHeaderOf } = yield* make()
      yield* behind.putAgent({ agentRuntimeId: idOf("agent"), publicKey: new Uint8Array(32).fill(1) })
      for (const id of ["agent", "unknown"]) {
        yield* Effect.flip(verify(yield* badHeaderOf(id)))
      }
      assert.strictEqual(queries, 2)
    }).pipe(Effect.provide(NodeSigning.layer)))
})
