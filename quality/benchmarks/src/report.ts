/** Results for people, in a terminal and as a chart, and for programs. */
import type { Row } from "./harness.ts"
import * as Harness from "./harness.ts"

export interface GroupResult {
  readonly name: string
  readonly title: string
  readonly rows: ReadonlyArray<Row>
}

export const table = ({ name, rows, title }: GroupResult, slack: number): string => {
  const cells = rows.map((row) => [
    row.name,
    quantity(row.median, row.unit),
    `${quantity(row.p10, row.unit)} – ${quantity(row.p90, row.unit)}`,
    row.ratio === undefined ? "" : ratio(row.ratio),
    row.target === undefined ? "" : `≤ ${row.target}`,
    verdict(row, slack)
  ])
  const head = ["", "median", "p10 – p90", "ratio", "target", ""]
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((line) => line[column]!.length)))
  const lines = [head, ...cells].map((line) =>
    line.map((cell, column) => column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)).join("  ")
      .trimEnd()
  )
  return `\n${name}: ${title}\n${lines.join("\n")}\n`
}

const verdict = (row: Row, slack: number): string => {
  const within = Harness.isWithin(row, slack)
  if (within === undefined) return ""
  if (!within) return slack === 1 ? "missed" : "FAILED"
  return Harness.isWithin(row, 1) ? "met" : `over, within ${slack} ×`
}

export const quantity = (value: number, unit: Row["unit"]): string => {
  if (unit === "bytes a header") return `${value.toFixed(2)} B`
  const [step, units] = unit === "ns" ? [1000, ["ns", "µs", "ms", "s"]] : [1024, ["B", "KiB", "MiB", "GiB"]]
  let [rest, index] = [value, 0]
  while (Math.abs(rest) >= step && index < units.length - 1) [rest, index] = [rest / step, index + 1]
  return `${rest.toPrecision(rest >= 1000 ? 4 : 3)} ${units[index]}`
}

const ratio = (value: number): string =>
  `${value < 0.1 ? value.toFixed(4) : value < 10 ? value.toFixed(2) : value.toFixed(1)} ×`

/** Bars to the left of 1 × are cheaper than the baseline, to the right dearer; each step of the axis is ten times. */
export const chart = (results: ReadonlyArray<GroupResult>, machine: string): string => {
  const [left, width, line, axis] = [360, 480, 20, 22]
  const groups = results.map((group) => ({ ...group, rows: group.rows.filter((row) => row.ratio !== undefined) }))
    .filter((group) => group.rows.length > 0)
  const x = (value: number) => {
    const at = (Math.log10(Math.max(value, MIN)) - Math.log10(MIN)) / (Math.log10(MAX) - Math.log10(MIN))
    return left + width * Math.min(at, 1)
  }
  const parts: Array<string> = []
  let y = 60
  for (const group of groups) {
    y += 18
    parts.push(text(16, y, `${group.name}: ${group.title}`, "font-weight=\"bold\""))
    y += 10
    const top = y
    for (const row of group.rows) {
      const [from, to] = [Math.min(x(1), x(row.ratio!)), Math.max(x(1), x(row.ratio!))]
      const color = Harness.isWithin(row, 1) === false ? "#c0392b" : row.name.startsWith("peer") ? "#9aa5b1" : "#2f6fb2"
      parts.push(
        text(left - 10, y + 14, row.name, "text-anchor=\"end\""),
        `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${Math.max(to - from, 1).toFixed(1)}" height="${
          line - 7
        }" fill="${color}"/>`,
        text(
          left + width + 12,
          y + 14,
          row.target === undefined ? ratio(row.ratio!) : `${ratio(row.ratio!)}, target ${row.target}`
        )
      )
      if (row.target !== undefined) {
        const at = x(row.target).toFixed(1)
        parts.push(`<path d="M${at} ${y + 1}v${line - 1}" stroke="#1a7f37" stroke-width="2"/>`)
      }
      y += line
    }
    for (let tick = MIN; tick <= MAX; tick *= 10) {
      const at = x(tick).toFixed(1)
      const isOne = Math.abs(tick - 1) < 1e-9
      parts.unshift(`<path d="M${at} ${top}V${y}" stroke="${isOne ? "#444" : "#ddd"}"/>`)
      parts.push(text(Number(at), y + 13, `${Number(tick.toPrecision(1))} ×`, "text-anchor=\"middle\" fill=\"#777\""))
    }
    y += axis
  }
  const height = y + 10
  const total = left + width + 170
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${total}" height="${height}" viewBox="0 0 ${total} ${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
${text(16, 26, "Time against each group's baseline, which is 1 ×", "font-size=\"16\" font-weight=\"bold\"")}
${
    text(
      16,
      46,
      `Blue: this library and controls; grey: peers; green mark: target; red: over its target. ${machine}`,
      "fill=\"#777\""
    )
  }
${parts.join("\n")}
</svg>
`
}

const [MIN, MAX] = [0.001, 1000]

const text = (x: number, y: number, content: string, attributes = ""): string =>
  `<text x="${x}" y="${y}" ${attributes}>${content.replace(/&/g, "&amp;").replace(/</g, "&lt;")}</text>`
