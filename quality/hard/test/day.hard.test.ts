/**
 * A day of virtual time: agents from tokens of an issuer that rotates its keys, tasks that expire, an AuthAPI and an issuer
 * with outages. What happens is checked at each step against the rules, and at the end nothing is left. `HARD_SEED` makes
 * another day of it.
 */
import { ResponsesApi, ResponsesHandlers } from "@agent-identity/authapi"
import {
  type AccountId,
  AgentIdentityJwt,
  AgentKey,
  type AgentRuntimeId,
  Jwks,
  ProviderAuth,
  Run,
  type RunTask,
  Signing,
  TaskRegistration
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AgentIdentityIssuer,
  AuthApi,
  AuthApiHandlers,
  IssuerApi,
  IssuerApiHandlers,
  RegistrationBearer,
  RegistrationLimits
} from "@agent-identity/server"
import { Fakes } from "@agent-identity/testing"
import {
  FetchHttpClient,
  HttpApp,
  HttpClient,
  HttpClientError,
  HttpClientResponse,
  HttpLayerRouter,
  HttpServer
} from "@effect/platform"
import { assert, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Option,
  Random,
  Redacted,
  Scope,
  Supervisor,
  TestClock
} from "effect"
import * as Harness from "./mutations/harness.ts"
import * as Seeded from "./mutations/random.ts"

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const TASK_LIFETIME = 2 * HOUR
/** What a step may take more than it should: while a request is under way the clock moves by seconds. */
const SLACK = 15 * SECOND
/** Three attempts, however slow. */
const FLIGHT = 75 * SECOND
const MAX_PAUSE = 10 * MINUTE

const seeded = Seeded.make(`day ${Harness.SEED}`)
const between = (from: number, to: number) => from + seeded.below(to - from)

// ---------------------------------------------------------------------------------------------------------------------
// The world
// ---------------------------------------------------------------------------------------------------------------------

type Trouble = "down" | "throttled" | "gone" | "slow"

interface Outage {
  readonly of: "authApi" | "issuer"
  readonly trouble: Trouble
  readonly from: number
  readonly to: number
}

/** One after the other, so that each is over before the next. */
const outagesOf = (of: Outage["of"]): ReadonlyArray<Outage> => {
  const outages: Array<Outage> = []
  for (let from = between(20 * MINUTE, HOUR); from < DAY - 2 * HOUR;) {
    const to = from + between(MINUTE, 50 * MINUTE)
    outages.push({ of, trouble: seeded.pick(["down", "throttled", "gone", "slow"]), from, to })
    from = to + between(30 * MINUTE, 3 * HOUR)
  }
  return outages
}

const outages = [...outagesOf("authApi"), ...outagesOf("issuer")]
const outageAt = (of: Outage["of"], now: number) =>
  outages.find((outage) => outage.of === of && now >= outage.from && now < outage.to)
/** When the last outage of the AuthAPI ended, now if there is one. */
const lastOutage = (now: number) =>
  Math.max(
    -Infinity,
    ...outages.filter(({ from, of }) => of === "authApi" && from <= now).map(({ to }) => Math.min(to, now))
  )

/** What went over the wire. */
const wire = {
  registrations: 0,
  keySets: 0,
  requests: 0,
  unsigned: 0,
  /** Those that met an outage. */
  troubled: 0,
  /** The keys that the last answer of the issuer had. */
  kids: [] as ReadonlyArray<string>,
  keysAt: -Infinity
}

const Routes = Layer.mergeAll(
  HttpLayerRouter.addHttpApi(AuthApi.AuthApi).pipe(
    Layer.provide(AuthApiHandlers.layer),
    Layer.provide([RegistrationBearer.layerNone, RegistrationLimits.layerUnlimited])
  ),
  HttpLayerRouter.addHttpApi(IssuerApi.IssuerApi).pipe(Layer.provide(IssuerApiHandlers.layer)),
  Layer.provide(ResponsesHandlers.layer, AgentAssertionVerifier.layer)
)

