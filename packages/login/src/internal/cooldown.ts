/** Which logins the AuthAPI is not to be asked for, and since when. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as ChatGptLogin from "../ChatGptLogin.ts"

/** @internal */
export const make = <E extends { readonly reason: string }>(millis: number) => {
  const failures = new Map<string, {
    readonly error: E
    readonly since: number
    readonly token: Redacted.Redacted<string>
  }>()
  const key = ({ binding }: ChatGptLogin.Login) => JSON.stringify([binding.accountId, binding.chatgptUserId])
  return {
    begin: (login: ChatGptLogin.Login, error: E) =>
      error.reason === "Unavailable" || error.reason === "Refused"
        ? Effect.map(
          Clock.currentTimeMillis,
          (now) => void failures.set(key(login), { error, since: now, token: login.accessToken })
        )
        : Effect.void,
    end: (login: ChatGptLogin.Login) => Effect.sync(() => void failures.delete(key(login))),
    check: (login: ChatGptLogin.Login) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const failure = failures.get(key(login))
        // A clock that was set back makes it no longer.
        return failure !== undefined && now >= failure.since && now - failure.since < millis &&
            (failure.error.reason === "Unavailable" ||
              Redacted.value(failure.token) === Redacted.value(login.accessToken))
          ? Effect.fail(failure.error)
          : Effect.void
      })
  }
}
