/**
 * All of it in one line: `program.pipe(Effect.provide(NodeAgentIdentity.layerConfig))`.
 *
 * A process with more than one run builds `layerProcess` once (the transport, the identity and its key, the URLs), and
 * `Run.layer` over that identity for each run.
 *
 * @since 0.1.0
 */
import * as AgentIdentity from "@agent-identity/core/AgentIdentity"
import * as AgentIdentityJwt from "@agent-identity/core/AgentIdentityJwt"
import * as Environment from "@agent-identity/core/Environment"
import * as Jwks from "@agent-identity/core/Jwks"
import type * as ProviderAuth from "@agent-identity/core/ProviderAuth"
import * as Run from "@agent-identity/core/Run"
import * as Caller from "@agent-identity/core/run/caller"
import { toEffect } from "@agent-identity/core/run/either"
import { isolated } from "@agent-identity/core/run/isolated"
import type * as RunAuth from "@agent-identity/core/RunAuth"
import type * as Signing from "@agent-identity/core/Signing"
import type { TaskId } from "@agent-identity/core/TaskId"
import type * as TaskRegistration from "@agent-identity/core/TaskRegistration"
import * as UrlDerivation from "@agent-identity/core/UrlDerivation"
import * as AgentProvisioning from "@agent-identity/login/AgentProvisioning"
import * as AgentRegistration from "@agent-identity/login/AgentRegistration"
import * as ChatGptRun from "@agent-identity/login/ChatGptRun"
import * as NodeContext from "@effect/platform-node/NodeContext"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Os from "node:os"
import * as AuthFile from "./AuthFile.ts"
import * as CredentialSource from "./CredentialSource.ts"
import { DirectHosts } from "./internal/directHosts.ts"
import * as NodeSigning from "./NodeSigning.ts"
import * as NodeTransport from "./NodeTransport.ts"

/**
 * What can go wrong before a run begins.
 *
 * @since 0.1.0
 * @category errors
 */
export type ProcessError =
  | CredentialSource.CredentialSourceError
  | AgentIdentity.AgentIdentityError
  | AgentIdentityJwt.AgentIdentityJwtError
  | Environment.UrlDerivationError
  | Jwks.JwksError
  | ConfigError.ConfigError
  | NodeTransport.TransportError

/**
 * How a process reaches others, and what it says of itself there.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions {
  /** The app's own name and version, such as `my-app/1.2`: it stands in front of ours in the `User-Agent`. */
  readonly userAgent?: string | undefined
  /** The `originator` of requests; `agent_identity` by default. */
  readonly originator?: string | undefined
  /**
   * Where the account's data has to stay, such as `us`: sent as `x-openai-internal-codex-residency` wherever `originator`
   * is. Nothing is sent by default.
   */
  readonly residency?: string | undefined
  /** Whether the AuthAPI and the issuer see the ids of the app's traces; they do not by default. */
  readonly sendsTraces?: boolean | undefined
  /** What sends, in the place of `NodeTransport.layer`: a client of yours, which signs nothing. */
  readonly transport?: Layer.Layer<HttpClient.HttpClient, NodeTransport.TransportError> | undefined
}

/**
 * What a process has: whose runs they are, where things are, and the plain client, which signs nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type ProcessServices =
  | AgentIdentity.AgentIdentity
  | UrlDerivation.UrlDerivation
  | HttpClient.HttpClient

/**
 * A credential, and where its backend is: ChatGPT in production by default. With `authApi` and `providers` it is a
 * backend of your own, which needs a `jwksBase` for tokens.
 *
 * @since 0.1.0
 * @category models
 */
export interface CredentialOptions extends Environment.Options, ClientOptions {
  readonly credential: CredentialSource.Credential
  /** Of the token, its `iss`; ChatGPT's by default. */
  readonly issuer?: string | undefined
  /** Of the token, its `aud`; ChatGPT's by default. */
  readonly audience?: string | undefined
  /** A key set as JSON, where the issuer cannot be reached. */
  readonly jwksJson?: string | undefined
  readonly agentRuntimeId?: undefined
}