/** The backend's real handlers, without a socket. */
const Backend = Layer.unwrapScoped(Effect.gen(function*() {
  const router = yield* HttpLayerRouter.HttpRouter
  const handle = HttpApp.toWebHandlerRuntime(yield* Effect.runtime<never>())(router.asHttpEffect())
  return Layer.provide(
    FetchHttpClient.layer,
    Layer.succeed(FetchHttpClient.Fetch, (input, init) => handle(new Request(input, init)))
  )
})).pipe(
  Layer.provide(Routes),
  Layer.provide([
    Layer.provide(HttpLayerRouter.layer, Layer.succeed(HttpLayerRouter.RouterConfig, AuthApi.routerConfig)),
    HttpServer.layerContext
  ])
)

/** The network between, with its outages. */
const Network = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(HttpClient.HttpClient, (backend) =>
    HttpClient.make((request, url) =>
      Effect.gen(function*() {
        const execute = backend.execute(request)
        if (url.pathname.startsWith("/backend-api/codex")) {
          wire.requests += 1
          if (!/^AgentAssertion /.test(request.headers.authorization ?? "")) wire.unsigned += 1
          return yield* execute
        }
        const isIssuer = url.pathname === IssuerApi.jwksPath
        if (isIssuer) wire.keySets += 1
        else wire.registrations += 1
        const outage = outageAt(isIssuer ? "issuer" : "authApi", yield* Clock.currentTimeMillis)
        const answer = (status: number, headers: Record<string, string> = {}) =>
          HttpClientResponse.fromWeb(request, new Response("{}", { status, headers }))
        if (outage !== undefined) wire.troubled += 1
        switch (outage?.trouble) {
          case "down":
            return answer(503)
          case "throttled":
            return answer(429, { "retry-after": seeded.pick(["1", "5", "19", "60"]) })
          case "gone":
            return yield* new HttpClientError.RequestError({ request, reason: "Transport" })
          case "slow":
            yield* Effect.sleep("40 seconds")
        }
        const response = yield* execute
        if (isIssuer) {
          const { keys } = (yield* response.json) as { readonly keys: ReadonlyArray<{ readonly kid: string }> }
          wire.kids = keys.map(({ kid }) => kid)
          wire.keysAt = yield* Clock.currentTimeMillis
          return HttpClientResponse.fromWeb(request, Response.json({ keys }))
        }
        return response
      })
    ))
)

/** Verifies as the library does, and checks each time whether the issuer was asked as often as the rules have it. */
const Tokens = Layer.effect(
  AgentIdentityJwt.AgentIdentityJwt,
  Effect.gen(function*() {
    const { verify } = yield* AgentIdentityJwt.make()
    let failedAt = -Infinity
    return {
      verify: (token) =>
        Effect.gen(function*() {
          const { kid } = JSON.parse(Buffer.from(Redacted.value(token).split(".")[0]!, "base64url").toString())
          const [now, before] = [yield* Clock.currentTimeMillis, wire.keySets]
          /** Whether the rules ask the issuer, if all of this happened so much earlier or later. */
          const asks = (off: number) => {
            const age = now + off - wire.keysAt
            return age >= 10 * MINUTE ||
              (!wire.kids.includes(kid) && age >= 30 * SECOND && now + off - failedAt >= 30 * SECOND)
          }
          const expected = [asks(-SLACK), asks(SLACK)]
          const exit = yield* Effect.exit(verify(token))
          const asked = wire.keySets > before
          // A broken connection is tried once more.
          assert.isAtMost(wire.keySets - before, 2)
          assert.include(expected, asked, `the issuer was ${asked ? "" : "not "}asked at ${now} ms`)
          if (reasonOf(exit) === "KeySetUnavailable") failedAt = yield* Clock.currentTimeMillis
          return yield* exit
        })
    }
  })
)

const World = Tokens.pipe(
  Layer.provideMerge(Jwks.layer(Fakes.layerUrlDerivation)),
  Layer.provideMerge(Network),
  Layer.provideMerge(Backend),
  Layer.provideMerge(Layer.mergeAll(
    AgentDirectory.layerMemoryWith({ taskLifetime: TASK_LIFETIME }),
    AgentIdentityIssuer.layer,
    Fakes.layerUrlDerivation
  )),
  Layer.provideMerge(NodeSigning.layer)
)

const reasonOf = (exit: Exit.Exit<unknown, { readonly reason: string }>): string | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) return assert.fail(`a defect: ${Cause.pretty(exit.cause)}`)
  return failure.value.reason
}

