/**
 * Thousands of requests of three runs, one over each transport, through a proxy that misbehaves, while tasks end, clocks
 * jump and the AuthAPI is away. The app asks again as a user would; whatever it meets on the way must have a cause that
 * was injected, and in the end every request has its own answer.
 */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Logger, LogLevel } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { makeBackend, makeDecoy } from "./chaos/backend.ts"
import { ask, type ChaosRun, makeRuns, type Outcome } from "./chaos/client.ts"
import { jumpingClock } from "./chaos/clock.ts"
import { type Asked, type Fault, proxyOf } from "./chaos/proxy.ts"
import { pick, random, shuffle } from "./chaos/random.ts"

const SEED = process.env.HARD_SEED ?? "20261124"
const REQUESTS = Number(process.env.HARD_REQUESTS ?? 10_000)
const CONCURRENCY = 48

const SECOND = 1000
const HOUR = 3600 * SECOND

/** What happens to the world while requests are under way. */
type Event =
  /** All tasks end, by the backend's will or by their age. */
  | "TasksEnd"
  | "DayPasses"
  /** One side's clock jumps, by more than the skew and back, or by less. */
  | "ClientAway"
  | "ServerAway"
  | "ClientABit"
  /** Both clocks are set back. */
  | "BothBack"
  /** Gateways answer for a while. */
  | "Burst"
  /** Tasks end while the AuthAPI only redirects, to a host that is nobody's. */
  | "Outage"

const EVENTS: ReadonlyArray<Event> = [
  "TasksEnd",
  "TasksEnd",
  "TasksEnd",
  "DayPasses",
  "ClientAway",
  "ClientAway",
  "ServerAway",
  "ServerAway",
  "ClientABit",
  "BothBack",
  "Burst",
  "Outage"
]

/** Of requests to the provider; seven of ten are left alone. */
const FAULTS: ReadonlyArray<readonly [Fault, number]> = [
  ["Delay", 0.08],
  ["Reorder", 0.08],
  ["DropBefore", 0.02],
  ["DropAfter", 0.02],
  ["HalfHead", 0.02],
  ["HalfBody", 0.03],
  ["DuplicateAnswer", 0.02],
  ["DuplicateRequest", 0.02],
  ["Status", 0.02],
  ["Redirect", 0.02],
  ["Stall", 0.005]
]

/** Of registrations, at most two in a row: the third attempt is the last. */
const REGISTRATION_FAULTS: ReadonlyArray<readonly [Fault, number]> = [
  ["Delay", 0.1],
  ["DropBefore", 0.1],
  ["DropAfter", 0.1],
  ["HalfHead", 0.1],
  ["HalfBody", 0.1],
  ["DuplicateAnswer", 0.1],
  ["DuplicateRequest", 0.1],
  ["Status", 0.1]
]

const NO_ANSWER: ReadonlyArray<Fault> = ["DropBefore", "DropAfter", "HalfHead", "HalfBody"]

