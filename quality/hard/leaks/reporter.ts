/** Says what the leak scan of a whole run has looked at. */
import type { RunnerTestFile } from "vitest"
import type { Counts } from "./capture.ts"

type Leaks = Counts & { readonly millis: number }

export default class LeakReporter {
  onFinished(files: ReadonlyArray<RunnerTestFile> = []) {
    const all = files.flatMap(({ meta }) => (meta as { readonly leaks?: Leaks }).leaks ?? [])
    const texts: Record<string, number> = {}
    for (const leaks of all) {
      for (const [channel, count] of Object.entries(leaks.texts)) texts[channel] = (texts[channel] ?? 0) + count
    }
    const sum = (of: (leaks: Leaks) => number) => all.reduce((total, leaks) => total + of(leaks), 0)
    const number = (value: number) => Math.round(value).toLocaleString("en")
    console.log(
      `\n Leak scan  ${number(sum((_) => _.secrets - _.skipped))} of ${
        number(sum((_) => _.secrets))
      } secrets of ${all.length} files looked for in ${
        Object.entries(texts).map(([channel, count]) => `${number(count)} of ${channel}`).join(", ")
      } (${number(sum((_) => _.characters) / 1e6)} MB in ${(sum((_) => _.millis) / 1000).toFixed(1)} s)`
    )
  }
}
