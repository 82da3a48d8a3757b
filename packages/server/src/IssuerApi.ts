/**
 * The contract of a token issuer: its key set, where the clients of a ChatGPT base look for it, and the document that
 * says where it is.
 *
 * @since 0.1.0
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as Schema from "effect/Schema"

/**
 * The public half of an RSA key that signs tokens (RFC 7517). There is no member for a private part.
 *
 * @since 0.1.0
 * @category schemas
 */
export const PublicJwk = Schema.Struct({
  kid: Schema.String,
  kty: Schema.Literal("RSA"),
  n: Schema.String,
  e: Schema.String,
  use: Schema.Literal("sig"),
  alg: Schema.Literal("RS256")
}).annotations({ identifier: "PublicJwk" })

/**
 * A public key as it is published.
 *
 * @since 0.1.0
 * @category models
 */
export type PublicJwk = typeof PublicJwk.Type

/**
 * A JWK set (RFC 7517) of such keys.
 *
 * @since 0.1.0
 * @category schemas
 */
export const KeySet = Schema.Struct({ keys: Schema.Array(PublicJwk) }).annotations({ identifier: "KeySet" })

/**
 * A key set as it is published.
 *
 * @since 0.1.0
 * @category models
 */
export type KeySet = typeof KeySet.Type

/**
 * What a client of a configured issuer reads of its discovery document.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Discovery = Schema.Struct({
  issuer: Schema.String,
  jwks_uri: Schema.String
}).annotations({ identifier: "Discovery" })

/**
 * Where the key set is below a ChatGPT backend, from the reference client's `agent_identity_jwks_url`; the discovery
 * document points to it.
 *
 * @since 0.1.0
 * @category constants
 */
export const jwksPath = "/backend-api/wham/agent-identities/jwks"

/**
 * `jwks` is below a ChatGPT backend and `plainJwks` below any other base: one key set. `discovery` is below the default
 * issuer's path.
 *
 * @since 0.1.0
 * @category api
 */
export class IssuerGroup extends HttpApiGroup.make("issuer")
  .add(HttpApiEndpoint.get("jwks", jwksPath).addSuccess(KeySet))
  .add(HttpApiEndpoint.get("plainJwks", "/agent-identities/jwks").addSuccess(KeySet))
  .add(
    HttpApiEndpoint.get("discovery", "/codex-backend/agent-identity/.well-known/openid-configuration")
      .addSuccess(Discovery)
  )
{}

/**
 * The whole contract. `IssuerApiHandlers` implements it.
 *
 * @since 0.1.0
 * @category api
 */
export class IssuerApi extends HttpApi.make("IssuerApi").add(IssuerGroup) {}
