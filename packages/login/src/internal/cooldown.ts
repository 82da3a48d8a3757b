/** Which logins the AuthAPI is not to be asked for, and since when. */
import * as Moment from "@agent-identity/core/run/moment"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as ChatGptLogin from "../ChatGptLogin.ts"
import * as CredentialStore from "../CredentialStore.ts"

/** @internal */
export const make = <E extends { readonly reason: string }>(millis: number) => {
  const failures = new Map<string, {
    readonly error: E
    readonly since: Moment.Moment
    readonly token: Redacted.Redacted<string>
  }>()
  const key = ({ binding }: ChatGptLogin.Login) => CredentialStore.bindingKey(binding)
  return {
    begin: (login: ChatGptLogin.Login, error: E) =>
      error.reason === "Unavailable" || error.reason === "Refused"
        ? Effect.map(
          Moment.now,
          (now) => void failures.set(key(login), { error, since: now, token: login.accessToken })
        )
        : Effect.void,
    end: (login: ChatGptLogin.Login) => Effect.sync(() => void failures.delete(key(login))),
    check: (login: ChatGptLogin.Login) =>
      Effect.flatMap(Moment.now, (now) => {
        const failure = failures.get(key(login))
        return failure !== undefined && Moment.isWithin(failure.since, millis, now) &&
            (failure.error.reason === "Unavailable" ||
              Redacted.value(failure.token) === Redacted.value(login.accessToken))
          ? Effect.fail(failure.error)
          : Effect.void
      })
  }
}
