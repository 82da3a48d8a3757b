import {
  AgentIdentity,
  AgentKey,
  AgentRuntimeId,
  TaskId,
  TaskRegistration,
  Timestamp,
  UrlDerivation
} from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import {
  AgentAssertionVerifier,
  AgentDirectory,
  AgentDirectoryCache,
  AuthApi,
  RegistrationLimits
} from "@agent-identity/server"
import * as RegisteredAgent from "@agent-identity/testing/RegisteredAgent"
import { HttpApiClient, HttpBody, HttpClient, HttpClientRequest, HttpServer } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, Layer, Option, Schema, Struct, TestClock } from "effect"
import {
  agentPath,
  agentRegistration,
  codeOf,
  layerClient,
  layerServer,
  layerServerWith,
  newKey,
  REGISTER_AGENT,
  registerAgent,
  registerTask,
  registerTaskPath,
  request,
  type RequestOptions,
  type ServerOptions,
  signedHeader,
  signedTask,
  taskOf,
  tokens,
  whoami
} from "./utils.ts"

const Server = (agentRuntimeId: string, directory?: Layer.Layer<AgentDirectory.AgentDirectory>) =>
  RegisteredAgent.layer({ agentRuntimeId }).pipe(
    Layer.provideMerge(layerServer(directory)),
    Layer.provideMerge(NodeSigning.layer)
  )

const signedBody = (millis?: number) =>
  Effect.gen(function*() {
    const { agentRuntimeId, signer } = yield* AgentIdentity.AgentIdentity
    const timestamp = Timestamp.format(millis ?? (yield* Clock.currentTimeMillis))!
    return yield* TaskRegistration.requestBody(signer, agentRuntimeId, timestamp)
  })

const post = (agentRuntimeId: string, body: unknown) =>
  Effect.gen(function*() {
    const client = yield* HttpClient.HttpClient
    const response = yield* client.post(
      `/api/accounts/v1/agent/${encodeURIComponent(agentRuntimeId)}/task/register`,
      { body: HttpBody.unsafeJson(body) }
    )
    return {
      status: response.status,
      retryAfter: response.headers["retry-after"],
      body: (yield* response.json) as never as Record<string, unknown>
    }
  })

