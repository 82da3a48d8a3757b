import { AccountId, AgentKey, AgentRuntimeId, TaskId } from "@agent-identity/core"
import { type CredentialSource, NodeAgentIdentity, NodeSigning } from "@agent-identity/node"
import { AgentIdentityIssuer } from "@agent-identity/server"
import { FileSystem, HttpBody, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeContext, NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Layer, Option, Redacted, Scope } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Http from "node:http"
import * as Net from "node:net"
import { inject } from "vitest"
import { parse, type ServeOptions } from "../src/internal/options.ts"
import * as Server from "../src/internal/server.ts"
import * as State from "../src/internal/state.ts"

declare module "vitest" {
  export interface ProvidedContext {
    readonly postgresUrl: string
  }
}

describe("the command line of authapi", () => {
  const accepted: ReadonlyArray<readonly [args: ReadonlyArray<string>, command: object]> = [
    [[], { _tag: "Serve", options: { port: 8787, sealed: false } }],
    [["--port", "0", "--sealed", "--data", "f"], { _tag: "Serve", options: { port: 0, sealed: true, data: "f" } }],
    [["mint", "--port", "1", "--runtime-id", "a"], { _tag: "Mint", port: 1, options: { runtimeId: "a", plan: "pro" } }],
    [["trust", "token", "--port", "1"], { _tag: "Trust", port: 1, token: "token" }],
    [["--help"], { _tag: "Help" }]
  ]
  for (const [args, command] of accepted) {
    it.effect(`reads ${JSON.stringify(args.join(" "))}`, () =>
      Effect.gen(function*() {
        const { options, ...rest } = (yield* parse(args)) as unknown as Record<string, unknown>
        const { options: wanted, ...wantedRest } = command as Record<string, unknown>
        assert.deepStrictEqual(rest, wantedRest)
        if (wanted !== undefined) assert.deepInclude(options as object, wanted as object)
      }))
  }

  const refused: ReadonlyArray<readonly [args: ReadonlyArray<string>, why: RegExp]> = [
    [["--port", "x"], /^--port x is no port/],
    [["--port", "65536"], /is no port/],
    [["--what"], /Unknown option '--what'/],
    [["serve"], /^serve is no command/],
    [["--data", "f", "--database-url", "u"], /two places/],
    [["mint"], /wants --runtime-id/],
    [["mint", "--runtime-id", "a", "--sealed"], /^--sealed is not for mint/],
    [["trust"], /wants one token/],
    [["trust", "a", "b"], /wants one token/],
    [["--runtime-id", "a"], /^--runtime-id is not for the server/]
  ]
  for (const [args, why] of refused) {
    it.effect(`refuses ${JSON.stringify(args.join(" "))}, and shows its usage`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(parse(args))
        assert.match(error.message, why)
        assert.include(error.message, "npm run authapi")
      }))
  }
})

const defaults: ServeOptions = {
  port: 0,
  data: undefined,
  databaseUrl: undefined,
  jwks: undefined,
  bearer: undefined,
  sealed: false
}

const freePort = Effect.async<number>((resume) => {
  const server = Http.createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as { port: number }
    server.close(() => resume(Effect.succeed(port)))
  })
})

/** A server in this process, whose files are in a folder of its own. */
const start = (options: Partial<ServeOptions> = {}) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* fs.makeTempDirectoryScoped()
    return yield* startIn(folder, options)
  })

const startIn = (folder: string, options: Partial<ServeOptions> = {}) =>
  Effect.gen(function*() {
    const port = options.port ?? (yield* freePort)
    const provider = ConfigProvider.fromMap(new Map([["XDG_STATE_HOME", folder]]))
    yield* Effect.withConfigProvider(
      Layer.build(Server.layer({ ...defaults, ...options, port }, () => Effect.void)),
      provider
    )
    const token = Option.getOrThrow(yield* Effect.withConfigProvider(State.readAdminToken(port), provider))
    const origin = `http://127.0.0.1:${port}`
    const admin = (
      path: string,
      body: unknown,
      headers: Record<string, string> = { authorization: `Bearer ${token}` }
    ) =>
      Effect.gen(function*() {
        const client = yield* HttpClient.HttpClient
        const response = yield* client.execute(
          HttpClientRequest.post(`${origin}/admin/${path}`, { headers, body: HttpBody.unsafeJson(body) })
        )
        return { status: response.status, body: (yield* response.json) as Record<string, never> }
      })
    return { admin, folder, origin, port, token }
  })

