/**
 * Times cases side by side. Every case of a group runs a slice of some milliseconds in turn, for many rounds, in one
 * process; a ratio is made within each round and then the median is taken, so that what disturbs the machine for a while
 * disturbs both sides of the ratio. Time is that of the processor, since machines are shared.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import process from "node:process"

/** Runs its operation that many times, one after the other. */
export type Loop = (times: number) => Effect.Effect<void>

export interface Case {
  readonly name: string
  readonly loop: Loop
  /** What its ratio to the group's baseline should not exceed. */
  readonly target?: number
}

export interface Form {
  readonly rounds: number
  readonly sliceMillis: number
  /** Whether it is for CI: little time, and only gross ratios count. */
  readonly short: boolean
}

export const FULL: Form = { rounds: 60, sliceMillis: 25, short: false }

export const SHORT: Form = { rounds: 40, sliceMillis: 15, short: true }

/** A line of a report. */
export interface Row {
  readonly name: string
  readonly unit: "ns" | "bytes" | "bytes a header"
  readonly median: number
  readonly p10: number
  readonly p90: number
  /** To the group's baseline; undefined where there is none to compare with. */
  readonly ratio?: number
  readonly target?: number
}

export interface Group {
  readonly name: string
  /** What it is about, and what the ratios are to. */
  readonly title: string
  /** The first one is the baseline. A group that measures in its own way has `rows` instead. */
  readonly cases?: Effect.Effect<ReadonlyArray<Case>, never, Scope.Scope>
  readonly rows?: (form: Form) => Effect.Effect<ReadonlyArray<Row>>
}

/** Beside the baseline, of a group with cases: those whose names have `only` in them; in the short form those with a target. */
export const run = (group: Group, form: Form, only = ""): Effect.Effect<ReadonlyArray<Row>> => {
  if (group.rows !== undefined) return only === "" ? group.rows(form) : Effect.succeed([])
  return Effect.scoped(Effect.flatMap(group.cases ?? Effect.succeed([]), (cases) => {
    const chosen = cases.filter(({ name, target }, index) =>
      index === 0 || (name.includes(only) && (target !== undefined || !form.short))
    )
    return chosen.length < 2 ? Effect.succeed([]) : measure(chosen, form)
  }))
}

/** Nanoseconds per operation in each round, in the order of the cases. */
export type Samples = ReadonlyArray<ReadonlyArray<number>>

/** Operations of a fiber that goes on and on, as most of an Effect program is. */
export const inFiber = <E>(body: () => Effect.Effect<unknown, E>): Loop => (times) =>
  Effect.suspend(() => {
    let left = times
    return Effect.orDie(
      Effect.whileLoop({
        while: () => left > 0,
        body: () => {
          left--
          return body()
        },
        step: () => {}
      })
    )
  })

/** Operations without Effect that return at once. */
export const plain = (body: () => unknown): Loop => (times) =>
  Effect.sync(() => {
    for (let left = times; left > 0; left--) body()
  })

/** Operations without Effect that return a promise. */
export const promised = (body: () => Promise<unknown>): Loop => (times) =>
  Effect.promise(async () => {
    for (let left = times; left > 0; left--) await body()
  })

/** The first case is the baseline of the ratios. */
export const measure = (cases: ReadonlyArray<Case>, form: Form): Effect.Effect<ReadonlyArray<Row>> =>
  Effect.map(
    sample(cases, form),
    (samples) =>
      cases.map(({ name, target }, index) =>
        row({ name, unit: "ns", values: samples[index]!, baseline: samples[0]!, target })
      )
  )

export const sample = (cases: ReadonlyArray<Case>, form: Form): Effect.Effect<Samples> =>
  Effect.gen(function*() {
    const times: Array<number> = []
    for (const { loop } of cases) times.push(yield* warmUp(loop, form.sliceMillis))
    // Again, now that the compiler has seen all of them: what they share has become slower by that.
    for (const [index, { loop }] of cases.entries()) {
      const nanos = yield* time(loop, times[index]!)
      times[index] = Math.max(1, Math.round(form.sliceMillis * 1e6 / nanos))
    }
    const samples = cases.map((): Array<number> => [])
    for (let round = 0; round < form.rounds; round++) {
      for (let turn = 0; turn < cases.length; turn++) {
        // Everybody is once first and once last, and pays for everybody's garbage.
        const index = (round % 2 === 0 ? round + turn : round + cases.length - turn) % cases.length
        samples[index]!.push(yield* time(cases[index]!.loop, times[index]!))
      }
    }
    return samples
  })

/** `baseline` are the values of the same rounds. */
export const row = (
  { baseline, name, target, unit, values }: {
    readonly name: string
    readonly unit: Row["unit"]
    readonly values: ReadonlyArray<number>
    readonly baseline?: ReadonlyArray<number>
    readonly target?: number | undefined
  }
): Row => ({
  name,
  unit,
  median: quantile(values, 0.5),
  p10: quantile(values, 0.1),
  p90: quantile(values, 0.9),
  ...(baseline === undefined
    ? undefined
    : { ratio: quantile(values.map((value, round) => value / baseline[round]!), 0.5) }),
  ...(target === undefined ? undefined : { target })
})

/** Whether a row keeps its target, with that much slack; undefined where it has none. */
export const isWithin = ({ ratio, target }: Row, slack: number): boolean | undefined =>
  // A ratio that is no number keeps nothing.
  target === undefined ? undefined : ratio !== undefined && ratio <= target * slack

/** The rows that have a target, by whether they keep it. */
export const count = (
  rows: ReadonlyArray<Row>,
  slack: number
): { readonly passed: number; readonly failed: number } => {
  const verdicts = rows.map((row) => isWithin(row, slack))
  return {
    passed: verdicts.filter((within) => within === true).length,
    failed: verdicts.filter((within) => within === false).length
  }
}

export const quantile = (values: ReadonlyArray<number>, at: number): number => {
  const sorted = [...values].sort((left, right) => left - right)
  const place = (sorted.length - 1) * at
  const below = sorted[Math.floor(place)]!
  return below + (sorted[Math.ceil(place)]! - below) * (place - Math.floor(place))
}

/** How many operations fill a slice, found by doubling; ten slices, or a second of them, are run for the compiler. */
const warmUp = (loop: Loop, sliceMillis: number): Effect.Effect<number> =>
  Effect.gen(function*() {
    let times = 1
    let [slices, spent] = [0, 0]
    while (true) {
      const millis = (yield* time(loop, times)) * times / 1e6
      spent += millis
      if (millis >= sliceMillis && (++slices === 10 || spent > 1000)) {
        return Math.max(1, Math.round(times * sliceMillis / millis))
      }
      if (millis < sliceMillis) times *= 2
    }
  })

/** Nanoseconds per operation, of this process on all of its threads: what other processes take does not count. */
const time = (loop: Loop, times: number): Effect.Effect<number> =>
  Effect.suspend(() => {
    const start = process.cpuUsage()
    return Effect.map(loop(times), () => {
      const { system, user } = process.cpuUsage(start)
      return (system + user) * 1000 / times
    })
  })
