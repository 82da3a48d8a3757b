/** An issuer's keys and its tokens, by hand. */
import { generateKeyPairSync, randomUUID, sign } from "node:crypto"
import { privateKey as agentKey } from "./home.ts"

export interface Issuer {
  readonly keySet: { readonly keys: ReadonlyArray<object> }
  /** A token of an agent, issued now. */
  readonly token: () => string
}

export const make = (kid = "key-1"): Issuer => {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 })
  return {
    keySet: { keys: [{ ...publicKey.export({ format: "jwk" }), kid, alg: "RS256", use: "sig" }] },
    token: () => {
      const now = Math.floor(Date.now() / 1000)
      const claims = {
        iss: "https://chatgpt.com/codex-backend/agent-identity",
        aud: "codex-app-server",
        iat: now,
        exp: now + 3600,
        agent_runtime_id: `agent-${randomUUID()}`,
        agent_private_key: agentKey,
        account_id: "account-1",
        chatgpt_user_id: "user-1",
        plan_type: "pro",
        chatgpt_account_is_fedramp: false
      }
      const text = [{ alg: "RS256", kid }, claims].map((part) =>
        Buffer.from(JSON.stringify(part)).toString("base64url")
      ).join(".")
      return `${text}.${sign("sha256", Buffer.from(text), privateKey).toString("base64url")}`
    }
  }
}
