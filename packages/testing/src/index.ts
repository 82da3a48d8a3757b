/**
 * @since 0.1.0
 */
export * as Fakes from "./Fakes.ts"
