import {
  AgentIdentity,
  AgentKey,
  AgentRuntimeId,
  RunTask,
  Signing,
  TaskId,
  TaskRegistration
} from "@agent-identity/core"
import { AgentProvisioning, CredentialStore } from "@agent-identity/login"
import { ScriptedAuthApi } from "@agent-identity/testing/ScriptedAuthApi"
import * as Scripted from "@agent-identity/testing/ScriptedAuthApi"
import { assert, describe, it } from "@effect/vitest"
import type { Context } from "effect"
import { Clock, Effect, Exit, Fiber, Layer, Option, Redacted, TestClock } from "effect"
import * as Clocks from "../../core/test/clocks.ts"
import { vector } from "../../core/test/fixtures.ts"
import { assertClean, observer, shown } from "../../core/test/leaks.ts"
import { driven, turn } from "../../core/test/utils.ts"
import { loggedOut, login, Person, process, World } from "./login.ts"

const status = (status: number, body = ""): Scripted.Fault => ({ _tag: "Status", status, body })
const deleted = status(
  403,
  "{\"error\":{\"code\":\"biscuit_baker_service_agent_error_status\",\"message\":\"Agent runtime has been deleted.\"}}"
)
const late: Scripted.Fault = { _tag: "Late", delay: "10 seconds" }
const { binding } = login()
const day = 86_400_000

/** The agent, in a process of its own. */
const agent = (options?: Partial<AgentProvisioning.Options>) =>
  Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent).pipe(Effect.provide(process(options)))

const firstTask = ({ tasks }: AgentProvisioning.Agent) => tasks.register(Option.none())

/** The agent and its task. */
const run = (options?: Partial<AgentProvisioning.Options>) =>
  Effect.flatMap(agent(options), (agent) => Effect.map(firstTask(agent), (task) => ({ ...agent, ...task })))

const script = (...faults: ReadonlyArray<Scripted.Fault>) =>
  Effect.flatMap(ScriptedAuthApi, (server) => Effect.forEach(faults, (fault) => server.script(fault)))

const requests = Effect.flatMap(ScriptedAuthApi, (_) => _.requests)
/** How many agents and tasks the AuthAPI was asked for. */
const asked = Effect.map(requests, (all) => {
  const agents = all.filter(({ url }) => url.endsWith("/agent/register")).length
  return [agents, all.length - agents]
})
const become = (...[who]: Parameters<Context.Tag.Service<Person>["become"]>) =>
  Effect.flatMap(Person, (_) => _.become(who))

const kept = (of = binding) =>
  Effect.map(
    Effect.flatMap(CredentialStore.CredentialStore, (_) => _.get(of)),
    Option.map(({ record }) => record)
  )
const keep = (record: CredentialStore.AgentRecord) =>
  Effect.flatMap(CredentialStore.CredentialStore, (_) => _.compareAndSwap(binding, Option.none(), Option.some(record)))

const privateKey = Redacted.make(vector.pkcs8V1)
const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make("agent-kept")
const taskId = TaskId.TaskId.make("task-kept")
const keyMade: CredentialStore.AgentRecord = { state: "key-made", privateKey }

/** An agent that the AuthAPI knows, without a task. */
const registered = Effect.gen(function*() {
  const { identity } = yield* agent()
  return identity.agentRuntimeId
})

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) => Effect.repeat(turn, { until: () => condition })