const mintRequest = { runtimeId: "agent-1", account: "account-1", user: "user-1", plan: "pro", fedramp: false }

/** Sends a request as the agent of this token, in a run of its own. */
const askAs = (token: string, origin: string) => ask({ _tag: "Token", token: Redacted.make(token) }, origin)

const ask = (credential: CredentialSource.Credential, origin: string) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* client.post(`${origin}/backend-api/codex/responses`, {
      body: HttpBody.unsafeJson({ input: "hello" })
    })
    return (yield* response.json) as { agent?: string; task?: string }
  }).pipe(Effect.provide(Layer.fresh(NodeAgentIdentity.layer({
    credential,
    authApi: `${origin}/api/accounts`,
    jwksBase: `${origin}/backend-api`,
    providers: [`${origin}/backend-api/codex`],
    loopbackHttp: true
  }))))

/** The agent of a token, without the token. */
const recordOf = (token: string) => {
  const claims = JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString())
  return {
    _tag: "Record",
    record: {
      agentRuntimeId: String(claims.agent_runtime_id),
      privateKey: Redacted.make(String(claims.agent_private_key))
    },
    taskId: undefined
  } as const
}

const command = (folder: string, args: ReadonlyArray<string>) =>
  // Not by the command `tsx`, which has a child that outlives it when it is killed.
  spawn(process.execPath, [
    "--import",
    "tsx",
    "--conditions=@agent-identity/source",
    "packages/authapi/src/main.ts",
    ...args
  ], {
    cwd: new URL("../../..", import.meta.url),
    env: { ...process.env, XDG_STATE_HOME: folder }
  })

/** A command that ends by itself. */
const runCommand = (folder: string, ...args: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    const child = command(folder, args)
    let [stdout, stderr] = ["", ""]
    child.stdout.on("data", (chunk) => stdout += String(chunk))
    child.stderr.on("data", (chunk) => stderr += String(chunk))
    const [code] = await once(child, "close")
    return { code: code as number, stdout, stderr }
  })

/** A server in a process of its own. */
const startProcess = (folder: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const port = String(yield* freePort)
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => command(folder, ["--port", port, ...args])),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let output = ""
    child.stdout.on("data", (chunk) => output += String(chunk))
    child.stderr.on("data", (chunk) => output += String(chunk))
    yield* Effect.promise(async () => {
      while (!output.includes("CODEX_ACCESS_TOKEN=")) {
        assert.isNull(child.exitCode, output)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    })
    return { port, process: child, output: () => output }
  })

const Context = Layer.merge(NodeContext.layer, NodeHttpClient.layerUndici)

