import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Ref, TestClock } from "effect"
import * as SingleFlight from "../../src/run/singleFlight.ts"

/** A flight that counts its runs, each of which ends with what `gate` is given. */
const gated = Effect.gen(function*() {
  const runs = yield* Ref.make(0)
  const started = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<string, string>()
  const { share } = yield* SingleFlight.make<string, string>()
  const flight = share(
    Ref.update(runs, (_) => _ + 1).pipe(
      Effect.zipRight(Deferred.succeed(started, undefined)),
      Effect.zipRight(Deferred.await(gate))
    )
  )
  return { runs, started, gate, flight }
})

const sharing = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(SingleFlight.make<A, E>(), ({ share }) => share(effect))

const herd = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.forEach(Array.from({ length: 1000 }), () => Effect.exit(effect), { concurrency: "unbounded" })

describe("singleFlight", () => {
  it.effect("runs nothing until it is asked", () =>
    Effect.gen(function*() {
      const { runs } = yield* gated
      yield* Effect.yieldNow()
      assert.strictEqual(yield* Ref.get(runs), 0)
    }))

  const exits: ReadonlyArray<readonly [name: string, exit: Exit.Exit<string, string>]> = [
    ["a success", Exit.succeed("a")],
    ["a failure", Exit.fail("b")],
    ["a defect", Exit.die("c")]
  ]
  for (const [name, exit] of exits) {
    it.effect(`shares ${name} among 1,000 who ask at the same time, and runs again for the next`, () =>
      Effect.gen(function*() {
        const { flight, gate, runs, started } = yield* gated
        const waiters = yield* Effect.fork(herd(flight))
        yield* Deferred.await(started)
        yield* Deferred.done(gate, exit)
        const got = yield* Fiber.join(waiters)
        assert.strictEqual(got.length, 1000)
        for (const one of got) assert.deepStrictEqual(one, exit)
        assert.strictEqual(yield* Ref.get(runs), 1)
        assert.deepStrictEqual(yield* Effect.exit(flight), exit)
        assert.strictEqual(yield* Ref.get(runs), 2)
      }))
  }

  it.effect("shares an effect that interrupts itself, and runs it again for the next", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const flight = yield* sharing(Effect.zipRight(Ref.update(runs, (_) => _ + 1), Effect.interrupt))
      const waiter = yield* Effect.fork(flight)
      const exit = yield* Fiber.await(waiter)
      assert.isTrue(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      yield* Fiber.await(yield* Effect.fork(flight))
      assert.strictEqual(yield* Ref.get(runs), 2)
    }))

  it.effect("starts anew for a waiter that asks again as soon as it is answered", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const flight = yield* sharing(Ref.updateAndGet(runs, (_) => _ + 1))
      assert.deepStrictEqual(yield* Effect.all([flight, flight, flight]), [1, 2, 3])
    }))

  it.effect("is harmed by no waiter's interruption, the first one's included, and lets go of them at once", () =>
    Effect.gen(function*() {
      const { flight, gate, runs, started } = yield* gated
      const [first, second, third] = yield* Effect.all([
        Effect.fork(flight),
        Effect.fork(flight),
        Effect.fork(flight)
      ])
      yield* Deferred.await(started)
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(third)
      assert.isTrue(Option.isNone(yield* second.poll))
      yield* Deferred.succeed(gate, "a")
      assert.strictEqual(yield* Fiber.join(second), "a")
      assert.strictEqual(yield* Ref.get(runs), 1)
    }))

  it.effect("goes on without any waiter, and whoever asks meanwhile shares it", () =>
    Effect.gen(function*() {
      const { flight, gate, runs, started } = yield* gated
      const only = yield* Effect.fork(flight)
      yield* Deferred.await(started)
      yield* Fiber.interrupt(only)
      const next = yield* Effect.fork(flight)
      yield* Effect.yieldNow()
      yield* Deferred.succeed(gate, "a")
      assert.strictEqual(yield* Fiber.join(next), "a")
      assert.strictEqual(yield* Ref.get(runs), 1)
    }))

  it.effect("is another one for each that is made", () =>
    Effect.gen(function*() {
      const runs = yield* Ref.make(0)
      const effect = Ref.updateAndGet(runs, (_) => _ + 1)
      const [one, other] = yield* Effect.all([sharing(effect), sharing(effect)])
      const got = yield* Effect.all([one, other], { concurrency: "unbounded" })
      assert.sameMembers(got, [1, 2])
    }))

  it.effect("runs by the clock of whoever made it", () =>
    Effect.gen(function*() {
      const flight = yield* sharing(Effect.as(Effect.sleep("1 minute"), "a"))
      const waiter = yield* Effect.fork(flight)
      yield* TestClock.adjust("59 seconds")
      assert.isTrue(Option.isNone(yield* waiter.poll))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(waiter), "a")
    }))

  it.effect("starts another one for another key, and the first goes on for those who wait for it", () =>
    Effect.gen(function*() {
      const { share } = yield* SingleFlight.make<string, never>()
      const gate = yield* Deferred.make<void>()
      const first = yield* Effect.fork(share(Effect.as(Deferred.await(gate), "first"), 1))
      yield* Effect.yieldNow()
      assert.strictEqual(yield* share(Effect.succeed("second"), 2), "second")
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(first), "first")
    }))

  it.effect("gives all who wait this exit when it is abandoned, and is interrupted in the background", () =>
    Effect.gen(function*() {
      const { abandon, isBusy, share } = yield* SingleFlight.make<string, string>()
      const interrupted = yield* Deferred.make<void>()
      const waiting = share(Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined)))
      const waiters = yield* Effect.forEach([1, 2, 3], () => Effect.fork(Effect.flip(waiting)))
      yield* Effect.yieldNow()
      assert.isTrue(isBusy())
      yield* abandon(Exit.fail("closed"))
      assert.isFalse(isBusy())
      assert.deepStrictEqual(yield* Effect.forEach(waiters, Fiber.join), ["closed", "closed", "closed"])
      yield* Deferred.await(interrupted)
    }))

  it.effect("still shares the newer one when an older one with another key has ended", () =>
    Effect.gen(function*() {
      const { isBusy, share } = yield* SingleFlight.make<string, never>()
      const runs = yield* Ref.make(0)
      const [oldGate, newGate] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const older = yield* Effect.fork(share(Effect.as(Deferred.await(oldGate), "old"), 1))
      yield* Effect.yieldNow()
      const newer = share(Effect.as(Effect.zipRight(Ref.update(runs, (_) => _ + 1), Deferred.await(newGate)), "new"), 2)
      const first = yield* Effect.fork(newer)
      yield* Effect.yieldNow()
      yield* Deferred.succeed(oldGate, undefined)
      assert.strictEqual(yield* Fiber.join(older), "old")
      assert.isTrue(isBusy())
      const second = yield* Effect.fork(newer)
      yield* Effect.yieldNow()
      yield* Deferred.succeed(newGate, undefined)
      assert.deepStrictEqual(yield* Effect.forEach([first, second], Fiber.join), ["new", "new"])
      assert.strictEqual(yield* Ref.get(runs), 1)
      assert.isFalse(isBusy())
    }))

  it.effect("shares the older one, too, while a newer one with another key goes on", () =>
    Effect.gen(function*() {
      const { share } = yield* SingleFlight.make<string, never>()
      const gate = yield* Deferred.make<void>()
      const runs = yield* Ref.make(0)
      const flight = (key: string) =>
        share(Effect.as(Effect.zipRight(Ref.update(runs, (_) => _ + 1), Deferred.await(gate)), key), key)
      const waiters = yield* Effect.forEach(["a", "b", "a", "b", "a"], (key) =>
        Effect.zipLeft(Effect.fork(flight(key)), Effect.yieldNow()))
      yield* Deferred.succeed(gate, undefined)
      assert.deepStrictEqual(yield* Effect.forEach(waiters, Fiber.join), ["a", "b", "a", "b", "a"])
      assert.strictEqual(yield* Ref.get(runs), 2)
    }))

  it.effect("abandons those of all keys", () =>
    Effect.gen(function*() {
      const { abandon, isBusy, share } = yield* SingleFlight.make<string, string>()
      const interrupted = yield* Ref.make(0)
      const waiters = yield* Effect.forEach([1, 2], (key) =>
        Effect.zipLeft(
          Effect.fork(
            Effect.flip(share(Effect.onInterrupt(Effect.never, () => Ref.update(interrupted, (_) => _ + 1)), key))
          ),
          Effect.yieldNow()
        ))
      yield* abandon(Exit.fail("closed"))
      assert.isFalse(isBusy())
      assert.deepStrictEqual(yield* Effect.forEach(waiters, Fiber.join), ["closed", "closed"])
      yield* Effect.repeat(Effect.yieldNow(), { until: () => Effect.map(Ref.get(interrupted), (_) => _ === 2) })
    }))

  it.effect("starts again after it was abandoned, without a wait for the cleanup of the abandoned one", () =>
    Effect.gen(function*() {
      const { abandon, isBusy, share } = yield* SingleFlight.make<string, string>()
      const cleanup = yield* Deferred.make<void>()
      const waiter = yield* Effect.fork(
        Effect.flip(share(Effect.onInterrupt(Effect.never, () => Deferred.await(cleanup))))
      )
      yield* Effect.yieldNow()
      yield* abandon(Exit.fail("closed"))
      assert.strictEqual(yield* Fiber.join(waiter), "closed")

      const gate = yield* Deferred.make<void>()
      const next = yield* Effect.fork(share(Effect.as(Deferred.await(gate), "next")))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(cleanup, undefined)
      yield* Effect.yieldNow()
      assert.isTrue(isBusy())
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(next), "next")
    }))

  it.effect("is not ended for others by one that was abandoned while it began, and ends later", () =>
    Effect.gen(function*() {
      const { abandon, isBusy, share } = yield* SingleFlight.make<string, string>()
      const [oldGate, newGate] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const ended = yield* Deferred.make<void>()
      const older = abandon(Exit.fail("closed")).pipe(
        Effect.zipRight(Deferred.await(oldGate)),
        Effect.zipRight(Deferred.succeed(ended, undefined)),
        Effect.as("older")
      )
      assert.strictEqual(yield* Effect.flip(share(older)), "closed")
      const newer = yield* Effect.fork(share(Effect.as(Deferred.await(newGate), "newer")))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(oldGate, undefined)
      yield* Deferred.await(ended)
      yield* Effect.yieldNow()
      assert.isTrue(isBusy())
      yield* Deferred.succeed(newGate, undefined)
      assert.strictEqual(yield* Fiber.join(newer), "newer")
    }))

  it.effect("abandons nothing when nothing runs, and runs for the next who asks", () =>
    Effect.gen(function*() {
      const { abandon, share } = yield* SingleFlight.make<string, string>()
      yield* abandon(Exit.fail("closed"))
      assert.strictEqual(yield* share(Effect.succeed("a")), "a")
    }))
})
