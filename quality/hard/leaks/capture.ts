/**
 * Listens to everything that a test file shows (see `Channel`), learns every secret that it makes `Redacted`, and looks
 * for the ones in the other. It has to be there before anything of Effect is loaded.
 *
 * Not covered: errors that V8 or Node throw by themselves, unless they are logged or end a span; what is told to an
 * assertion; and workers.
 */
import type * as Cause_ from "effect/Cause"
import type * as Context_ from "effect/Context"
import type * as FiberRef_ from "effect/FiberRef"
import type * as LogLevel_ from "effect/LogLevel"
import type * as Option_ from "effect/Option"
import type * as Tracer_ from "effect/Tracer"
import * as ChildProcess from "node:child_process"
import { format, inspect } from "node:util"
import * as Needles from "./needles.ts"

export type Channel =
  | "console"
  | "stdout"
  | "stderr"
  | "child process"
  | "log"
  | "span"
  | "metric"
  | "error"
  | "rejection"

/** A secret that was shown. */
export interface Finding {
  readonly channel: Channel
  readonly test: string
  readonly secret: string
  /** Around it, with `<secret>` in its place. */
  readonly excerpt: string
}

export interface Counts {
  readonly secrets: number
  /** Of those, the ones that were too many to look for. */
  readonly skipped: number
  /** Different texts, by channel. */
  readonly texts: Readonly<Record<string, number>>
  readonly characters: number
}

export interface Capture {
  /** The name of the test that runs from now on. */
  test: string
  /** A file begins: its modules load until its tests begin. */
  readonly load: () => void
  readonly begin: () => void
  /** What was shown since the last call, searched for all secrets until now. */
  readonly search: () => Promise<{ readonly findings: ReadonlyArray<Finding>; readonly counts: Counts }>
}

const KEY = Symbol.for("agent-identity/leaks")

/** The one of this process. */
export const current = (): Capture => (globalThis as { [KEY]?: Capture })[KEY] ??= install()

const install = (): Capture => {
  let needles = Needles.make()
  const shown = new Map<Channel, Map<string, string>>()
  const children: Array<{ readonly test: string; readonly chunks: Array<unknown> }> = []
  const capture = { test: "", load: () => load(), begin: () => begin(), search: () => search() }

  const record = (channel: Channel, text: string, test = capture.test) => {
    if (text.length < 8) return
    let texts = shown.get(channel)
    if (texts === undefined) shown.set(channel, texts = new Map())
    if (!texts.has(text)) texts.set(text, test)
  }

  // Made into needles at the end, so that no test takes longer for it.
  const secrets: Array<unknown> = []
  listenToSecrets((secret) => secrets.push(secret instanceof Uint8Array ? secret.slice() : secret))
  // A process runs many files, which share the modules that they import: the secrets of a module are made once, and any
  // later file may show them. What a test makes is looked for until its file ends.
  const ofModules: Array<unknown> = []
  const load = () => {
    needles = Needles.make()
    for (const secret of ofModules) needles.add(secret)
    secrets.length = 0
  }
  const begin = () => {
    for (const secret of secrets.splice(0)) {
      ofModules.push(secret)
      needles.add(secret)
    }
  }
  listenToConsole(record)
  listenToChildren((chunks) => children.push({ test: capture.test, chunks }))
  const drainErrors = listenToErrors(capture, record)
  process.on("unhandledRejection", (reason) => record("rejection", visible(reason)))
  const effect = listenToEffect(record)

  const search = async () => {
    drainErrors()
    for (const secret of secrets.splice(0)) needles.add(secret)
    for (const { chunks, test } of children.splice(0)) record("child process", chunks.map(String).join(""), test)
    const { recordMetrics } = await effect
    recordMetrics()
    const findings: Array<Finding> = []
    const texts: Record<string, number> = {}
    let characters = 0
    for (const [channel, all] of shown) {
      texts[channel] = all.size
      for (const [text, test] of all) {
        characters += text.length
        // Columns of numbers and lines that were broken are as good as one line.
        const line = text.replace(/\s+/g, " ")
        const matches = needles.find(line)
        for (const { from, secret, to } of matches) {
          findings.push({ channel, test, secret, excerpt: excerptOf(line, from, to, matches) })
        }
      }
    }
    shown.clear()
    return { findings, counts: { ...needles.counts(), texts, characters } }
  }
  return capture
}

type Record_ = (channel: Channel, text: string, test?: string) => void

