/** The command line of `npm run authapi`. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"

export const usage = `npm run authapi -- [--port N] [options]                starts an AuthAPI on loopback
npm run authapi -- mint --port N --runtime-id ID …     prints a token of it, for an agent that it knows
npm run authapi -- trust TOKEN --port N                puts the agent of an outside issuer's token into it

  --port N            the port; 8787 by default, any free one with 0
  --data FILE         keeps agents and tasks in this file, for one server; in a folder of the port's by default
  --database-url URL  keeps them in PostgreSQL, for several servers
  --jwks FILE         trusts the tokens of an outside issuer with these keys, too
  --bearer TOKEN      may register agents over the wire; none may by default
  --sealed            answers task ids sealed for the agent's key

  mint: --account ID --user ID --email ADDRESS --plan NAME --fedramp`

/** What is wrong with the command line, or with the server that a command talks to. */
export class CommandError extends Data.TaggedError("CommandError")<{ readonly message: string }> {}

export interface ServeOptions {
  readonly port: number
  readonly data: string | undefined
  readonly databaseUrl: string | undefined
  readonly jwks: string | undefined
  readonly bearer: string | undefined
  readonly sealed: boolean
}

export interface MintOptions {
  readonly runtimeId: string
  readonly account: string
  readonly user: string
  readonly email: string | undefined
  readonly plan: string
  readonly fedramp: boolean
}

export type Command =
  | { readonly _tag: "Help" }
  | { readonly _tag: "Serve"; readonly options: ServeOptions }
  | { readonly _tag: "Mint"; readonly port: number; readonly options: MintOptions }
  | { readonly _tag: "Trust"; readonly port: number; readonly token: string }

export const parse = (args: ReadonlyArray<string>): Effect.Effect<Command, CommandError> =>
  Effect.gen(function*() {
    const { positionals, values } = yield* Effect.try({
      try: () =>
        parseArgs({
          args: [...args],
          allowPositionals: true,
          options: {
            help: { type: "boolean", short: "h" },
            port: { type: "string" },
            data: { type: "string" },
            "database-url": { type: "string" },
            jwks: { type: "string" },
            bearer: { type: "string" },
            sealed: { type: "boolean" },
            "runtime-id": { type: "string" },
            account: { type: "string" },
            user: { type: "string" },
            email: { type: "string" },
            plan: { type: "string" },
            fedramp: { type: "boolean" }
          }
        }),
      catch: (error) => new CommandError({ message: `${(error as Error).message}\n\n${usage}` })
    })
    if (values.help === true) return { _tag: "Help" }
    const port = Number(values.port ?? 8787)
    if (!/^\d+$/.test(values.port ?? "0") || port > 65535) return yield* wrong(`--port ${values.port} is no port`)
    const [command, ...rest] = positionals
    const allow = (...names: ReadonlyArray<string>) => {
      const other = Object.keys(values).find((name) => name !== "port" && !names.includes(name))
      return other === undefined ? Effect.void : wrong(`--${other} is not for ${command ?? "the server"}`)
    }
    switch (command) {
      case undefined: {
        yield* allow("data", "database-url", "jwks", "bearer", "sealed")
        const { bearer, data, "database-url": databaseUrl, jwks, sealed = false } = values
        if (data !== undefined && databaseUrl !== undefined) {
          return yield* wrong("--data and --database-url are two places to keep the same")
        }
        return { _tag: "Serve", options: { port, data, databaseUrl, jwks, bearer, sealed } }
      }
      case "mint": {
        yield* allow("runtime-id", "account", "user", "email", "plan", "fedramp")
        const {
          account = "account-1",
          email,
          fedramp = false,
          plan = "pro",
          "runtime-id": runtimeId,
          user = "user-1"
        } = values
        if (runtimeId === undefined || rest.length > 0) return yield* wrong("mint wants --runtime-id and nothing else")
        return { _tag: "Mint", port, options: { runtimeId, account, user, email, plan, fedramp } }
      }
      case "trust": {
        yield* allow()
        const [token] = rest
        if (token === undefined || rest.length > 1) return yield* wrong("trust wants one token")
        return { _tag: "Trust", port, token }
      }
      default:
        return yield* wrong(`${command} is no command`)
    }
  })

const wrong = (message: string) => Effect.fail(new CommandError({ message: `${message}\n\n${usage}` }))
