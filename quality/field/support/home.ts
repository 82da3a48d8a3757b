/** Homes of the Codex client, and the agent in them. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { temporaryFolder } from "./app.ts"

/** The key of the example in the protocol's description. */
export const privateKey = "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"

const home = (auth: object): string => {
  const folder = temporaryFolder()
  Fs.writeFileSync(fileIn(folder), JSON.stringify(auth), { mode: 0o600 })
  return folder
}

export const fileIn = (home: string): string => Path.join(home, "auth.json")

export const textIn = (home: string): string => Fs.readFileSync(fileIn(home), "utf8")

/** What stands in it beside `auth.json`. */
export const besideIn = (home: string): ReadonlyArray<string> =>
  Fs.readdirSync(home).filter((name) => name !== "auth.json").sort()

/**
 * A home with an agent that has a task from before, so that its runs register none: a refusal of it is not within 30 s
 * of a registration.
 */
export const ofAgent = (task: string): string =>
  home({
    auth_mode: "agentIdentity",
    agent_identity: {
      agent_runtime_id: "agent-home",
      agent_private_key: privateKey,
      account_id: "account-1",
      chatgpt_user_id: "user-1",
      email: null,
      plan_type: "pro",
      chatgpt_account_is_fedramp: false,
      task_id: task
    }
  })

/** A home of somebody who has logged in with ChatGPT. */
export const ofLogin = (account = "account-1"): string => {
  const claims = {
    email: "person@example.com",
    "https://api.openai.com/auth": {
      chatgpt_account_id: account,
      chatgpt_user_id: "user-1",
      chatgpt_plan_type: "pro"
    }
  }
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  return home({
    auth_mode: "chatgpt",
    OPENAI_API_KEY: null,
    tokens: {
      id_token: `${part({ alg: "RS256" })}.${part(claims)}.c2ln`,
      access_token: "access-token-of-a-person",
      refresh_token: "refresh-token-of-a-person",
      account_id: account
    },
    last_refresh: new Date().toISOString()
  })
}
