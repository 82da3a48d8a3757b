/** An agent identity JWT, from its text to its claims and the agent's key. */
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as Jwks from "@agent-identity/core/Jwks"
import * as AgentIdentityIssuer from "@agent-identity/server/AgentIdentityIssuer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Jose from "jose"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"

const options: Jose.JWTVerifyOptions = {
  algorithms: ["RS256"],
  issuer: AgentIdentityJwt.chatGptIssuer,
  audience: AgentIdentityJwt.chatGptAudience,
  requiredClaims: ["iss", "aud", "iat", "exp"],
  clockTolerance: AgentIdentityJwt.leewaySeconds
}

const make = Effect.gen(function*() {
  const issuer = yield* AgentIdentityIssuer.make()
  const token = yield* issuer.issue({
    agentRuntimeId: Agent.agentRuntimeId,
    privateKey: Agent.pkcs8,
    accountId: Agent.accountId,
    chatgptUserId: "user-0192f0c1",
    email: "someone@example.com",
    planType: "pro",
    fedramp: false
  } as AgentIdentityIssuer.Claims)
  // Through text and back: a key set that was fetched is an object of its own, whose keys nobody has imported yet.
  const text = JSON.stringify(yield* issuer.jwks)
  const build = Effect.suspend(() =>
    Layer.build(Layer.orDie(AgentIdentityJwt.layer(Jwks.layerStatic(JSON.parse(text)))))
  )
  const warm = Context.get(yield* build, AgentIdentityJwt.AgentIdentityJwt)
  const warmSet = Jose.createLocalJWKSet(JSON.parse(text))
  const encoded = Redacted.value(token)
  return [
    {
      name: "peer: jose, warm",
      loop: Harness.promised(() => Jose.jwtVerify(encoded, warmSet, options))
    },
    { name: "warm: the key set is known", loop: Harness.inFiber(() => warm.verify(token)) },
    {
      name: "cold: a new key set each time",
      loop: Harness.inFiber(() =>
        Effect.scoped(
          Effect.flatMap(build, (context) => Context.get(context, AgentIdentityJwt.AgentIdentityJwt).verify(token))
        )
      )
    },
    {
      name: "peer: jose, cold",
      loop: Harness.promised(() => Jose.jwtVerify(encoded, Jose.createLocalJWKSet(JSON.parse(text)), options))
    }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const jwt: Harness.Group = {
  name: "jwt",
  title: "A verified JWT, against jose alone with a known key set (which reads neither ids nor the agent's key)",
  cases: Effect.orDie(make)
}
