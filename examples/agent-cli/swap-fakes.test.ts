/** The app with each of our layers swapped for its fake in turn, the others as in production, and no network. */
import * as Core from "@agent-identity/core"
import type { AgentIdentity, Signing } from "@agent-identity/core"
import {
  AccountId,
  AgentAssertion,
  AgentIdentityJwt,
  AgentKey,
  AgentRuntimeId,
  AssertionHeader,
  Jwks,
  ProviderAuth,
  RunAuth,
  RunTask,
  TaskRegistration,
  UrlDerivation
} from "@agent-identity/core"
import { AgentProvisioning, AgentRegistration, ChatGptLogin, ChatGptRun, CredentialStore } from "@agent-identity/login"
import * as Login from "@agent-identity/login"
import { AuthFile, NodeSigning } from "@agent-identity/node"
import * as Node from "@agent-identity/node"
import { AgentIdentityIssuer } from "@agent-identity/server"
import { Fakes } from "@agent-identity/testing"
import { FileSystem, HttpClient, HttpClientResponse } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it, layer } from "@effect/vitest"
import { Context, Effect, Either, Layer, Match } from "effect"
import { makeLogin } from "../backend.ts"
import * as Agent from "./Agent.ts"
import * as Offline from "./Offline.ts"
import * as Provider from "./Provider.ts"
import * as Tools from "./Tools.ts"

// ---- The wire: a client that answers by itself, and tells what it was sent, and by whom. ----

const whoIs = (authorization = "nobody") =>
  Either.match(AssertionHeader.decode(authorization), {
    onLeft: () => authorization,
    onRight: ({ agentRuntimeId, taskId }) => `${agentRuntimeId} for ${taskId}`
  })

const wireTo = (seen: Set<string>) =>
  Layer.succeed(
    HttpClient.HttpClient,
    HttpClient.make((request, { hostname, pathname }) => {
      const { body, headers } = request
      const json = body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(body.body)) : undefined
      seen.add(`${hostname}${pathname} of ${whoIs(headers.authorization)}`)
      const answer = Match.value(pathname).pipe(
        Match.when((_) => _.endsWith("/agent/register"), () => Response.json({ agent_runtime_id: "agent-wire" })),
        Match.when((_) => _.endsWith("/task/register"), () => Response.json({ task_id: "task-wire" })),
        Match.when((_) => _.endsWith("/responses"), () => new Response(Offline.answer(json))),
        Match.orElse(() => new Response(null, { status: 404 }))
      )
      return Effect.succeed(HttpClientResponse.fromWeb(request, answer))
    })
  )

// ---- The layers of production, by the tags that they provide. ----

/** A token of the agent `agent-real`. */
const token = Effect.gen(function*() {
  const { issue } = yield* AgentIdentityIssuer.AgentIdentityIssuer
  return yield* issue({
    agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-real"),
    privateKey: AgentKey.toPkcs8(yield* AgentKey.generate()),
    accountId: AccountId.AccountId.make("account-real"),
    chatgptUserId: "user-real",
    planType: "pro",
    fedramp: false
  })
})

/** Fakes, by the names of the services that they stand in for. */
type Swapped<Services> = { readonly [Name in keyof Services]?: Layer.Layer<Services[Name]> }

interface OfToken {
  readonly Signing: Signing.Signing
  readonly Jwks: Jwks.Jwks
  readonly AgentIdentityJwt: AgentIdentityJwt.AgentIdentityJwt
  readonly AgentIdentity: AgentIdentity.AgentIdentity
  readonly UrlDerivation: UrlDerivation.UrlDerivation
  readonly TaskRegistration: TaskRegistration.TaskRegistration
  readonly RunTask: RunTask.RunTask
  readonly AgentAssertion: AgentAssertion.AgentAssertion
  readonly RunAuth: RunAuth.RunAuth
  readonly ProviderAuth: ProviderAuth.ProviderAuth
}