describe("AgentProvisioning: a new agent", () => {
  it.effect("is not made under JwtOnly", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(agent({ policy: "JwtOnly" }))
      assert.strictEqual(error.reason, "NotAllowed")
      assert.deepStrictEqual(yield* asked, [0, 0])
      assert.deepStrictEqual(yield* kept(), Option.none())
    }).pipe(Effect.provide(World)))

  it.effect("is registered with the login's token, kept, and used again by whoever comes next", () =>
    Effect.gen(function*() {
      const first = yield* run()
      const second = yield* run()
      assert.deepStrictEqual(yield* asked, [1, 1])
      assert.strictEqual(second.identity.agentRuntimeId, first.identity.agentRuntimeId)
      assert.strictEqual(second.taskId, first.taskId)
      assert.deepStrictEqual({ ...first.identity.account }, { id: "acct-1", fedramp: false } as object)
      const [request] = yield* requests
      assert.strictEqual(request?.headers.authorization, `Bearer ${Scripted.bearerToken}`)
      const { abom, agent_public_key } = JSON.parse(request?.body ?? "")
      assert.deepStrictEqual(abom, {
        agent_version: "1.2.3",
        agent_harness_id: "codex-cli",
        running_location: "cli-linux"
      })
      assert.strictEqual(agent_public_key, AgentKey.toSshPublicKey(first.identity.signer.publicKey))
      const record = Option.getOrThrow(yield* kept())
      assert.deepInclude(record, {
        state: "ready",
        agentRuntimeId: first.identity.agentRuntimeId,
        taskId: first.taskId,
        registeredAt: first.registeredAt
      })
      assert.isUndefined(record.lease)
    }).pipe(Effect.provide(World)))

  it.effect("takes three attempts, all with one key", () =>
    Effect.gen(function*() {
      yield* script(status(503), status(503))
      yield* driven(run())
      assert.deepStrictEqual(yield* asked, [3, 1])
      const keys = (yield* requests).slice(0, 3).map(({ body }) => JSON.parse(body).agent_public_key)
      assert.strictEqual(new Set(keys).size, 1)
    }).pipe(Effect.provide(World)))

  it.effect("is Unavailable after three attempts; the next hour asks nobody, the next attempt has the same key", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      yield* script(status(503), status(503), status(503))
      const error = yield* Effect.flip(driven(provisioning.agent))
      assert.strictEqual(error.reason, "Unavailable")
      assert.isTrue(error.fallback)
      assert.deepStrictEqual(yield* asked, [3, 0])
      assert.strictEqual(Option.getOrThrow(yield* kept()).state, "key-made")
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(yield* Effect.flip(provisioning.agent), error)
      // Another account of the same person is no part of it.
      yield* become(login("acct-2"))
      yield* driven(provisioning.agent)
      assert.deepStrictEqual(yield* asked, [4, 0])
      yield* become(login())
      yield* TestClock.adjust("1 minute")
      yield* driven(provisioning.agent)
      const keys = (yield* requests).map(({ body }) => JSON.parse(body).agent_public_key)
      assert.strictEqual(keys[4], keys[0])
      assert.notStrictEqual(keys[3], keys[0])
    }).pipe(Effect.provide(World)))

  for (const code of [400, 401, 403]) {
    it.effect(`is Refused by ${code} at once; the next hour asks nobody with that token`, () =>
      Effect.gen(function*() {
        const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
        yield* script(status(code, "no"))
        const error = yield* Effect.flip(driven(provisioning.agent))
        assert.strictEqual(error.reason, "Refused")
        assert.isFalse(error.fallback)
        assert.match(error.message, new RegExp(`status ${code}; see that the bearer token is .*: no`))
        assert.strictEqual(yield* Effect.flip(provisioning.agent), error)
        assert.deepStrictEqual(yield* asked, [1, 0])
        assert.notStrictEqual(Option.getOrThrow(yield* kept()).state, "registered")
        // A token that was refreshed may be one that is taken.
        yield* become(login("acct-1", "user-1", "another"))
        yield* script(status(code))
        assert.strictEqual((yield* Effect.flip(driven(provisioning.agent))).reason, "Refused")
        assert.deepStrictEqual(yield* asked, [2, 0])
      }).pipe(Effect.provide(World)))
  }

  for (const [what, change] of Object.entries(Clocks.changes)) {
    it.live(`is asked for again where ${what}, and not until then`, () => {
      const { change: set, clock, pass } = Clocks.make()
      return Effect.gen(function*() {
        const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
        yield* script(status(403))
        yield* Effect.flip(provisioning.agent)
        yield* pass(3_599_000)
        assert.strictEqual((yield* Effect.flip(provisioning.agent)).reason, "Refused")
        assert.deepStrictEqual(yield* asked, [1, 0])
        yield* set(change)
        yield* provisioning.agent
        assert.deepStrictEqual(yield* asked, [2, 0])
      }).pipe(Effect.provide(World), Effect.withClock(clock))
    })
  }

  it.effect("is another one for another account, and for another user", () =>
    Effect.gen(function*() {
      const ids: Array<string> = []
      for (const who of [login(), login("acct-2"), login("acct-1", "user-2")]) {
        yield* become(who)
        ids.push((yield* run()).identity.agentRuntimeId)
      }
      assert.strictEqual(new Set(ids).size, 3)
      yield* become(login())
      assert.strictEqual((yield* run()).identity.agentRuntimeId, ids[0])
      assert.deepStrictEqual(yield* asked, [3, 3])
    }).pipe(Effect.provide(World)))

  it.effect("says FedRAMP where the login does", () =>
    Effect.gen(function*() {
      yield* become({ ...login(), fedramp: true })
      const { identity } = yield* run()
      assert.isTrue(identity.account?.fedramp)
      const [agents, tasks] = yield* requests
      assert.strictEqual(agents?.headers["x-openai-fedramp"], "true")
      assert.notProperty(tasks?.headers, "x-openai-fedramp")
    }).pipe(Effect.provide(World)))

  it.effect("needs a login", () =>
    Effect.gen(function*() {
      yield* become(loggedOut)
      const error = yield* Effect.flip(agent())
      assert.strictEqual(error.reason, "NoLogin")
      assert.include(error.message, "nobody is logged in")
    }).pipe(Effect.provide(World)))
})

