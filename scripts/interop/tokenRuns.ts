/** Runs of the client with the token of an agent. */
import { AssertionHeader, Environment, Party, TaskId } from "@agent-identity/core"
import { AgentAssertionVerifier } from "@agent-identity/server"
import { HttpServer } from "@effect/platform"
import { Clock, Effect, Either, Redacted } from "effect"
import { randomUUID } from "node:crypto"
import { AGENT, HOSTS, makeBackend, makeToken, type Seen } from "./backend.ts"
import * as Certificates from "./certificates.ts"
import { type Check, report, signed } from "./checks.ts"
import * as Client from "./client.ts"

interface Scenario {
  readonly name: string
  readonly client?: Client.Past
  /** Whether task ids are answered sealed. */
  readonly sealed?: boolean
  /** Whether the client sends here what it else sends to chatgpt.com: settings, plugins and analytics. */
  readonly everything?: boolean
}

/** What is checked with the newest client. */
export const newest: ReadonlyArray<Scenario> = [
  { name: "plain task ids" },
  { name: "sealed task ids", sealed: true },
  { name: "every endpoint on our side", everything: true }
]

/** One with this version. */
export const ofVersion = (client: Client.Past): Scenario => ({ name: `version ${client.version}`, client })

export const run = ({ client = Client.NEWEST, everything = false, name, sealed = false }: Scenario) =>
  Effect.gen(function*() {
    const seen: Array<Seen> = []
    const certificate = client.finds === "hosts" ? yield* Certificates.make(HOSTS) : undefined
    return yield* Effect.provide(
      runWith({ client, everything, name, seen, authority: certificate?.authority }),
      makeBackend({ sealed, seen, certificate })
    )
  }).pipe(Effect.scoped)

const runWith = ({ authority, client, everything, name, seen }: {
  readonly client: Client.Past
  readonly everything: boolean
  readonly name: string
  readonly seen: Array<Seen>
  readonly authority: string | undefined
}) =>
  Effect.gen(function*() {
    const prompt = `Say ${randomUUID()}.`
    const token = yield* makeToken
    const started = yield* Clock.currentTimeMillis
    const output = yield* HttpServer.addressFormattedWith((origin) =>
      Client.codexExec(prompt, {
        version: client.version,
        config: {
          openai_base_url: `${origin}/backend-api/codex`,
          ...(everything || client.finds === "chatGptBase" ? { chatgpt_base_url: `${origin}/backend-api` } : undefined)
        },
        env: {
          [client.tokenVariable ?? "CODEX_ACCESS_TOKEN"]: Redacted.value(token),
          CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL: `${origin}/api/accounts`,
          CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api`,
          HTTPS_PROXY: origin,
          HTTP_PROXY: origin,
          NO_PROXY: "127.0.0.1",
          ...(authority === undefined ? undefined : { CODEX_CA_CERTIFICATE: authority, SSL_CERT_FILE: authority })
        }
      })
    )
    const millis = (yield* Clock.currentTimeMillis) - started

    const isFirstParty = Party.classifier(Either.getOrThrow(Environment.make({ paths: Environment.chatGptPaths })))
    const answer = `Hello, ${AGENT}. You asked: ${prompt}`
    const toProvider = seen.filter(({ path }) => /^\/backend-api\/codex\/(models|responses)/.test(path))
    const asked = seen.filter(({ method, path }) => method === "POST" && path.endsWith("/codex/responses"))
    const checks: ReadonlyArray<Check> = [
      { what: "codex exec ends well", passed: output.exitCode === 0 },
      { what: "it prints our answer, and nothing else", passed: output.stdout.trim() === answer },
      ...signed(seen, "registration"),
      ...signed(seen, "assertion"),
      {
        what: "every request to the provider has an assertion",
        passed: toProvider.every((_) => _.kind === "assertion")
      },
      { what: "nothing has another scheme", passed: seen.every(({ scheme }) => /^(-|AgentAssertion)$/.test(scheme)) },
      {
        what: "a WebSocket is asked for, and refused with 426",
        passed: seen.some((_) => _.method === "GET (websocket)" && _.status === 426)
      },
      {
        what: "one question, in zstd, is answered",
        passed: asked.length === 1 && asked[0]?.status === 200 && asked[0].encoding === "zstd"
      },
      {
        what: "no assertion goes to a path that we do not know",
        passed: client !== Client.NEWEST ||
          seen.every(({ kind, path }) =>
            kind !== "assertion" || isFirstParty(new URL(path, "https://chatgpt.com")) !== "Foreign"
          )
      },
      { what: "its assertion for another task is refused", passed: yield* isTamperedRefused(asked[0]) }
    ]
    yield* report(`${name}, ${millis} ms`, checks, seen, [output])
    return checks
  })

const isTamperedRefused = (seen: Seen | undefined) =>
  Effect.gen(function*() {
    const { verify } = yield* AgentAssertionVerifier.AgentAssertionVerifier
    const decoded = AssertionHeader.decode(seen?.authorization ?? "")
    if (Either.isLeft(decoded)) return false
    const tampered = AssertionHeader.encode({ ...decoded.right, taskId: TaskId.TaskId.make("task-of-another-run") })
    const refused = yield* Effect.flip(verify(tampered))
    return refused.reason === "BadSignature"
  }).pipe(Effect.orElseSucceed(() => false))