const chaos = (requests: number, events: ReadonlyArray<Event>) =>
  Effect.gen(function*() {
    const serverClock = jumpingClock()
    const clientClock = jumpingClock()
    const backend = yield* makeBackend(serverClock)
    const decoy = yield* makeDecoy

    /** What was done to a request each time that it came by, and what the backend said. */
    const hopsOf = new Map<string, Array<{ readonly fault: Fault; status?: number }>>()
    /** Ends an attempt, as a user does who has waited for too long. */
    const givingUp = new Map<string, () => void>()
    const faultCounts: Partial<Record<Fault, number>> = {}
    const inARow = new Map<string, number>()
    const registrations = { asked: 0, issued: 0, delivered: 0 }
    let unsigned = 0
    let burst = 0
    let outage = false
    const next = random(`${SEED}:proxy`)

    const faultOf = ({ headers, path }: Asked): Fault => {
      const attempt = headers["x-attempt"]
      const fault = typeof attempt === "string"
        ? faultOfRequest(attempt, headers.authorization)
        : faultOfRegistration(path, headers.authorization)
      faultCounts[fault] = (faultCounts[fault] ?? 0) + 1
      return fault
    }
    const faultOfRequest = (attempt: string, authorization: string | undefined): Fault => {
      if (authorization?.startsWith("AgentAssertion ") !== true) unsigned += 1
      const before = hopsOf.get(attempt)
      // Nobody waits for it any more.
      if (before === undefined) return "None"
      let fault = pick(random(`${SEED}:${attempt}:${before.length}`)(), FAULTS, "None")
      if (burst > 0) {
        burst -= 1
        fault = "Status"
      }
      before.push({ fault })
      if (fault === "Stall") setTimeout(() => givingUp.get(attempt)?.(), 100)
      return fault
    }
    const faultOfRegistration = (path: string, authorization: string | undefined): Fault => {
      if (authorization !== undefined) unsigned += 1
      if (outage) return "Redirect"
      registrations.asked += 1
      const fault = pick(random(`${SEED}:registration:${registrations.asked}`)(), REGISTRATION_FAULTS, "None")
      const failed = inARow.get(path) ?? 0
      if (!NO_ANSWER.includes(fault) && fault !== "Status") {
        inARow.set(path, 0)
        return fault
      }
      inARow.set(path, failed === 2 ? 0 : failed + 1)
      return failed === 2 ? "None" : fault
    }

    const proxy = yield* proxyOf({
      port: backend.port,
      decoy: decoy.origin,
      faultOf,
      next,
      onAnswer: ({ headers }, status, fault) => {
        const attempt = headers["x-attempt"]
        if (typeof attempt === "string") {
          const hop = hopsOf.get(attempt)?.at(-1)
          if (hop !== undefined) hop.status = status
        }
        if (attempt !== undefined || status !== 200) return
        registrations.issued += 1
        if (!NO_ANSWER.includes(fault)) registrations.delivered += fault === "DuplicateRequest" ? 0.5 : 1
      }
    })
    const url = `${proxy.origin}/backend-api/codex/responses`
    const runs = yield* makeRuns(backend, proxy.origin, clientClock)

    // -- the app

    const answered = new Uint8Array(requests)
    const outcomes: Record<string, number> = {}
    const unexplained: Array<string> = []
    let done = 0
    let attempts = 0
    /** Jumps beyond the skew, and outages, so far; odd while one is under way. */
    let skews = 0
    let outages = 0

    const causeOf = (
      outcome: Outcome,
      faults: ReadonlyArray<Fault>,
      during: { readonly skew: boolean; readonly outage: boolean },
      replayable: boolean
    ): boolean => {
      switch (outcome._tag) {
        case "Accepted":
          return true
        case "Wrong":
        case "Timeout":
          return false
        case "GivenUp":
          return faults.includes("Stall")
        case "Transport":
        case "Broken":
          return faults.some((fault) => NO_ANSWER.includes(fault))
        case "Status": {
          const { code, status, task } = outcome
          if (status === 429 || status >= 500) return faults.includes("Status")
          if (status >= 300 && status < 400) return faults.includes("Redirect")
          if (status !== 401) return false
          if (code === "stale_assertion") return during.skew
          // A request that can be sent again is, once, unless there is no other task to be had.
          return code === "task_expired" && !backend.isLive(task!) &&
            (!replayable || during.outage || faults.length > 1)
        }
      }
    }

    const one = (index: number) =>
      Effect.gen(function*() {
        const run = runs[index % runs.length]!
        for (let times = 0; answered[index] === 0 && unexplained.length === 0; times++) {
          const attempt = `${index}.${times}`
          const hops: Array<{ readonly fault: Fault; status?: number }> = []
          hopsOf.set(attempt, hops)
          const before = { skews, outages }
          const outcome = yield* Effect.raceFirst(
            ask(run, url, String(index), attempt),
            Effect.async<Outcome>((resume) => {
              givingUp.set(attempt, () => resume(Effect.succeed({ _tag: "GivenUp" })))
            })
          )
          givingUp.delete(attempt)
          hopsOf.delete(attempt)
          const faults = hops.map(({ fault }) => fault)
          attempts += 1
          const name = outcome._tag === "Status" ? `${outcome.status} ${outcome.code ?? ""}`.trim() : outcome._tag
          outcomes[name] = (outcomes[name] ?? 0) + 1
          const during = {
            skew: skews !== before.skews || skews % 2 === 1,
            outage: outages !== before.outages || outages % 2 === 1
          }
          if (!causeOf(outcome, faults, during, index % 7 !== 6)) {
            unexplained.push(`${attempt} over ${run.agent}: ${JSON.stringify({ outcome, hops })}`)
          }
          if (outcome._tag === "Accepted") {
            answered[index]! += 1
            done += 1
          } else yield* Effect.sleep("3 millis")
        }
      })

    // -- the world

    const until = (condition: () => boolean) =>
      Effect.gen(function*() {
        while (!condition() && unexplained.length === 0) yield* Effect.sleep("2 millis")
      })
    const renewed = until(() => runs.every((run) => backend.isLive(run.current()!)))
    const bothJump = (millis: number) => {
      clientClock.jump(millis)
      serverClock.jump(millis)
    }
    const stale = () => backend.refused.get("Stale") ?? 0
    const away = (clock: { readonly jump: (millis: number) => void }, millis: number) =>
      Effect.gen(function*() {
        skews += 1
        clock.jump(millis)
        const before = stale()
        yield* until(() => stale() >= before + 2 * CONCURRENCY)
        clock.jump(-millis)
        skews += 1
      })

    const expected = { registrations: 1, tasks: 1 }
    const script = random(`${SEED}:script`)
    const minutesOrHours = () => (script() < 0.5 ? -1 : 1) * (6 * 60 * SECOND + script() * 9 * HOUR)

    const happen: Record<Event, () => Effect.Effect<void>> = {
      // A task is not renewed within 30 s of its registration.
      TasksEnd: () =>
        Effect.suspend(() => {
          bothJump(31 * SECOND)
          backend.endTasks()
          expected.registrations += 1
          expected.tasks += 1
          return renewed
        }),
      DayPasses: () =>
        Effect.suspend(() => {
          // What was signed just before it is old on arrival.
          skews += 1
          bothJump(25 * HOUR)
          expected.registrations += 1
          expected.tasks += 1
          return Effect.zipRight(renewed, Effect.sync(() => skews += 1))
        }),
      ClientAway: () => away(clientClock, minutesOrHours()),
      ServerAway: () => away(serverClock, minutesOrHours()),
      ClientABit: () =>
        Effect.gen(function*() {
          const millis = (script() < 0.5 ? -1 : 1) * 200 * SECOND
          clientClock.jump(millis)
          const before = done
          yield* until(() => done >= before + 2 * CONCURRENCY)
          clientClock.jump(-millis)
        }),
      BothBack: () =>
        Effect.gen(function*() {
          skews += 1
          bothJump(-2 * HOUR)
          const before = done
          yield* until(() => done >= before + 2 * CONCURRENCY)
          skews += 1
        }),
      Burst: () =>
        Effect.suspend(() => {
          burst = 3 * CONCURRENCY
          return until(() => burst === 0)
        }),
      Outage: () =>
        Effect.gen(function*() {
          outages += 1
          outage = true
          bothJump(31 * SECOND)
          backend.endTasks()
          expected.registrations += 2
          expected.tasks += 1
          const before = runs.map((run) => run.registrations())
          const refused = backend.refused.get("ExpiredTask") ?? 0
          yield* until(() =>
            runs.every((run, index) => run.registrations() > before[index]!) &&
            backend.refused.get("ExpiredTask")! > refused + 4 * CONCURRENCY
          )
          // Nor within 30 s of a renewal that failed.
          bothJump(31 * SECOND)
          outage = false
          yield* renewed
          outages += 1
        })
    }

    // An event comes after each stride of requests, and the stride after that is its own: later ones wait for its end.
    const stride = Math.floor(requests / (events.length + 1))
    const ends = yield* Effect.forEach(events, () => Deferred.make<void>())
    const world = Effect.forEach(events, (event, index) =>
      until(() => done >= stride * (index + 1) - CONCURRENCY).pipe(
        Effect.zipRight(Effect.sync(() => console.log(`${event} after ${done} requests`))),
        Effect.zipRight(Effect.suspend(happen[event])),
        Effect.zipRight(Deferred.succeed(ends[index]!, undefined))
      ), { discard: true })
    const app = Effect.forEach(
      Array.from(answered.keys()),
      (index) => {
        const before = ends[Math.min(Math.floor(index / stride) - 2, events.length - 1)]
        return Effect.zipRight(before === undefined ? Effect.void : Deferred.await(before), one(index))
      },
      { concurrency: CONCURRENCY, discard: true }
    )
    yield* Effect.all([world, app], { concurrency: 2, discard: true }).pipe(Effect.withClock(clientClock.clock))

    return {
      answered,
      attempts,
      outcomes,
      unexplained,
      faultCounts,
      registrations,
      expected,
      unsigned,
      runs: runs.map((run: ChaosRun) => ({
        agent: run.agent,
        registrations: run.registrations(),
        tasks: run.tasks.length,
        sent: run.sent(),
        wronglySigned: run.wronglySigned()
      })),
      verified: backend.verified(),
      refused: Object.fromEntries(backend.refused),
      issued: backend.issued.size,
      decoy: decoy.requests,
      proxyErrors: proxy.errors
    }
  }).pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))

