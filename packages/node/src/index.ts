/**
 * @since 0.1.0
 */
export * as NodeSigning from "./NodeSigning.ts"