const excerptOf = (text: string, from: number, to: number, matches: ReadonlyArray<Needles.Match>): string => {
  const hidden = (start: number, end: number) => {
    let result = ""
    let at = start
    for (const match of matches) {
      if (match.to <= at || match.from >= end) continue
      result += `${text.slice(at, Math.max(at, match.from))}<secret>`
      at = Math.min(end, match.to)
    }
    return result + text.slice(at, end)
  }
  return hidden(Math.max(0, from - 80), Math.min(text.length, to + 40))
}

/** Effect keeps the values of all `Redacted` in one map of the process. */
const listenToSecrets = (add: (value: unknown) => void) => {
  const store = (globalThis as { "effect/GlobalValue"?: Map<unknown, unknown> })["effect/GlobalValue"] ??= new Map()
  const id = "effect/Redacted/redactedRegistry"
  if (!store.has(id)) store.set(id, new WeakMap())
  const registry = store.get(id) as WeakMap<object, unknown>
  const set = registry.set.bind(registry)
  registry.set = (redacted, value) => {
    add(value)
    set(redacted, value)
    return registry
  }
}

const listenToConsole = (record: Record_) => {
  for (const method of ["log", "info", "warn", "error", "debug", "trace", "dir", "table"] as const) {
    const print = console[method].bind(console) as (...args: ReadonlyArray<unknown>) => void
    console[method] = (...args: ReadonlyArray<unknown>) => {
      record("console", format(...args))
      print(...args)
    }
  }
  for (const name of ["stdout", "stderr"] as const) {
    const stream = process[name]
    const write = stream.write.bind(stream) as (...args: ReadonlyArray<unknown>) => boolean
    stream.write = (chunk: unknown, ...rest: ReadonlyArray<unknown>) => {
      record(name, chunk instanceof Uint8Array ? Buffer.from(chunk).toString() : String(chunk))
      return write(chunk, ...rest)
    }
  }
}

/** What they print comes through their streams, whoever reads it. */
const listenToChildren = (begin: (chunks: Array<unknown>) => void) => {
  interface Spawned {
    readonly stdout: { push: (chunk: unknown, encoding?: string) => boolean } | null
    readonly stderr: { push: (chunk: unknown, encoding?: string) => boolean } | null
  }
  const prototype = ChildProcess.ChildProcess.prototype as unknown as {
    spawn: (this: Spawned, options: unknown) => unknown
  }
  const { spawn } = prototype
  prototype.spawn = function(options) {
    const result = spawn.call(this, options)
    for (const stream of [this.stdout, this.stderr]) {
      if (stream === null || stream === undefined) continue
      const chunks: Array<unknown> = []
      begin(chunks)
      const push = stream.push.bind(stream)
      stream.push = (chunk, encoding) => {
        if (chunk !== null) chunks.push(chunk)
        return push(chunk, encoding)
      }
    }
    return result
  }
}

/**
 * Every instance of `Error` and of the classes that extend it. They are looked at later, when their constructors have
 * ended.
 */
const listenToErrors = (capture: { readonly test: string }, record: Record_) => {
  const constructed: Array<{ readonly error: Error; readonly test: string }> = []
  const drain = () => {
    for (const { error, test } of constructed.splice(0)) {
      if (!HOLDERS.has(error.name)) record("error", visible(error), test)
    }
  }
  const Native = globalThis.Error
  const construct = (target: ErrorConstructor, args: Array<unknown>, newTarget: unknown) => {
    const error = Reflect.construct(
      target,
      args,
      (newTarget === Observed ? target : newTarget) as typeof target
    ) as Error
    // Its stack begins where it would without us.
    Native.captureStackTrace(error, (newTarget === Observed ? construct : newTarget) as () => void)
    // Effect makes an empty one for each span, for its place in the code.
    if (args.length > 0 || newTarget !== Observed) {
      if (constructed.length === 20_000) drain()
      constructed.push({ error, test: capture.test })
    }
    return error
  }
  const Observed = new Proxy(Native, { construct })
  Object.defineProperty(Native.prototype, "constructor", { value: Observed, writable: true, configurable: true })
  globalThis.Error = Observed
  return drain
}

/** What printers show of a value. */
const visible = (value: unknown, depth = 0): string => {
  if (typeof value === "string") return value
  // To print a response can run effects that fail, and log that.
  if (isPrinting && depth === 0) return ""
  isPrinting = true
  try {
    return value instanceof Error ? visibleError(value, depth) : inspect(value, { depth: 4 })
  } catch {
    return "" // Nobody else could print it either.
  } finally {
    if (depth === 0) isPrinting = false
  }
}

let isPrinting = false

/**
 * Errors of libraries that hold what they were about. They are made to be caught, and not handed on as they are: looked at
 * where they are logged, end a span, or are the cause of another error.
 */
