/** Spans and metrics of a run over OpenTelemetry: which request was sent for which task, renewals, refusals. */
import {
  AgentAssertion,
  AgentIdentity,
  AssertionHeader,
  Run,
  RunTask,
  TaskId,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { NodeSdk } from "@effect/opentelemetry"
import { HttpClient } from "@effect/platform"
import { NodeHttpClient, NodeRuntime } from "@effect/platform-node"
import { PeriodicExportingMetricReader, type PushMetricExporter } from "@opentelemetry/sdk-metrics"
import { type ReadableSpan, SimpleSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base"
import { Effect, Either, Layer, Redacted } from "effect"
import { Backend, makeAgent } from "./backend.ts"

// ---- Exporters that print what is ours. ----

const fields = (attributes: object) =>
  Object.entries(attributes).sort().map(([name, value]) => `, ${name} ${value}`).join("")

/** A span ends before its parent, so they are printed at the end. */
const makeSpanPrinter = (): SpanExporter => {
  const all: Array<ReadableSpan> = []
  return {
    export: (spans, done) => {
      all.push(...spans)
      done({ code: 0 })
    },
    shutdown: async () => {
      const names = new Map(all.map((span) => [span.spanContext().spanId, span.name]))
      for (const { attributes, name, parentSpanContext } of all) {
        const ours = Object.entries(attributes).filter(([name]) => name.startsWith("agent_identity."))
        if (ours.length === 0) continue
        const parent = names.get(parentSpanContext?.spanId ?? "")
        console.log(`span    ${name}, in ${parent}${fields(Object.fromEntries(ours))}`)
      }
    }
  }
}

const metricPrinter: PushMetricExporter = {
  export: ({ scopeMetrics }, done) => {
    for (const { dataPoints, descriptor } of scopeMetrics.flatMap(({ metrics }) => metrics)) {
      if (!descriptor.name.startsWith("agent_identity_")) continue
      for (const { attributes, value } of dataPoints) {
        console.log(`metric  ${descriptor.name} ${value}${fields(attributes)}`)
      }
    }
    done({ code: 0 })
  },
  forceFlush: async () => {},
  shutdown: async () => {}
}

const Telemetry = NodeSdk.layer(() => ({
  resource: { serviceName: "agent-demo" },
  spanProcessor: new SimpleSpanProcessor(makeSpanPrinter()),
  metricReader: new PeriodicExportingMetricReader({ exporter: metricPrinter })
}))

// ---- The app. ----

const Identity = Layer.unwrapEffect(Effect.map(makeAgent("agent-demo"), AgentIdentity.layer))

const Process = Layer.provideMerge(Layer.merge(Backend, NodeHttpClient.layerUndici), NodeSigning.layer)

const getModels = (client: HttpClient.HttpClient, headers: Record<string, string> = {}) =>
  Effect.flatMap(
    UrlDerivation.UrlDerivation,
    ({ environment }) => client.get(`${environment.providers[0]}/models`, { headers })
  )

/** The run's own header, changed to name another task. */
const forge = Effect.gen(function*() {
  const { header } = yield* (yield* AgentAssertion.AgentAssertion).current
  const signed = Either.getOrThrow(AssertionHeader.decode(Redacted.value(header)))
  return AssertionHeader.encode({ ...signed, taskId: TaskId.TaskId.make("task-of-another-run") })
})

const makeRequests = (plain: HttpClient.HttpClient) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const run = yield* RunTask.RunTask
    yield* Effect.withSpan(getModels(client), "first request")
    yield* Effect.withSpan(getModels(client), "second request")
    yield* Effect.withSpan(run.renew(yield* run.current), "renewal")
    yield* Effect.withSpan(getModels(client), "third request")
    yield* Effect.withSpan(getModels(plain, { authorization: yield* forge }), "forged request")
  })

const main = Effect.gen(function*() {
  const plain = yield* HttpClient.HttpClient
  yield* makeRequests(plain).pipe(Effect.provide(Run.layer(Identity)), Effect.withSpan("run"))
})

main.pipe(Effect.provide(Layer.provide(Process, Telemetry)), NodeRuntime.runMain())
