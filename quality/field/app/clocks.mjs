/**
 * The clocks of this process, which a test sets: `wall` as people and time servers do, and `monotonic`, which nobody sets
 * and which stands still while a machine sleeps. `FIELD_WALL` is by how much the wall clock is wrong from the start, in
 * milliseconds; `FIELD_SPEED` is how many times faster all time runs, timers too.
 */
const speed = Number(process.env.FIELD_SPEED ?? 1)
const clocks = globalThis.fieldClocks = { wall: Number(process.env.FIELD_WALL ?? 0), monotonic: 0 }

const nanos = process.hrtime.bigint
const begun = nanos()
const wallAtBegin = Date.now()
const uptimeAtBegin = performance.now()
/** Milliseconds that have passed here. */
const passed = () => Number(nanos() - begun) / 1e6 * speed
const monotonic = () => uptimeAtBegin + passed() + clocks.monotonic

const SystemDate = Date
globalThis.Date = class extends SystemDate {
  constructor(...given) {
    given.length === 0 ? super(Date.now()) : super(...given)
  }
  static now() {
    return Math.floor(wallAtBegin + passed() + clocks.wall)
  }
}

performance.now = monotonic
process.hrtime.bigint = () => BigInt(Math.round(monotonic() * 1e6))
const { bigint } = process.hrtime
process.hrtime = Object.assign(([seconds, more] = [0, 0]) => {
  const nanos = bigint() - BigInt(seconds) * 1_000_000_000n - BigInt(more)
  return [Number(nanos / 1_000_000_000n), Number(nanos % 1_000_000_000n)]
}, { bigint })

if (speed !== 1) {
  for (const name of ["setTimeout", "setInterval"]) {
    const timer = globalThis[name]
    globalThis[name] = Object.assign((run, millis = 0, ...more) => timer(run, millis / speed, ...more), timer)
  }
}
