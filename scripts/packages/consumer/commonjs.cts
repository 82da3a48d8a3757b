/** A CommonJS program: the packages are ESM, and `require` takes them, under the CommonJS half of `effect`. */
import core = require("@agent-identity/core")
import testing = require("@agent-identity/testing")
import effect = require("effect")

const { Effect, Redacted } = effect

const program = Effect.gen(function*() {
  const assertion = yield* core.AgentAssertion.AgentAssertion
  const { header } = yield* assertion.current
  return Redacted.value(header)
})

void Effect.runPromise(Effect.provide(program, testing.Fakes.layer)).then(console.log)
