/**
 * @since 0.1.0
 */
export * as ResponsesApi from "./ResponsesApi.ts"
/**
 * @since 0.1.0
 */
export * as ResponsesHandlers from "./ResponsesHandlers.ts"
