import { FetchHttpClient, type HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, type Layer, Option, TestClock } from "effect"

/** The ways a request can leave this process. */
export const transports: ReadonlyArray<readonly [name: string, layer: Layer.Layer<HttpClient.HttpClient>]> = [
  ["undici", NodeHttpClient.layerUndici],
  ["node", NodeHttpClient.layer],
  ["fetch", FetchHttpClient.layer]
]

/** A turn of the event loop, so that sockets get theirs: TestClock moves no sockets. */
export const turn = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))

/** Runs an effect that both sleeps and uses sockets: moves the test clock on, with turns in between, until it is done. */
export const driven = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    for (;;) {
      yield* turn
      const exit = yield* fiber.poll
      if (Option.isSome(exit)) return yield* exit.value
      yield* TestClock.adjust("500 millis")
    }
  })