/**
 * An agent with a key of its own, given as a value or as the path of a file in one of the formats that `AgentKey.parse`
 * reads, and where its backend is.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyOptions =
  & Environment.Options
  & ClientOptions
  & Omit<AgentIdentity.Options, "privateKey">
  & {
    /** A task that the agent has from before: the run begins with it and registers none. */
    readonly taskId?: TaskId | undefined
    readonly credential?: undefined
  }
  & (
    | { readonly privateKey: AgentIdentity.Options["privateKey"]; readonly keyFile?: undefined }
    | { readonly keyFile: string; readonly privateKey?: undefined }
  )

/**
 * Whose run it is, and where its backend is.
 *
 * @since 0.1.0
 * @category models
 */
export type Options = CredentialOptions | KeyOptions

/**
 * Builds what the runs of one agent share, from explicit values. `layer` is this with one run.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProcess = (options: Options): Layer.Layer<ProcessServices, ProcessError> =>
  isolated(
    Layer.provideMerge(layerIdentity(options), layerBase(options, hasOwnKey(options))).pipe(
      Layer.provideMerge(layerCaller(options))
    )
  )

const layerBase = (options: Environment.Options & ClientOptions, isOwnKey = false) =>
  Layer.merge(
    layerUrls(options, isOwnKey),
    Layer.provide(
      options.transport ?? NodeTransport.layer,
      Layer.succeed(DirectHosts, options.privateNetworkHttp ?? [])
    )
  )

const layerIdentity = (
  options: Options
): Layer.Layer<AgentIdentity.AgentIdentity, ProcessError, UrlDerivation.UrlDerivation | HttpClient.HttpClient> =>
  Layer.provide(options.credential === undefined ? layerKey(options) : layerCredential(options), NodeSigning.layer)

const taskIdOf = (options: Options): TaskId | undefined => {
  const { credential } = options
  if (credential === undefined) return options.taskId
  return credential._tag === "Record" ? credential.taskId : undefined
}

type Identity = Layer.Layer<
  AgentIdentity.AgentIdentity,
  ProcessError,
  Signing.Signing | HttpClient.HttpClient | UrlDerivation.UrlDerivation
>

const layerCredential = ({ credential, jwksJson, ...options }: CredentialOptions): Identity => {
  if (credential._tag === "Record") return AgentIdentity.layer(credential.record)
  const keys: Layer.Layer<Jwks.Jwks, ProcessError, UrlDerivation.UrlDerivation | HttpClient.HttpClient> =
    jwksJson === undefined
      ? Jwks.layer(Layer.service(UrlDerivation.UrlDerivation))
      : Jwks.layerConfig(Config.succeed(jwksJson))
  return Layer.provide(
    AgentIdentityJwt.layerIdentity(credential.token),
    AgentIdentityJwt.layerWith(keys, options)
  )
}

const layerKey = (options: KeyOptions): Identity =>
  Layer.effect(
    AgentIdentity.AgentIdentity,
    Effect.gen(function*() {
      if (options.keyFile !== undefined && Object(options).privateKey !== undefined) {
        return yield* new CredentialSource.CredentialSourceError({
          reason: "Invalid",
          source: "privateKey",
          detail: "keyFile is given too; give one of them"
        })
      }
      const privateKey = options.keyFile === undefined
        ? options.privateKey
        : yield* CredentialSource.readKeyFile(options.keyFile)
      return yield* AgentIdentity.make({ ...options, privateKey })
    })
  ).pipe(Layer.provide(NodeContext.layer))

const layerCaller = ({ originator, residency, sendsTraces, userAgent }: ClientOptions) =>
  Layer.effect(
    Caller.CallerReference,
    Effect.gen(function*() {
      for (const [source, value] of Object.entries({ userAgent, originator, residency })) {
        if (value === undefined || isHeader(source, value)) continue
        return yield* new NodeTransport.TransportError({
          reason: "InvalidHeader",
          source,
          detail: headerHints[source]!
        })
      }
      const caller = yield* Caller.CallerReference
      return {
        userAgent: userAgent === undefined ? caller.userAgent : `${userAgent} ${caller.userAgent}`,
        originator: originator ?? caller.originator,
        residency: residency ?? caller.residency,
        sendsTraces: sendsTraces ?? caller.sendsTraces,
        isSaidOfSigned: true
      }
    })
  )

/** A User-Agent has several words. */
const isHeader = (source: string, value: string): boolean =>
  source === "userAgent"
    ? /^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/.test(value)
    : /^[\x21-\x7e]{1,64}$/.test(value)