describe("AgentProvisioning: after a crash", () => {
  it.effect("registers the key that was made", () =>
    Effect.gen(function*() {
      yield* keep(keyMade)
      yield* run()
      const { agent_public_key } = JSON.parse((yield* requests)[0]!.body)
      assert.include(agent_public_key, "AAAAIOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs")
      assert.deepStrictEqual(yield* asked, [1, 1])
    }).pipe(Effect.provide(World)))

  it.effect("of whoever had registered the key but not kept it, makes no second agent", () =>
    Effect.gen(function*() {
      const first = yield* run()
      const { privateKey } = Option.getOrThrow(yield* kept())
      const store = yield* CredentialStore.CredentialStore
      const { version } = Option.getOrThrow(yield* store.get(binding))
      yield* store.compareAndSwap(binding, Option.some(version), Option.some({ state: "key-made", privateKey }))
      assert.strictEqual((yield* run()).identity.agentRuntimeId, first.identity.agentRuntimeId)
    }).pipe(Effect.provide(World)))

  it.effect("gets a task for the agent that was registered", () =>
    Effect.gen(function*() {
      const id = yield* registered
      const second = yield* run()
      assert.strictEqual(second.identity.agentRuntimeId, id)
      assert.deepStrictEqual(yield* asked, [1, 1])
    }).pipe(Effect.provide(World)))

  it.effect("uses the task that is kept, of whatever age", () =>
    Effect.gen(function*() {
      yield* keep({ state: "ready", privateKey, agentRuntimeId, taskId })
      const { identity, registeredAt, taskId: task } = yield* run()
      assert.deepStrictEqual([identity.agentRuntimeId, task, registeredAt], [agentRuntimeId, taskId, undefined])
      assert.deepStrictEqual(yield* asked, [0, 0])
    }).pipe(Effect.provide(World)))

  it.effect("takes over from a process that has died, once its lease is over", () =>
    Effect.gen(function*() {
      yield* keep({ ...keyMade, lease: { holder: "dead", expiresAt: 20_000 } })
      const fiber = yield* Effect.fork(agent())
      yield* TestClock.adjust("19 seconds")
      yield* turn
      assert.deepStrictEqual(yield* asked, [0, 0])
      assert.isTrue(Option.isNone(yield* fiber.poll))
      yield* driven(Fiber.join(fiber))
      assert.deepStrictEqual(yield* asked, [1, 0])
    }).pipe(Effect.provide(World)))

  const others: ReadonlyArray<readonly [what: string, expiresAt: number]> = [
    ["was over 10 minutes ago by a clock that may be wrong", 20_000],
    ["was over a day ago by a clock that may be wrong", -86_400_000],
    ["ends in a year by a clock that is wrong", 365 * 86_400_000]
  ]
  for (const [what, expiresAt] of others) {
    it.effect(`takes over a lease that ${what}, once it has stood unchanged for its term`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(620_000)
        yield* keep({ ...keyMade, lease: { holder: "dead", expiresAt } })
        const fiber = yield* Effect.fork(agent())
        yield* TestClock.adjust("19999 millis")
        yield* turn
        assert.deepStrictEqual(yield* asked, [0, 0])
        yield* TestClock.adjust("501 millis")
        yield* driven(Fiber.join(fiber))
        assert.deepStrictEqual(yield* asked, [1, 0])
      }).pipe(Effect.provide(World)))
  }

  it.live("waits for whoever is at work, wherever the wall clock is set meanwhile", () => {
    const { change, clock } = Clocks.make()
    const moment = Effect.sleep("1 second")
    return Effect.gen(function*() {
      const wall = yield* Effect.withClock(Clock.currentTimeMillis, clock)
      const lease = (expiresAt: number) => ({ ...keyMade, lease: { holder: "other", expiresAt } })
      yield* keep(lease(wall))
      const fiber = yield* Effect.fork(Effect.withClock(agent(), clock))
      yield* moment
      for (const by of [day, -2 * day, day]) {
        yield* change({ wall: by })
        yield* moment
      }
      yield* change({ monotonic: 19_000 })
      yield* moment
      // The other gives a sign of life, by a clock that is set to a day ago.
      const store = yield* CredentialStore.CredentialStore
      const { version } = Option.getOrThrow(yield* store.get(binding))
      yield* store.compareAndSwap(binding, Option.some(version), Option.some(lease(wall - day)))
      yield* moment
      yield* change({ monotonic: 19_000 })
      yield* moment
      assert.deepStrictEqual(yield* asked, [0, 0])
      yield* change({ monotonic: 1000 })
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* asked, [1, 0])
    }).pipe(Effect.provide(World))
  })

  it.effect("reads a key as the real client writes it", () =>
    Effect.gen(function*() {
      yield* keep({ state: "ready", privateKey: Redacted.make(vector.pkcs8V2), agentRuntimeId, taskId })
      const { identity } = yield* run()
      assert.strictEqual(Buffer.from(identity.signer.publicKey).toString("hex"), vector.publicKey)
    }).pipe(Effect.provide(World)))

  for (
    const [name, text] of [["no base64", "%"], ["no PKCS#8", "AAAA"], [
      "another's public key",
      vector.pkcs8V2.replace(/.{6}$/, "AAAAA=")
    ]]
  ) {
    it.effect(`makes a new agent where the key that is kept is none (${name})`, () =>
      Effect.gen(function*() {
        yield* keep({ state: "ready", privateKey: Redacted.make(text!), agentRuntimeId, taskId })
        const { identity } = yield* run()
        assert.notStrictEqual(identity.agentRuntimeId, agentRuntimeId)
        assert.deepStrictEqual(yield* asked, [1, 1])
      }).pipe(Effect.provide(World)))
  }
})

