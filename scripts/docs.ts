/**
 * What the documentation shows is what there is.
 *
 * - a `ts` block stands under a comment with the name of a file, and is that file to the letter; or, where the comment
 *   goes on with a title, what stands in the file under the line `// ---- Title. ----`
 * - a `sh` block of `docs/*.md` is run as it is written, all of a page in order and in one shell, here in the repository
 * - a `text` block after a `sh` block is what that printed; task ids, times and ports are written alike
 * - a program that is shown is one of the numbered examples, which `npm run examples` runs; or a `sh` block runs it, or a
 *   program of the page imports it
 * - any other block fails; so does a link to what there is not, and one whose title does not stand in its file
 *
 * The blocks of README.md that are no `ts` are run by `.ci/run` itself.
 *
 * npm run docs [-- PAGE…]        checks and runs
 * npm run docs -- --check        does not run
 * npm run docs -- --write        writes `ts` and `text` blocks anew
 */
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"

interface Block {
  readonly language: string
  readonly line: number
  readonly text: string
  /** The comment above it. */
  readonly source: string | undefined
}

interface Page {
  readonly file: string
  readonly prose: string
  readonly blocks: ReadonlyArray<Block>
}

const FENCE = /(?:^<!-- (.+) -->\n)?^```(.*)\n([\s\S]*?)^```$/gm

const read = (file: string): Page => {
  const whole = readFileSync(file, "utf8")
  const blocks = Array.from(whole.matchAll(FENCE), ([all, source, language, text]): Block => ({
    language: language!,
    line: whole.slice(0, whole.indexOf(all)).split("\n").length + (source === undefined ? 0 : 1),
    text: text!,
    source
  }))
  return { file, prose: whole.replace(FENCE, ""), blocks }
}

/** The text of a file, or of one of its sections. */
const shown = (source: string): string => {
  const [file, title] = source.split(": ")
  if (!existsSync(file!)) throw new Error(`there is no ${file}`)
  const text = readFileSync(file!, "utf8")
  if (title === undefined) return text
  const section = text.split(/^\/\/ ---- /m).find((section) => section.startsWith(`${title}. ----\n`))
  if (section === undefined) throw new Error(`${file} has no section "${title}"`)
  return `${section.slice(section.indexOf("\n")).trim()}\n`
}

