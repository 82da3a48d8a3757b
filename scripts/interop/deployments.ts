/** Which ChatGPT bases the client takes, and what it derives of each, against our table. */
import { Environment } from "@agent-identity/core"
import { HttpServer } from "@effect/platform"
import { Clock, Effect, Either, Redacted } from "effect"
import { makeBackend, makeToken, type Seen } from "./backend.ts"
import { type Check, report } from "./checks.ts"
import * as Client from "./client.ts"

/**
 * Hosts that the client's program names and takes as a base, since it takes every subdomain of chatgpt.com and
 * chatgpt-staging.com, and that are no deployment: telemetry, pages and cloud tasks. We take the hosts of our table only.
 */
const NO_DEPLOYMENT = ["https://ab.chatgpt.com", "https://codex-cloud-backend.chatgpt.com", "https://learn.chatgpt.com"]

/** What the client's rule says of others, so that a change of it is noticed. */
const RULE: ReadonlyArray<readonly [base: string, authApi: string | undefined]> = [
  ["https://nobody.chatgpt.com/backend-api", "auth.openai.com:443"],
  ["https://nobody.chatgpt-staging.com/codex", "auth.api.openai.org:443"],
  ["https://nobody.chat.openai.com/backend-api", undefined],
  ["https://evil-chatgpt.com/backend-api", undefined],
  ["https://gateway.example/backend-api", undefined],
  ["https://chatgpt.com/api/codex", undefined],
  ["https://chatgpt.com:8443/backend-api", undefined]
]

/**
 * A row of our table that the client does not take, or derives otherwise, fails its check; and so does a host that the
 * client's program names and takes, and that neither our table nor `NO_DEPLOYMENT` has.
 */
export const run = Effect.gen(function*() {
  const started = yield* Clock.currentTimeMillis
  const program = yield* Client.programText
  const namedIn = (end: string) =>
    [...new Set(Array.from(program.matchAll(new RegExp(HOST + end, "g")), ([, host]) => host!))].sort()
  const ours = [...new Set(Environment.knownBases.map(({ base }) => new URL(base).origin))].sort()
  const others = namedIn("").filter((host) => !ours.includes(host))

  const checks = yield* Effect.all([
    Effect.succeed({
      what: `the program names the backends of ${namedIn("/backend-api")}, our table those of ${ours}`,
      passed: String(namedIn("/backend-api")) === String(ours)
    }),
    ...Environment.knownBases.map(({ base }) => checkRow(base)),
    ...RULE.map(([base, authApi]) => checkRule(base, authApi)),
    ...others.map((host) =>
      Effect.map(authApiOf(`${host}/backend-api`), (authApi): Check => ({
        what: `${host} is no base, or is known as no deployment`,
        passed: authApi === undefined || NO_DEPLOYMENT.includes(host)
      }))
    )
  ], { concurrency: 3 })
  const millis = (yield* Clock.currentTimeMillis) - started
  const what = `${Environment.knownBases.length} bases of our table and ${others.length} other hosts of the program`
  yield* report(`${what}, ${millis} ms`, checks, [])
  return checks
})

const HOST = "(https://[a-z0-9.-]*(?:chatgpt|openai)[a-z0-9.-]*\\.(?:com|gov|net|org|us))"

const checkRow = (base: string) =>
  Effect.gen(function*() {
    const { authApi, jwks } = Either.getOrThrow(Environment.make({ chatGptBase: base }))
    const theirs = [yield* authApiOf(base), yield* keySetOf(base)]
    return {
      what: `${base}: the client asks ${theirs}, we ask ${authApi.host} and ${jwks?.host}`,
      passed: String(theirs) === `${authApi.host}:443,${jwks?.host}:443`
    }
  })

const checkRule = (base: string, authApi: string | undefined) =>
  Effect.gen(function*() {
    const theirs = yield* authApiOf(base)
    const isOurs = Either.isRight(Environment.make({ chatGptBase: base }))
    return {
      what: `${base}: the client ${theirs ?? "refuses it"}, as we know it does; our table refuses it`,
      passed: theirs === authApi && !isOurs
    }
  })

/** Where it registers a task, as it asks our proxy for it. It needs the key set first, which we have. */
const authApiOf = (base: string) => Effect.map(connectsOf(base, true), ([host]) => host)

/** Where it looks for the key set. */
const keySetOf = (base: string) => Effect.map(connectsOf(base, false), ([host]) => host)

const connectsOf = (base: string, ownKeySet: boolean) => {
  const seen: Array<Seen> = []
  return Effect.gen(function*() {
    const token = yield* makeToken
    yield* HttpServer.addressFormattedWith((origin) =>
      Client.codex(["login", "status"], {
        config: { chatgpt_base_url: base },
        env: {
          CODEX_ACCESS_TOKEN: Redacted.value(token),
          ...(ownKeySet ? { CODEX_AGENT_IDENTITY_JWKS_BASE_URL: `${origin}/backend-api` } : undefined),
          HTTPS_PROXY: origin,
          NO_PROXY: "127.0.0.1"
        }
      })
    )
    return [...new Set(seen.filter(({ method }) => method === "CONNECT").map(({ path }) => path))]
  }).pipe(Effect.provide(makeBackend({ seen })))
}
