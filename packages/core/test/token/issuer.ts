/** A token issuer for tests: keys, tokens made with `jose`, and a loopback server for key sets. */
import { Effect } from "effect"
import * as jose from "jose"
import * as Crypto from "node:crypto"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { vector } from "../fixtures.ts"

/** An RSA key of an issuer. Making one is slow: a file makes two or so, at its top. */
export interface IssuerKey {
  readonly kid: string
  readonly privateJwk: jose.JWK
  readonly publicJwk: jose.JWK & { readonly kid: string }
}

export const makeKey = async (kid: string): Promise<IssuerKey> => {
  const pair = await jose.generateKeyPair("RS256", { extractable: true })
  return {
    kid,
    privateJwk: await jose.exportJWK(pair.privateKey),
    publicJwk: { ...(await jose.exportJWK(pair.publicKey)), kid, alg: "RS256", use: "sig" }
  }
}

/** A set of these keys, as it is served. */
export const keySet = (...keys: ReadonlyArray<IssuerKey>) => ({ keys: keys.map((_) => _.publicJwk) })

/** What a good token of ChatGPT's issuer says at time 0, which is when a test begins. It lasts an hour. */
export const goodClaims = {
  iss: "https://chatgpt.com/codex-backend/agent-identity",
  aud: "codex-app-server",
  iat: 0,
  exp: 3600,
  agent_runtime_id: "agent-1",
  agent_private_key: vector.pkcs8V1,
  account_id: "acct-1",
  chatgpt_user_id: "user-1",
  email: "someone@example.com",
  plan_type: "pro",
  chatgpt_account_is_fedramp: false
}

/** Other claims than the good ones; an undefined one is left out. */
export type Claims = Readonly<Record<string, unknown>>

export const claimsWith = (changes: Claims): Claims => ({ ...goodClaims, ...changes })

/** Any bytes, or JSON of any value, signed by a key or a secret, under any header. */
export const sign = (
  payload: unknown,
  key: IssuerKey | Uint8Array,
  header?: Readonly<Record<string, unknown>>
): Effect.Effect<string> =>
  Effect.promise(() =>
    new jose.CompactSign(payload instanceof Uint8Array ? payload : new TextEncoder().encode(JSON.stringify(payload)))
      .setProtectedHeader({ alg: "RS256", ...(key instanceof Uint8Array ? {} : { kid: key.kid }), ...header })
      .sign(key instanceof Uint8Array ? key : key.privateJwk)
  )

/** A good token but for these claims and header members. */
export const mint = (key: IssuerKey, changes: Claims = {}, header?: Readonly<Record<string, unknown>>) =>
  sign(claimsWith(changes), key, header)

const base64Url = (json: unknown): string => Buffer.from(JSON.stringify(json)).toString("base64url")

/** A token in three parts that nobody signed. */
export const unsigned = (header: unknown, payload: unknown, signature = "c2ln"): string =>
  `${base64Url(header)}.${base64Url(payload)}.${signature}`

/** A token with good claims that `jose` would not sign. */
export const signAnyhow = (header: object, key: Crypto.KeyObject): string => {
  const input = `${base64Url(header)}.${base64Url(goodClaims)}`
  return `${input}.${Crypto.sign("sha256", Buffer.from(input), key).toString("base64url")}`
}

/** What a server does with a request. */
export type Respond = (response: Http.ServerResponse, path: string) => void

export interface Server {
  readonly origin: string
  /** The requests so far: method and path. */
  readonly requests: ReadonlyArray<string>
  readonly headers: ReadonlyArray<Http.IncomingHttpHeaders>
  /** From now on. */
  readonly answer: (respond: Respond) => Effect.Effect<void>
  /** Leaves requests unanswered from now on, until `release` answers all of them, and those to come. */
  readonly hold: Effect.Effect<void>
  readonly release: (respond: Respond) => Effect.Effect<void>
  /** Its port answers nobody any more. */
  readonly close: Effect.Effect<void>
}

export const text = (
  status: number,
  body: string | Uint8Array = "",
  headers: Readonly<Record<string, string>> = {}
): Respond =>
(response) => response.writeHead(status, headers).end(body)

export const json = (body: unknown): Respond => text(200, JSON.stringify(body), { "content-type": "application/json" })

/** Answers of several paths; 404 elsewhere. */
export const paths = (answers: Readonly<Record<string, Respond>>): Respond => (response, path) =>
  (answers[path] ?? text(404))(response, path)

/** A server on a loopback port, which answers 404 until it is told otherwise. */
export const makeServer = Effect.acquireRelease(
  Effect.async<Server>((resume) => {
    const requests: Array<string> = []
    const headers: Array<Http.IncomingHttpHeaders> = []
    const held: Array<(respond: Respond) => void> = []
    let respond: Respond | undefined = text(404)
    const server = Http.createServer((request, response) => {
      const path = request.url!
      requests.push(`${request.method} ${path}`)
      headers.push(request.headers)
      if (respond === undefined) held.push((respond) => respond(response, path))
      else respond(response, path)
    })
    const answer = (next: Respond) => Effect.sync(() => void (respond = next))
    server.listen(0, "127.0.0.1", () =>
      resume(Effect.succeed({
        origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        requests,
        headers,
        answer,
        hold: Effect.sync(() => void (respond = undefined)),
        release: (next) =>
          Effect.zipRight(answer(next), Effect.sync(() => held.splice(0).forEach((give) => give(next)))),
        close: Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
      })))
  }),
  (server) => server.close
)