/** The run of a token, stage by stage: what `NodeAgentIdentity.layerConfig` is made of. */
const tokenRun = (fakes: Swapped<OfToken>) => {
  const signing = fakes.Signing ?? NodeSigning.layer
  const urls = fakes.UrlDerivation ?? UrlDerivation.layer
  const keys = fakes.Jwks ?? Layer.unwrapEffect(
    Effect.flatMap(AgentIdentityIssuer.AgentIdentityIssuer, ({ jwks }) => Effect.map(jwks, Jwks.layerStatic))
  )
  const tokens = fakes.AgentIdentityJwt ?? AgentIdentityJwt.layer(keys)
  const identity = fakes.AgentIdentity ??
    Layer.unwrapEffect(Effect.map(token, AgentIdentityJwt.layerIdentity)).pipe(Layer.provide([tokens, signing]))
  const registration = fakes.TaskRegistration ?? Layer.provide(TaskRegistration.layer(identity), urls)
  const task = fakes.RunTask ?? RunTask.layer(Layer.merge(identity, registration))
  const assertion = fakes.AgentAssertion ?? AgentAssertion.layer(Layer.merge(identity, task))
  const auth = fakes.RunAuth ?? RunAuth.layer(Layer.merge(assertion, task))
  const provider = fakes.ProviderAuth ?? Layer.provide(ProviderAuth.layer(auth), urls)
  return Layer.merge(ProviderAuth.layerHttpClient(provider), urls)
}

const billOfMaterials = AgentRegistration.billOfMaterials({
  agentVersion: "1.0.0",
  sessionSource: "cli",
  platform: "linux"
})

interface OfLogin extends Pick<OfToken, "Signing" | "UrlDerivation" | "RunAuth" | "ProviderAuth"> {
  readonly ChatGptLogin: ChatGptLogin.ChatGptLogin
  readonly CredentialStore: CredentialStore.CredentialStore
  readonly AgentRegistration: AgentRegistration.AgentRegistration
  readonly AgentProvisioning: AgentProvisioning.AgentProvisioning
}

/** The run of a ChatGPT login, stage by stage: what `NodeAgentIdentity.layerChatGpt` is made of. */
const loginRun = (fakes: Swapped<OfLogin>) => (file: string) => {
  const signing = fakes.Signing ?? NodeSigning.layer
  const urls = fakes.UrlDerivation ?? UrlDerivation.layer
  const login = fakes.ChatGptLogin ?? AuthFile.layerLogin({ file })
  const store = fakes.CredentialStore ?? AuthFile.layerCredentialStore({ file })
  const registration = fakes.AgentRegistration ?? AgentRegistration.layer(urls)
  const provisioning = fakes.AgentProvisioning ??
    AgentProvisioning.layer({ policy: "ChatGptAuth", billOfMaterials }).pipe(
      Layer.provide([registration, login, store, signing, urls])
    )
  const auth = fakes.RunAuth ?? ChatGptRun.layerAuth(Layer.merge(provisioning, login))
  const provider = fakes.ProviderAuth ?? Layer.provide(ProviderAuth.layer(auth), urls)
  return Layer.merge(ProviderAuth.layerHttpClient(provider), urls)
}

// ---- The table: what is swapped, what goes over the wire then, and why there is no answer where there is none. ----

interface Case {
  readonly name: string
  readonly swapped: ReadonlyArray<string>
  readonly run: (file: string) => Layer.Layer<
    HttpClient.HttpClient | UrlDerivation.UrlDerivation,
    { readonly message: string },
    AgentIdentityIssuer.AgentIdentityIssuer | HttpClient.HttpClient
  >
  readonly seen: ReadonlyArray<string>
  readonly error: RegExp | undefined
}

const inTokenRun = (
  name: string,
  swapped: Swapped<OfToken>,
  seen: ReadonlyArray<string>,
  error?: RegExp
): Case => ({ name: `a token: ${name}`, swapped: Object.keys(swapped), run: () => tokenRun(swapped), seen, error })

const inLoginRun = (
  name: string,
  swapped: Swapped<OfLogin>,
  seen: ReadonlyArray<string>,
  error?: RegExp
): Case => ({ name: `a login: ${name}`, swapped: Object.keys(swapped), run: loginRun(swapped), seen, error })

