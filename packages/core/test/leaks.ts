/** A search for secrets in whatever a program shows. */
import { assert } from "@effect/vitest"
import { Cause, Effect, Either, Exit, Logger, LogLevel, Tracer } from "effect"
import { inspect } from "node:util"

/** Every way in which a value is usually shown. */
export const shown = (value: unknown): string =>
  [
    inspect(value, { depth: Infinity, showHidden: true, maxArrayLength: null, maxStringLength: null }),
    inspect(value, { depth: 8, customInspect: false, maxArrayLength: null, maxStringLength: null }),
    Either.getOrElse(Either.try(() => JSON.stringify(value) ?? ""), () => ""), // A circular value shows nothing.
    String(value)
  ].join("\n")

/** A secret in the spellings that a printer may give it. */
export const spellings = (bytes: Uint8Array): ReadonlyArray<string> => [
  Buffer.from(bytes).toString("hex"),
  Buffer.from(bytes).toString("base64").replace(/=+$/, ""),
  Buffer.from(bytes).toString("base64url"),
  Array.from(bytes).join(","),
  Array.from(bytes).join(", "),
  Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ")
]

export const assertClean = (what: string, text: string, secrets: ReadonlyArray<string>) => {
  assert.isAbove(text.length, 0)
  for (const secret of secrets) {
    const at = text.indexOf(secret)
    assert.strictEqual(at, -1, `${what} shows a secret: ${text.slice(Math.max(0, at - 60), at)}<here>`)
  }
}

/** Keeps all log lines and spans of an effect. */
export const observer = () => {
  const lines: Array<string> = []
  const spans: Array<string> = []
  const logger = Logger.make((entry) =>
    lines.push(shown(entry.message), shown(Array.from(entry.annotations)), Cause.pretty(entry.cause))
  )
  const tracer = Tracer.make({
    span: (name, parent, context, links, startTime, kind) => {
      const attributes = new Map<string, unknown>()
      const span: Tracer.Span = {
        _tag: "Span",
        name,
        spanId: `span-${spans.length}`,
        traceId: "trace",
        parent,
        context,
        status: { _tag: "Started", startTime },
        attributes,
        links,
        sampled: true,
        kind,
        end: (_, exit) =>
          spans.push(
            name,
            shown(Array.from(attributes)),
            // What tracers export of it. The error itself is the transport's own, and holds the request that it sent.
            Exit.isFailure(exit) ? Cause.pretty(exit.cause, { renderErrorCause: true }) : ""
          ),
        attribute: (name, value) => attributes.set(name, value),
        event: (name, _, attributes) => spans.push(name, shown(attributes)),
        addLinks: () => undefined
      }
      return span
    },
    context: (f) => f()
  })
  const observe = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.withSpan("app"),
      Effect.withTracer(tracer),
      Effect.withTracerEnabled(true),
      Effect.provide(Logger.add(logger)),
      Logger.withMinimumLogLevel(LogLevel.All)
    )
  return { lines, spans, observe }
}