const sockets = () =>
  process.getActiveResourcesInfo().filter((name) => /^(TCP|Pipe)?(Socket|Server)Wrap$/.test(name)).length

setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

/** Bytes of heap that are still used once what nobody holds is gone. */
const heap = Effect.promise(async () => {
  for (let times = 0; times < 4; times++) {
    collectGarbage()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return process.memoryUsage().heapUsed
})

const settled = (base: number) =>
  Effect.gen(function*() {
    for (let waited = 0; sockets() > base && waited < 10_000; waited += 20) yield* Effect.sleep("20 millis")
    return sockets()
  })

it.live(
  `of ${REQUESTS} requests through chaos none is lost, unsigned, swapped or led astray`,
  () =>
    Effect.gen(function*() {
      console.log(`chaos: HARD_SEED=${SEED} HARD_REQUESTS=${REQUESTS}`)
      // Everything is loaded and warm before anything is measured.
      yield* chaos(400, [])
      const before = { heap: yield* heap, sockets: yield* settled(0) }

      const startedAt = performance.now()
      const cpu = process.cpuUsage()
      // Each event wants some hundred requests.
      const events = shuffle(EVENTS, random(`${SEED}:events`)).slice(0, Math.floor(REQUESTS / 600))
      const seen = yield* chaos(REQUESTS, events)
      const seconds = (performance.now() - startedAt) / 1000
      const { system, user } = process.cpuUsage(cpu)
      const { answered, unexplained, ...shown } = seen
      console.log(
        `${seconds.toFixed(1)} s, ${((user + system) / 1e6).toFixed(1)} s of a core, events: ${events.join(", ")}`,
        JSON.stringify(shown, undefined, 1)
      )

      assert.deepStrictEqual(unexplained, [])
      assert.isTrue(answered.every((times) => times === 1), "every request has its answer, once")
      assert.deepStrictEqual(seen.decoy, [])
      assert.deepStrictEqual(seen.proxyErrors, [])
      assert.strictEqual(seen.unsigned, 0)
      for (const run of seen.runs) {
        assert.strictEqual(run.wronglySigned, 0, run.agent)
        assert.strictEqual(run.registrations, seen.expected.registrations, run.agent)
        assert.strictEqual(run.tasks, seen.expected.tasks, run.agent)
      }
      // A task is issued for each registration that reached the AuthAPI, and used where its answer came back.
      assert.strictEqual(seen.issued, seen.registrations.issued)
      assert.strictEqual(seen.runs.reduce((sum, run) => sum + run.tasks, 0), seen.registrations.delivered)
      assert.includeMembers(["ExpiredTask", "Stale"], Object.keys(seen.refused))
      if (events.length === EVENTS.length) {
        for (const [fault] of FAULTS) assert.isAbove(seen.faultCounts[fault]!, 0, fault)
      }

      assert.isAtMost(yield* settled(before.sockets), before.sockets, "sockets are closed")
      const grown = ((yield* heap) - before.heap) / 2 ** 20
      console.log(`heap ${grown.toFixed(1)} MiB more, sockets ${before.sockets}`)
      assert.isBelow(grown, 8, "MiB of heap are left behind")
    }),
  600_000
)
