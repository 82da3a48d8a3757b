/** What both registrations do with the AuthAPI: one POST, tried again where that may help. */
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Refusal from "../protocol/Refusal.ts"
import * as Answer from "./answer.ts"
import * as Http from "./http.ts"

/** Why there is no answer of 2xx that can be read. @internal */
export interface Failure {
  readonly reason:
    | "Transport"
    | "Certificate"
    | "Timeout"
    | "Throttled"
    | "Status"
    | "ResponseTooLarge"
    | "InvalidResponse"
    | "AgentDeleted"
  readonly detail: string
  readonly status?: number
  readonly body?: string | undefined
  readonly retryAfterMillis?: number | undefined
}

/** @internal */
export interface Post extends Answer.Asked {
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  readonly body: unknown
}

/** Sends it once; the answer is one of 2xx, whole. @internal */
export const post = (
  client: HttpClient.HttpClient,
  post: Post
): Effect.Effect<Http.Answer, Failure> =>
  Effect.gen(function*() {
    const answer = yield* Http.send(
      client,
      HttpClientRequest.post(post.url, {
        body: HttpBody.unsafeJson(post.body),
        headers: { accept: "application/json", "accept-encoding": "identity", ...post.headers }
      })
    ).pipe(
      Effect.mapError((error): Failure => Http.transportFailure(error)),
      Effect.timeoutFail({
        duration: "30 seconds",
        onTimeout: (): Failure => ({
          reason: "Timeout",
          detail: "no answer within 30 seconds; check the network and the AuthAPI base URL"
        })
      })
    )
    const { status } = answer
    const { advice, from, isReadable, ...more } = Answer.explain(answer, post)
    if (status < 200 || status > 299) {
      const retryAfterMillis = Answer.retryAfter(answer.headers, yield* Clock.currentTimeMillis)
      const fail = (reason: Failure["reason"], detail: string) =>
        Effect.fail<Failure>({ reason, detail, status, retryAfterMillis, ...more })
      if (
        (status === 403 || status === 400) &&
        Refusal.documents(answer.headers, answer.body).some(Refusal.isAgentDeleted)
      ) {
        return yield* fail("AgentDeleted", `the agent has been deleted${from}; make a new agent`)
      }
      if (status < 400) {
        return yield* fail(
          "Status",
          `status ${status}${from}, a redirect, and none is followed; check the AuthAPI base URL`
        )
      }
      return yield* (retryAfterMillis ?? 0) > maxRetryAfterMillis && isRetryableStatus(status)
        ? fail("Throttled", `status ${status}${from}, try again in ${Math.ceil(retryAfterMillis! / 1000)} s`)
        : fail("Status", `status ${status}${from}; ${isRetryableStatus(status) ? "try again later" : advice}`)
    }
    if (!answer.complete) {
      return yield* Effect.fail<Failure>({
        reason: "ResponseTooLarge",
        detail: `the answer is larger than ${Http.maxBodyBytes} bytes${from}; check the AuthAPI base URL`
      })
    }
    return isReadable ? answer : yield* Effect.fail<Failure>({
      reason: "InvalidResponse",
      detail: `the answer is no JSON${from}; ${advice}`,
      status,
      ...more
    })
  })

/** Tries an attempt up to three times, within 75 seconds over all. @internal */
export const retrying = <A, E extends Retryable, R>(
  attempt: Effect.Effect<A, E, R>,
  onTimeout: () => E
): Effect.Effect<A, E, R> =>
  attempt.pipe(
    Effect.retry(policy<E>()),
    // Its waits too: a layer may be built where nothing is interrupted.
    Effect.interruptible,
    Effect.timeoutFail({ duration: "75 seconds", onTimeout })
  )

/** @internal */
export const isRetryable = (failure: { readonly reason: string; readonly status?: number | undefined }): boolean =>
  failure.reason === "Transport" || failure.reason === "Timeout" || failure.reason === "Throttled" ||
  (failure.reason === "Status" && isRetryableStatus(failure.status!))

const isRetryableStatus = (status: number): boolean => status === 429 || (status >= 500 && status < 600)

interface Retryable {
  readonly retryable: boolean
  readonly retryAfterMillis?: number | undefined
}

/** A longer `Retry-After` ends the attempts. */
const maxRetryAfterMillis = 20_000

/** Three attempts; 250 ms doubling with full jitter between them, or what the server asked for. */
const policy = <E extends Retryable>() =>
  Schedule.identity<E>().pipe(
    Schedule.whileInput((error: E) => error.retryable && (error.retryAfterMillis ?? 0) <= maxRetryAfterMillis),
    Schedule.intersect(Schedule.exponential("250 millis")),
    Schedule.intersect(Schedule.recurs(2)),
    Schedule.modifyDelayEffect(([[error, backoff]]) =>
      error.retryAfterMillis === undefined
        ? Effect.map(Random.nextRange(0, Duration.toMillis(backoff)), Duration.millis)
        : Effect.succeed(Duration.millis(error.retryAfterMillis))
    )
  )
