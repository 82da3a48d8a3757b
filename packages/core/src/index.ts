/**
 * @since 0.1.0
 */
export * as AccountId from "./protocol/AccountId.ts"
/**
 * @since 0.1.0
 */
export * as AgentAssertion from "./run/AgentAssertion.ts"
/**
 * @since 0.1.0
 */
export * as AgentIdentity from "./run/AgentIdentity.ts"
/**
 * @since 0.1.0
 */
export * as AgentIdentityJwt from "./token/AgentIdentityJwt.ts"
/**
 * @since 0.1.0
 */
export * as AgentKey from "./protocol/AgentKey.ts"
/**
 * @since 0.1.0
 */
export * as AgentRuntimeId from "./protocol/AgentRuntimeId.ts"
/**
 * @since 0.1.0
 */
export * as AssertionHeader from "./protocol/AssertionHeader.ts"
/**
 * @since 0.1.0
 */
export * as Environment from "./protocol/Environment.ts"
/**
 * @since 0.1.0
 */
export * as Fetch from "./provider/Fetch.ts"
/**
 * @since 0.1.0
 */
export * as Jwks from "./token/Jwks.ts"
/**
 * @since 0.1.0
 */
export * as Party from "./protocol/Party.ts"
/**
 * @since 0.1.0
 */
export * as PlanType from "./token/PlanType.ts"
/**
 * @since 0.1.0
 */
export * as Provider from "./provider/Provider.ts"
/**
 * @since 0.1.0
 */
export * as ProviderAuth from "./provider/ProviderAuth.ts"
/**
 * @since 0.1.0
 */
export * as Refusal from "./protocol/Refusal.ts"
/**
 * @since 0.1.0
 */
export * as Run from "./Run.ts"
/**
 * @since 0.1.0
 */
export * as RunAuth from "./run/RunAuth.ts"
/**
 * @since 0.1.0
 */
export * as RunTask from "./run/RunTask.ts"
/**
 * @since 0.1.0
 */
export * as SealedBox from "./protocol/SealedBox.ts"
/**
 * @since 0.1.0
 */
export * as SignedPayload from "./protocol/SignedPayload.ts"
/**
 * @since 0.1.0
 */
export * as Signing from "./run/Signing.ts"
/**
 * @since 0.1.0
 */
export * as TaskId from "./protocol/TaskId.ts"
/**
 * @since 0.1.0
 */
export * as TaskRegistration from "./run/TaskRegistration.ts"
/**
 * @since 0.1.0
 */
export * as Timestamp from "./protocol/Timestamp.ts"
/**
 * @since 0.1.0
 */
export * as UrlDerivation from "./run/UrlDerivation.ts"
