/** A test file that shows a secret fails, as vitest sees it. */
import { execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "vitest"

it("fails the files whose tests pass but for a secret in a log line, and no others", async () => {
  const [secret, shared] = [randomBytes(24).toString("base64url"), randomBytes(24).toString("base64url")]
  const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs")
  const { code, output } = await new Promise<{ readonly code: unknown; readonly output: string }>((resolve) =>
    execFile(
      process.execPath,
      [vitest, "run"],
      {
        cwd: fileURLToPath(new URL("planted", import.meta.url)),
        // That vitest is none of this one's workers.
        env: { PATH: process.env.PATH, PLANTED: secret, PLANTED_SHARED: shared, NO_COLOR: "1" }
      },
      (error, stdout, stderr) => resolve({ code: error?.code, output: stdout + stderr })
    )
  )
  assert.strictEqual(code, 1, output)
  for (
    const [file, test] of [
      ["planted.ts", "shows a secret"],
      ["first.ts", "shows a secret of a module"],
      ["second.ts", "shows a secret of a module, too"]
    ]
  ) {
    const found = `- log, in "${test}": a text of 32 characters, in: <secret>`
    assert.include(output, `FAIL  ${file} [ ${file} ]\nError: Secrets were shown, 1 times:\n${found}`)
  }
  assert.match(output, /Test Files +3 failed \| 1 passed/)
  assert.match(output, /Tests +4 passed/)
  for (const text of [secret, shared]) assert.notInclude(output, text)
})
