import {
  AgentIdentity,
  AgentRuntimeId,
  AssertionHeader,
  SignedPayload,
  Signing,
  TaskId,
  Timestamp
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentAssertionVerifier, AgentDirectory } from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Metric, Redacted, TestClock, Tracer } from "effect"

const NOW = 1_776_902_400_000

const over = (
  verifier = AgentAssertionVerifier.layer,
  directory: Layer.Layer<AgentDirectory.AgentDirectory> = AgentDirectory.layerMemoryWith({ taskLifetime: "1 hour" })
) =>
  verifier.pipe(
    Layer.provideMerge(RegisteredAgent.layer({ agentRuntimeId: "agent-1" })),
    Layer.provideMerge(directory),
    Layer.provideMerge(NodeSigning.layer)
  )

interface Parts {
  readonly agentRuntimeId?: string
  readonly taskId?: string
  readonly millis?: number
  readonly form?: SignedPayload.PayloadForm
  /** What stands in the header although something else was signed. */
  readonly forged?: Partial<AssertionHeader.Assertion>
}

/** A header of the agent's, for a task of its own unless another is named. */
const makeHeader = (parts: Parts = {}) =>
  Effect.gen(function*() {
    const { agentRuntimeId: own, signer } = yield* AgentIdentity.AgentIdentity
    const agentRuntimeId = parts.agentRuntimeId === undefined
      ? own
      : AgentRuntimeId.AgentRuntimeId.make(parts.agentRuntimeId)
    const taskId = TaskId.TaskId.make(parts.taskId ?? (yield* issueTask(own)))
    const timestamp = Timestamp.format(parts.millis ?? (yield* Clock.currentTimeMillis))!
    const payload = SignedPayload.assertion(parts.form ?? "v1", agentRuntimeId, taskId, timestamp)
    const signature = yield* signer.sign(payload)
    return AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature, ...parts.forged })
  })

const issueTask = (agentRuntimeId: AgentRuntimeId.AgentRuntimeId) =>
  Effect.flatMap(AgentDirectory.AgentDirectory, (_) => Effect.map(_.issueTask(agentRuntimeId), ({ taskId }) => taskId))

const verify = (header: string | undefined) =>
  Effect.flatMap(AgentAssertionVerifier.AgentAssertionVerifier, (_) => _.verify(header))

const reasonOf = (header: string | undefined) =>
  Effect.map(
    Effect.flip(verify(header)),
    (error) => error._tag === "AssertionRefused" ? `${error.reason} ${error.code}` : error._tag
  )

