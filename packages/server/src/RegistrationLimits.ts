/**
 * How often an agent and an address may register, over the RateLimiter of `@effect/experimental`.
 *
 * @since 0.1.0
 */
import * as RateLimiter from "@effect/experimental/RateLimiter"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

/**
 * There were too many of this agent or this address; `retryAfterMillis` says when the next one is taken. `Unavailable`:
 * they cannot be counted, so that none is taken.
 *
 * @since 0.1.0
 * @category errors
 */
export class RegistrationLimited extends Schema.TaggedError<RegistrationLimited>(
  "@agent-identity/server/RegistrationLimited"
)("RegistrationLimited", {
  reason: Schema.Literal("Agent", "Address", "Unavailable"),
  retryAfterMillis: Schema.Number
}) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return this.reason === "Unavailable"
      ? "Registrations cannot be counted now"
      : `Too many registrations of this ${this.reason.toLowerCase()}, try again in ${this.retryAfterMillis} ms`
  }
}

/**
 * Counts, and fails for what is too much.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Counts a request from this address. */
  readonly address: (address: string) => Effect.Effect<void, RegistrationLimited>
  /** Counts a task of this agent. */
  readonly agent: (agentRuntimeId: string) => Effect.Effect<void, RegistrationLimited>
}

/**
 * What keeps one client from using up the AuthAPI. `AuthApiHandlers` takes it.
 *
 * @since 0.1.0
 * @category tags
 */
export class RegistrationLimits
  extends Context.Tag("@agent-identity/server/RegistrationLimits")<RegistrationLimits, Service>()
{}

/**
 * Registrations in a minute; as many at once are taken, and more as time goes on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** Tasks of one agent; 60 by default. */
  readonly perAgent?: number | undefined
  /** Requests of one address, agents and tasks together; 600 by default. */
  readonly perAddress?: number | undefined
}

/**
 * Limits over a RateLimiter, with token buckets that are filled in a minute.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (limiter: RateLimiter.RateLimiter, options: Options = {}): Service => {
  const consume = (reason: "Agent" | "Address", key: string, limit: number) =>
    limiter.consume({ algorithm: "token-bucket", window: "1 minute", limit, key: `${reason}:${key}` }).pipe(
      Effect.mapError((error) =>
        error.reason === "Exceeded"
          ? new RegistrationLimited({ reason, retryAfterMillis: Duration.toMillis(error.retryAfter) })
          : new RegistrationLimited({ reason: "Unavailable", retryAfterMillis: 1000 })
      ),
      Effect.asVoid
    )
  return {
    address: (address) => consume("Address", address, options.perAddress ?? 600),
    agent: (agentRuntimeId) => consume("Agent", agentRuntimeId, options.perAgent ?? 60)
  }
}

/**
 * Counts in the memory of this process, and takes a bounded part of it: after 100,000 registrations all counts begin
 * anew.
 *
 * @example
 * import { RegistrationLimits } from "@agent-identity/server"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const limits = yield* RegistrationLimits.RegistrationLimits
 *   yield* limits.agent("agent-123")
 *   const error = yield* Effect.flip(limits.agent("agent-123"))
 *   assert.deepStrictEqual(error.reason, "Agent")
 * })
 *
 * await Effect.runPromise(Effect.provide(program, RegistrationLimits.layerMemory({ perAgent: 1 })))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory = (options?: Options): Layer.Layer<RegistrationLimits> =>
  Layer.effect(RegistrationLimits, Effect.map(limiterInMemory, (limiter) => make(limiter, options)))

/**
 * Counts where the RateLimiter keeps its counts, such as in a Redis that several servers share.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<RegistrationLimits, never, RateLimiter.RateLimiter> =>
  Layer.effect(
    RegistrationLimits,
    Effect.map(RateLimiter.RateLimiter, (limiter) => make(limiter, options))
  )

/**
 * Counts nothing.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUnlimited: Layer.Layer<RegistrationLimits> = Layer.succeed(RegistrationLimits, {
  address: () => Effect.void,
  agent: () => Effect.void
})

/** The store in memory forgets no key, so that a stranger with many addresses would fill it: it is begun anew instead. */
const keysPerStore = 100_000

const limiterInMemory: Effect.Effect<RateLimiter.RateLimiter> = Effect.gen(function*() {
  const fresh = Effect.provide(RateLimiter.make, Layer.fresh(RateLimiter.layerStoreMemory))
  let limiter = yield* fresh
  let left = keysPerStore
  const renewed = Effect.map(fresh, (next) => {
    left = keysPerStore
    return limiter = next
  })
  return {
    ...limiter,
    consume: (options) =>
      Effect.suspend(() => left > 0 ? Effect.succeed(limiter) : renewed).pipe(
        Effect.flatMap((_) => _.consume(options)),
        // What is refused has no new key: nobody gets his limit back by asking on.
        Effect.tap(() => Effect.sync(() => void left--))
      )
  }
})