describe("the AuthAPI", () => {
  it.effect("gives two byte-identical registrations two tasks, both of the agent", () =>
    Effect.gen(function*() {
      const body = yield* signedBody()
      const answers = yield* Effect.all([post("agent-1", body), post("agent-1", body)])
      assert.deepStrictEqual(answers.map((_) => _.status), [200, 200])
      const ids = answers.map((_) => TaskId.TaskId.make(_.body.task_id as string))
      assert.notStrictEqual(ids[0], ids[1])
      const directory = yield* AgentDirectory.AgentDirectory
      for (const id of ids) {
        assert.strictEqual(Option.getOrThrow(yield* directory.findTask(id)).agentRuntimeId, "agent-1")
      }
    }).pipe(Effect.provide(Server("agent-1"))))

  for (
    const id of [
      "a/b",
      "a b",
      "a?b#c",
      "日本語",
      "%2F",
      "a%b",
      "...",
      "a".repeat(256),
      "日".repeat(256),
      "/".repeat(256)
    ]
  ) {
    it.effect(`knows the agent ${id.slice(0, 8)} (${id.length}) by its escaped id`, () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* post(id, yield* signedBody())).status, 200)
      }).pipe(Effect.provide(Server(id))))
  }

  const refusals: ReadonlyArray<
    readonly [
      what: string,
      agent: string,
      body: Effect.Effect<unknown, unknown, AgentIdentity.AgentIdentity>,
      status: number,
      code: string
    ]
  > = [
    ["an unknown agent", "agent-2", signedBody(), 401, "invalid_registration"],
    ["an id that is none", "a:b", signedBody(), 401, "invalid_registration"],
    [
      "another signature",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: `${"A".repeat(86)}==` })),
      401,
      "invalid_registration"
    ],
    [
      "a signature that is none",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: "%" })),
      401,
      "invalid_registration"
    ],
    [
      "a signature in a second spelling",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, signature: `${_.signature}\n` })),
      401,
      "invalid_registration"
    ],
    ["a registration of 301 s ago", "agent-1", signedBody(0), 401, "stale_registration"],
    [
      "another form of time",
      "agent-1",
      Effect.map(signedBody(), (_) => ({ ..._, timestamp: "now" })),
      401,
      "stale_registration"
    ]
  ]
  for (const [what, agent, body, status, code] of refusals) {
    it.effect(`refuses ${what} with ${status} ${code}`, () =>
      Effect.gen(function*() {
        yield* TestClock.adjust("301 seconds")
        const answer = yield* post(agent, yield* body)
        assert.strictEqual(answer.status, status)
        assert.deepNestedInclude(answer.body, { "error.code": code })
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  for (const body of [{}, { timestamp: "x" }, { timestamp: 1, signature: "x" }, [], null, "x"]) {
    it.effect(`refuses the body ${JSON.stringify(body)} with 400`, () =>
      Effect.gen(function*() {
        const answer = yield* post("agent-1", body)
        assert.strictEqual(answer.status, 400)
        assert.deepNestedInclude(answer.body, { "error.code": "invalid_request" })
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  const large: ReadonlyArray<readonly [what: string, padding: string]> = [
    ["more than 1 KiB", "x".repeat(1024)],
    ["a deep one", "[".repeat(10_000)],
    ["50 MiB", "x".repeat(50 * 1024 * 1024)]
  ]
  for (const [what, padding] of large) {
    it.effect(`refuses a body of ${what} without reading on`, () =>
      Effect.gen(function*() {
        const before = process.memoryUsage().rss
        // The server may hang up on a client that goes on sending.
        const outcome = yield* Effect.either(post("agent-1", { ...(yield* signedBody()), padding }))
        if (Either.isRight(outcome)) assert.strictEqual(outcome.right.status, 400)
        assert.isBelow(process.memoryUsage().rss - before, 400 * 1024 * 1024)
        assert.strictEqual((yield* post("agent-1", yield* signedBody())).status, 200)
      }).pipe(Effect.provide(Server("agent-1"))))
  }

  it.effect("tells paths that differ in case apart", () =>
    Effect.gen(function*() {
      const client = yield* HttpClient.HttpClient
      const response = yield* client.post("/API/Accounts/v1/agent/agent-1/task/register", {
        body: HttpBody.unsafeJson(yield* signedBody())
      })
      assert.strictEqual(response.status, 404)
    }).pipe(Effect.provide(Server("agent-1"))))

  it.effect("answers 503 while its directory is unavailable", () =>
    Effect.gen(function*() {
      const answer = yield* post("agent-1", yield* signedBody())
      assert.deepStrictEqual(answer, { status: 503, retryAfter: "2", body: { ...AuthApi.unavailable } })
    }).pipe(Effect.provide(Server(
      "agent-1",
      Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        issueTask: () => new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })
      })
    ))))

  it.effect("is understood by the client of its own contract and by ours alike", () =>
    Effect.gen(function*() {
      const contract = yield* HttpApiClient.make(AuthApi.AuthApi)
      const derived = yield* contract.agent.registerTask({
        path: { agent_runtime_id: "agent-1" },
        payload: yield* signedBody()
      })
      assert.match("task_id" in derived ? derived.task_id : "", /^task-/)

      const origin = yield* HttpServer.addressFormattedWith(Effect.succeed)
      const ours = yield* Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none())).pipe(
        Effect.provide(Layer.provide(
          TaskRegistration.layer(Layer.succeed(AgentIdentity.AgentIdentity, yield* AgentIdentity.AgentIdentity)),
          NodeHttpClient.layerUndici
        )),
        Effect.provide(UrlDerivation.layerCustom({
          authApi: `${origin.replace("0.0.0.0", "127.0.0.1")}/api/accounts`,
          jwksBase: `${origin.replace("0.0.0.0", "127.0.0.1")}/backend-api`,
          providers: ["https://provider.test"],
          loopbackHttp: true
        }))
      )
      assert.match(ours.taskId, /^task-/)
    }).pipe(Effect.provide(Server("agent-1"))))
})