describe("AgentProvisioning: a platform that cannot use the key", () => {
  it.effect("is an error, and the agent that is kept stays", () =>
    Effect.gen(function*() {
      yield* keep({ state: "ready", privateKey, agentRuntimeId, taskId })
      const broken = Signing.make(Effect.succeed({
        signer: () => {
          throw new Error("not allowed here")
        },
        verifier: () => () => false
      }))
      const error = yield* Effect.flip(
        Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent).pipe(
          Effect.provide(Layer.provide(process(), Layer.succeed(Signing.Signing, broken)))
        )
      )
      assert.strictEqual(error.reason, "KeyFailed")
      assert.strictEqual(Option.getOrThrow(yield* kept()).state, "ready")
      assert.deepStrictEqual(yield* asked, [0, 0])
    }).pipe(Effect.provide(World)))
})

describe("AgentProvisioning: many at once", () => {
  it.live("make one agent and one task in one process", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      const runs = yield* Effect.all(
        Array.from({ length: 100 }, () => Effect.flatMap(provisioning.agent, firstTask)),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(runs.map(({ taskId }) => taskId)).size, 1)
      assert.deepStrictEqual(yield* asked, [1, 1])
    }).pipe(Effect.provide(World)))

  it.live("make one agent and one task in many processes", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.all(Array.from({ length: 16 }, () => run()), { concurrency: "unbounded" })
      assert.strictEqual(new Set(runs.map(({ taskId }) => taskId)).size, 1)
      assert.strictEqual(new Set(runs.map(({ identity }) => identity.agentRuntimeId)).size, 1)
      assert.deepStrictEqual(yield* asked, [1, 1])
    }).pipe(Effect.provide(World)))

  it.effect("wait for one that is slow, however slow, as long as it lives", () =>
    Effect.gen(function*() {
      // Three attempts of 25 s are more than a lease of 20 s.
      yield* script({ _tag: "Late", delay: "25 seconds" }, status(500))
      const first = yield* Effect.fork(agent())
      yield* until(Effect.map(asked, ([agents]) => agents === 1))
      const second = yield* Effect.fork(agent())
      const [a, b] = yield* driven(Effect.all([Fiber.join(first), Fiber.join(second)]))
      assert.strictEqual(a.identity.agentRuntimeId, b.identity.agentRuntimeId)
      assert.deepStrictEqual(yield* asked, [1, 0])
    }).pipe(Effect.provide(World)))

  const minute = 60_000
  for (const off of [minute, -minute, 9 * minute]) {
    it.live(`make one agent where one of two clocks is ${off / minute} minutes off`, () =>
      Effect.gen(function*() {
        yield* script({ _tag: "Late", delay: "2 seconds" })
        const here = Clock.make()
        const there: Clock.Clock = Object.assign(Object.create(here), {
          unsafeCurrentTimeMillis: () => here.unsafeCurrentTimeMillis() + off,
          currentTimeMillis: Effect.map(here.currentTimeMillis, (now) => now + off)
        })
        const first = yield* Effect.fork(Effect.withClock(agent({ lease: "1 second" }), here))
        yield* until(Effect.map(asked, ([agents]) => agents === 1))
        const second = yield* Effect.withClock(agent({ lease: "1 second" }), there)
        assert.strictEqual((yield* Fiber.join(first)).identity.agentRuntimeId, second.identity.agentRuntimeId)
        assert.deepStrictEqual(yield* asked, [1, 0])
      }).pipe(Effect.provide(World)))
  }

  it.effect("go on where the first of them is refused", () =>
    Effect.gen(function*() {
      yield* script(status(403))
      const exits = yield* driven(Effect.all([Effect.exit(agent()), Effect.exit(agent())], { concurrency: 2 }))
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [false, true])
      assert.deepStrictEqual(yield* asked, [2, 0])
    }).pipe(Effect.provide(World)))

  it.effect("share a failure as well, and leave no lease behind", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      yield* script(status(403))
      const exits = yield* driven(Effect.all(Array.from({ length: 10 }, () => Effect.exit(provisioning.agent)), {
        concurrency: "unbounded"
      }))
      assert.isTrue(exits.every(Exit.isFailure))
      assert.deepStrictEqual(yield* asked, [1, 0])
      assert.isUndefined(Option.getOrThrow(yield* kept()).lease)
    }).pipe(Effect.provide(World)))
})

