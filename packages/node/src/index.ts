/**
 * @since 0.1.0
 */
export * as AuthCommand from "./AuthCommand.ts"
/**
 * @since 0.1.0
 */
export * as AuthFile from "./AuthFile.ts"
/**
 * @since 0.1.0
 */
export * as CredentialSource from "./CredentialSource.ts"
/**
 * @since 0.1.0
 */
export * as NodeAgentIdentity from "./NodeAgentIdentity.ts"
/**
 * @since 0.1.0
 */
export * as NodeSigning from "./NodeSigning.ts"
/**
 * @since 0.1.0
 */
export * as NodeTransport from "./NodeTransport.ts"
/**
 * @since 0.1.0
 */
export * as ProviderSocket from "./ProviderSocket.ts"
