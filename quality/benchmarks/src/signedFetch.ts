/** What somebody without this library would write: two headers around an `HttpClient`, or a signature around `fetch`. */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Crypto from "node:crypto"
import * as Agent from "./agent.ts"

export const makeHeader = (): string => {
  const timestamp = `${new Date().toISOString().slice(0, 19)}Z`
  const payload = Buffer.from(`${Agent.agentRuntimeId}:${Agent.taskId}:${timestamp}`)
  const token = JSON.stringify({
    agent_runtime_id: Agent.agentRuntimeId,
    signature: Crypto.sign(null, payload, Agent.privateKey).toString("base64"),
    task_id: Agent.taskId,
    timestamp
  })
  return `AgentAssertion ${Buffer.from(token).toString("base64url")}`
}

/** The least that sends two headers: they are the same at every request. */
export const withConstantHeaders = HttpClient.mapRequest(
  HttpClientRequest.setHeaders({ authorization: makeHeader(), "chatgpt-account-id": Agent.accountId })
)

export const make = (fetch: typeof globalThis.fetch) => (url: string, init?: RequestInit): Promise<Response> => {
  const headers = new Headers(init?.headers)
  headers.set("authorization", makeHeader())
  headers.set("chatgpt-account-id", Agent.accountId)
  return fetch(url, { ...init, headers })
}