describe("AgentProvisioning: a login that changes in the middle", () => {
  const changes = [
    ["a logout", loggedOut],
    ["another account", login("acct-2")],
    ["another user", login("acct-1", "user-2")]
  ] as const
  for (const [name, change] of changes) {
    it.effect(`${name} wins over the registration of the agent`, () =>
      Effect.gen(function*() {
        yield* script(late)
        const fiber = yield* Effect.fork(agent())
        yield* until(Effect.map(asked, ([agents]) => agents === 1))
        yield* become(change)
        const error = yield* Effect.flip(driven(Fiber.join(fiber)))
        assert.strictEqual(error.reason, "StaleAuth")
        assert.isFalse(error.fallback)
        assert.notStrictEqual(Option.getOrThrow(yield* kept()).state, "registered")
        if (!("_tag" in change)) assert.deepStrictEqual(yield* kept(change.binding), Option.none())
      }).pipe(Effect.provide(World)))

    it.effect(`${name} wins over the registration of the task`, () =>
      Effect.gen(function*() {
        const first = yield* agent()
        yield* script(late)
        const fiber = yield* Effect.fork(firstTask(first))
        yield* until(Effect.map(asked, ([, tasks]) => tasks === 1))
        yield* become(change)
        const error = yield* Effect.flip(driven(Fiber.join(fiber)))
        assert.strictEqual(error.reason, "StaleAuth")
        assert.isFalse(error.retryable)
        assert.strictEqual(Option.getOrThrow(yield* kept()).state, "registered")
      }).pipe(Effect.provide(World)))
  }

  for (const [name, change] of changes) {
    if ("_tag" in change) continue
    it.effect(`${name} gets an agent of its own at once, and the one that was being made is StaleAuth`, () =>
      Effect.gen(function*() {
        const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
        yield* script(late)
        const first = yield* Effect.fork(Effect.flip(provisioning.agent))
        yield* until(Effect.map(asked, ([agents]) => agents === 1))
        yield* become(change)
        const { identity } = yield* provisioning.agent
        assert.strictEqual(identity.account?.id, change.binding.accountId)
        assert.isTrue(Option.isNone(yield* first.poll))
        const error = yield* driven(Fiber.join(first))
        assert.strictEqual(error.reason, "StaleAuth")
        assert.deepInclude(Option.getOrThrow(yield* kept(change.binding)), { agentRuntimeId: identity.agentRuntimeId })
        assert.strictEqual(Option.getOrThrow(yield* kept()).state, "key-made")
        assert.deepStrictEqual(yield* asked, [2, 0])
      }).pipe(Effect.provide(World)))
  }

  it.effect("a login that comes back in the middle shares what it had begun", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      yield* script(late)
      const first = yield* Effect.fork(provisioning.agent)
      yield* until(Effect.map(asked, ([agents]) => agents === 1))
      yield* become(login("acct-2"))
      yield* provisioning.agent
      yield* become(login())
      const second = yield* Effect.fork(provisioning.agent)
      const [a, b] = yield* driven(Effect.all([Fiber.join(first), Fiber.join(second)]))
      assert.strictEqual(a, b)
      assert.deepStrictEqual(yield* asked, [2, 0])
    }).pipe(Effect.provide(World)))

  it.effect("a record that is gone is not made again by a task", () =>
    Effect.gen(function*() {
      const first = yield* agent()
      const store = yield* CredentialStore.CredentialStore
      yield* script(late)
      const fiber = yield* Effect.fork(firstTask(first))
      yield* until(Effect.map(asked, ([, tasks]) => tasks === 1))
      const { version } = Option.getOrThrow(yield* store.get(binding))
      yield* store.compareAndSwap(binding, Option.some(version), Option.none())
      assert.strictEqual((yield* Effect.flip(driven(Fiber.join(fiber)))).reason, "StaleAuth")
      assert.deepStrictEqual(yield* kept(), Option.none())
    }).pipe(Effect.provide(World)))

  it.effect("an agent that another has put there meanwhile is the one that is used", () =>
    Effect.gen(function*() {
      const store = yield* CredentialStore.CredentialStore
      yield* script(late)
      const fiber = yield* Effect.fork(agent())
      yield* until(Effect.map(asked, ([agents]) => agents === 1))
      const { version } = Option.getOrThrow(yield* store.get(binding))
      yield* store.compareAndSwap(
        binding,
        Option.some(version),
        Option.some({ state: "ready", privateKey, agentRuntimeId, taskId })
      )
      const { identity } = yield* driven(Fiber.join(fiber))
      assert.strictEqual(identity.agentRuntimeId, agentRuntimeId)
    }).pipe(Effect.provide(World)))

  it.effect("a record that others dropped in the middle (the reference does) is put back", () =>
    Effect.gen(function*() {
      const store = yield* CredentialStore.CredentialStore
      yield* script(late)
      const fiber = yield* Effect.fork(agent())
      yield* until(Effect.map(asked, ([agents]) => agents === 1))
      const { version } = Option.getOrThrow(yield* store.get(binding))
      yield* store.compareAndSwap(binding, Option.some(version), Option.none())
      const { identity } = yield* driven(Fiber.join(fiber))
      assert.deepInclude(Option.getOrThrow(yield* kept()), {
        state: "registered",
        agentRuntimeId: identity.agentRuntimeId
      })
    }).pipe(Effect.provide(World)))
})

