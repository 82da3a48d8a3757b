/** What the run's identity adds to a request, over a transport that does nothing. */
import * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as RunAuth from "@agent-identity/core/RunAuth"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as NodeSigning from "@agent-identity/node/NodeSigning"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
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

const make = Effect.gen(function*() {
  const provider = ProviderAuth.layer(RunAuth.layer(Agent.layerRun(NodeSigning.layer)))
  const context = yield* Layer.build(
    Layer.merge(ProviderAuth.layerHttpClient(provider), provider).pipe(
      Layer.provide(UrlDerivation.layer),
      Layer.provide(Layer.succeed(HttpClient.HttpClient, stub)),
      Layer.orDie
    )
  )
  const { authorize } = Context.get(context, ProviderAuth.ProviderAuth)
  const authorized = authorize(stub)
  const replaced = Context.get(context, HttpClient.HttpClient)
  const constant = SignedFetch.withConstantHeaders(stub)
  // A `fetch` below would follow redirects and take the headers along, so whoever sends some has to tell it not to.
  const safe = HttpClient.transformResponse(
    constant,
    Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" })
  )
  const signedFetch = SignedFetch.make(() => Promise.resolve(new Response(null)))

  return [
    { name: "baseline: mapRequest, two constant headers", loop: Harness.inFiber(() => constant.get(URL)) },
    { name: "control: the client as it is", loop: Harness.inFiber(() => stub.get(URL)) },
    { name: "control: two constant headers, no redirects", loop: Harness.inFiber(() => safe.get(URL)) },
    { name: "authorize(client)", target: 1.3, loop: Harness.inFiber(() => authorized.get(URL)) },
    { name: "layerHttpClient", loop: Harness.inFiber(() => replaced.get(URL)) },
    { name: "peer: a fetch wrapper by hand, signing each time", loop: Harness.promised(() => signedFetch(URL)) }
  ] satisfies ReadonlyArray<Harness.Case>
})

export const client: Harness.Group = {
  name: "client",
  title: "A request over a stub transport, against the same client with two constant headers",
  cases: make
}
