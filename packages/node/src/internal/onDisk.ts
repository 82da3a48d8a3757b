import * as Effect from "effect/Effect"

/** Runs what may fail as the file system fails; anything else that it throws is a defect. @internal */
export const onDisk = <A, E>(
  run: () => Promise<A>,
  onError: (error: NodeJS.ErrnoException) => E
): Effect.Effect<A, E> =>
  Effect.tryPromise({ try: run, catch: (error) => error }).pipe(
    Effect.catchAll((error) => isErrno(error) ? Effect.fail(onError(error)) : Effect.die(error))
  )

const isErrno = (error: unknown): error is NodeJS.ErrnoException => error instanceof Error && "code" in error