// ---------------------------------------------------------------------------------------------------------------------
// The runs
// ---------------------------------------------------------------------------------------------------------------------

interface Agent {
  readonly id: AgentRuntimeId.AgentRuntimeId
  run: RunOf | undefined
  nextAt: number
}

interface RunOf {
  readonly scope: Scope.CloseableScope
  readonly context: Context.Context<RunTask.RunTask | HttpClient.HttpClient>
  readonly startedAt: number
  readonly endsAt: number
  readonly tokenEndsAt: number
  readonly flights: Flights
}

/** The registrations of one run: when the last one ended, how many came to what. */
interface Flights {
  succeeded: number
  failed: number
  failedInARow: number
  endedAt: number
  isUnderWay: boolean
  /** What broke the rules: the library takes a registration that dies for one that fails. */
  readonly wrong: Array<string>
}

/** The library's registration, checked: one at a time, and after a failure not before the pause is over. */
const checkedRegistration = (flights: Flights) =>
  Layer.effect(
    TaskRegistration.TaskRegistration,
    Effect.map(TaskRegistration.make, ({ register }) => ({
      register: (stale) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          const pause = Math.min(30 * SECOND * 2 ** Math.max(0, flights.failedInARow - 1), MAX_PAUSE)
          if (flights.isUnderWay) flights.wrong.push(`two registrations at once at ${now} ms`)
          if (now - flights.endedAt < pause) {
            flights.wrong.push(
              `a registration at ${now} ms, ${now - flights.endedAt} ms after ${flights.failedInARow} that failed`
            )
          }
          flights.isUnderWay = true
          const before = wire.registrations
          const exit = yield* Effect.exit(register(stale))
          flights.isUnderWay = false
          flights.endedAt = yield* Clock.currentTimeMillis
          // Others may register meanwhile, but not here: one step is one run's.
          if (wire.registrations - before > 3) flights.wrong.push(`more than three attempts at ${now} ms`)
          if (flights.endedAt - now > FLIGHT + SLACK) flights.wrong.push(`a registration without an end at ${now} ms`)
          if (Exit.isSuccess(exit)) {
            flights.succeeded += 1
            flights.failedInARow = 0
          } else {
            reasonOf(exit)
            flights.failed += 1
            flights.failedInARow += 1
          }
          return yield* exit
        })
    }))
  )

const startRun = (agent: Agent) =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const directory = yield* AgentDirectory.AgentDirectory
    const issuer = yield* AgentIdentityIssuer.AgentIdentityIssuer
    const signing = yield* Signing.Signing
    // A new key each time: the directory and the verifier have to keep up.
    const key = yield* AgentKey.generate((bytes) => Uint8Array.from({ length: bytes }, () => seeded.below(256)))
    yield* directory.putAgent({ agentRuntimeId: agent.id, publicKey: (yield* signing.importPrivateKey(key)).publicKey })
    const lifetime = between(3 * HOUR, 9 * HOUR)
    const token = yield* issuer.issue({
      agentRuntimeId: agent.id,
      privateKey: AgentKey.toPkcs8(key),
      accountId: "acct-1" as AccountId.AccountId,
      chatgptUserId: "user-1",
      planType: "pro",
      fedramp: false,
      lifetime
    })
    const flights: Flights = {
      succeeded: 0,
      failed: 0,
      failedInARow: 0,
      endedAt: -Infinity,
      isUnderWay: false,
      wrong: []
    }
    const scope = yield* Scope.make()
    const registration = checkedRegistration(flights)
    const context = yield* Run.layerWith(AgentIdentityJwt.layerIdentity(token), { registration }).pipe(
      Layer.buildWithScope(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    agent.run = {
      scope,
      context,
      flights,
      startedAt: now,
      endsAt: now + between(HOUR, 7 * HOUR),
      tokenEndsAt: now + lifetime + 60 * SECOND
    }
  })

const URL_OF_MODELS = `https://provider.test${ResponsesApi.modelsPath}`

/** An answer's status and the code of its refusal; of two requests at once both. */
const send = ({ context }: RunOf) =>
  Effect.flatMap(
    Context.get(context, HttpClient.HttpClient).get(URL_OF_MODELS),
    (response) =>
      Effect.map(response.json, (json) => ({
        status: response.status,
        code: (json as { readonly error?: { readonly code: string } }).error?.code,
        signed: Option.exists(ProviderAuth.authorizationOf(response), (_) => _._tag === "Assertion")
      }))
  )