const Registering = (options: ServerOptions = {}) =>
  layerServerWith(options).pipe(Layer.provideMerge(NodeSigning.layer))

const unavailable = new AgentDirectory.AgentDirectoryError({ reason: "Unavailable", detail: "no connection" })

/** 32 bytes that are no Ed25519 public key which may verify (RFC 8032, section 5.1.3). */
const badPoints: Readonly<Record<string, string>> = {
  "the neutral element": "0100000000000000000000000000000000000000000000000000000000000000",
  "a point of order 2": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "a point of order 4": "0000000000000000000000000000000000000000000000000000000000000000",
  "a point of order 8": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "a y of p": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "a y of p + 1": "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "an x of minus zero": "0100000000000000000000000000000000000000000000000000000000000080",
  "a point with a part of order 2": "03b5939c1d63adf5410aaf84ecd13a066ab889514141846dbde11596ebb92dd3",
  "a y that is on no point": "0200000000000000000000000000000000000000000000000000000000000000"
}

const blobOf = (line: string) => Buffer.from(line.slice("ssh-ed25519 ".length), "base64")
const lineOf = (blob: Uint8Array) => `ssh-ed25519 ${Buffer.from(blob).toString("base64")}`

const badKeys: ReadonlyArray<readonly [what: string, change: (line: string) => unknown]> = [
  ["no key", () => ""],
  ["a number", () => 7],
  ["a text that is no line of OpenSSH", () => "hello"],
  ["an RSA key", () => {
    const part = (bytes: Uint8Array) => Buffer.concat([Uint8Array.of(0, 0, 0, bytes.length), bytes])
    const blob = [Buffer.from("ssh-rsa"), Uint8Array.of(1, 0, 1), new Uint8Array(129).fill(5).fill(0, 0, 1)].map(part)
    return `ssh-rsa ${Buffer.concat(blob).toString("base64")}`
  }],
  ["the bare 32 bytes", (line) => blobOf(line).subarray(19).toString("base64")],
  ["a comment behind it", (line) => `${line} me@host`],
  ["a line end behind it", (line) => `${line}\n`],
  ["a space before it", (line) => ` ${line}`],
  ["a second key behind it", (line) => `${line}\n${line}`],
  ["a byte behind the key", (line) => lineOf(Buffer.concat([blobOf(line), Uint8Array.of(0)]))],
  ["a byte too few", (line) => lineOf(blobOf(line).subarray(0, 50))],
  ["another algorithm inside", (line) => lineOf(blobOf(line).fill("x", 4, 15))],
  ...Object.entries(badPoints).map(([what, hex]) =>
    [what, () => AgentKey.toSshPublicKey(new Uint8Array(Buffer.from(hex, "hex")))] as const
  )
]

const incomplete: ReadonlyArray<readonly [what: string, change: Readonly<Record<string, unknown>>]> = [
  ["without abom", { abom: undefined }],
  ["with an abom of null", { abom: null }],
  ["with half an abom", { abom: { agent_version: "1", agent_harness_id: "x" } }],
  ["with a version that is a number", { abom: { agent_version: 1, agent_harness_id: "x", running_location: "x" } }],
  ["without a key", { agent_public_key: undefined }],
  ["without capabilities", { capabilities: undefined }],
  ["with capabilities in a text", { capabilities: "responsesapi" }],
  ["with a ttl in a text", { ttl: "60" }],
  ["with a ttl of 0", { ttl: 0 }],
  ["with a ttl below 0", { ttl: -60 }]
]

const noRegistrations: Readonly<Record<string, string>> = {
  "of nothing": "",
  "of white space": "  ",
  "that is cut": "{\"abom\":",
  "that is a form": "abom=x&capabilities=y",
  "of null": "null",
  "of a list": "[]",
  "of a number": "1e999",
  "that nests 8,000 times": "[".repeat(8000)
}

