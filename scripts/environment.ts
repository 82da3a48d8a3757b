/** What a program of ours reads of its environment: a backend on loopback, an agent that it knows, and its token. */
import { UrlDerivation } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { AgentIdentityIssuer } from "@agent-identity/server"
import { Effect, Layer, Redacted } from "effect"
import { Backend, environmentOf, makeAgent } from "../examples/backend.ts"

export const makeEnvironment = Effect.gen(function*() {
  const { privateKey, token } = yield* makeAgent("agent-demo")
  const { jwks } = yield* AgentIdentityIssuer.AgentIdentityIssuer
  const { environment } = yield* UrlDerivation.UrlDerivation
  const bases = environmentOf(environment)
  return {
    CODEX_ACCESS_TOKEN: Redacted.value(token),
    ...bases,
    AGENT_RUNTIME_ID: "agent-demo",
    AGENT_PRIVATE_KEY: Redacted.value(privateKey),
    AUTHAPI_BASE_URL: bases.CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL!,
    JWKS_BASE_URL: bases.CODEX_AGENT_IDENTITY_JWKS_BASE_URL!,
    PROVIDER_BASE_URL: bases.CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL!,
    JWKS_JSON: JSON.stringify(yield* jwks),
    GATEWAY_API_KEY: "key-of-the-environment"
  }
})

export const layer = Layer.provideMerge(Backend, NodeSigning.layer)

/** For what is not Effect. */
export const withEnvironment = <A>(use: (environment: Record<string, string>) => Promise<A>): Promise<A> =>
  makeEnvironment.pipe(
    Effect.flatMap((environment) => Effect.promise(() => use(environment))),
    Effect.provide(layer),
    Effect.runPromise
  )