const headerHints: Readonly<Record<string, string>> = {
  userAgent: "it is not 1 to 256 ASCII characters in one line; give a name and a version such as my-app/1.2",
  originator: "it is not 1 to 64 visible ASCII characters; give a name such as my_app",
  residency: "it is not 1 to 64 visible ASCII characters; give a region such as us"
}

const transportOf = ({ originator, residency, sendsTraces, transport, userAgent }: ClientOptions): ClientOptions => ({
  originator,
  residency,
  sendsTraces,
  transport,
  userAgent
})

/** A key has no issuer whose backend is meant: what is registered at one's own AuthAPI is for one's own providers. */
const hasOwnKey = (options: Options): boolean =>
  options.credential === undefined ||
  (options.credential._tag === "Record" && options.credential.record.accountId === undefined)

const layerUrls = (
  options: Environment.Options,
  isOwnKey = false
): Layer.Layer<UrlDerivation.UrlDerivation, Environment.UrlDerivationError> =>
  Layer.effect(
    UrlDerivation.UrlDerivation,
    Effect.gen(function*() {
      const environment = yield* toEffect(Environment.make(options))
      const { authApi, jwksBase, providers } = options
      const own = authApi !== undefined && providers !== undefined
      if (!own && isOwnKey && (authApi !== undefined || providers !== undefined)) {
        return yield* new Environment.UrlDerivationError({
          reason: "InvalidBase",
          option: authApi === undefined ? "authApi" : "providers",
          input: "",
          hint: "Set it too: an agent with a key of its own has its AuthAPI and its providers at one backend."
        })
      }
      if (!own && (authApi !== undefined || jwksBase !== undefined || providers !== undefined)) {
        yield* Effect.logWarning("Some bases are named and the others are ChatGPT's: each can use what the others get")
          .pipe(
            Effect.annotateLogs({
              authApi: environment.authApi.href,
              jwks: environment.jwks?.href,
              providers: environment.providers.map((provider) => provider.href).join(", ")
            })
          )
      }
      return UrlDerivation.make(environment)
    })
  )

/** The variable of each option that can be refused. */
const variables = {
  chatGptBase: "CODEX_CHATGPT_BASE_URL",
  authApi: "CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL",
  jwksBase: "CODEX_AGENT_IDENTITY_JWKS_BASE_URL",
  providers: "CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL",
  privateNetworkHttp: "CODEX_AGENT_IDENTITY_PRIVATE_NETWORK_HTTP"
}

/** Errors name the variable that the user has set, in place of the option that it is read into. */
const namingVariable = <E>(error: E): E | Environment.UrlDerivationError | Jwks.JwksError => {
  if (error instanceof Jwks.JwksError && error.reason === "NotConfigured") {
    return new Jwks.JwksError({ ...error, source: variables.jwksBase })
  }
  if (!(error instanceof Environment.UrlDerivationError)) return error
  const [, option] = Object.entries(variables).find(([name]) => name === error.option) ?? []
  if (option === undefined) return error
  const hint = error.hint.replace("where `loopbackHttp` is set, ", "").replace(
    "`privateNetworkHttp`",
    `\`${variables.privateNetworkHttp}\``
  )
  return new Environment.UrlDerivationError({ ...error, option, hint })
}

