/** The same over real HTTP on loopback, to a server in a process of its own. */
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type ChildProcess, spawn } from "node:child_process"
import process from "node:process"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"
import * as SignedFetch from "../signedFetch.ts"

/** It ends with its standard input, so that it never outlives the benchmark. */
const SERVER = `
  const server = require("node:http").createServer((request, response) => {
    request.resume()
    response.setHeader("content-type", "application/json").end("{}")
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, "127.0.0.1", () => console.log(server.address().port))
  process.stdin.resume().on("end", () => process.exit())
`

const startServer = Effect.acquireRelease(
  Effect.promise(() =>
    new Promise<{ readonly child: ChildProcess; readonly port: number }>((resolve, reject) => {
      const child = spawn(process.execPath, ["-e", SERVER], { stdio: ["pipe", "pipe", "inherit"] })
      child.on("error", reject)
      child.stdout.once("data", (line) => resolve({ child, port: Number(line) }))
    })
  ),
  ({ child }) => Effect.sync(() => child.kill())
)

const make = Effect.gen(function*() {
  const { port } = yield* startServer
  const origin = `http://127.0.0.1:${port}`
  const url = `${origin}/backend-api/codex/models`
  const Urls = UrlDerivation.layerCustom({
    authApi: `${origin}/api/accounts`,
    jwksBase: `${origin}/backend-api`,
    providers: [`${origin}/backend-api/codex`],
    loopbackHttp: true
  })
  const context = yield* Layer.build(
    ProviderAuth.layer(RunAuth.layer(Agent.layerRun(NodeSigning.layer))).pipe(
      Layer.provide(Urls),
      Layer.merge(NodeHttpClient.layerUndici),
      Layer.orDie
    )
  )
  const undici = Context.get(context, HttpClient.HttpClient)
  const constant = SignedFetch.withConstantHeaders(undici)
  const authorized = Context.get(context, ProviderAuth.ProviderAuth).authorize(undici)
  const signedFetch = SignedFetch.make(fetch)
  const get = <E>(client: HttpClient.HttpClient.With<E>) =>
    Harness.inFiber(() => Effect.flatMap(client.get(url), (response) => response.text))

  return [
    { name: "baseline: undici, mapRequest, two constant headers", loop: get(constant) },
    { name: "control: undici, the client as it is", loop: get(undici) },
    { name: "undici, authorize(client)", loop: get(authorized) },
    {
      name: "peer: a fetch wrapper by hand, signing each time",
      loop: Harness.promised(async () => (await signedFetch(url)).text())
    }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const loopback: Harness.Group = {
  name: "loopback",
  title: "A request over HTTP on loopback with its body read, against undici with two constant headers",
  cases: make
}