describe("AgentProvisioning: tasks", () => {
  it.effect("a kept task that differs from the stale one is used, and a new one is kept", () =>
    Effect.gen(function*() {
      const { taskId: first, tasks } = yield* run()
      const { taskId: second } = yield* tasks.register(Option.some(first))
      assert.notStrictEqual(second, first)
      assert.strictEqual((yield* tasks.register(Option.some(first))).taskId, second)
      assert.strictEqual((yield* run()).taskId, second)
      assert.deepStrictEqual(yield* asked, [1, 2])
    }).pipe(Effect.provide(World)))

  it.live("a herd of processes with the same stale task registers one", () =>
    Effect.gen(function*() {
      const all = yield* Effect.all(Array.from({ length: 8 }, () => run()), { concurrency: "unbounded" })
      const next = yield* Effect.all(
        all.map(({ taskId, tasks }) => tasks.register(Option.some(taskId))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(new Set(next.map(({ taskId }) => taskId)).size, 1)
      assert.deepStrictEqual(yield* asked, [1, 2])
    }).pipe(Effect.provide(World)))

  it.effect("three failed attempts leave the record as it was, and begin the cooldown", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      const first = yield* provisioning.agent
      const before = yield* kept()
      yield* script(status(503), status(503), status(503))
      const error = yield* Effect.flip(driven(firstTask(first)))
      assert.isTrue(error.retryable)
      assert.deepStrictEqual(
        shown(Option.map(yield* kept(), ({ lease, ...rest }) => [lease, rest])),
        shown(
          Option.map(before, ({ lease, ...rest }) => [lease, rest])
        )
      )
      assert.strictEqual((yield* Effect.flip(provisioning.agent)).reason, "Unavailable")
      assert.deepStrictEqual(yield* asked, [1, 3])
    }).pipe(Effect.provide(World)))

  it.effect("a renewal that fails begins no cooldown", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      const first = yield* provisioning.agent
      const { taskId } = yield* firstTask(first)
      yield* script(status(503), status(503), status(503))
      yield* Effect.flip(driven(first.tasks.register(Option.some(taskId))))
      yield* provisioning.agent
    }).pipe(Effect.provide(World)))

  it.effect("an agent that was deleted makes room for a new one", () =>
    Effect.gen(function*() {
      const first = yield* run()
      yield* script(deleted)
      const error = yield* Effect.flip(first.tasks.register(Option.some(first.taskId)))
      assert.strictEqual(error.reason, "AgentDeleted")
      assert.deepStrictEqual(yield* kept(), Option.none())
      const second = yield* run()
      assert.notStrictEqual(second.identity.agentRuntimeId, first.identity.agentRuntimeId)
    }).pipe(Effect.provide(World)))

  it.effect("an agent that is deleted before its first task makes room for a new one at once", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      const first = yield* provisioning.agent
      yield* script(deleted)
      assert.strictEqual((yield* Effect.flip(driven(firstTask(first)))).reason, "AgentDeleted")
      const second = yield* driven(provisioning.agent)
      assert.notStrictEqual(second.identity.agentRuntimeId, first.identity.agentRuntimeId)
    }).pipe(Effect.provide(World)))

  it.effect("two runs of a process that begin at once fail once", () =>
    Effect.gen(function*() {
      const provisioning = yield* Effect.provide(AgentProvisioning.AgentProvisioning, process())
      const [a, b] = [yield* provisioning.agent, yield* provisioning.agent]
      yield* script(status(503), status(503), status(503))
      const errors = yield* driven(
        Effect.all([Effect.flip(firstTask(a)), Effect.flip(firstTask(b))], { concurrency: 2 })
      )
      assert.isTrue(errors.every(({ retryable }) => retryable))
      assert.deepStrictEqual(yield* asked, [1, 3])
    }).pipe(Effect.provide(World)))

  it.effect("the end of a run in the middle of a renewal leaves no lease behind", () =>
    Effect.gen(function*() {
      const { taskId, tasks } = yield* run()
      yield* script(late)
      const fiber = yield* Effect.fork(tasks.register(Option.some(taskId)))
      yield* until(Effect.map(asked, ([, tasks]) => tasks === 2))
      assert.isDefined(Option.getOrThrow(yield* kept()).lease)
      yield* Fiber.interrupt(fiber)
      assert.isUndefined(Option.getOrThrow(yield* kept()).lease)
    }).pipe(Effect.provide(World)))

  it.effect("layerAgent is what a run takes", () =>
    Effect.gen(function*() {
      const { agentRuntimeId } = yield* AgentIdentity.AgentIdentity
      const runTask = yield* RunTask.RunTask
      const record = Option.getOrThrow(yield* kept())
      assert.deepInclude(record, { agentRuntimeId, taskId: yield* runTask.current })
      yield* TaskRegistration.TaskRegistration
    }).pipe(Effect.provide(
      Layer.suspend(() => {
        const agent = AgentProvisioning.layerAgent(process())
        return Layer.provideMerge(Layer.merge(RunTask.layer(agent), agent), World)
      })
    )))
})