/**
 * `layerProcess` from the environment.
 *
 * | variable | what it is |
 * |---|---|
 * | `CODEX_ACCESS_TOKEN`, then `CODEX_AGENT_IDENTITY` | an agent identity JWT |
 * | `CODEX_AGENT_IDENTITY_RUNTIME_ID` | the id of an agent with a key of its own, in place of a token |
 * | `CODEX_AGENT_IDENTITY_PRIVATE_KEY`, or `CODEX_AGENT_IDENTITY_KEY_FILE` | its key, or the path of a file with it |
 * | `CODEX_HOME` | the folder of `auth.json`, where none of these is set; `~/.codex` |
 * | `CODEX_CHATGPT_BASE_URL` | a known ChatGPT base; `https://chatgpt.com/backend-api` |
 * | `CODEX_AGENT_IDENTITY_AUTHAPI_BASE_URL` | another AuthAPI |
 * | `CODEX_AGENT_IDENTITY_JWKS_BASE_URL` | the base of another token issuer |
 * | `CODEX_AGENT_IDENTITY_PROVIDER_BASE_URL` | another provider base; several are separated by commas |
 * | `CODEX_AGENT_IDENTITY_JWKS_JSON` | the key set itself |
 * | `CODEX_AGENT_IDENTITY_PRIVATE_NETWORK_HTTP` | hosts whose bases may be `http:`, such as `authapi:8787` in a Docker network; several are separated by commas |
 *
 * A base that is named may be `http:` on a loopback address. Name the AuthAPI and the providers of a backend of your own,
 * and the issuer where it has tokens. With one of the two the other is ChatGPT's, and assertions for the one backend go
 * to the other, which is warned of. Tokens are ChatGPT's by `iss` and `aud`; `layer` takes others. Blank variables are
 * treated as unset.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerProcessConfig: Layer.Layer<ProcessServices, ProcessError> = Layer.unwrapEffect(
  Effect.suspend(() => Effect.map(fromEnvironment, layerProcess))
).pipe(Layer.provide(NodeContext.layer), Layer.mapError(namingVariable))

/** What the environment says besides the credential. Blank variables are treated as unset. */
const settings = Effect.gen(function*() {
  const text = (name: string) =>
    Effect.map(Config.option(Config.string(name)), (value) => Option.getOrUndefined(value)?.trim() || undefined)
  const list = (name: string) =>
    Effect.map(text(name), (value) => value?.split(",").map((item) => item.trim()).filter((item) => item !== ""))
  return {
    chatGptBase: yield* text(variables.chatGptBase),
    authApi: yield* text(variables.authApi),
    jwksBase: yield* text(variables.jwksBase),
    providers: yield* list(variables.providers),
    jwksJson: yield* text("CODEX_AGENT_IDENTITY_JWKS_JSON"),
    loopbackHttp: true,
    privateNetworkHttp: yield* list(variables.privateNetworkHttp)
  }
})

const fromEnvironment = Effect.gen(function*() {
  return { ...yield* settings, credential: yield* CredentialSource.fromConfig }
})

