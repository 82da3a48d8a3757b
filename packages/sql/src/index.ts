/**
 * @since 0.1.0
 */
export * as LibsqlFile from "./LibsqlFile.ts"
/**
 * @since 0.1.0
 */
export * as Migrations from "./Migrations.ts"
/**
 * @since 0.1.0
 */
export * as Postgres from "./Postgres.ts"
/**
 * @since 0.1.0
 */
export * as SqlAgentDirectory from "./SqlAgentDirectory.ts"
/**
 * @since 0.1.0
 */
export * as SqlCredentialStore from "./SqlCredentialStore.ts"
