/**
 * @since 0.1.0
 */
export * as AgentAssertionVerifier from "./AgentAssertionVerifier.ts"
/**
 * @since 0.1.0
 */
export * as AgentAuthentication from "./AgentAuthentication.ts"
/**
 * @since 0.1.0
 */
export * as AgentDirectory from "./AgentDirectory.ts"
/**
 * @since 0.1.0
 */
export * as AgentDirectoryCache from "./AgentDirectoryCache.ts"
/**
 * @since 0.1.0
 */
export * as AgentIdentityIssuer from "./AgentIdentityIssuer.ts"
/**
 * @since 0.1.0
 */
export * as AuthApi from "./AuthApi.ts"
/**
 * @since 0.1.0
 */
export * as AuthApiHandlers from "./AuthApiHandlers.ts"
/**
 * @since 0.1.0
 */
export * as IssuerApi from "./IssuerApi.ts"
/**
 * @since 0.1.0
 */
export * as IssuerApiHandlers from "./IssuerApiHandlers.ts"
/**
 * @since 0.1.0
 */
export * as RegistrationBearer from "./RegistrationBearer.ts"
/**
 * @since 0.1.0
 */
export * as RegistrationLimits from "./RegistrationLimits.ts"
/**
 * @since 0.1.0
 */
export * as ServerMiddleware from "./ServerMiddleware.ts"