/**
 * A process with one run, from explicit values. Its `HttpClient` is the one that signs.
 *
 * @example
 * import { RunTask, TaskId } from "@agent-identity/core"
 * import { NodeAgentIdentity } from "@agent-identity/node"
 * import { Effect, Redacted } from "effect"
 *
 * const AgentRun = NodeAgentIdentity.layer({
 *   agentRuntimeId: "agent-123",
 *   privateKey: Redacted.make("MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"),
 *   authApi: "https://auth.example.com/api/accounts",
 *   providers: ["https://llm.example.com/v1"],
 *   // With a task that it has from before, the run registers none.
 *   taskId: TaskId.TaskId.make("task-1")
 * })
 *
 * const task = Effect.flatMap(RunTask.RunTask, ({ current }) => current)
 * assert.deepStrictEqual(await Effect.runPromise(Effect.provide(task, AgentRun)), "task-1")
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<ProcessServices | Run.Services, ProcessError | TaskRegistration.TaskRegistrationError> =>
  layerRun(options, () => Effect.void)

const layerRun = <E>(
  options: Options,
  check: (identity: AgentIdentity.Service) => Effect.Effect<void, E>
): Layer.Layer<ProcessServices | Run.Services, E | ProcessError | TaskRegistration.TaskRegistrationError> => {
  const identity = Layer.tap(
    layerIdentity(options),
    (context) => check(Context.get(context, AgentIdentity.AgentIdentity))
  )
  return isolated(
    Layer.provideMerge(Run.layerWith(identity, { taskId: taskIdOf(options) }), layerBase(options, hasOwnKey(options)))
      .pipe(
        Layer.provide(layerCaller(options))
      )
  )
}

/**
 * A process with one run, from the environment; `layerProcessConfig` has the table of what is read. Its `HttpClient` is the
 * one that signs.
 *
 * @example
 * import { NodeAgentIdentity } from "@agent-identity/node"
 * import { HttpClient } from "@effect/platform"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const program = HttpClient.get("https://chatgpt.com/backend-api/codex/models").pipe(
 *   Effect.flatMap((response) => response.json),
 *   Effect.provide(NodeAgentIdentity.layerConfig)
 * )
 *
 * // Without a token nothing is sent.
 * const nothing = ConfigProvider.fromMap(new Map([["CODEX_HOME", "/nowhere"]]))
 * const error = await Effect.runPromise(Effect.flip(Effect.withConfigProvider(program, nothing)))
 * assert.match(error.message, /CODEX_ACCESS_TOKEN is not set/)
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<
  ProcessServices | Run.Services,
  ProcessError | TaskRegistration.TaskRegistrationError
> = Layer.suspend(() => layerConfigWith({}))

/**
 * Builds `layerConfig` with what the environment does not say: how the process reaches others, what it says of itself
 * there, and further first-party paths.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfigWith = (
  options: ClientOptions & Pick<Environment.Options, "paths" | "bearerOnly">
): Layer.Layer<
  ProcessServices | Run.Services,
  ProcessError | TaskRegistration.TaskRegistrationError
> =>
  Layer.unwrapEffect(Effect.map(fromEnvironment, (environment) => layer({ ...environment, ...options }))).pipe(
    Layer.provide(NodeContext.layer),
    Layer.mapError(namingVariable)
  )

/**
 * Who may become an agent, and what the agent is called.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChatGptOptions extends ClientOptions {
  /** Whether an agent may be made of a ChatGPT login: `ChatGptAuth` if so, `JwtOnly` if not. */
  readonly policy: AgentProvisioning.Policy
  /** Of the program, for the agent's bill of materials. */
  readonly agentVersion: string
  /** How the session came about, as `AgentRegistration.billOfMaterials` takes it: `cli` by default. */
  readonly sessionSource?: string | undefined
  /** The id of the only account whose login is taken. */
  readonly workspace?: string | undefined
  /** Further first-party paths, such as `Environment.chatGptPaths`; none by default. */
  readonly paths?: Environment.Options["paths"]
}

/**
 * What such a run gives. It may have no task and no identity, so that `RunTask` and `AgentIdentity` are not among it.
 *
 * @since 0.1.0
 * @category models
 */
export type ChatGptServices =
  | RunAuth.RunAuth
  | ProviderAuth.ProviderAuth
  | UrlDerivation.UrlDerivation
  | HttpClient.HttpClient

/**
 * Why there is no such run.
 *
 * @since 0.1.0
 * @category errors
 */
export type ChatGptError =
  | ProcessError
  | TaskRegistration.TaskRegistrationError
  | AgentProvisioning.AgentProvisioningError