describe("the registration of an agent", () => {
  it.effect("makes an agent that registers tasks with its key and is verified", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const task = yield* registerTask(agent)
      const { body, status } = yield* whoami(yield* signedHeader(agent, taskOf(task)))
      assert.strictEqual(status, 200)
      assert.deepStrictEqual(body, {
        agent: agent.agentRuntimeId,
        task: taskOf(task),
        timestamp: "1970-01-01T00:00:00Z"
      })
      const directory = yield* AgentDirectory.AgentDirectory
      assert.deepStrictEqual(
        yield* directory.findAgent(agent.agentRuntimeId),
        Option.some({
          agentRuntimeId: agent.agentRuntimeId,
          publicKey: agent.signer.publicKey,
          owner: "alice"
        })
      )
    }).pipe(Effect.provide(Registering())))

  it.effect("is understood by the client of its own contract, and the agent then by our own client", () =>
    Effect.gen(function*() {
      const { line, privateKey, signer } = yield* newKey
      const contract = yield* HttpApiClient.make(AuthApi.AuthApi, {
        transformClient: HttpClient.mapRequest(HttpClientRequest.bearerToken(tokens.alice))
      })
      const { agent_runtime_id } = yield* contract.agent.registerAgent({
        payload: {
          abom: { agent_version: "1", agent_harness_id: "codex-cli", running_location: "cli-linux" },
          agent_public_key: line,
          capabilities: []
        }
      })
      const agent = { agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make(agent_runtime_id), privateKey, signer }
      const { taskId } = yield* Effect.provide(
        Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none())),
        layerClient(agent)
      )
      assert.strictEqual((yield* whoami(yield* signedHeader(agent, taskId))).status, 200)
      yield* contract.agent.deleteAgent({ path: { agent_runtime_id } })
      assert.deepStrictEqual(
        yield* Effect.flip(contract.agent.deleteAgent({ path: { agent_runtime_id } })),
        { error: { code: "agent_not_found", message: "You have registered no such agent." } }
      )
    }).pipe(Effect.provide(Registering())))

  for (const [ttl, expiresAt] of [[undefined], [null], [3600, 3_600_000], [0.0015, 2], [1e300, 1e303]] as const) {
    it.effect(`takes ${ttl === undefined ? "no ttl" : `a ttl of ${ttl}`}`, () =>
      Effect.gen(function*() {
        const { line } = yield* newKey
        const body = agentRegistration({ agent_public_key: line, ttl })
        const answer = yield* request("POST", REGISTER_AGENT, { token: tokens.alice, body })
        assert.strictEqual(answer.status, 200)
        assert.deepStrictEqual(Object.keys(answer.body!), ["agent_runtime_id"])
        const { findAgent } = yield* AgentDirectory.AgentDirectory
        const agent = yield* findAgent(AgentRuntimeId.AgentRuntimeId.make(String(answer.body!.agent_runtime_id)))
        assert.strictEqual(Option.getOrThrow(agent).expiresAt, expiresAt)
      }).pipe(Effect.provide(Registering())))
  }

  it.effect("takes no ttl that is too large for a number", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      const text = JSON.stringify(agentRegistration({ agent_public_key: line, ttl: 7 }))
      const ask = (text: string) => request("POST", REGISTER_AGENT, { token: tokens.alice, text })
      assert.strictEqual((yield* ask(text.replace("\"ttl\":7", "\"ttl\":1e999"))).status, 400)
      assert.strictEqual((yield* ask(text)).status, 200)
    }).pipe(Effect.provide(Registering())))

  it.effect("ends an agent after its ttl, unless it is registered again", () =>
    Effect.gen(function*() {
      const { line, privateKey, signer } = yield* newKey
      const body = agentRegistration({ agent_public_key: line, ttl: 60 })
      const ask = request("POST", REGISTER_AGENT, { token: tokens.alice, body })
      const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(String((yield* ask).body!.agent_runtime_id))
      const agent = { agentRuntimeId, privateKey, signer }
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual((yield* ask).status, 200)
      yield* TestClock.adjust("50 seconds")
      const task = yield* registerTask(agent)
      assert.strictEqual((yield* whoami(yield* signedHeader(agent, taskOf(task)))).status, 200)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* registerTask(agent)).status, 401)
      assert.strictEqual((yield* whoami(yield* signedHeader(agent, taskOf(task)))).status, 401)
      assert.strictEqual(
        (yield* request("DELETE", `/api/accounts/v1/agent/${agentRuntimeId}`, {
          token: tokens.alice
        })).status,
        404
      )
      // It is the same agent again, without the task that it had.
      assert.strictEqual((yield* ask).body!.agent_runtime_id, agentRuntimeId)
      assert.strictEqual((yield* whoami(yield* signedHeader(agent, taskOf(task)))).status, 401)
      assert.strictEqual((yield* registerTask(agent)).status, 200)
    }).pipe(Effect.provide(Registering())))

  it.effect("makes one agent of a key however often its owner asks", () =>
    Effect.gen(function*() {
      const { line, privateKey, signer } = yield* newKey
      const ask = request("POST", REGISTER_AGENT, {
        token: tokens.alice,
        body: agentRegistration({ agent_public_key: line })
      })
      const [first, second] = yield* Effect.all([ask, ask])
      assert.deepStrictEqual(second.body, first.body)
      const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(first.body!.agent_runtime_id as string)
      const { status } = yield* registerTask({ agentRuntimeId, privateKey, signer })
      assert.strictEqual(status, 200)
      const other = yield* request("POST", REGISTER_AGENT, {
        token: tokens.alice,
        body: agentRegistration({ agent_public_key: (yield* newKey).line })
      })
      assert.notDeepEqual(other.body, first.body)
    }).pipe(Effect.provide(Registering())))

  it.effect("makes two agents of one key for two owners, and tells their signatures apart", () =>
    Effect.gen(function*() {
      const { line, privateKey, signer } = yield* newKey
      const body = agentRegistration({ agent_public_key: line })
      const answers = yield* Effect.forEach(
        [tokens.alice, tokens.bob],
        (token) => request("POST", REGISTER_AGENT, { token, body })
      )
      const ids = answers.map((_) => AgentRuntimeId.AgentRuntimeId.make(_.body!.agent_runtime_id as string))
      assert.notStrictEqual(ids[0], ids[1])
      const first = { agentRuntimeId: ids[0]!, privateKey, signer }
      const second = { agentRuntimeId: ids[1]!, privateKey, signer }
      assert.strictEqual((yield* registerTask(first)).status, 200)
      assert.strictEqual((yield* registerTask(second)).status, 200)
      const exchanged = yield* request("POST", registerTaskPath(second.agentRuntimeId), {
        body: yield* signedTask(first)
      })
      assert.deepStrictEqual([exchanged.status, codeOf(exchanged)], [401, "invalid_registration"])
      const foreign = yield* whoami(yield* signedHeader(second, taskOf(yield* registerTask(first))))
      assert.deepStrictEqual([foreign.status, codeOf(foreign)], [401, "task_not_found"])
    }).pipe(Effect.provide(Registering())))

  it.effect("refuses every key that is none with 400", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      for (const [what, change] of badKeys) {
        const answer = yield* request("POST", REGISTER_AGENT, {
          token: tokens.alice,
          body: agentRegistration({ agent_public_key: change(line) })
        })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [400, "invalid_request"], what)
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("refuses a body without a member that is wanted with 400", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      for (const [what, change] of incomplete) {
        const answer = yield* request("POST", REGISTER_AGENT, {
          token: tokens.alice,
          body: agentRegistration({ agent_public_key: line, ...change })
        })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [400, "invalid_request"], what)
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("refuses a body that is no JSON object with 400", () =>
    Effect.gen(function*() {
      for (const [what, text] of Object.entries(noRegistrations)) {
        const answer = yield* request("POST", REGISTER_AGENT, { token: tokens.alice, text })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [400, "invalid_request"], what)
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("takes a body of 16 KiB, and refuses one of a byte more with 400", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      const text = JSON.stringify(agentRegistration({ agent_public_key: line }))
      const padded = (bytes: number) =>
        request("POST", REGISTER_AGENT, { token: tokens.alice, text: text.padEnd(bytes, " ") })
      assert.strictEqual((yield* padded(16 * 1024)).status, 200)
      const larger = yield* padded(16 * 1024 + 1)
      assert.deepStrictEqual([larger.status, codeOf(larger)], [400, "invalid_request"])
    }).pipe(Effect.provide(Registering())))

  it.effect("answers 503 while its directory is unavailable", () =>
    Effect.gen(function*() {
      const { line } = yield* newKey
      const body = agentRegistration({ agent_public_key: line })
      const answer = yield* request("POST", REGISTER_AGENT, { token: tokens.alice, body })
      assert.deepStrictEqual([answer.status, codeOf(answer)], [503, "directory_unavailable"])
      assert.strictEqual(answer.headers["retry-after"], "2")
    }).pipe(Effect.provide(Registering({
      directory: Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        putAgent: () => unavailable
      })
    }))))
})

