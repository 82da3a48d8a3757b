/** What a request costs a server, HTTP and all: the processor time of its process, which a core has a second of each second. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { Agent as HttpAgent, get as httpGet } from "node:http"
import process from "node:process"
import { fileURLToPath } from "node:url"
import * as Harness from "../harness.ts"
import * as Verifying from "../verifying.ts"

const PROGRAM = fileURLToPath(new URL("../serverProcess.js", import.meta.url))
const CONNECTIONS = 16
const SLICE = 2_000

const measure = async (headers: ReadonlyArray<string>, form: Harness.Form): Promise<ReadonlyArray<Harness.Row>> => {
  const child = spawn(process.execPath, [PROGRAM], { stdio: ["pipe", "pipe", "inherit"] })
  const agent = new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS })
  try {
    const [line] = await once(child.stdout, "data")
    const origin = String(line).trim()
    const get = (path: string, authorization?: string) =>
      new Promise<string>((resolve, reject) => {
        const options = { agent, headers: authorization === undefined ? {} : { authorization } }
        httpGet(`${origin}${path}`, options, (response) => {
          let body = ""
          response.setEncoding("utf8").on("data", (chunk) => body += chunk).on("error", reject).on("end", () =>
            response.statusCode === 200 ? resolve(body) : reject(new Error(`${path}: ${response.statusCode} ${body}`)))
        }).on("error", reject)
      })
    const slice = async (request: () => Promise<string>): Promise<number> => {
      const before = Number(await get("/cpu"))
      let left = SLICE
      const work = async () => {
        while (left-- > 0) await request()
      }
      await Promise.all(Array.from({ length: CONNECTIONS }, work))
      return (Number(await get("/cpu")) - before) * 1000 / SLICE
    }
    const next = Verifying.cycle(headers)
    const same = headers[0]!
    const cases = [
      { name: "baseline: a route for everybody", request: () => get("/plain") },
      { name: "for agents, each header new", request: () => get("/protected", next()) },
      { name: "for agents, each header seen before", request: () => get("/protected", same) }
    ]
    const samples = cases.map((): Array<number> => [])
    // The first three rounds are for the compiler.
    for (let round = -3; round < form.rounds / 4; round++) {
      for (const [index, { request }] of cases.entries()) {
        const nanos = await slice(request)
        if (round >= 0) samples[index]!.push(nanos)
      }
    }
    return cases.map(({ name }, index) =>
      Harness.row({ name, unit: "ns", values: samples[index]!, baseline: samples[0]! })
    )
  } finally {
    agent.destroy()
    child.kill()
  }
}

export const server: Harness.Group = {
  name: "server",
  title: "A request over HTTP on loopback, in processor time of the server, against a route for everybody",
  rows: (form) =>
    Effect.flatMap(Effect.orDie(Verifying.makeAgent), ({ headers }) => Effect.promise(() => measure(headers, form)))
}
