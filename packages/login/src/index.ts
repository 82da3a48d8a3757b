/**
 * @since 0.1.0
 */
export * as AgentProvisioning from "./AgentProvisioning.ts"
/**
 * @since 0.1.0
 */
export * as AgentRegistration from "./AgentRegistration.ts"
/**
 * @since 0.1.0
 */
export * as ChatGptLogin from "./ChatGptLogin.ts"
/**
 * @since 0.1.0
 */
export * as ChatGptRun from "./ChatGptRun.ts"
/**
 * @since 0.1.0
 */
export * as CredentialStore from "./CredentialStore.ts"