const AUTHAPI = "auth.openai.com/api/accounts/v1/agent"
const registersTask = (agent: string) => `${AUTHAPI}/${agent}/task/register of nobody`
const registersAgent = (bearer: string) => `${AUTHAPI}/register of Bearer ${bearer}`
const asks = (sent: string) => `chatgpt.com/backend-api/codex/responses of ${sent}`
const asksFake = "provider.test/backend-api/codex/responses of agent-fake for task-1"

const url = "https://authapi.test/"

const agentRefused = Layer.succeed(AgentRegistration.AgentRegistration, {
  register: () =>
    new AgentRegistration.AgentRegistrationError({
      reason: "Status",
      url,
      detail: "status 403",
      status: 403,
      attempts: 1
    })
})

const loggedOut = Layer.succeed(ChatGptLogin.ChatGptLogin, {
  current: new ChatGptLogin.ChatGptLoginError({ reason: "LoggedOut", source: "a fake", detail: "nobody is logged in" })
})

const storeLost = Layer.succeed(CredentialStore.CredentialStore, {
  get: () => Effect.succeedNone,
  compareAndSwap: () =>
    new CredentialStore.CredentialStoreError({ reason: "StaleAuth", store: "a fake", detail: "another login" })
})

const cases: ReadonlyArray<Case> = [
  inTokenRun("nothing", {}, [registersTask("agent-real"), asks("agent-real for task-wire")]),
  inTokenRun("a signer without cryptography", { Signing: Fakes.layerSigning }, [
    registersTask("agent-real"),
    asks("agent-real for task-wire")
  ]),
  inTokenRun("a signer that fails", { Signing: Fakes.layerSigningFails }, [], /^No task for agent "agent-real" .*sign/),
  inTokenRun("a key set without a key", { Jwks: Fakes.layerJwks }, [], /The agent identity JWT is refused/),
  inTokenRun("a token that is not verified", { AgentIdentityJwt: Fakes.layerAgentIdentityJwt }, [
    registersTask("agent-fake"),
    asks("agent-fake for task-wire")
  ]),
  inTokenRun(
    "a token that has expired",
    { AgentIdentityJwt: Fakes.layerAgentIdentityJwtFails("Expired") },
    [],
    /The agent identity JWT is refused: a fake/
  ),
  inTokenRun("another agent", { AgentIdentity: Fakes.layerAgentIdentity }, [
    registersTask("agent-fake"),
    asks("agent-fake for task-wire")
  ]),
  inTokenRun("other URLs", { UrlDerivation: Fakes.layerUrlDerivation }, [
    "authapi.test/api/accounts/v1/agent/agent-real/task/register of nobody",
    "provider.test/backend-api/codex/responses of agent-real for task-wire"
  ]),
  inTokenRun("a registration", { TaskRegistration: Fakes.layerTaskRegistration }, [asks("agent-real for task-1")]),
  inTokenRun(
    "a registration that is refused",
    { TaskRegistration: Fakes.layerTaskRegistrationFails("Status") },
    [],
    /^No task for agent "agent-fake": a fake$/
  ),
  inTokenRun("a task", { RunTask: Fakes.layerRunTask }, [asks("agent-real for task-1")]),
  inTokenRun("a run that is over", { RunTask: Fakes.layerRunTaskClosed }, [], /has not answered.*its scope is closed/),
  inTokenRun("an assertion", { AgentAssertion: Fakes.layerAgentAssertion }, [
    registersTask("agent-real"),
    asks("agent-fake for task-1")
  ]),
  inTokenRun(
    "an assertion that cannot be signed",
    { AgentAssertion: Fakes.layerAgentAssertionFails },
    [registersTask("agent-real")],
    /has not answered.*sign/
  ),
  inTokenRun("what is sent", { RunAuth: Fakes.layerRunAuth }, [asks("agent-fake for task-1")]),
  inTokenRun("a bearer token", { RunAuth: Fakes.layerRunAuthBearer("token-fake") }, [asks("Bearer token-fake")]),
  inTokenRun("no identity", { RunAuth: RunAuth.layerNone("a test") }, [asks("nobody")]),
  inTokenRun(
    "to whom it is sent",
    { ProviderAuth: Fakes.layerProviderAuth, UrlDerivation: Fakes.layerUrlDerivation },
    [asksFake]
  ),

  inLoginRun("nothing", {}, [
    registersAgent("token-of-a-person"),
    registersTask("agent-wire"),
    asks("agent-wire for task-wire"),
    "auth.json has the agent"
  ]),
  inLoginRun(
    "another login than the file has",
    { ChatGptLogin: Fakes.layerChatGptLogin },
    [],
    /the login has changed while its agent was being made/
  ),
  inLoginRun("nobody", { ChatGptLogin: loggedOut }, [], /No agent for this login: .*nobody is logged in/),
  inLoginRun("a store in memory", { CredentialStore: Fakes.layerCredentialStore }, [
    registersAgent("token-of-a-person"),
    registersTask("agent-wire"),
    asks("agent-wire for task-wire")
  ]),
  inLoginRun(
    "a store that another login has",
    { CredentialStore: storeLost },
    [],
    /the login has changed .*another login/
  ),
  inLoginRun("the registration of an agent", { AgentRegistration: Fakes.layerAgentRegistration }, [
    registersTask("agent-fake"),
    asks("agent-fake for task-wire"),
    "auth.json has the agent"
  ]),
  inLoginRun(
    "a registration of an agent that is refused",
    { AgentRegistration: agentRefused },
    ["auth.json has the agent"],
    /No agent for this login: .*status 403/
  ),
  inLoginRun("an agent", { AgentProvisioning: Fakes.layerAgentProvisioning }, [asks("agent-fake for task-1")]),
  inLoginRun("no agent by policy", { AgentProvisioning: Fakes.layerAgentProvisioningFails("NotAllowed") }, [
    asks("Bearer token-of-a-person")
  ]),
  inLoginRun(
    "no agent, as the login is stale",
    { AgentProvisioning: Fakes.layerAgentProvisioningFails("StaleAuth") },
    [],
    /No agent for this login: a fake/
  )
]

