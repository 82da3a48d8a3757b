/** What a test shows on purpose, and why that is no leak. */
import type { Channel } from "./capture.ts"

interface Allowed {
  /** The end of the test file's path. */
  readonly file: string
  readonly channels: ReadonlyArray<Channel>
  /** The only tests that may. */
  readonly tests: RegExp
  readonly why: string
}

export const allowed: ReadonlyArray<Allowed> = [
  {
    file: "packages/server/test/AuthApi.test.ts",
    channels: ["span"],
    tests: /^is JSON with a code|^is the same for a path|^shows nothing while the directory is unavailable/,
    why: "its marker stands in paths and headers of its own requests, which spans name, to be missed in the answers"
  },
  {
    file: "packages/server/test/RegistrationBearer.test.ts",
    channels: ["span"],
    tests: /an agent's signature is no bearer$/,
    why: "the bearer token that is refused there is the agent's runtime id, which is no secret"
  },
  {
    file: "packages/core/test/token/AgentIdentity.jwt.test.ts",
    channels: ["log", "span", "error"],
    tests: /^stays unfound only because it is hidden/,
    why: "it proves that the printers of that file would find a secret, and shows them one"
  },
  {
    file: "packages/core/test/provider/ProviderAuth.test.ts",
    channels: ["error"],
    tests: /^shows no header of ours where an error of the client below is deep in the cause of another/,
    why: "the test wraps the error of a transport, below the signing client, to see it cleaned"
  },
  {
    file: "packages/core/test/provider/clean.test.ts",
    channels: ["error"],
    tests: /^where it stands in |^and /,
    why: "the client below the signing one fails with the signed request, to see it cleaned"
  },
  {
    file: "packages/server/test/AgentIdentityIssuer.test.ts",
    channels: ["error"],
    tests: /^keeps an old key until its last token expired/,
    why: "the test verifies with jose by itself, whose errors hold the claims"
  },
  {
    file: "packages/testing/test/Conformance.test.ts",
    channels: ["error"],
    tests: /^a layer whose typed error holds the key is caught/,
    why: "the test gives the conformance runner a signing layer that leaks, to see it caught"
  },
  {
    file: "packages/node/test/AuthCommand.test.ts",
    channels: ["child process"],
    tests: /^is the token of a provider's requests/,
    why: "a command gives the token by printing it"
  },
  {
    file: "packages/node/test/CredentialSource.test.ts",
    channels: ["error"],
    tests: /^is refused, and no key is shown: \{.*_KEY_FILE":/,
    why: "a key stands where a path belongs: the file system's own error holds it, and the test sees that ours does not"
  },
  {
    file: "packages/authapi/test/authapi.test.ts",
    channels: ["child process"],
    tests: /^two processes on one PostgreSQL behave as one/,
    why: "`authapi mint` gives the token by printing it"
  }
]
