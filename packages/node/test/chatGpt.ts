/** Runs of a ChatGPT login in a real `auth.json` against a real AuthAPI. */
import { RunAuth } from "@agent-identity/core"
import { NodeAgentIdentity } from "@agent-identity/node"
import { RegistrationLimits } from "@agent-identity/server"
import { it } from "@effect/vitest"
import { Effect, Layer, Logger, type Scope, Struct } from "effect"
import * as Path from "node:path"
import * as File from "./authFile/files.ts"
import { bases, BEARER, models, Server, serverWith, withEnvironment } from "./backend.ts"

export const login = (more: object = {}, tokens: object = {}) => File.login(more, { access_token: BEARER, ...tokens })

export const options: NodeAgentIdentity.ChatGptOptions = { policy: "ChatGptAuth", agentVersion: "1.2.3" }

/** The environment of whoever has this `auth.json`. */
export const home = (auth: unknown = login()) =>
  Effect.gen(function*() {
    const file = yield* File.file(auth)
    return { file, environment: { ...(yield* bases), CODEX_HOME: Path.dirname(file) } }
  })

/** One run, and one request of it. */
export const run = (environment: Record<string, string>, more: Partial<NodeAgentIdentity.ChatGptOptions> = {}) =>
  Effect.gen(function*() {
    const credential = yield* Effect.flatMap(RunAuth.RunAuth, (_) => _.current)
    return { credential, ...yield* models }
  }).pipe(
    Effect.provide(NodeAgentIdentity.layerChatGpt({ ...options, ...more })),
    withEnvironment(environment)
  )

const quiet = Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))
export const live = <A, E>(
  name: string,
  test: () => Effect.Effect<A, E, Scope.Scope | Layer.Layer.Success<typeof Server>>,
  server = Server
) => it.scopedLive(name, () => quiet(Effect.provide(test(), server)))

/** What is in the file besides the agent. */
export const loginIn = (file: string) =>
  Struct.omit(File.readJson(file), "agent_identity", "agent_identity_provisioning")

/** An AuthAPI that takes this long. */
export const slow = (millis: number) =>
  serverWith(Layer.effect(
    RegistrationLimits.RegistrationLimits,
    Effect.sync(() => ({ address: () => Effect.sleep(millis), agent: () => Effect.void }))
  ))