describe("the registration of a task", () => {
  it.effect("takes a body of 1 KiB, and refuses one of a byte more with 400", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const text = JSON.stringify(yield* signedTask(agent))
      const padded = (bytes: number) =>
        request("POST", registerTaskPath(agent.agentRuntimeId), { text: text.padEnd(bytes, " ") })
      assert.strictEqual((yield* padded(1024)).status, 200)
      const larger = yield* padded(1025)
      assert.deepStrictEqual([larger.status, codeOf(larger)], [400, "invalid_request"])
    }).pipe(Effect.provide(Registering())))

  it.effect("is answered sealed where that is asked for, and only the agent opens it", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const { body } = yield* registerTask(agent)
      assert.deepStrictEqual(Object.keys(body!), ["encrypted_task_id"])
      const sealed = Buffer.from(body!.encrypted_task_id as string, "base64")
      const taskId = TaskId.TaskId.make(Buffer.from(yield* agent.signer.openSealed(sealed)).toString())
      const directory = yield* AgentDirectory.AgentDirectory
      assert.strictEqual(Option.getOrThrow(yield* directory.findTask(taskId)).agentRuntimeId, agent.agentRuntimeId)
      const other = yield* newKey
      assert.strictEqual((yield* Effect.flip(other.signer.openSealed(sealed))).reason, "CannotOpen")
    }).pipe(Effect.provide(Registering({ handlers: { sealed: true } }))))

  it.effect("is opened by our own client where it is sealed", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const { taskId } = yield* Effect.provide(
        Effect.flatMap(TaskRegistration.TaskRegistration, (_) => _.register(Option.none())),
        layerClient(agent)
      )
      const directory = yield* AgentDirectory.AgentDirectory
      assert.strictEqual(Option.getOrThrow(yield* directory.findTask(taskId)).agentRuntimeId, agent.agentRuntimeId)
      assert.strictEqual((yield* whoami(yield* signedHeader(agent, taskId))).status, 200)
    }).pipe(Effect.provide(Registering({ handlers: { sealed: true } }))))
})