describe("AgentProvisioning: a store that fails", () => {
  const failing = (member: "get" | "compareAndSwap", from: number) =>
    Layer.effect(
      CredentialStore.CredentialStore,
      Effect.sync(() => {
        const store = CredentialStore.makeMemory()
        let calls = 0
        const fail = Effect.suspend(() =>
          ++calls < from ? Effect.void : new CredentialStore.CredentialStoreError({
            reason: "DiskFull",
            store: "a test",
            detail: "no space is left"
          })
        )
        return {
          ...store,
          [member]: (...args: Parameters<typeof store.compareAndSwap>) =>
            Effect.zipRight(fail, store[member](...args) as Effect.Effect<never>)
        }
      })
    )
  for (const [member, from] of [["get", 1], ["get", 2], ["compareAndSwap", 1], ["compareAndSwap", 2]] as const) {
    it.effect(`is an error of its own, and no agent is used that is not kept: ${member}, from call ${from}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(agent().pipe(Effect.provide(failing(member, from))))
        assert.strictEqual(error.reason, "Store")
        assert.include(error.message, "no space is left")
      }).pipe(Effect.provide(World)))
  }
})

describe("AgentProvisioning: a store that is slow, or strange", () => {
  type Swap = CredentialStore.Service["compareAndSwap"]
  /** The agent, over a store whose swaps are these. */
  const agentOver = (change: (swap: Swap) => Swap) =>
    Effect.gen(function*() {
      const inner = yield* CredentialStore.CredentialStore
      const store = Layer.succeed(CredentialStore.CredentialStore, {
        ...inner,
        compareAndSwap: change(inner.compareAndSwap)
      })
      return yield* Effect.flatMap(AgentProvisioning.AgentProvisioning, (_) => _.agent).pipe(
        Effect.provide(Layer.provide(process(), store))
      )
    })

  it.effect("leaves no lease where a run ends while it takes one", () =>
    Effect.gen(function*() {
      let swaps = 0
      const first = yield* agentOver((swap) => (...args) => {
        const slow = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
        return ++swaps === 3 ? Effect.uninterruptible(Effect.zipLeft(swap(...args), slow)) : swap(...args)
      })
      assert.strictEqual(swaps, 2)
      const fiber = yield* Effect.fork(firstTask(first))
      yield* until(Effect.sync(() => swaps === 3))
      yield* Fiber.interrupt(fiber)
      assert.isUndefined(Option.getOrThrow(yield* kept()).lease)
    }).pipe(Effect.provide(World)))

  it.effect("is asked once more to keep what the AuthAPI has given", () =>
    Effect.gen(function*() {
      let swaps = 0
      const lost = new CredentialStore.CredentialStoreError({
        reason: "LockLost",
        store: "a test",
        detail: "try again"
      })
      const { identity } = yield* driven(
        agentOver((swap) => (...args) => Effect.suspend(() => ++swaps === 2 ? Effect.fail(lost) : swap(...args)))
      )
      const record = Option.getOrThrow(yield* kept())
      assert.deepInclude(record, { state: "registered", agentRuntimeId: identity.agentRuntimeId })
      assert.isUndefined(record.lease)
      assert.deepStrictEqual(yield* asked, [1, 0])
    }).pipe(Effect.provide(World)))

  for (const from of [1, 2]) {
    it.effect(`is given up where no swap succeeds, from the ${from === 1 ? "first" : "second"} on`, () =>
      Effect.gen(function*() {
        let swaps = 0
        const error = yield* Effect.flip(
          driven(agentOver((swap) => (...args) => ++swaps < from ? swap(...args) : Effect.succeed(false)))
        )
        assert.strictEqual(error.reason, "Store")
        assert.include(error.message, "another one at every swap")
        assert.isBelow(swaps, 100)
      }).pipe(Effect.provide(World)))
  }
})

describe("AgentProvisioning: what is shown", () => {
  it.effect("has neither the token nor the key", () =>
    Effect.gen(function*() {
      const { lines, observe, spans } = observer()
      yield* script(status(503), status(400, `{"sent":"${Scripted.bearerToken}"}`))
      const error = yield* observe(Effect.flip(driven(run())))
      yield* become(login("acct-2"))
      const result = yield* observe(driven(run()))
      const { privateKey } = Option.getOrThrow(yield* kept(login("acct-2").binding))
      const secrets = [Scripted.bearerToken, Redacted.value(privateKey), Redacted.value(privateKey).slice(22, 60)]
      assertClean("an error", shown(error), secrets)
      assertClean("an agent", shown(result), secrets)
      assertClean("a log", lines.join("\n"), secrets)
      assertClean("a span", spans.join("\n"), secrets)
    }).pipe(Effect.provide(World)))
})
