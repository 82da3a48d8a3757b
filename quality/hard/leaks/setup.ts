/** Every test file is searched at its end for secrets that it has shown: see `capture.ts`. */
import { afterAll, beforeAll, beforeEach } from "vitest"
import { allowed } from "./allowed.ts"
import { current } from "./capture.ts"

const capture = current()
capture.load()
beforeAll(capture.begin)

beforeEach(({ task }) => {
  capture.test = task.name
})

afterAll(async ({ file }) => {
  const startedAt = performance.now()
  const { counts, findings: all } = await capture.search()
  // What is shown from now on, before the tests of the next file.
  capture.test = `after ${file.name}`
  const findings = all.filter(({ channel, test }) =>
    !allowed.some((_) => file.filepath.endsWith(_.file) && _.channels.includes(channel) && _.tests.test(test))
  )
  Object.assign(file.meta, { leaks: { ...counts, millis: performance.now() - startedAt } })
  if (findings.length > 0) {
    throw new Error(
      `Secrets were shown, ${findings.length} times:\n${
        findings.slice(0, 20).map(({ channel, excerpt, secret, test }) =>
          `- ${channel}, in "${test}": ${secret}, in: ${excerpt}`
        ).join("\n")
      }`
    )
  }
})
