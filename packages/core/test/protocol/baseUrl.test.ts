import { assert, describe, it } from "@effect/vitest"
import * as BaseUrl from "../../src/protocol/baseUrl.ts"

describe("jwksUrl", () => {
  const cases: ReadonlyArray<readonly [base: string, jwks: string]> = [
    ["https://a.example", "https://a.example/agent-identities/jwks"],
    ["https://a.example///", "https://a.example/agent-identities/jwks"],
    ["https://a.example/api/codex", "https://a.example/api/codex/agent-identities/jwks"],
    ["https://a.example/backend-api/", "https://a.example/backend-api/wham/agent-identities/jwks"],
    ["https://a.example/x/backend-api/y", "https://a.example/x/backend-api/y/wham/agent-identities/jwks"],
    ["https://backend-api.example/x", "https://backend-api.example/x/agent-identities/jwks"],
    ["http://localhost:8080/backend-api", "http://localhost:8080/backend-api/wham/agent-identities/jwks"]
  ]
  for (const [base, jwks] of cases) {
    it(`is ${jwks} for ${base}`, () => assert.strictEqual(BaseUrl.jwksUrl(new URL(base)).href, jwks))
  }
})
