/** From the results of plain functions to effects. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"

/**
 * The effect of what a plain function has returned. Effect 3 takes an Either for an Effect by itself, Effect 4 does not.
 * @internal
 */
export const toEffect = <A, E>(either: Either.Either<A, E>): Effect.Effect<A, E> =>
  Either.match(either, { onLeft: (error) => Effect.fail(error), onRight: (value) => Effect.succeed(value) })