const HOLDERS = new Set([
  // The request, signed.
  "RequestError",
  "ResponseError",
  "RouteNotFound",
  // The claims of a token, among them the agent's key.
  "JWTClaimValidationFailed",
  "JWTExpired",
  "JWTInvalid",
  "JWSInvalid",
  // The value that was refused.
  "ParseError"
])

/** Its stack, which takes long to make, is its message and places in the code. */
const visibleError = (error: Error, depth: number): string => {
  if (error.name === "AssertionError" || depth > 4) return ""
  const parts = [String(error), "toJSON" in error ? JSON.stringify(error) : ""]
  for (const [name, member] of Object.entries({ ...error, cause: error.cause })) {
    if (name !== "stack" && isBare(member)) parts.push(`${name}: ${visible(member, depth + 1)}`)
  }
  return parts.join(" ")
}

const isBare = (value: unknown): boolean =>
  typeof value === "string" || value instanceof Uint8Array || value instanceof Error || Array.isArray(value) ||
  (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype)

/** Logs of every level, whatever loggers there are; spans of every tracer; and all metrics. */
const listenToEffect = async (record: Record_) => {
  const { Cause, DefaultServices, Effect, FiberRef, HashMap, List, Metric, Tracer } = await import("effect")
  // As it is printed and exported: of errors their messages, and those of their causes.
  const ofCause = (cause: Cause_.Cause<unknown>) =>
    [...Cause.failures(cause), ...Cause.defects(cause)].map((error) => {
      const messages: Array<string> = []
      let next: unknown = error
      for (; next instanceof Error && messages.length < 10; next = next.cause) messages.push(String(next))
      return [...messages, visible(next)].join(" ")
    }).join(" ")

  const observed = new WeakSet<object>()
  const observeSpan = (span: Tracer_.Span) => {
    const { attribute, event, end } = span
    Object.assign(span, {
      attribute(this: typeof span, name: string, value: unknown) {
        record("span", `${span.name} ${name}: ${visible(value)}`)
        attribute.call(this, name, value)
      },
      event(this: typeof span, name: string, time: bigint, attributes?: Record<string, unknown>) {
        record("span", `${span.name} ${name} ${visible(attributes)}`)
        event.call(this, name, time, attributes)
      },
      end(this: typeof span, time: bigint, exit: Parameters<typeof end>[1]) {
        if (exit._tag === "Failure") record("span", `${span.name} ${ofCause(exit.cause)}`)
        end.call(this, time, exit)
      }
    })
    return span
  }
  const observeTracer = (tracer: Tracer_.Tracer) => {
    if (observed.has(tracer)) return
    observed.add(tracer)
    const { span: make } = tracer
    Object.assign(tracer, {
      span: (...args: Parameters<typeof make>) => {
        record("span", `${args[0]} ${args[3].map((link) => visible(link.attributes)).join(" ")}`)
        return observeSpan(make.apply(tracer, args))
      }
    })
  }
  observeTracer(Effect.runSync(Effect.tracer))

  interface Fiber {
    log: (
      this: Fiber,
      message: unknown,
      cause: Cause_.Cause<unknown>,
      level: Option_.Option<LogLevel_.LogLevel>
    ) => void
    setFiberRef: (this: Fiber, ref: unknown, value: unknown) => void
    getFiberRef: <A>(ref: FiberRef_.FiberRef<A>) => A
  }
  const prototype = Object.getPrototypeOf(Effect.runFork(Effect.void)) as Fiber
  const { log, setFiberRef } = prototype
  prototype.log = function(message, cause, level) {
    record(
      "log",
      [
        ...(Array.isArray(message) ? message : [message]).map((_) => visible(_)),
        ...HashMap.toEntries(this.getFiberRef(FiberRef.currentLogAnnotations)).map(([name, value]) =>
          `${name}=${visible(value)}`
        ),
        ...List.toArray(this.getFiberRef(FiberRef.currentLogSpan)).map(({ label }) => label),
        ofCause(cause)
      ].join(" ")
    )
    log.call(this, message, cause, level)
  }
  prototype.setFiberRef = function(ref, value) {
    if (ref === DefaultServices.currentServices) {
      const services = value as Context_.Context<never>
      const tracer = services.unsafeMap.get(Tracer.Tracer.key) as Tracer_.Tracer | undefined
      if (tracer !== undefined) observeTracer(tracer)
    }
    setFiberRef.call(this, ref, value)
  }
  // They stay for as long as the process.
  const metrics = new Set<string>()
  return {
    recordMetrics: () => {
      for (const { metricKey, metricState } of Metric.unsafeSnapshot()) {
        const text = `${visible(metricKey)} ${visible(metricState)}`
        if (!metrics.has(text)) record("metric", text)
        metrics.add(text)
      }
    }
  }
}
