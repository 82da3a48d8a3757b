/** The checks that an assertion and a task registration share: the time, the agent, its signature; in that order. */
import type { AgentRuntimeId } from "@agent-identity/core/AgentRuntimeId"
import * as Signing from "@agent-identity/core/Signing"
import * as Timestamp from "@agent-identity/core/Timestamp"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Option from "effect/Option"
import * as AgentDirectory from "../AgentDirectory.ts"
import { BoundedMap } from "./boundedMap.ts"

/** @internal */
export const defaultSkew = Duration.seconds(300)

/** @internal */
export type Refusal = "Stale" | "UnknownAgent" | "BadSignature"

/** @internal */
export interface Signed {
  readonly agentRuntimeId: AgentRuntimeId
  readonly timestamp: string
  readonly payload: Uint8Array
  readonly signature: Uint8Array
}

/** Written so that a clock that says NaN refuses. @internal */
export const isStale = (signedAt: number, now: number, skew: number): boolean => !(Math.abs(now - signedAt) <= skew)

/** The public key of the first test of RFC 8032, section 7.1. */
const nobody = Either.getOrThrow(Encoding.decodeBase64("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))

interface Options {
  readonly skew?: Duration.DurationInput | undefined
  readonly keyCapacity?: number | undefined
}

/** @internal */
export const makeCheck = (options: Options = {}) =>
  Effect.gen(function*() {
    const directory = yield* AgentDirectory.AgentDirectory
    const signing = yield* Signing.Signing
    const skew = Duration.toMillis(options.skew ?? defaultSkew)
    // By the key itself and not by the agent, so that a changed or revoked key is never answered from here.
    const verifiers = new BoundedMap<string, Signing.Verifier>(options.keyCapacity ?? 10_000)
    const verifierOf = (publicKey: Uint8Array): Effect.Effect<Signing.Verifier, Signing.SigningError> => {
      const key = String.fromCharCode.apply(null, publicKey as never)
      const known = verifiers.get(key)
      if (known !== undefined) return Effect.succeed(known)
      return Effect.map(signing.importPublicKey(publicKey), (verifier) => {
        verifiers.set(key, verifier)
        return verifier
      })
    }
    const verify = (
      agent: Option.Option<AgentDirectory.Agent>,
      { payload, signature }: Signed
    ): Effect.Effect<AgentDirectory.Agent, Refusal> =>
      // For an agent that nobody knows a signature is checked too, so that the time of an answer tells no ids.
      Effect.matchEffect(verifierOf(Option.isSome(agent) ? agent.value.publicKey : nobody), {
        onFailure: () => Effect.fail("BadSignature"),
        onSuccess: (verifier) =>
          Effect.flatMap(
            verifier.verify(payload, signature),
            (isSigned): Effect.Effect<AgentDirectory.Agent, Refusal> =>
              Option.isNone(agent)
                ? Effect.fail("UnknownAgent")
                : isSigned
                ? Effect.succeed(agent.value)
                : Effect.fail("BadSignature")
          )
      })

    /** The agent whose signature it is. */
    // Not by `Effect.gen`: two generators would cost a tenth of what the signature does.
    return (signed: Signed): Effect.Effect<AgentDirectory.Agent, Refusal | AgentDirectory.AgentDirectoryError> =>
      Effect.clockWith((clock) => {
        const signedAt = Timestamp.parse(signed.timestamp)
        if (signedAt === undefined || isStale(signedAt, clock.unsafeCurrentTimeMillis(), skew)) {
          return Effect.fail("Stale")
        }
        let isRemembered = false
        const lookup = { onRemembered: () => void (isRemembered = true) }
        return Effect.flatMap(directory.findAgent(signed.agentRuntimeId, lookup), (agent) =>
          Effect.catchAll(verify(agent, signed), (refusal) =>
            // Whoever is refused has cost one query, whether the agent was remembered or not, known or not.
            isRemembered
              ? Effect.flatMap(
                directory.findAgent(signed.agentRuntimeId, { fresh: true }),
                (fresh) =>
                  isSameKey(agent, fresh) ? Effect.fail(refusal) : verify(fresh, signed)
              )
              : Effect.fail(refusal)))
      })
  })

const isSameKey = (left: Option.Option<AgentDirectory.Agent>, right: Option.Option<AgentDirectory.Agent>): boolean =>
  Option.isNone(left) || Option.isNone(right)
    ? Option.isNone(left) && Option.isNone(right)
    : isSame(left.value.publicKey, right.value.publicKey)

/** @internal */
export const isSame = (left: Uint8Array, right: Uint8Array): boolean =>
  left === right || (left.length === right.length && left.every((byte, index) => byte === right[index]))