/**
 * A process with one run for whoever has logged in with the Codex client, from the environment; `layerProcess` has the
 * table of what is read. Its `HttpClient` is the one that signs.
 *
 * A token, or an `auth.json` with `auth_mode` `agentIdentity`, is an agent already, and is used as by `layerConfig`. A
 * ChatGPT login becomes an agent under the policy `ChatGptAuth`, once: it is kept in `auth.json`, and every later run, in
 * whatever process, uses it and its task. Where no agent may be made, or the AuthAPI is unavailable, the run sends the
 * login's own token, and says so in a warning; where the AuthAPI refuses, there is no run.
 *
 * @example
 * import { NodeAgentIdentity } from "@agent-identity/node"
 * import { HttpClient } from "@effect/platform"
 * import { ConfigProvider, Effect } from "effect"
 *
 * const program = HttpClient.get("https://chatgpt.com/backend-api/codex/models").pipe(
 *   Effect.provide(NodeAgentIdentity.layerChatGpt({ policy: "ChatGptAuth", agentVersion: "1.0.0" }))
 * )
 *
 * // Where nobody is logged in there is nobody to make an agent for.
 * const nobody = ConfigProvider.fromMap(new Map([["CODEX_HOME", "/nowhere"]]))
 * const error = await Effect.runPromise(Effect.flip(Effect.withConfigProvider(program, nobody)))
 * assert.deepStrictEqual(error._tag === "AgentProvisioningError" && error.reason, "NoLogin")
 *
 * @since 0.1.0
 * @category layers
 */
export const layerChatGpt = (options: ChatGptOptions): Layer.Layer<ChatGptServices, ChatGptError> =>
  isolated(
    Layer.unwrapEffect(Effect.gen(function*() {
      const bases = { ...yield* settings, paths: options.paths }
      return yield* Effect.matchEffect(CredentialSource.fromConfig, {
        onSuccess: (credential): Effect.Effect<Layer.Layer<ChatGptServices, ChatGptError>> =>
          Effect.succeed(
            layerRun({ ...bases, credential, ...transportOf(options) }, requireWorkspace(options.workspace))
          ),
        onFailure: (error) =>
          error._tag === "CredentialSourceError" && error.reason === "NotFound"
            ? Effect.map(AuthFile.defaultFile, (file) => layerLogin(file, bases, options))
            : Effect.fail(error)
      })
    })).pipe(Layer.provide(NodeContext.layer), Layer.mapError(namingVariable))
  )

/** Of a token as of a login: before anything is registered. */
const requireWorkspace = (workspace: string | undefined) => ({ account }: AgentIdentity.Service) =>
  workspace === undefined || account?.id === workspace
    ? Effect.void
    : new AgentProvisioning.AgentProvisioningError({
      reason: "NoLogin",
      detail: "the agent identity is of another workspace than is allowed"
    })

const layerLogin = (
  file: string,
  bases: Environment.Options,
  options: ChatGptOptions
): Layer.Layer<ChatGptServices, ChatGptError> => {
  const billOfMaterials = AgentRegistration.billOfMaterials({
    agentVersion: options.agentVersion,
    sessionSource: options.sessionSource ?? "cli",
    platform: Os.platform()
  })
  const login = AuthFile.layerLogin({ file, workspace: options.workspace })
  const provisioning = AgentProvisioning.layer({ policy: options.policy, billOfMaterials }).pipe(
    Layer.provide([
      AgentRegistration.layer(Layer.service(UrlDerivation.UrlDerivation)),
      AuthFile.layerCredentialStore({ file })
    ]),
    Layer.provide([login, NodeSigning.layer])
  )
  return Layer.provideMerge(
    ChatGptRun.layer(Layer.merge(provisioning, login)),
    layerBase({ ...bases, transport: options.transport })
  ).pipe(Layer.provide(layerCaller(options)))
}
