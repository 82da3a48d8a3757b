/** A test file that shows a secret fails, as vitest sees it. */
import { execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "vitest"

it("fails a file whose tests pass but for a secret in a log line", async () => {
  const secret = randomBytes(24).toString("base64url")
  const vitest = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "vitest.mjs")
  const { code, output } = await new Promise<{ readonly code: unknown; readonly output: string }>((resolve) =>
    execFile(
      process.execPath,
      [vitest, "run"],
      {
        cwd: fileURLToPath(new URL("planted", import.meta.url)),
        // That vitest is none of this one's workers.
        env: { PATH: process.env.PATH, PLANTED: secret, NO_COLOR: "1" }
      },
      (error, stdout, stderr) => resolve({ code: error?.code, output: stdout + stderr })
    )
  )
  assert.strictEqual(code, 1, output)
  assert.include(output, "Secrets were shown, 1 times")
  assert.include(output, `- log, in "shows a secret": a text of 32 characters, in: <secret>`)
  assert.match(output, /Tests +1 passed/)
  assert.notInclude(output, secret)
}, 60_000)
