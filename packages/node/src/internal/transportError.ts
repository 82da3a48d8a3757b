import * as Schema from "effect/Schema"

/**
 * Why the environment's transport cannot be used. `source` is the variable.
 *
 * - `InvalidProxy`: a proxy that is no http: or https: URL. Its URL is not shown, since it may hold a password
 * - `InvalidCertificate`: a file of certificates that cannot be read, or that holds none
 *
 * @since 0.1.0
 * @category errors
 */
export class TransportError extends Schema.TaggedError<TransportError>("@agent-identity/node/TransportError")(
  "TransportError",
  { reason: Schema.Literal("InvalidProxy", "InvalidCertificate"), source: Schema.String, detail: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message() {
    return `${this.source} cannot be used: ${this.detail}`
  }
}
