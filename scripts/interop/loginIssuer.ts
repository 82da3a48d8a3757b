/** The issuer of ChatGPT logins, as far as the real client asks it, and as it answers a login by a device code. */
import { HttpLayerRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Clock, Effect, Encoding } from "effect"
import { randomUUID } from "node:crypto"

/** What a Responses endpoint answers the bearer token of a login. */
export const ANSWER = "Hello, person."

const ACCOUNT = "account-interop"

const issued = new Set<string>()

/** Whether the value of an `Authorization` header is the access token of a login. */
export const isIssued = (authorization: string): boolean => issued.has(authorization.replace(/^bearer /i, ""))

const makeTokens = (secondsLeft: number) =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const token = (use: string) =>
      [
        { alg: "RS256" },
        {
          jti: randomUUID(),
          use,
          email: "person@example.com",
          exp: Math.floor(now / 1000) + secondsLeft,
          "https://api.openai.com/auth": {
            chatgpt_account_id: ACCOUNT,
            chatgpt_user_id: "user-interop",
            chatgpt_plan_type: "pro"
          }
        },
        "signature"
      ].map((part) => Encoding.encodeBase64Url(typeof part === "string" ? part : JSON.stringify(part))).join(".")
    const tokens = { id_token: token("id"), access_token: token("access"), refresh_token: `refresh-${randomUUID()}` }
    issued.add(tokens.access_token)
    return tokens
  })

/**
 * Its first access token has expired, so that the client asks for another one, and saves it, in its first run. Nobody has
 * to enter the code.
 */
export const layer = HttpLayerRouter.use((router) =>
  Effect.gen(function*() {
    const { unsafeJson } = HttpServerResponse
    yield* router.add(
      "POST",
      "/api/accounts/deviceauth/usercode",
      unsafeJson({ device_auth_id: "device", user_code: "ABCD-EFGH", interval: "0" })
    )
    yield* router.add(
      "POST",
      "/api/accounts/deviceauth/token",
      unsafeJson({ authorization_code: "code", code_challenge: "challenge", code_verifier: "verifier" })
    )
    yield* router.add(
      "POST",
      "/oauth/token",
      Effect.gen(function*() {
        const body = yield* Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => request.text)
        return unsafeJson(yield* makeTokens(/authorization_code/.test(body) ? -3600 : 86_400))
      }).pipe(Effect.orDie)
    )
    yield* router.add("POST", "/oauth/revoke", unsafeJson({}))
    yield* router.add(
      "GET",
      "/backend-api/wham/accounts/check",
      unsafeJson({ accounts: [{ id: ACCOUNT, workspace_backend_origin: null, account_routing_override: "us" }] })
    )
  })
)
