/**
 * The port to the ChatGPT login of a person, for whom an agent may be made.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Binding } from "./CredentialStore.ts"

/**
 * Why there is no login. `source` is the file, for example; nothing of its content is shown.
 *
 * - `LoggedOut`: there is none
 * - `OtherLogin`: there is one of another kind, such as an API key, which never gets an agent
 * - `OtherWorkspace`: it is one of another workspace than is allowed
 * - `Incomplete`: it does not say for which account or user it is
 * - `Invalid`: what is there cannot be understood
 * - `Unreadable`: there is no permission, or the like
 *
 * @since 0.1.0
 * @category errors
 */
export class ChatGptLoginError extends Schema.TaggedError<ChatGptLoginError>("@agent-identity/login/ChatGptLoginError")(
  "ChatGptLoginError",
  {
    reason: Schema.Literal("LoggedOut", "OtherLogin", "OtherWorkspace", "Incomplete", "Invalid", "Unreadable"),
    source: Schema.String,
    detail: Schema.String
  }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `No ChatGPT login from ${this.source}: ${this.detail}`
  }
}

/**
 * A login, at the moment that it was asked for.
 *
 * @since 0.1.0
 * @category models
 */
export interface Login {
  /** Of which account and user it is. */
  readonly binding: Binding
  /** Whether it is a FedRAMP account. */
  readonly fedramp: boolean
  /** The bearer token that it sends. */
  readonly accessToken: Redacted.Redacted<string>
}

/**
 * Tells who is logged in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The login as it is now: its token may have been refreshed, and it may be another account's than before. */
  readonly current: Effect.Effect<Login, ChatGptLoginError>
}

/**
 * Who is logged in. `@agent-identity/node` reads it from the file of the Codex client (`AuthFile.layerLogin`).
 *
 * @since 0.1.0
 * @category tags
 */
export class ChatGptLogin extends Context.Tag("@agent-identity/login/ChatGptLogin")<ChatGptLogin, Service>() {}
