/**
 * What stands in a Codex `auth.json`, as plain data: the login, the agent, and how an agent is put in.
 *
 * The reference drops top-level members that it does not know when it writes the file, and cannot read the file any more
 * if `agent_identity` is not to its grammar: so all that it does not know goes into one top-level member of our own,
 * which may be lost at any time, and with it only the lease, the age of the task and a key that has no agent yet.
 */
import { AccountId } from "@agent-identity/core/AccountId"
import { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as PlanType from "@agent-identity/core/PlanType"
import { TaskId } from "@agent-identity/core/TaskId"
import type * as ChatGptLogin from "@agent-identity/login/ChatGptLogin"
import * as CredentialStore from "@agent-identity/login/CredentialStore"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"

/** @internal */
export type AuthFile = Readonly<Record<string, unknown>>

/** Undefined for what is no JSON object, and for what is nested deeper than the reference reads. @internal */
export const parse = (bytes: Uint8Array): AuthFile | undefined => {
  try {
    const text = utf8.decode(bytes)
    JSON.parse(text) // As it stands: marks could make JSON of what is none.
    const json: unknown = JSON.parse(text.replace(stringsAndNumbers, markNumber))
    return Predicate.isRecord(json) && !isDeeper(json, maxDepth) ? json : undefined
  } catch {
    return undefined // Not with the error: its message quotes the text.
  }
}

/** Of `serde_json`, by which the reference reads the file. And `JSON.stringify` has no room for any depth. */
const maxDepth = 127

const isDeeper = (value: unknown, depth: number): boolean =>
  typeof value === "object" && value !== null &&
  (depth === 0 || Object.values(value).some((member) => isDeeper(member, depth - 1)))

/**
 * Strict: what is no UTF-8 would not be written as it was read. Editors put a byte order mark before it, which is left out
 * here and when it is written: the reference cannot read it.
 */
const utf8 = new TextDecoder("utf-8", { fatal: true })

/** A number that JavaScript would write otherwise, or cannot hold, stays as it stands: `stringify` writes it so. */
const markNumber = (token: string): string =>
  token.startsWith("\"") || String(Number(token)) === token ? token : `"${mark}${token}"`

const stringify = (value: unknown): string => JSON.stringify(value, null, 2).replace(marked, "$1")

const stringsAndNumbers = /"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/** In no file. */
const mark = `number-${Crypto.randomUUID()}:`
const marked = new RegExp(`"${mark}([^"]*)"`, "g")

// ---------------------------------------------------------------------------------------------------------------------
// The login
// ---------------------------------------------------------------------------------------------------------------------

/** A login, and what else the reference's grammar wants in an agent's record. @internal */
export interface Login extends ChatGptLogin.Login {
  readonly email: string
  readonly planType: string
}

/** @internal */
export type NoLogin = Pick<ChatGptLogin.ChatGptLoginError, "reason" | "detail">

/** By the reference's rules; the agent in the file has no part in it. @internal */
export const loginOf = (auth: AuthFile): Either.Either<Login, NoLogin> => {
  const no = (reason: NoLogin["reason"], detail: string) => Either.left({ reason, detail })
  const { auth_mode: mode, last_refresh: lastRefresh, tokens } = auth
  if (mode != null && typeof mode !== "string") return no("Invalid", "`auth_mode` is no text; log in again")
  const other = mode ?? loginsBeforeChatgpt.find((member) => auth[member] != null)
  if (other !== undefined && other !== "chatgpt") {
    return no("OtherLogin", "the login in it is of another kind; log in with ChatGPT")
  }
  if (tokens == null) return no("LoggedOut", "there is no ChatGPT login in it; log in with ChatGPT")
  if (!Predicate.isRecord(tokens)) return no("Invalid", "`tokens` is no object; log in again")

  const missing = (member: string) => no("Incomplete", `there is no ${member} in it; log in again`)
  const claims = claimsOf(tokens.id_token)
  const authClaims = Predicate.isRecord(claims[authClaimsName]) ? claims[authClaimsName] : {}
  const profile = Predicate.isRecord(claims[profileClaimsName]) ? claims[profileClaimsName] : {}
  const accountId = text(tokens.account_id) ?? text(authClaims.chatgpt_account_id)
  const chatgptUserId = text(authClaims.chatgpt_user_id) ?? text(authClaims.user_id)
  const accessToken = text(tokens.access_token)
  if (text(lastRefresh) === undefined) return missing("`last_refresh`")
  if (accessToken === undefined) return missing("access token")
  if (accountId === undefined) return missing("account id")
  if (chatgptUserId === undefined) return missing("user id")
  const binding = { accountId, chatgptUserId }
  if (!isBinding(binding)) return no("Invalid", "its account id or its user id is not allowed; log in again")
  return Either.right({
    binding,
    fedramp: authClaims.chatgpt_account_is_fedramp === true,
    accessToken: Redacted.make(accessToken),
    email: text(claims.email) ?? text(profile.email) ?? "",
    // By the name that the reference writes; it refuses some spellings of the claim in a record.
    planType: PlanType.fromClaim(text(authClaims.chatgpt_plan_type) ?? "unknown").name
  })
}

/** Where no mode is named: a login by one of these comes before ChatGPT's. */
const loginsBeforeChatgpt = ["personal_access_token", "bedrock_api_key", "OPENAI_API_KEY"]

const authClaimsName = "https://api.openai.com/auth"
const profileClaimsName = "https://api.openai.com/profile"

const isBinding: (binding: unknown) => binding is CredentialStore.Binding = Schema.is(CredentialStore.Binding)

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== "" ? value : undefined

/** Not verified: whoever could put another token there could put a whole login there. */
const claimsOf = (token: unknown): AuthFile => {
  const payload = typeof token === "string" ? token.split(".")[1] : undefined
  return payload === undefined ? {} : parse(Buffer.from(payload, "base64url")) ?? {}
}

/** @internal */
export const isOf = (login: Login, binding: CredentialStore.Binding): boolean =>
  login.binding.accountId === binding.accountId && login.binding.chatgptUserId === binding.chatgptUserId

// ---------------------------------------------------------------------------------------------------------------------
// The agent
// ---------------------------------------------------------------------------------------------------------------------

/** The reference's record, to the type. Where it is not so, the reference could not read it either. */
const Agent = Schema.Struct({
  agent_runtime_id: AgentRuntimeId,
  agent_private_key: Schema.String,
  account_id: AccountId,
  chatgpt_user_id: Schema.String,
  email: Schema.optional(Schema.NullOr(Schema.String)),
  plan_type: Schema.String,
  chatgpt_account_is_fedramp: Schema.Boolean,
  task_id: Schema.optional(Schema.NullOr(Schema.String))
})

const isAgent = Schema.is(Agent)

/** `revision` is another one with each swap: so a version never comes again, not even of an equal record. */
const Own = Schema.Struct({
  account_id: AccountId,
  chatgpt_user_id: Schema.String,
  revision: Schema.String,
  agent_private_key: Schema.optional(Schema.String),
  lease: Schema.optional(Schema.Struct({ holder: Schema.String, expires_at: Schema.Number })),
  // Names its task: one that the reference wrote does not get the age of another.
  task: Schema.optional(Schema.Struct({ task_id: Schema.String, registered_at: Schema.Number }))
})

const isOwn = Schema.is(Own)

/** Left where another's agent stands there. @internal */
export const entryOf = (
  auth: AuthFile,
  binding: CredentialStore.Binding
): Either.Either<Option.Option<CredentialStore.Entry>, "Occupied"> => {
  const agent = auth.agent_identity
  if (typeof agent === "string" || (Predicate.isRecord(agent) && namesAnother(agent, binding))) {
    return Either.left("Occupied")
  }
  const ours = auth.agent_identity_provisioning
  const record = recordOf(
    isAgent(agent) && names(agent, binding) ? agent : undefined,
    isOwn(ours) && names(ours, binding) ? ours : undefined
  )
  return Either.right(Option.map(record, (record) => ({ record, version: versionOf(auth) })))
}

const names = (member: AuthFile, binding: CredentialStore.Binding): boolean =>
  member.account_id === binding.accountId && member.chatgpt_user_id === binding.chatgptUserId

/** Even a broken record may be another's. */
const namesAnother = (member: AuthFile, binding: CredentialStore.Binding): boolean =>
  (text(member.account_id) ?? binding.accountId) !== binding.accountId ||
  (text(member.chatgpt_user_id) ?? binding.chatgptUserId) !== binding.chatgptUserId

const recordOf = (
  agent: typeof Agent.Type | undefined,
  own: typeof Own.Type | undefined
): Option.Option<CredentialStore.AgentRecord> => {
  const lease = own?.lease && { lease: { holder: own.lease.holder, expiresAt: own.lease.expires_at } }
  if (agent === undefined) {
    return own?.agent_private_key === undefined
      ? Option.none()
      : Option.some({ state: "key-made", privateKey: Redacted.make(own.agent_private_key), ...lease })
  }
  const common = {
    agentRuntimeId: agent.agent_runtime_id,
    privateKey: Redacted.make(agent.agent_private_key),
    ...lease
  }
  if (!isTaskId(agent.task_id)) return Option.some({ state: "registered", ...common })
  const registeredAt = own?.task?.task_id === agent.task_id ? { registeredAt: own.task.registered_at } : undefined
  return Option.some({ state: "ready", taskId: agent.task_id, ...registeredAt, ...common })
}

const isTaskId = Schema.is(TaskId)

/** Of the agent alone: a refresh of the login, and another order of the members, are no change of it. */
const versionOf = (auth: AuthFile): string =>
  Crypto.createHash("sha256").update(JSON.stringify(
    [auth.agent_identity ?? null, auth.agent_identity_provisioning ?? null],
    (_, value: unknown) =>
      Predicate.isRecord(value)
        ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1))
        : value
  )).digest("hex")