describe("AgentAssertionVerifier", () => {
  it.effect("accepts an agent's assertion, and the same header again", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const header = yield* makeHeader()
      const verified = yield* verify(header)
      assert.strictEqual(verified.agentRuntimeId, "agent-1")
      assert.strictEqual(verified.timestamp, "2026-04-23T00:00:00Z")
      assert.deepStrictEqual(yield* verify(header), verified)
    }).pipe(Effect.provide(over())))

  const foreignTask = issueTask(AgentRuntimeId.AgentRuntimeId.make("agent-2"))
  const refused: ReadonlyArray<
    readonly [
      what: string,
      header: Effect.Effect<string | undefined, unknown, AgentIdentity.AgentIdentity | AgentDirectory.AgentDirectory>,
      outcome: string
    ]
  > = [
    ["no header", Effect.succeed(undefined), "Missing missing_assertion"],
    ["an empty header", Effect.succeed(""), "Missing missing_assertion"],
    ["another scheme", Effect.succeed("Bearer abc"), "Malformed invalid_assertion"],
    ["a token that is none", Effect.succeed("AgentAssertion abc"), "Malformed invalid_assertion"],
    ["an assertion of 301 s ago", makeHeader({ millis: NOW - 301_000 }), "Stale stale_assertion"],
    ["an assertion 301 s ahead", makeHeader({ millis: NOW + 301_000 }), "Stale stale_assertion"],
    ["an unknown agent", makeHeader({ agentRuntimeId: "agent-9" }), "UnknownAgent invalid_assertion"],
    ["another signature", makeHeader({ forged: { signature: new Uint8Array(64) } }), "BadSignature invalid_assertion"],
    [
      "a task that was not signed",
      makeHeader({ forged: { taskId: TaskId.TaskId.make("task-x") } }),
      "BadSignature invalid_assertion"
    ],
    ["the payload form v2", makeHeader({ form: "v2" }), "BadSignature invalid_assertion"],
    ["an unknown task", makeHeader({ taskId: "task-x" }), "UnknownTask task_not_found"],
    [
      "a task of another agent",
      Effect.flatMap(foreignTask, (taskId) => makeHeader({ taskId })),
      "ForeignTask task_not_found"
    ],
    [
      "a task that has expired",
      Effect.gen(function*() {
        const taskId = yield* issueTask(AgentRuntimeId.AgentRuntimeId.make("agent-1"))
        yield* TestClock.adjust("1 hour")
        return yield* makeHeader({ taskId })
      }),
      "ExpiredTask task_expired"
    ],
    // One wrong thing hides the next, so that nobody learns ids by asking.
    ["an unknown agent's old assertion", makeHeader({ agentRuntimeId: "agent-9", millis: 0 }), "Stale stale_assertion"],
    [
      "an unknown agent's forged assertion",
      makeHeader({ agentRuntimeId: "agent-9", forged: { signature: new Uint8Array(64) } }),
      "UnknownAgent invalid_assertion"
    ],
    [
      "a forged assertion for an unknown task",
      makeHeader({ taskId: "task-x", forged: { signature: new Uint8Array(64) } }),
      "BadSignature invalid_assertion"
    ]
  ]
  for (const [what, header, outcome] of refused) {
    it.effect(`refuses ${what}: ${outcome}`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(NOW)
        assert.strictEqual(yield* reasonOf(yield* header), outcome)
      }).pipe(Effect.provide(over())))
  }

  for (const millis of [NOW - 300_000, NOW + 300_000]) {
    it.effect(`allows 300 s of skew: ${Timestamp.format(millis)} at 2026-04-23T00:00:00Z`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(NOW)
        yield* verify(yield* makeHeader({ millis }))
      }).pipe(Effect.provide(over())))
  }

  it.effect("allows another skew where it is told to", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      yield* verify(yield* makeHeader({ millis: NOW - 10_000 }))
      assert.strictEqual(yield* reasonOf(yield* makeHeader({ millis: NOW - 11_000 })), "Stale stale_assertion")
    }).pipe(Effect.provide(over(AgentAssertionVerifier.layerWith({ skew: "10 seconds" })))))

  it.effect("takes the payload form v2 where it is made for it, and v1 no longer", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      yield* verify(yield* makeHeader({ form: "v2" }))
      assert.strictEqual(yield* reasonOf(yield* makeHeader()), "BadSignature invalid_assertion")
    }).pipe(Effect.provide(over(AgentAssertionVerifier.layerWith({ payloadForm: "v2" })))))

  it.effect("respects a changed key at once", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const header = yield* makeHeader()
      yield* verify(header)
      const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
      const directory = yield* AgentDirectory.AgentDirectory
      const other = yield* Effect.flatMap(Signing.Signing, (_) => _.importPrivateKey(otherKey))
      yield* directory.putAgent({ agentRuntimeId, publicKey: other.publicKey })
      assert.strictEqual(yield* reasonOf(header), "BadSignature invalid_assertion")
    }).pipe(Effect.provide(over())))

  it.effect("refuses whatever it is shown while its clock is broken", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const header = yield* makeHeader()
      const clock = yield* Clock.clockWith(Effect.succeed)
      const broken: Clock.Clock = Object.assign(Object.create(clock), {
        unsafeCurrentTimeMillis: () => NaN,
        currentTimeMillis: Effect.succeed(NaN),
        unsafeCurrentTimeNanos: () => 0n
      })
      assert.strictEqual(yield* Effect.withClock(reasonOf(header), broken), "Stale stale_assertion")
    }).pipe(Effect.provide(over())))

  it.effect("counts what it refuses, by reason", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const count = Effect.map(
        Metric.value(AgentAssertionVerifier.refusals),
        ({ occurrences }) => occurrences.get("UnknownAgent") ?? 0
      )
      const before = yield* count
      yield* reasonOf(yield* makeHeader({ agentRuntimeId: "agent-9" }))
      assert.strictEqual(yield* count, before + 1)
    }).pipe(Effect.provide(over())))

  it.effect("answers the others when one that waits for the same key is interrupted", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const header = yield* makeHeader()
      const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
      const fibers = yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.fork(verify(header)))
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(fibers[0]!)
      const others = yield* Effect.forEach(fibers.slice(1), Fiber.join)
      assert.deepStrictEqual(new Set(others.map((_) => _.agentRuntimeId)).size, 1)
    }).pipe(Effect.provide(slowImport), Effect.provide(over())))

  it.effect("refuses an agent whose key on file is no key, without a defect", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      const header = yield* makeHeader()
      const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
      const directory = yield* AgentDirectory.AgentDirectory
      for (const publicKey of [new Uint8Array(0), new Uint8Array(32), new Uint8Array(33)]) {
        yield* directory.putAgent({ agentRuntimeId, publicKey })
        assert.strictEqual(yield* reasonOf(header), "BadSignature invalid_assertion")
      }
    }).pipe(Effect.provide(over())))

  it.effect("says when the directory is unavailable, which is no refusal", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(NOW)
      assert.strictEqual(yield* reasonOf(yield* makeHeader({ taskId: "task-1" })), "AgentDirectoryError")
    }).pipe(Effect.provide(over(
      AgentAssertionVerifier.layer,
      Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        findAgent: () => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })
      })
    ))))

  it.effect("makes a span of a refusal, with its reason and without the header, and none of a success", () => {
    const spans: Array<readonly [name: string, attributes: string, failed: boolean]> = []
    const tracer = Tracer.make({
      context: (f) => f(),
      span: (name, parent, context, links, startTime, kind) => {
        const attributes = new Map<string, unknown>()
        return {
          _tag: "Span",
          name,
          spanId: "span",
          traceId: "trace",
          parent,
          context,
          status: { _tag: "Started", startTime },
          attributes,
          links,
          sampled: true,
          kind,
          end: (_, exit) =>
            void spans.push([name, JSON.stringify(Object.fromEntries(attributes)), exit._tag === "Failure"]),
          attribute: (key, value) => void attributes.set(key, value),
          event: () => undefined,
          addLinks: () => undefined
        }
      }
    })
    return Effect.gen(function*() {
      const header = yield* makeHeader()
      yield* Effect.withTracer(verify(header), tracer)
      assert.deepStrictEqual(spans, [])
      yield* Effect.flip(Effect.withTracer(verify(yield* makeHeader({ taskId: "task-x" })), tracer))
      yield* Effect.flip(Effect.withTracer(verify("Bearer secret"), tracer))
      assert.deepStrictEqual(spans, [
        [
          "AgentAssertionVerifier.refuse",
          "{\"agent_identity.refusal\":\"UnknownTask\",\"agent_identity.agent_runtime_id\":\"agent-1\",\"agent_identity.task_id\":\"task-x\"}",
          true
        ],
        ["AgentAssertionVerifier.refuse", "{\"agent_identity.refusal\":\"Malformed\"}", true]
      ])
    }).pipe(Effect.provide(over()))
  })
})

const otherKey = { seed: Redacted.make(new Uint8Array(32).fill(9)), publicKey: undefined }

/** A verifier over a signing layer that takes its time to import a key. */
const slowImport = AgentAssertionVerifier.layer.pipe(
  Layer.provide(Layer.effect(
    Signing.Signing,
    Effect.map(Signing.Signing, (signing): Signing.Service => ({
      ...signing,
      importPublicKey: (key) =>
        Effect.zipRight(
          Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20))),
          signing.importPublicKey(key)
        )
    }))
  ))
)
