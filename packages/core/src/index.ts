/**
 * @since 0.1.0
 */
export * as AccountId from "./AccountId.ts"
/**
 * @since 0.1.0
 */
export * as AgentAssertion from "./AgentAssertion.ts"
/**
 * @since 0.1.0
 */
export * as AgentIdentity from "./AgentIdentity.ts"
/**
 * @since 0.1.0
 */
export * as AgentIdentityJwt from "./AgentIdentityJwt.ts"
/**
 * @since 0.1.0
 */
export * as AgentKey from "./AgentKey.ts"
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
export * as AgentRuntimeId from "./AgentRuntimeId.ts"
/**
 * @since 0.1.0
 */
export * as AssertionHeader from "./AssertionHeader.ts"
/**
 * @since 0.1.0
 */
export * as ChatGptLogin from "./ChatGptLogin.ts"
/**
 * @since 0.1.0
 */
export * as CredentialStore from "./CredentialStore.ts"
/**
 * @since 0.1.0
 */
export * as Environment from "./Environment.ts"
/**
 * @since 0.1.0
 */
export * as Fetch from "./Fetch.ts"
/**
 * @since 0.1.0
 */
export * as Jwks from "./Jwks.ts"
/**
 * @since 0.1.0
 */
export * as PlanType from "./PlanType.ts"
/**
 * @since 0.1.0
 */
export * as Provider from "./Provider.ts"
/**
 * @since 0.1.0
 */
export * as ProviderAuth from "./ProviderAuth.ts"
/**
 * @since 0.1.0
 */
export * as Refusal from "./Refusal.ts"
/**
 * @since 0.1.0
 */
export * as Run from "./Run.ts"
/**
 * @since 0.1.0
 */
export * as RunAuth from "./RunAuth.ts"
/**
 * @since 0.1.0
 */
export * as RunTask from "./RunTask.ts"
/**
 * @since 0.1.0
 */
export * as SealedBox from "./SealedBox.ts"
/**
 * @since 0.1.0
 */
export * as SignedPayload from "./SignedPayload.ts"
/**
 * @since 0.1.0
 */
export * as Signing from "./Signing.ts"
/**
 * @since 0.1.0
 */
export * as TaskId from "./TaskId.ts"
/**
 * @since 0.1.0
 */
export * as TaskRegistration from "./TaskRegistration.ts"
/**
 * @since 0.1.0
 */
export * as Timestamp from "./Timestamp.ts"
/**
 * @since 0.1.0
 */
export * as UrlDerivation from "./UrlDerivation.ts"
