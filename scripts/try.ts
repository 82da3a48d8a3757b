/**
 * Runs a program of this repository against the backend that the environment names; where it names none, against one on
 * loopback that lives as long as the program.
 *
 * npm run try -- examples/02-your-own-app.ts
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"

const file = process.argv[2]
if (file === undefined) {
  console.error("Which program? npm run try -- examples/02-your-own-app.ts")
  process.exitCode = 1
} else if (process.env.AUTHAPI_BASE_URL !== undefined) {
  process.argv.splice(1, 2, resolve(file))
  await import(pathToFileURL(resolve(file)).href)
} else {
  const { withEnvironment } = await import("./environment.ts")
  await withEnvironment(async (environment) => {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(2)], {
      env: { ...process.env, ...environment },
      stdio: "inherit"
    })
    process.exitCode = (await once(child, "exit"))[0] ?? 1
  })
}
