/** The one place that touches FiberRefs: what a request changes in the fiber that sends it, and how that is put back. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as Headers from "@effect/platform/Headers"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as HashMap from "effect/HashMap"
import * as Tracer from "effect/Tracer"

/**
 * Runs an effect, puts back what `change` has changed in its fiber, however the effect ends, and goes on with what its
 * end is turned into. The effect gets the options of `fetch` that were given to this call. They would hide those of the
 * client's own layer, a proxy among them, so they are taken off the call: hand them to `change`.
 * @internal
 */
export const restoring = <A, E, R, B, E2>(
  run: (callOptions: RequestInit | undefined) => Effect.Effect<A, E, R>,
  end: {
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<B, E2>
    readonly onSuccess: (value: A) => Effect.Effect<B, E2>
  }
): Effect.Effect<B, E2, R> =>
  Effect.withFiberRuntime<B, E2, R>((fiber) => {
    const before = read(fiber)
    const callOptions = requestInit(before.context)
    const effect = callOptions === undefined ? run(undefined) : Effect.zipRight(
      write(before, { ...before, context: Context.omit(FetchHttpClient.RequestInit)(before.context) }),
      run(callOptions)
    )
    return Effect.uninterruptibleMask((restore) =>
      Effect.matchCauseEffect(restore(effect), {
        onFailure: (cause) => Effect.zipRight(write(read(fiber), before), end.onFailure(cause)),
        onSuccess: (value) => Effect.zipRight(write(read(fiber), before), end.onSuccess(value))
      })
    )
  })

/** What a request is sent with, beside its headers. @internal */
export interface Changes {
  /** Options of `fetch`, in addition to the client's own. */
  readonly requestInit?: RequestInit | undefined
  /** Headers that no span and no log line shows, in addition to those that the app has named. */
  readonly redactedNames?: ReadonlyArray<string> | undefined
  /** Attributes of the spans that the client makes; their names begin with `agent_identity.`. */
  readonly annotations?: (() => HashMap.HashMap<string, unknown>) | undefined
}

/** Changes the fiber for the rest of a request: within `restoring`, and in the client's own context. @internal */
export const change = ({ annotations, redactedNames, requestInit: options }: Changes): Effect.Effect<void> =>
  Effect.withFiberRuntime<void>((fiber) => {
    const now = read(fiber)
    const context = options === undefined ? now.context : Context.add(
      now.context,
      FetchHttpClient.RequestInit,
      { ...requestInit(now.context), ...options }
    )
    const isNative = fiber.currentTracer === nativeTracer()
    // Nobody gets a span of Effect's own tracer that has no parent. Without it a signed request costs a fifth less.
    if (isNative && redactedNames !== undefined && !now.context.unsafeMap.has(Tracer.ParentSpan.key)) {
      return write(now, { ...now, context, isTracing: false })
    }
    return write(now, {
      ...now,
      context,
      redactedNames: withNames(now.redactedNames, redactedNames),
      // Effect's own tracer hands spans to nobody but the causes of failures: those need no attributes of ours.
      annotations: annotations === undefined || isNative ? now.annotations : HashMap.union(
        // A client that tries again still has those of the attempt before.
        HashMap.filter(now.annotations, (_, name) => !name.startsWith("agent_identity.")),
        annotations()
      )
    })
  })

/** An app has the same names at many requests. */
const withNames = (now: State["redactedNames"], more: ReadonlyArray<string> = []): State["redactedNames"] => {
  let names = namesBy.get(now)
  if (more.length === 0) return now
  if (names === undefined) namesBy.set(now, names = [...now, ...more.filter((name) => !now.includes(name))])
  return names
}
const namesBy = new WeakMap<State["redactedNames"], State["redactedNames"]>()

interface State {
  readonly context: Context.Context<never>
  readonly redactedNames: ReadonlyArray<string | RegExp>
  readonly annotations: HashMap.HashMap<string, unknown>
  readonly isTracing: boolean
}

const read = (fiber: Fiber.RuntimeFiber<unknown, unknown>): State => ({
  context: fiber.currentContext as Context.Context<never>,
  redactedNames: fiber.getFiberRef(Headers.currentRedactedNames),
  annotations: fiber.getFiberRef(FiberRef.currentTracerSpanAnnotations),
  isTracing: fiber.getFiberRef(FiberRef.currentTracerEnabled)
})

const write = (before: State, after: State): Effect.Effect<void> => {
  const isContext = before.context !== after.context
  const isNames = before.redactedNames !== after.redactedNames
  const isAnnotations = before.annotations !== after.annotations
  const isTracing = before.isTracing !== after.isTracing
  if (!isContext && !isNames && !isAnnotations && !isTracing) return Effect.void
  // All at once: a change of a fiber copies all of its FiberRefs.
  return Effect.updateFiberRefs((id, refs) => {
    const entries: Array<Entry> = []
    if (isContext) entries.push([FiberRef.currentContext, [[id, after.context]]])
    if (isNames) entries.push([Headers.currentRedactedNames, [[id, after.redactedNames]]])
    if (isAnnotations) entries.push([FiberRef.currentTracerSpanAnnotations, [[id, after.annotations]]])
    if (isTracing) entries.push([FiberRef.currentTracerEnabled, [[id, after.isTracing]]])
    return FiberRefs.updateManyAs(refs, { entries: entries as [Entry, ...Array<Entry>] })
  })
}

type Entry = readonly [
  ref: FiberRef.FiberRef<any>, // eslint-disable-line @typescript-eslint/no-explicit-any -- invariant, and each entry has another type
  values: readonly [readonly [FiberId.Runtime, unknown]]
]

const requestInit = (context: Context.Context<never>): RequestInit | undefined =>
  context.unsafeMap.get(FetchHttpClient.RequestInit.key)

let native: Tracer.Tracer | undefined
const nativeTracer = (): Tracer.Tracer => native ??= Effect.runSync(Effect.tracer)
