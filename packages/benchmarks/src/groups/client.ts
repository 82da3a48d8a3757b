/** What the run's identity adds to a request, over a transport that does nothing. */
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Agent from "../agent.ts"
import * as Harness from "../harness.ts"
import * as SignedFetch from "../signedFetch.ts"

const URL = "https://chatgpt.com/backend-api/codex/models"

const stub = HttpClient.make((request) => Effect.sync(() => HttpClientResponse.fromWeb(request, new Response(null))))

/** The same, but the web's response, which costs more than all else of this transport, is made once. */
const response = new Response(null)
const bareStub = HttpClient.make((request) => Effect.succeed(HttpClientResponse.fromWeb(request, response)))

const make = Effect.gen(function*() {
  const context = yield* Layer.build(
    ProviderAuth.layerHttpClient.pipe(
      Layer.provideMerge(ProviderAuth.layer),
      Layer.provide([RunAuth.layer, UrlDerivation.layer]),
      Layer.provide(Agent.layerRun(NodeSigning.layer)),
      Layer.provide(Layer.succeed(HttpClient.HttpClient, stub)),
      Layer.orDie
    )
  )
  const { authorize } = Context.get(context, ProviderAuth.ProviderAuth)
  const authorized = authorize(stub)
  const replaced = Context.get(context, HttpClient.HttpClient)
  const constant = SignedFetch.withConstantHeaders(stub)
  const bareConstant = SignedFetch.withConstantHeaders(bareStub)
  const bareAuthorized = authorize(bareStub)
  const signedFetch = SignedFetch.make(() => Promise.resolve(new Response(null)))

  return {
    cases: [
      { name: "baseline: mapRequest, two constant headers", loop: Harness.inFiber(() => constant.get(URL)) },
      { name: "control: the client as it is", loop: Harness.inFiber(() => stub.get(URL)) },
      { name: "authorize(client)", target: 1.05, loop: Harness.inFiber(() => authorized.get(URL)) },
      { name: "layerHttpClient", loop: Harness.inFiber(() => replaced.get(URL)) },
      { name: "peer: a fetch wrapper by hand, signing each time", loop: Harness.promised(() => signedFetch(URL)) }
    ] satisfies ReadonlyArray<Harness.Case>,
    bare: [
      { name: "bare baseline: mapRequest, one prepared response", loop: Harness.inFiber(() => bareConstant.get(URL)) },
      { name: "bare: authorize(client), one prepared response", loop: Harness.inFiber(() => bareAuthorized.get(URL)) }
    ] satisfies ReadonlyArray<Harness.Case>
  }
})

export const client: Harness.Group = {
  name: "client",
  title: "A request over a stub transport, against the same client with two constant headers",
  run: (form) =>
    Effect.scoped(Effect.gen(function*() {
      const { bare, cases } = yield* make
      return [...yield* Harness.measure(cases, form), ...yield* Harness.measure(bare, form)]
    }))
}