describe("the deletion of an agent", () => {
  const directories: Readonly<Record<string, ServerOptions>> = {
    "": {},
    ", though its directory remembers": {
      directory: AgentDirectoryCache.layer(AgentDirectory.layerMemory)
    }
  }
  for (const [what, options] of Object.entries(directories)) {
    it.effect(`by its owner refuses its tasks and assertions at once${what}`, () =>
      Effect.gen(function*() {
        const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
        const [agent, other] = [yield* registerAgent(), yield* registerAgent()]
        const task = taskOf(yield* registerTask(agent))
        const header = yield* signedHeader(agent, task)
        assert.strictEqual((yield* whoami(header)).status, 200)
        assert.strictEqual((yield* verify(header)).taskId, task)

        const deleted = yield* request("DELETE", agentPath(agent.agentRuntimeId), { token: tokens.alice })
        assert.deepStrictEqual([deleted.status, deleted.body], [204, undefined])

        const refused = yield* whoami(header)
        assert.deepStrictEqual([refused.status, codeOf(refused)], [401, "invalid_assertion"])
        assert.strictEqual((yield* Effect.flip(verify(header)))._tag, "AssertionRefused")
        const registered = yield* registerTask(agent)
        assert.deepStrictEqual([registered.status, codeOf(registered)], [401, "invalid_registration"])

        const again = yield* request("DELETE", agentPath(agent.agentRuntimeId), { token: tokens.alice })
        assert.deepStrictEqual([again.status, codeOf(again)], [404, "agent_not_found"])
        assert.strictEqual((yield* registerTask(other)).status, 200)

        // The same agent again has none of its old tasks.
        const directory = yield* AgentDirectory.AgentDirectory
        yield* directory.putAgent({ agentRuntimeId: agent.agentRuntimeId, publicKey: agent.signer.publicKey })
        const old = yield* whoami(header)
        assert.deepStrictEqual([old.status, codeOf(old)], [401, "task_not_found"])
      }).pipe(Effect.provide(Registering(options))))
  }

  it.effect("answers with one 404 for an agent that is another's, nobody's, unknown or impossible", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const agent = yield* registerAgent(tokens.alice)
      const nobodys = AgentRuntimeId.AgentRuntimeId.make("agent-of-nobody")
      yield* directory.putAgent({ agentRuntimeId: nobodys, publicKey: agent.signer.publicKey })
      const answers = yield* Effect.forEach(
        [agent.agentRuntimeId, nobodys, "agent-unknown", "a:b", " "],
        (id) => request("DELETE", agentPath(id), { token: tokens.bob })
      )
      const [first, ...others] = answers.map(({ body, headers, status }) => ({
        status,
        body,
        headers: Struct.omit(headers, "date", "x-request-id")
      }))
      assert.strictEqual(first!.status, 404)
      assert.strictEqual(codeOf(first!), "agent_not_found")
      for (const other of others) assert.deepStrictEqual(other, first)
      assert.strictEqual((yield* registerTask(agent)).status, 200)
      assert.isTrue(Option.isSome(yield* directory.findAgent(nobodys)))
    }).pipe(Effect.provide(Registering())))

  it.effect("finds an agent by its escaped id", () =>
    Effect.gen(function*() {
      const directory = yield* AgentDirectory.AgentDirectory
      const { signer } = yield* newKey
      for (const id of ["a/b", "a b?c#d", "日本語", "/".repeat(256)]) {
        const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(id)
        yield* directory.putAgent({ agentRuntimeId, publicKey: signer.publicKey, owner: "bob" })
        assert.strictEqual((yield* request("DELETE", agentPath(id), { token: tokens.bob })).status, 204)
        assert.isTrue(Option.isNone(yield* directory.findAgent(agentRuntimeId)))
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("wants a bearer", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      for (const token of [undefined, "mallorys-token"]) {
        const answer = yield* request("DELETE", agentPath(agent.agentRuntimeId), { token })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [401, "invalid_token"])
        assert.match(answer.headers["www-authenticate"] ?? "", /^Bearer/)
      }
      assert.strictEqual((yield* registerTask(agent)).status, 200)
    }).pipe(Effect.provide(Registering())))

  it.effect("answers 503 while its directory is unavailable", () =>
    Effect.gen(function*() {
      const answer = yield* request("DELETE", agentPath("agent-1"), { token: tokens.alice })
      assert.deepStrictEqual([answer.status, codeOf(answer)], [503, "directory_unavailable"])
      assert.strictEqual(answer.headers["retry-after"], "2")
    }).pipe(Effect.provide(Registering({
      directory: Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        findAgent: () => unavailable
      })
    }))))
})