/** What differs from run to run. Tasks stay apart from one another: A, B, … */
const normalise = (output: string): string => {
  const tasks: Array<string> = []
  return output
    .replace(/\x1b\[[0-9;]*m/g, "")
    .replace(/\[\d\d:\d\d:\d\d\.\d{3}\]/g, "[12:00:00.000]")
    .replace(/(INFO|WARN|DEBUG|ERROR) \(#\d+\)/g, "$1 (#1)")
    .replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:8787")
    .replace(/task-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, (task) => {
      if (!tasks.includes(task)) tasks.push(task)
      return `task-${String.fromCharCode(64 + tasks.indexOf(task) + 1)}`
    })
    .replace(/agent-[0-9a-f]{32}|agent-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "agent-A")
    .split("\n").map((line) => line.trimEnd()).join("\n").replace(/^\n+|\n+$/g, "")
}

const failures: Array<string> = []
const fail = (page: Page, block: Block, why: string) => failures.push(`${page.file}:${block.line}: ${why}`)

const isRunByExamples = (file: string) => /^examples\/\d\d-[\w-]+\.ts$/.test(file)

const check = (page: Page): void => {
  const isReadme = page.file === "README.md"
  const scripts = page.blocks.filter(({ language }) => language === "sh").map(({ text }) => text).join("\n")
  for (const [index, block] of page.blocks.entries()) {
    const before = page.blocks[index - 1]
    if (block.language === "ts") {
      if (block.source === undefined) {
        if (!isReadme) fail(page, block, "a `ts` block without the name of its file is run by nobody")
        continue
      }
      try {
        if (shown(block.source) !== block.text) fail(page, block, `is not ${block.source}: npm run docs -- --write`)
      } catch (error) {
        fail(page, block, (error as Error).message)
      }
      const [file] = block.source.split(": ")
      const isImported = page.blocks.some(({ text }) => text.includes(`from "./${basename(file!)}"`))
      if (!isRunByExamples(file!) && !scripts.includes(file!) && !isImported) {
        fail(page, block, `no \`sh\` block runs ${file}`)
      }
    } else if (block.language === "text" && !isReadme) {
      if (before?.language !== "sh") fail(page, block, "a `text` block is what the `sh` block before it printed")
    } else if (block.language !== "sh" && !isReadme) {
      fail(page, block, `a block of \`${block.language}\` is run by nobody`)
    }
  }
  for (const [, target, anchor, title] of page.prose.matchAll(/\]\(([^)#\s]*)(?:#([^)\s]*))?(?: "([^"]*)")?\)/g)) {
    if (/^\w+:/.test(target!)) continue
    const file = target === "" ? page.file : join(dirname(page.file), target!)
    if (!existsSync(file)) failures.push(`${page.file}: links to ${target}, which there is not`)
    else if (anchor !== undefined && !anchors(file).includes(anchor)) {
      failures.push(`${page.file}: ${file} has no heading for #${anchor}`)
    } else if (title !== undefined && !readFileSync(file, "utf8").includes(title)) {
      failures.push(`${page.file}: ${target} has no test "${title}"`)
    }
  }
}

/** As GitHub makes them of headings. */
const anchors = (file: string): ReadonlyArray<string> =>
  Array.from(
    read(file).prose.matchAll(/^#+ (.+)$/gm),
    ([, heading]) => heading!.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-")
  )

/** A line of its own in the output, after each block. */
const MARK = "---- end of block ----"

const run = async (page: Page, environment: Record<string, string>): Promise<ReadonlyMap<Block, string>> => {
  const blocks = page.blocks.filter(({ language }) => language === "sh")
  const outputs = new Map<Block, string>()
  if (blocks.length === 0) return outputs
  const home = mkdtempSync(join(tmpdir(), "docs-"))
  const child = spawn("bash", ["-euo", "pipefail"], {
    // Nobody's own login and state are touched. `npm run` answers in colours where it is told to.
    env: { ...process.env, ...environment, HOME: home, TMPDIR: home, NO_COLOR: "1", FORCE_COLOR: "0" },
    stdio: ["pipe", "pipe", "pipe"],
    detached: true
  })
  let output = ""
  child.stdout.on("data", (chunk) => output += chunk)
  child.stderr.on("data", (chunk) => output += chunk)
  child.stdin.end(["exec 2>&1", ...blocks.map(({ text }) => `{\n${text}} </dev/null\necho '${MARK}'`)].join("\n"))
  const timer = setTimeout(() => child.kill("SIGKILL"), 300_000)
  const code = await new Promise<number | null>((resolve) => child.on("exit", resolve))
  clearTimeout(timer)
  try {
    // What a page has left running.
    process.kill(-child.pid!, "SIGTERM")
  } catch {
    // Nothing.
  }
  rmSync(home, { recursive: true, force: true })
  const parts = output.split(`${MARK}\n`)
  for (const [index, block] of blocks.entries()) {
    if (index < parts.length - 1) outputs.set(block, parts[index]!)
    else if (index === parts.length - 1) fail(page, block, `failed with exit code ${code}\n${parts[index]}`)
  }
  return outputs
}

const compare = (page: Page, outputs: ReadonlyMap<Block, string>): number => {
  let passed = 0
  for (const [index, block] of page.blocks.entries()) {
    const output = outputs.get(block)
    if (output === undefined) continue
    const after = page.blocks[index + 1]
    if (after?.language !== "text" || normalise(after.text) === normalise(output)) passed += 1
    else fail(page, after, `the block before it printed something else\n${normalise(output)}`)
  }
  return passed
}

const write = (page: Page, outputs: ReadonlyMap<Block, string>): void => {
  const blocks = page.blocks.values()
  let before: string | undefined
  const text = readFileSync(page.file, "utf8").replace(FENCE, (all, source, language) => {
    const output = before
    before = outputs.get(blocks.next().value!)
    if (language === "ts" && source !== undefined) return `<!-- ${source} -->\n\`\`\`ts\n${shown(source)}\`\`\``
    return language === "text" && output !== undefined ? `\`\`\`text\n${normalise(output)}\n\`\`\`` : all
  })
  writeFileSync(page.file, text)
}

/** At most so many at once as there are cores. */
const forEach = async <A>(all: ReadonlyArray<A>, use: (one: A) => Promise<void>): Promise<void> => {
  const queue = all.values()
  const worker = async () => {
    for (const one of queue) await use(one)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
}

const args = process.argv.slice(2)
const files = args.filter((arg) => !arg.startsWith("--"))
const pages = (files.length > 0 ? files : [
  "README.md",
  ...readdirSync("docs").filter((file) => file.endsWith(".md")).sort().map((file) => `docs/${file}`)
]).map(read)
if (!args.includes("--write")) pages.forEach(check)

let passed = 0
if (!args.includes("--check")) {
  const { withEnvironment } = await import("./environment.ts")
  await withEnvironment((environment) =>
    forEach(pages, async (page) => {
      const outputs = page.file === "README.md" ? new Map<Block, string>() : await run(page, environment)
      if (args.includes("--write")) write(page, outputs)
      else passed += compare(page, outputs)
      console.log(`${page.file}: ${outputs.size} blocks ran`)
    })
  )
}
for (const failure of failures) console.error(failure)
if (!args.includes("--check")) console.log(`${passed} passed, ${failures.length} failed`)
process.exitCode = failures.length === 0 ? 0 : 1