/**
 * The text of the file with this agent, or with none, where `entryOf` found the agent of this login or none. All other
 * members stay as they are and where they are.
 *
 * @internal
 */
export const withRecord = (
  auth: AuthFile,
  login: Login,
  next: Option.Option<CredentialStore.AgentRecord>
): string => {
  const { agent_identity: agentBefore } = auth
  const result: Record<string, unknown> = { ...auth }
  delete result.agent_identity_provisioning
  if (Option.isNone(next) || next.value.state === "key-made") delete result.agent_identity
  else result.agent_identity = agentMember(agentBefore, login, next.value)
  if (Option.isSome(next)) result.agent_identity_provisioning = ownMember(login, next.value)
  return stringify(result)
}

const agentMember = (
  before: unknown,
  login: Login,
  record: Exclude<CredentialStore.AgentRecord, { readonly state: "key-made" }>
) => {
  const kept = Predicate.isRecord(before) && before.agent_runtime_id === record.agentRuntimeId ? before : {}
  const member: Record<string, unknown> = {
    ...kept,
    agent_runtime_id: record.agentRuntimeId,
    agent_private_key: Redacted.value(record.privateKey),
    account_id: login.binding.accountId,
    chatgpt_user_id: login.binding.chatgptUserId,
    email: login.email,
    plan_type: login.planType,
    chatgpt_account_is_fedramp: login.fedramp
  }
  if (record.state === "ready") member.task_id = record.taskId
  else delete member.task_id
  return member
}

const ownMember = ({ binding }: Login, record: CredentialStore.AgentRecord): typeof Own.Type => ({
  account_id: binding.accountId,
  chatgpt_user_id: binding.chatgptUserId,
  revision: Crypto.randomUUID(),
  ...(record.state === "key-made" ? { agent_private_key: Redacted.value(record.privateKey) } : undefined),
  ...(record.lease === undefined
    ? undefined
    : { lease: { holder: record.lease.holder, expires_at: record.lease.expiresAt } }),
  ...(record.state === "ready" && record.registeredAt !== undefined
    ? { task: { task_id: record.taskId, registered_at: record.registeredAt } }
    : undefined)
})