describe("the health of the server", () => {
  it.effect("is told to everybody", () =>
    Effect.gen(function*() {
      const { body, headers, status } = yield* request("GET", "/api/accounts/health")
      assert.deepStrictEqual([status, body], [200, { status: "ok" }])
      assert.strictEqual(headers["content-type"], "application/json")
    }).pipe(Effect.provide(Registering())))
})

describe("an error of the AuthAPI", () => {
  const documented: Readonly<Record<number, Schema.Schema.AnyNoContext>> = {
    400: AuthApi.BadRequest,
    401: AuthApi.Unauthorized,
    404: AuthApi.NotFound,
    429: AuthApi.TooManyRequests,
    503: AuthApi.Unavailable
  }
  const marker = "sent-by-the-client"
  const markedBody = { timestamp: marker, signature: marker, abom: marker, agent_public_key: marker }
  const registration = agentRegistration({ agent_public_key: `ssh-ed25519 ${marker}`, ttl: 1, capabilities: [marker] })
  const asAlice = { token: tokens.alice }
  const authorization = `AgentAssertion ${marker}`

  const errors: ReadonlyArray<
    readonly [status: number, method: "GET" | "POST" | "DELETE", path: string, options: RequestOptions]
  > = [
    [400, "POST", REGISTER_AGENT, { ...asAlice, body: markedBody }],
    [400, "POST", REGISTER_AGENT, { ...asAlice, body: registration }],
    [400, "POST", REGISTER_AGENT, { ...asAlice, text: `${marker}{` }],
    [400, "POST", REGISTER_AGENT, { ...asAlice, text: marker.repeat(1000) }],
    [401, "POST", REGISTER_AGENT, { token: marker, body: markedBody }],
    [401, "POST", REGISTER_AGENT, { headers: { authorization } }],
    [400, "POST", registerTaskPath(marker), { body: { signature: marker } }],
    [400, "POST", registerTaskPath(marker), { text: marker.repeat(100) }],
    [401, "POST", registerTaskPath(marker), { body: markedBody }],
    [401, "POST", registerTaskPath(marker), { body: { timestamp: "1970-01-01T00:00:00Z", signature: marker } }],
    [401, "POST", registerTaskPath(`:${marker}`), { body: { timestamp: "1970-01-01T00:00:00Z", signature: marker } }],
    [401, "DELETE", agentPath(marker), { token: marker }],
    [404, "DELETE", agentPath(marker), asAlice],
    [401, "GET", "/whoami", { headers: { authorization } }]
  ]

  it.effect("is JSON with a code and a message that are documented, and shows nothing that was sent", () =>
    Effect.gen(function*() {
      for (const [status, method, path, options] of errors) {
        const answer = yield* request(method, path, options)
        const what = `${method} ${path} ${JSON.stringify(options).slice(0, 80)}`
        assert.strictEqual(answer.status, status, what)
        assert.strictEqual(answer.headers["content-type"], "application/json", what)
        assert.isTrue(
          Schema.is(documented[status]!)(answer.body, { onExcessProperty: "error" }),
          `${what}: ${JSON.stringify(answer.body)}`
        )
        assert.notInclude(JSON.stringify([answer.body, answer.headers]), marker, what)
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("is the same for a path or a method that there is not, which only the router knows", () =>
    Effect.gen(function*() {
      for (const [method, path] of [["GET", `/${marker}`], ["GET", REGISTER_AGENT], ["POST", "/whoami"]] as const) {
        const answer = yield* request(method, path, { headers: { authorization, "x-header": marker } })
        assert.deepStrictEqual([answer.status, codeOf(answer)], [404, "not_found"])
        assert.strictEqual(answer.headers["content-type"], "application/json")
        assert.notInclude(JSON.stringify([answer.body, answer.headers]), marker)
      }
    }).pipe(Effect.provide(Registering())))

  it.effect("shows nothing while the directory is unavailable or requests are too many", () =>
    Effect.gen(function*() {
      const agent = yield* registerAgent()
      const unanswered = yield* registerTask(agent)
      const limited = yield* request("POST", registerTaskPath(marker), { body: markedBody })
      assert.deepStrictEqual([unanswered.status, limited.status], [503, 429])
      for (const answer of [unanswered, limited]) {
        assert.isTrue(Schema.is(documented[answer.status]!)(answer.body, { onExcessProperty: "error" }))
        for (const text of [marker, agent.agentRuntimeId, "no connection"]) {
          assert.notInclude(JSON.stringify([answer.body, answer.headers]), text)
        }
      }
    }).pipe(Effect.provide(Registering({
      limits: RegistrationLimits.layerMemory({ perAddress: 2 }),
      directory: Layer.succeed(AgentDirectory.AgentDirectory, {
        ...AgentDirectory.makeMemory(),
        issueTask: () => unavailable
      })
    }))))
})