describe("authapi", () => {
  it.scopedLive("mints a token whose agent completes a run against it", () =>
    Effect.gen(function*() {
      const { admin, origin } = yield* start()
      const { body, status } = yield* admin("mint", mintRequest)
      assert.strictEqual(status, 200)
      assert.strictEqual((yield* askAs(body.token!, origin)).agent, "agent-1")
    }).pipe(Effect.provide(Context)))

  it.scopedLive("answers task ids sealed where it is told to, and the run is the same", () =>
    Effect.gen(function*() {
      const { admin, origin } = yield* start({ sealed: true })
      const { body } = yield* admin("mint", mintRequest)
      assert.strictEqual((yield* askAs(body.token!, origin)).agent, "agent-1")
    }).pipe(Effect.provide(Context)))

  it.scopedLive("keeps its agents over a restart, and refuses a second server on the same file", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const data = `${folder}/agents.db`
      const first = yield* Scope.make()
      const { admin, origin, port } = yield* Scope.extend(startIn(folder, { data }), first)
      const { body } = yield* admin("mint", mintRequest)
      const { task } = yield* askAs(body.token!, origin)
      const second = yield* Effect.flip(Effect.scoped(startIn(folder, { data })))
      assert.match(second.message, /PostgreSQL/)
      yield* Scope.close(first, Exit.void)
      assert.isFalse(yield* fs.exists(`${folder}/agent-identity/authapi-${port}/admin-token`))

      yield* startIn(folder, { data, port })
      // The issuer has a new key; the agent has its own, and its task.
      assert.isTrue(Exit.isFailure(yield* Effect.exit(askAs(body.token!, origin))))
      const resumed = { ...recordOf(body.token!), taskId: TaskId.TaskId.make(task!) }
      assert.strictEqual((yield* ask(resumed, origin)).task, task)
    }).pipe(Effect.provide(Context)))

  it.scopedLive("trusts the tokens of an outside issuer, whose keys stand beside its own", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const outside = yield* AgentIdentityIssuer.make()
      yield* fs.writeFileString(`${folder}/jwks.json`, JSON.stringify(yield* outside.jwks))
      const { admin, origin } = yield* startIn(folder, { jwks: `${folder}/jwks.json` })
      const token = Redacted.value(
        yield* outside.issue({
          agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-outside"),
          privateKey: AgentKey.toPkcs8(yield* AgentKey.generate()),
          accountId: AccountId.AccountId.make("account-2"),
          chatgptUserId: "user-2",
          planType: "pro",
          fedramp: false
        })
      )
      const unknown = yield* Effect.exit(askAs(token, origin))
      assert.isTrue(Exit.isFailure(unknown))
      assert.deepStrictEqual(yield* admin("trust", { token }), {
        status: 200,
        body: { agentRuntimeId: "agent-outside" }
      } as never)
      assert.strictEqual((yield* askAs(token, origin)).agent, "agent-outside")
      const { body } = yield* admin("mint", mintRequest)
      assert.strictEqual((yield* askAs(body.token!, origin)).agent, "agent-1")
      const forged = yield* admin("trust", { token: `${token.slice(0, -4)}AAAA` })
      assert.strictEqual(forged.status, 400)
      assert.notInclude(JSON.stringify(forged.body), token.slice(0, 40))
    }).pipe(Effect.provide(Layer.merge(Context, NodeSigning.layer))))

  it.scopedLive("refuses a trust without an outside issuer, and key sets that are none", () =>
    Effect.gen(function*() {
      const { admin, folder } = yield* start()
      const { body, status } = yield* admin("trust", { token: "x" })
      assert.strictEqual(status, 400)
      assert.include(JSON.stringify(body), "--jwks")
      const fs = yield* FileSystem.FileSystem
      for (const [index, content] of ["no JSON", "{}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"secret\"}]}"].entries()) {
        yield* fs.writeFileString(`${folder}/jwks-${index}.json`, content)
        const error = yield* Effect.flip(Effect.scoped(startIn(folder, { jwks: `${folder}/jwks-${index}.json` })))
        assert.include(error.message, "is no key set")
        assert.notInclude(error.message, "secret")
      }
      assert.include(
        (yield* Effect.flip(Effect.scoped(startIn(folder, { jwks: "/no/such/file" })))).message,
        "cannot be read"
      )
    }).pipe(Effect.provide(Context)))

  it.scopedLive("gives its admin route to the holder of its token on this machine, and to no page", () =>
    Effect.gen(function*() {
      const { admin, folder, origin, port, token } = yield* start()
      const fs = yield* FileSystem.FileSystem
      const file = yield* fs.stat(`${folder}/agent-identity/authapi-${port}/admin-token`)
      assert.strictEqual(Number(file.mode) & 0o777, 0o600)
      const authorization = `Bearer ${token}`
      const refused: ReadonlyArray<readonly [headers: Record<string, string>, status: number]> = [
        [{}, 401],
        [{ authorization: "Bearer" }, 401],
        [{ authorization: `Bearer ${token}x` }, 401],
        [{ authorization: token }, 401],
        [{ authorization, origin: "https://evil.test" }, 403],
        [{ authorization, origin: origin }, 403],
        [{ authorization, origin: "null" }, 403]
      ]
      for (const [headers, status] of refused) {
        assert.strictEqual((yield* admin("mint", mintRequest, headers)).status, status, JSON.stringify(headers))
      }
      for (const host of ["evil.test", `evil.test:${port}`, "127.0.0.1", "127.0.0.1:1"]) {
        const status = yield* Effect.async<number | undefined>((resume) => {
          const request = Http.request(`${origin}/admin/mint`, { method: "POST", headers: { authorization, host } })
          request.on("response", (response) => {
            response.resume()
            resume(Effect.succeed(response.statusCode))
          })
          request.end(JSON.stringify(mintRequest))
        })
        assert.strictEqual(status, 403, host)
      }
      for (const body of [{}, { ...mintRequest, runtimeId: "a:b" }, { ...mintRequest, account: "" }, []]) {
        assert.strictEqual((yield* admin("mint", body)).status, 400)
      }
      assert.strictEqual((yield* admin("mint", mintRequest)).status, 200)
    }).pipe(Effect.provide(Context)))

  it.scopedLive.skipIf(inject("postgresUrl") === "")(
    "two processes on one PostgreSQL behave as one: an agent of the one runs against the other",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const folder = yield* fs.makeTempDirectoryScoped()
        const databaseUrl = inject("postgresUrl")
        const processes = yield* Effect.all([1, 2].map(() => startProcess(folder, "--database-url", databaseUrl)), {
          concurrency: "unbounded"
        })
        const [one, two] = processes.map(({ port }) => `http://127.0.0.1:${port}`) as [string, string]
        const token = (yield* runCommand(folder, "mint", "--port", processes[0]!.port, "--runtime-id", "agent-shared"))
          .stdout.trim()
        const credential = recordOf(token)
        const first = yield* ask(credential, one)
        assert.strictEqual(first.agent, "agent-shared")
        // The task of the one is good at the other, and so is the agent's key for a task of its own.
        const resumed = { ...credential, taskId: TaskId.TaskId.make(first.task!) }
        assert.strictEqual((yield* ask(resumed, two)).task, first.task)
        const second = yield* ask(credential, two)
        assert.notStrictEqual(second.task, first.task)
        assert.strictEqual(
          (yield* ask({ ...credential, taskId: TaskId.TaskId.make(second.task!) }, one)).task,
          second.task
        )
        assert.notInclude(processes.map(({ output }) => output()).join(), "not-to-be-seen")
      }).pipe(Effect.provide(Context))
  )

  it.live("runs as a command, says where it is, and ends cleanly when it is told to", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped()
      const { output, port, process: server } = yield* startProcess(folder)
      assert.include(output(), `http://127.0.0.1:${port}/api/accounts`)
      const mint = yield* runCommand(folder, "mint", "--port", port, "--runtime-id", "agent-1")
      assert.match(mint.stdout, /^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$/)
      assert.match(output(), /\d\d:\d\d:\d\d POST \/admin\/mint -> 200 in \d+ ms\n/)
      // Somebody who stops in the middle of a request does not keep it.
      const slow = Net.connect(Number(port), "127.0.0.1").on("error", () => undefined)
      slow.write("POST /api/accounts/v1/agent/register HTTP/1.1\r\nHost: x\r\n")
      yield* Effect.sleep("200 millis")
      server.kill("SIGTERM")
      const [code] = yield* Effect.promise(() => once(server, "exit"))
      assert.include([0, 130, 143], code)
      assert.isFalse(yield* fs.exists(`${folder}/agent-identity/authapi-${port}/admin-token`))
      const late = yield* runCommand(folder, "mint", "--port", port, "--runtime-id", "agent-1")
      assert.strictEqual(late.code, 1)
      assert.include(late.stderr, `No server of yours runs on port ${port}`)
    }).pipe(Effect.scoped, Effect.provide(Context)))
})