const endRun = (agent: Agent, run: RunOf) =>
  Effect.gen(function*() {
    yield* Scope.close(run.scope, Exit.void)
    agent.run = undefined
    const before = wire.requests
    const error = yield* Effect.flip(send(run))
    assert.include(error.message, "its scope is closed")
    assert.strictEqual(wire.requests, before)
    // Each task lives as long as it should before another one is registered.
    const life = (yield* Clock.currentTimeMillis) - run.startedAt
    assert.isAtMost(run.flights.succeeded, 1 + Math.floor(life / TASK_LIFETIME))
  })

// ---------------------------------------------------------------------------------------------------------------------
// The day
// ---------------------------------------------------------------------------------------------------------------------

const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
const pause = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 2)))

/**
 * Runs an effect that both sleeps and waits for promises. The clock moves on only once it has met an outage: all else
 * takes no time, however busy the machine is.
 */
const driven = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function*() {
    const before = wire.troubled
    const fiber = yield* Effect.fork(effect)
    for (let turns = 1;; turns++) {
      yield* turns < 20 ? turn : pause
      const exit = yield* Fiber.poll(fiber)
      if (Option.isSome(exit)) return exit.value
      if (turns > 20 && wire.troubled > before) yield* TestClock.adjust("2 seconds")
    }
  })