// ---- The app. ----

const Workspace = Layer.succeed(Tools.Tools, {
  definitions: [],
  call: ({ name }) => Effect.succeed(name === "search_text" ? "NOTES:1: it" : "It is here.")
})

const App = Agent.layer.pipe(Layer.provide([Provider.layer({ model: "model-test" }), Workspace]))

const ask = Effect.flatMap(Agent.Agent, (_) => _.ask("Where is it?"))

layer(AgentIdentityIssuer.layer)((it) => {
  for (const { error, name, run, seen, swapped } of cases) {
    it.scoped(`the run of ${name}${swapped.map((tag) => `, ${tag}`).join("")}`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const file = `${yield* makeLogin}/auth.json`
        const wire = new Set<string>()
        const answer = yield* ask.pipe(
          Effect.provide(Layer.provide(App, Layer.provide(run(file), wireTo(wire)))),
          Effect.either
        )
        const kept = (yield* fs.readFileString(file)).includes("agent_identity") ? ["auth.json has the agent"] : []
        assert.deepStrictEqual([...wire, ...kept], [...seen])
        if (error === undefined) assert.deepStrictEqual(answer, Either.right("NOTES: It is here."))
        else assert.match(Either.match(answer, { onLeft: (_) => _.message, onRight: (text) => text }), error)
      }).pipe(Effect.provide(NodeContext.layer)))
  }
})

it("every service that core, login or node exports is swapped", () => {
  const exported = [Core, Login, Node].flatMap((modules) => Object.values(modules)).flatMap((module) =>
    Object.values(module)
  )
  const services = exported.filter(Context.isTag).map(({ key }) => key.split("/").at(-1))
  assert.isAtLeast(services.length, 14)
  assert.sameMembers([...new Set(cases.flatMap(({ swapped }) => swapped))], services)
})
