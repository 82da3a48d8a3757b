/** What headers leave behind, in processes of their own with the collector at hand. */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Harness from "../harness.ts"

const PROGRAM = fileURLToPath(new URL("../heapProcess.js", import.meta.url))

/** Flat: the smallest thing that could be left of a header, a pointer to it, has 8 bytes. */
const TARGET = 4

const run = (form: Harness.Form) =>
  Effect.sync(() => {
    const grow = (kind: "fresh" | "reused", headers: number): ReadonlyArray<Harness.Row> => {
      const { status, stderr, stdout } = spawnSync(
        process.execPath,
        ["--expose-gc", PROGRAM, kind, String(headers)],
        { encoding: "utf8" }
      )
      if (status !== 0) throw new Error(`The heap was not measured: ${stderr}`)
      const { after, before } = JSON.parse(stdout) as { readonly before: number; readonly after: number }
      const count = `${headers.toLocaleString("en")} headers ${kind === "fresh" ? "freshly signed" : "reused"}`
      const growth = Math.max(0, after - before) / headers
      return [
        Harness.row({ name: `heap before ${count}`, unit: "bytes", values: [before] }),
        Harness.row({ name: `heap after ${count}`, unit: "bytes", values: [after] }),
        Harness.row({
          name: `growth, ${count}`,
          unit: "bytes a header",
          values: [growth],
          baseline: [1],
          target: TARGET
        })
      ]
    }
    return [...grow("fresh", form.short ? 100_000 : 1_000_000), ...grow("reused", 1_000_000)]
  })

export const heap: Harness.Group = {
  name: "heap",
  title: "The heap before and after; the ratio is growth in bytes a header, so 0 is flat",
  rows: run
}
