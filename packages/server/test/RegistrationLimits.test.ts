import { TaskRegistration } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { RegistrationLimits } from "@agent-identity/server"
import * as RateLimiter from "@effect/experimental/RateLimiter"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Exit, Fiber, Layer, Option, TestClock } from "effect"
import {
  agentPath,
  agentRegistration,
  codeOf,
  layerClient,
  layerServerWith,
  newKey,
  realTime,
  REGISTER_AGENT,
  registerAgent,
  registerTask,
  registerTaskPath,
  request,
  signedTask,
  type TestAgent,
  tokens
} from "./utils.ts"

const agent = (id: string) => Effect.flatMap(RegistrationLimits.RegistrationLimits, (_) => _.agent(id))
const address = (id: string) => Effect.flatMap(RegistrationLimits.RegistrationLimits, (_) => _.address(id))

describe("RegistrationLimits", () => {
  it.effect("takes 60 tasks of an agent at once, and then one a second", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(agent("a"), 60)
      const refused = yield* Effect.flip(agent("a"))
      assert.deepStrictEqual([refused.reason, refused.retryAfterMillis], ["Agent", 1000])
      assert.strictEqual(refused.message, "Too many registrations of this agent, try again in 1000 ms")
      yield* agent("b")
      yield* TestClock.adjust("999 millis")
      yield* Effect.flip(agent("a"))
      yield* TestClock.adjust("1 millis")
      yield* agent("a")
      yield* Effect.flip(agent("a"))
      yield* TestClock.adjust("1 hour")
      yield* Effect.replicateEffect(agent("a"), 60)
      yield* Effect.flip(agent("a"))
    }).pipe(Effect.provide(RegistrationLimits.layerMemory())))

  it.effect("takes 600 requests of an address at once, and counts them apart from those of an agent", () =>
    Effect.gen(function*() {
      yield* Effect.replicateEffect(address("a"), 600)
      const refused = yield* Effect.flip(address("a"))
      assert.deepStrictEqual([refused.reason, refused.retryAfterMillis], ["Address", 100])
      yield* agent("a")
      yield* address("b")
    }).pipe(Effect.provide(RegistrationLimits.layerMemory())))

  it.effect("takes none where the limit is zero", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Effect.flip(agent("a"))).retryAfterMillis, 60_000)
      yield* address("a")
    }).pipe(Effect.provide(RegistrationLimits.layerMemory({ perAgent: 0 }))))

  it.effect("begins its store in memory anew after 100,000 requests that were taken", () =>
    Effect.gen(function*() {
      yield* agent("a")
      for (let request = 2; request < 100_000; request++) yield* address(`address-${request}`)
      for (let refused = 0; refused < 10; refused++) yield* Effect.flip(agent("a"))
      yield* address("the last one")
      yield* agent("a")
      yield* Effect.flip(agent("a"))
    }).pipe(Effect.provide(RegistrationLimits.layerMemory({ perAgent: 1 }))))

  it.effect("counts for several servers in the store of their RateLimiter", () =>
    Effect.gen(function*() {
      const limiter = yield* RateLimiter.RateLimiter
      const servers = [0, 1].map(() => RegistrationLimits.make(limiter, { perAgent: 3 }))
      const outcomes = yield* Effect.forEach([0, 1, 0, 1, 0], (server) => Effect.exit(servers[server]!.agent("a")))
      assert.deepStrictEqual(outcomes.map(Exit.isSuccess), [true, true, true, false, false])
      yield* Effect.provide(
        Effect.flip(agent("a")),
        Layer.provide(
          RegistrationLimits.layer({ perAgent: 3 }),
          Layer.succeed(RateLimiter.RateLimiter, limiter)
        )
      )
    }).pipe(Effect.provide(Layer.provide(RateLimiter.layer, RateLimiter.layerStoreMemory))))

  it.effect("counts nothing where it is unlimited", () =>
    Effect.replicateEffect(Effect.zip(agent("a"), address("a")), 1000).pipe(
      Effect.provide(RegistrationLimits.layerUnlimited)
    ))
})

const Server = (limits: Layer.Layer<RegistrationLimits.RegistrationLimits>) =>
  layerServerWith({ limits }).pipe(Layer.provideMerge(NodeSigning.layer))

/** Tasks one after the other, as soon as the last is answered. */
const statuses = (agent: TestAgent, count: number) =>
  Effect.map(Effect.replicateEffect(registerTask(agent), count), (answers) => answers.map((_) => _.status))

/** Lets the TestClock and real connections go on together, by tenths of a second. */
const asTimePasses = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    while (Option.isNone(yield* Fiber.poll(fiber))) {
      yield* realTime(10)
      yield* TestClock.adjust("100 millis")
    }
    return yield* Fiber.join(fiber)
  })

