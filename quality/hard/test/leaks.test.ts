/** The leak scan that every test file ends with finds a secret in each of the ways that it can be shown. */
import { AgentKey } from "@agent-identity/core"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Logger, LogLevel, Metric, Redacted, Tracer } from "effect"
import * as ChildProcess from "node:child_process"
import { randomBytes } from "node:crypto"
import { inspect } from "node:util"
import { type Channel, current } from "../leaks/capture.ts"

/** What is found once `show` has shown a secret. */
const plant = (show: (secret: string) => Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const secret = randomBytes(24).toString("base64url")
    yield* show(Redacted.value(Redacted.make(secret)))
    const { findings } = yield* Effect.promise(() => current().search())
    for (const { excerpt } of findings) assert.notInclude(excerpt, secret.slice(0, 8))
    return findings.map(({ channel }) => channel)
  })

/** Writes to a stream of this process, but not to the screen. */
const write = (stream: NodeJS.WriteStream, text: string) =>
  Effect.sync(() => {
    const { _write } = stream
    stream._write = (_, __, done) => done()
    stream.write(text)
    stream._write = _write
  })

const finds = (channel: Channel, how: string, show: (secret: string) => Effect.Effect<unknown>) =>
  it.effect(`in ${how}`, () =>
    Effect.gen(function*() {
      assert.include(yield* plant(show), channel)
    }))

describe("finds a secret", () => {
  finds("console", "a line of console.log", (secret) => Effect.sync(() => console.log("planted:", { secret })))
  finds("stdout", "stdout", (secret) => write(process.stdout, `planted: ${secret}\n`))
  finds("stderr", "stderr", (secret) => write(process.stderr, `planted: ${secret}\n`))
  finds("child process", "what a child process prints", (secret) =>
    Effect.async<void>((resume) => {
      ChildProcess.execFile("echo", [secret], () => resume(Effect.void))
    }))
  finds("log", "a log line", (secret) => Effect.log("planted", { secret }))
  finds("log", "a log line below the minimum level, of no logger", (secret) =>
    Effect.logTrace(secret).pipe(
      Effect.provide(Logger.remove(Logger.defaultLogger)),
      Logger.withMinimumLogLevel(LogLevel.Error)
    ))
  finds("log", "an annotation of a log line", (secret) => Effect.log("planted").pipe(Effect.annotateLogs({ secret })))
  finds("log", "the cause of a log line", (secret) => Effect.logError("planted", new Error(secret)))
  finds("log", "the label of a log line", (secret) => Effect.log("planted").pipe(Effect.withLogSpan(secret)))
  finds("span", "the name of a span", (secret) => Effect.withSpan(Effect.void, secret))
  finds(
    "span",
    "an attribute of a span",
    (secret) => Effect.withSpan(Effect.void, "planted", { attributes: { secret } })
  )
  finds(
    "span",
    "an attribute of a span of another tracer",
    (secret) => Effect.withTracer(Effect.withSpan(Effect.void, "planted", { attributes: { secret } }), other())
  )
  finds(
    "span",
    "an event of a span",
    (secret) =>
      Effect.flatMap(Effect.currentSpan, (span) => Effect.sync(() => span.event("planted", 0n, { secret }))).pipe(
        Effect.withSpan("planted"),
        Effect.orDie
      )
  )
  finds("span", "how a span has failed", (secret) => Effect.ignore(Effect.withSpan(Effect.fail({ secret }), "planted")))
  finds("span", "a link of a span", (secret) =>
    Effect.withSpan(Effect.void, "planted", {
      links: [{ _tag: "SpanLink", span: Tracer.externalSpan({ spanId: "1", traceId: "2" }), attributes: { secret } }]
    }))
  finds("metric", "the word of a metric", (secret) => Metric.update(Metric.frequency("planted"), secret))
  finds(
    "metric",
    "the label of a metric",
    (secret) => Metric.increment(Metric.tagged(Metric.counter("planted"), "planted", secret))
  )
  finds(
    "error",
    "the message of an error that nobody has seen",
    (secret) => Effect.sync(() => new Error(`planted: ${secret}`))
  )
  finds("error", "a member of an error", (secret) =>
    Effect.sync(() => {
      class Planted extends Error {
        readonly secret: string
        constructor(secret: string) {
          super("planted")
          this.secret = secret
        }
      }
      return new Planted(secret)
    }))
  finds("error", "the cause of an error", (secret) => Effect.sync(() => new Error("planted", { cause: { secret } })))
})

describe("finds a key", () => {
  const key = (show: (seed: Uint8Array, pkcs8: string) => string) =>
    Effect.gen(function*() {
      const key = yield* AgentKey.generate()
      return yield* Effect.log(show(Redacted.value(key.seed), Redacted.value(AgentKey.toPkcs8(key))))
    }).pipe(Effect.zipRight(Effect.promise(() => current().search())))

  const spellings: Record<string, (seed: Uint8Array, pkcs8: string) => string> = {
    "as PKCS#8": (_, pkcs8) => pkcs8,
    "as PKCS#8 in base64 once more": (_, pkcs8) => Buffer.from(`{"key":"${pkcs8}"}`).toString("base64url"),
    "as PKCS#8 in a URL": (_, pkcs8) => encodeURIComponent(pkcs8),
    "in hexadecimal": (seed) => Buffer.from(seed).toString("hex"),
    "in JSON": (seed) => JSON.stringify({ seed }),
    "in JSON of a Buffer": (seed) => JSON.stringify(Buffer.from(seed)),
    "as it is inspected": (seed) => inspect(seed),
    "as a Buffer is inspected": (seed) => inspect(Buffer.from(seed)),
    "in part": (_, pkcs8) => pkcs8.slice(24, 54)
  }
  for (const [how, show] of Object.entries(spellings)) {
    it.effect(how, () =>
      Effect.gen(function*() {
        const { findings } = yield* key(show)
        assert.include(findings.map(({ channel }) => channel), "log")
      }))
  }

  it.effect("but not where it is hidden, and no other text", () =>
    Effect.gen(function*() {
      const key = yield* AgentKey.generate()
      yield* Effect.log(key, AgentKey.toPkcs8(key), `MC4CAQAwBQYDK2VwBCIEI${randomBytes(32).toString("base64")}`)
      const { counts, findings } = yield* Effect.promise(() => current().search())
      assert.deepStrictEqual(findings, [])
      assert.isAbove(counts.secrets, 0)
      assert.isAbove(counts.texts.log!, 0)
    }))
})

const other = () => {
  const attributes = new Map<string, unknown>()
  return Tracer.make({
    context: (f) => f(),
    span: (name, parent, context, links, startTime, kind) => ({
      _tag: "Span",
      name,
      spanId: "1",
      traceId: "2",
      parent,
      context,
      status: { _tag: "Started", startTime },
      attributes,
      links,
      sampled: true,
      kind,
      end: () => undefined,
      attribute: (key, value) => void attributes.set(key, value),
      event: () => undefined,
      addLinks: () => undefined
    })
  })
}

// Whatever is still there when the file ends, such as the words of the metrics, is this file's own.
afterAll(async () => {
  await current().search()
})