it.scoped("a day of outages, rotations and expiries", () =>
  Effect.gen(function*() {
    const supervisor = yield* Supervisor.track
    const start = process.cpuUsage()
    const totals = {
      accepted: 0,
      refused: 0,
      starts: 0,
      failedStarts: 0,
      rotations: 0,
      verified: 0,
      renewals: 0,
      failed: 0
    }

    const day = Effect.gen(function*() {
      const issuer = yield* AgentIdentityIssuer.AgentIdentityIssuer
      const tokens = yield* AgentIdentityJwt.AgentIdentityJwt
      const agents = Array.from({ length: 5 }, (_, index): Agent => ({
        id: `agent-${index}` as AgentRuntimeId.AgentRuntimeId,
        run: undefined,
        nextAt: between(0, 5 * MINUTE)
      }))
      let rotateAt = between(HOUR, 2 * HOUR)
      let verifyAt = MINUTE
      let heap = 0

      const step = (agent: Agent) =>
        Effect.gen(function*() {
          const now = yield* Clock.currentTimeMillis
          agent.nextAt = now + between(20 * SECOND, 10 * MINUTE)
          if (agent.run !== undefined && now >= agent.run.endsAt) {
            totals.renewals += agent.run.flights.succeeded - 1
            totals.failed += agent.run.flights.failed
            yield* endRun(agent, agent.run)
          }
          if (agent.run === undefined) {
            const exit = yield* driven(startRun(agent))
            totals.starts += 1
            if (Exit.isFailure(exit)) {
              totals.failedStarts += 1
              reasonOf(exit as Exit.Exit<unknown, { readonly reason: string }>)
              assert.isTrue(
                outages.some(({ from, to }) => now >= from - FLIGHT && now < to + SLACK),
                `a run did not start at ${now} ms, and there was no outage`
              )
            }
            return
          }
          const run = agent.run
          const exit = yield* driven(Effect.all(Array.from({ length: between(1, 4) }, () => send(run)), {
            concurrency: "unbounded"
          }))
          assert.deepEqual(run.flights.wrong, [])
          const answers = yield* Effect.orDie(exit)
          for (const { code, signed, status } of answers) {
            assert.isTrue(signed)
            if (status === 200) {
              totals.accepted += 1
              continue
            }
            assert.strictEqual(status, 401)
            assert.oneOf(code, ["task_expired", "task_not_found"])
            totals.refused += 1
            // As an app would, and sooner than a renewal is tried again.
            agent.nextAt = Math.min(agent.nextAt, now + between(5 * SECOND, 90 * SECOND))
            // A new task can be had again: within the longest pause after the last attempt that an outage spoilt.
            const asked = yield* Clock.currentTimeMillis
            if (asked < run.tokenEndsAt) {
              assert.isAtMost(
                now,
                lastOutage(asked) + FLIGHT + MAX_PAUSE + SLACK,
                `refused at ${now} ms, without an outage`
              )
            } else agent.run = { ...run, endsAt: asked }
          }
        })

      /** Tokens of the new key and of older ones, and some whose key nobody has. */
      const verifyOne = (isUnknown: boolean) =>
        Effect.gen(function*() {
          const token = yield* issuer.issue({
            agentRuntimeId: "agent-0" as AgentRuntimeId.AgentRuntimeId,
            privateKey: Redacted.make(PKCS8),
            accountId: "acct-1" as AccountId.AccountId,
            chatgptUserId: "user-1",
            planType: "pro",
            fedramp: false
          })
          const kid = `none-${seeded.below(1e9)}`
          const header = Buffer.from(JSON.stringify({ alg: "RS256", kid })).toString("base64url")
          const given = isUnknown ? Redacted.make(Redacted.value(token).replace(/^[^.]*/, header)) : token
          const reason = reasonOf(yield* driven(tokens.verify(given)))
          totals.verified += 1
          const now = yield* Clock.currentTimeMillis
          const isOut = (outageAt("issuer", now) ?? outageAt("issuer", now - FLIGHT)) !== undefined
          if (reason === "KeySetUnavailable") assert.isTrue(isOut, `no key set at ${now} ms, and there was no outage`)
          else if (isUnknown) assert.strictEqual(reason, "UnknownKid")
          else if (reason !== undefined) {
            // A key that is newer than the last look, which was a moment ago.
            assert.strictEqual(reason, "UnknownKid")
            assert.isTrue(isOut || now - wire.keysAt < 30 * SECOND + SLACK, `a good token refused at ${now} ms`)
          }
        })

      const verifySome = Effect.gen(function*() {
        const isUnknown = seeded.oneIn(4)
        yield* verifyOne(isUnknown)
        for (let more = isUnknown ? 3 : 0; more > 0; more--) {
          yield* TestClock.adjust("6 seconds")
          yield* verifyOne(isUnknown)
        }
      })

      for (let now = 0; now < DAY;) {
        const next = agents.reduce((first, agent) => agent.nextAt < first.nextAt ? agent : first)
        const at = Math.min(next.nextAt, rotateAt, verifyAt)
        yield* TestClock.adjust(Math.max(0, at - now))
        if (at === rotateAt) {
          totals.rotations += 1
          rotateAt += between(2 * HOUR, 4 * HOUR)
          yield* issuer.rotate
        } else if (at === verifyAt) {
          verifyAt += between(20 * SECOND, 8 * MINUTE)
          yield* verifySome
        } else yield* step(next)
        now = yield* Clock.currentTimeMillis
        if (heap === 0 && now > 6 * HOUR) heap = Harness.heapUsed()
      }

      for (const agent of agents) {
        if (agent.run !== undefined) yield* endRun(agent, agent.run)
      }
      const growth = Harness.heapUsed() - heap
      const { system, user } = process.cpuUsage(start)
      console.log(
        `a day of seed ${Harness.SEED}: ${outages.length} outages, ${((system + user) / 1e6).toFixed(1)} s of CPU,`,
        JSON.stringify({ ...totals, ...wire, kids: wire.kids.length, heap: `${(growth / 1024 / 1024).toFixed(1)} MiB` })
      )
      assert.isBelow(growth, 8 * 1024 * 1024, "memory grows")
    })

    yield* day.pipe(
      Effect.provide(Layer.provide(World, Logger.remove(Logger.defaultLogger))),
      Effect.withRandom(Random.make(Harness.SEED)),
      Effect.supervised(supervisor)
    )

    assert.strictEqual(wire.unsigned, 0)
    assert.isAbove(totals.accepted, 2_000)
    assert.isAbove(totals.refused, 0, "no outage was ever felt")
    assert.isAbove(totals.renewals, 10)
    assert.isAbove(totals.failed, 5)
    assert.isAbove(totals.rotations, 5)
    const left = (yield* supervisor.value).filter((fiber) => fiber.unsafePoll() === null)
    assert.lengthOf(left, 0, "fibers are left")
  }), 600_000)

const PKCS8 = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"