describe("the limits of the AuthAPI", () => {
  it.effect("refuse the 61st task of an agent in a minute with 429, and take more as time passes", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* registerAgent(), yield* registerAgent()]
      assert.deepStrictEqual(new Set(yield* statuses(one, 60)), new Set([200]))
      const refused = yield* registerTask(one)
      assert.deepStrictEqual([refused.status, codeOf(refused)], [429, "too_many_registrations"])
      assert.strictEqual(refused.headers["retry-after"], "1")
      assert.strictEqual((yield* registerTask(other)).status, 200)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* statuses(one, 4), [200, 200, 200, 429])
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory()))))

  it.effect("say in whole seconds when the next task is taken, never before it is", () =>
    Effect.gen(function*() {
      const one = yield* registerAgent()
      assert.deepStrictEqual(yield* statuses(one, 7), [...Array<number>(7).fill(200)])
      const refused = yield* registerTask(one)
      assert.strictEqual(refused.headers["retry-after"], "9") // 60 s / 7 = 8.57 s
      yield* TestClock.adjust("8 seconds")
      assert.strictEqual((yield* registerTask(one)).status, 429)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* registerTask(one)).status, 200)
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory({ perAgent: 7 })))))

  it.effect("are not used up by a stranger who registers tasks in an agent's name", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 hour")
      const [one, stranger] = [yield* registerAgent(), yield* registerAgent(tokens.bob)]
      const forged = yield* signedTask({ ...one, signer: stranger.signer })
      const stale = yield* signedTask(one, 0)
      const attempts = yield* Effect.forEach(
        [forged, stale, { ...forged, signature: "x" }, {}],
        (body) => Effect.replicateEffect(request("POST", registerTaskPath(one.agentRuntimeId), { body }), 5)
      )
      assert.deepStrictEqual(new Set(attempts.flat().map((_) => _.status)), new Set([401, 400]))
      assert.deepStrictEqual(yield* statuses(one, 4), [200, 200, 200, 429])
      // Nor does it help the stranger to know that the limit is reached.
      const answer = yield* request("POST", registerTaskPath(one.agentRuntimeId), { body: forged })
      assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_registration"])
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory({ perAgent: 3 })))))

  it.effect("count all that an address asks for, answered or refused, but for its health", () =>
    Effect.gen(function*() {
      const one = yield* registerAgent()
      const { line } = yield* newKey
      const endpoints = [
        request("POST", REGISTER_AGENT, { token: "unknown" }),
        request("DELETE", agentPath(one.agentRuntimeId), { token: tokens.bob }),
        registerTask(one)
      ]
      const taken = yield* Effect.all(endpoints)
      assert.deepStrictEqual(taken.map((_) => _.status), [401, 404, 200])
      const register = request("POST", REGISTER_AGENT, {
        token: tokens.alice,
        body: agentRegistration({ agent_public_key: line })
      })
      const remove = request("DELETE", agentPath(one.agentRuntimeId), { token: tokens.alice })
      for (const answer of yield* Effect.all([register, remove, ...endpoints])) {
        assert.deepStrictEqual([answer.status, codeOf(answer)], [429, "too_many_registrations"])
        assert.strictEqual(answer.headers["retry-after"], "15")
      }
      assert.strictEqual((yield* request("GET", "/api/accounts/health")).status, 200)
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual((yield* remove).status, 204)
      assert.strictEqual((yield* register).status, 429)
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory({ perAddress: 4 })))))

  it.effect("answer 503 where the requests cannot be counted", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      const body = agentRegistration({ agent_public_key: line })
      const answers = [
        yield* request("POST", REGISTER_AGENT, { token: tokens.alice, body }),
        yield* request("POST", registerTaskPath("agent-1"), { body: {} }),
        yield* request("DELETE", agentPath("agent-1"), { token: tokens.alice })
      ]
      for (const answer of answers) {
        assert.deepStrictEqual([answer.status, codeOf(answer)], [503, "directory_unavailable"])
        assert.strictEqual(answer.headers["retry-after"], "2")
      }
    }).pipe(Effect.provide(Server(
      RegistrationLimits.layer().pipe(
        Layer.provide(RateLimiter.layer),
        Layer.provide(Layer.succeed(RateLimiter.RateLimiterStore, {
          fixedWindow: () => new RateLimiter.RateLimitStoreError({ message: "no connection", cause: undefined }),
          tokenBucket: () => new RateLimiter.RateLimitStoreError({ message: "no connection", cause: undefined })
        }))
      )
    ))))
})

describe("our client of a limited AuthAPI", () => {
  const register = (agent: TestAgent) =>
    Effect.provide(
      Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none())),
      layerClient(agent)
    )

  it.effect("waits as long as it is asked to, and has its task then", () =>
    Effect.gen(function*() {
      const one = yield* registerAgent()
      assert.deepStrictEqual(yield* statuses(one, 7), [200, 200, 200, 200, 200, 200, 429])
      const before = yield* Clock.currentTimeMillis
      yield* asTimePasses(register(one))
      assert.isAtLeast((yield* Clock.currentTimeMillis) - before, 10_000)
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory({ perAgent: 6 })))))

  it.effect("gives up at once where it would have to wait for more than 20 seconds, and says how long", () =>
    Effect.gen(function*() {
      const one = yield* registerAgent()
      assert.deepStrictEqual(yield* statuses(one, 2), [200, 200])
      const outcome = yield* Effect.either(register(one))
      assert.isTrue(Either.isLeft(outcome))
      const error = Either.getOrThrow(Either.flip(outcome))
      assert.deepInclude({ ...(error as TaskRegistration.TaskRegistrationError) }, {
        reason: "Throttled",
        status: 429,
        retryAfterMillis: 30_000,
        attempts: 1
      })
    }).pipe(Effect.provide(Server(RegistrationLimits.layerMemory({ perAgent: 2 })))))
})
