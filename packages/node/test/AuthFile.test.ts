import { AgentKey, AgentRuntimeId } from "@agent-identity/core"
import { ChatGptLogin, type CredentialStore } from "@agent-identity/login"
import { AuthFile, CredentialSource } from "@agent-identity/node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Either, Option, Redacted, Schema, type Scope } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { assertClean, shown } from "../../core/test/leaks.ts"
import { suite } from "../../login/test/credentialStoreSuite.ts"
import { BINDING, increment, KEY, recordOf } from "./authFile/counter.ts"
import {
  agent,
  file,
  folder,
  idToken,
  jwt,
  leftovers,
  login,
  modeOf,
  readJson,
  readText,
  ReferenceAgent,
  storeOf,
  write
} from "./authFile/files.ts"

const KEY_V2 =
  "MFECAQEwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHgSEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="

const SECRETS = ["secret", KEY.slice(-40), idToken().split(".")[1]!]

const live = <A, E>(name: string, test: () => Effect.Effect<A, E, Scope.Scope>) => it.scopedLive(name, test)

const currentOf = (file: string, workspace?: string) =>
  Effect.flatMap(ChatGptLogin.ChatGptLogin, ({ current }) => current).pipe(
    Effect.provide(AuthFile.layerLogin({ file, workspace }))
  )

const entryOf = (file: string) => Effect.flatMap(storeOf(file), (store) => store.get(BINDING))

const put = (file: string, record: CredentialStore.AgentRecord | undefined) =>
  Effect.gen(function*() {
    const store = yield* storeOf(file)
    const version = Option.map(yield* store.get(BINDING), (_) => _.version)
    assert.isTrue(yield* store.compareAndSwap(BINDING, version, Option.fromNullable(record)))
  })

const common = { privateKey: Redacted.make(KEY), lease: { holder: "holder-1", expiresAt: 1_800_000_000_000 } }
const keyMade: CredentialStore.AgentRecord = { state: "key-made", ...common }
const registered: CredentialStore.AgentRecord = {
  state: "registered",
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-1"),
  ...common
}

const decodeAgent = Schema.decodeUnknownEither(ReferenceAgent, { onExcessProperty: "error" })

describe("AuthFile.defaultFile", () => {
  it.effect("is in CODEX_HOME, or else in the home folder", () =>
    Effect.gen(function*() {
      const home = Path.join(Os.homedir(), ".codex", "auth.json")
      for (const [given, expected] of [[" /x ", "/x/auth.json"], ["", home], [" ", home], [undefined, home]] as const) {
        const provider = ConfigProvider.fromMap(new Map(given === undefined ? [] : [["CODEX_HOME", given]]))
        assert.strictEqual(yield* Effect.withConfigProvider(AuthFile.defaultFile, provider), expected)
      }
    }))
})

describe("AuthFile.layerLogin", () => {
  const logins: ReadonlyArray<readonly [what: string, auth: unknown, accountId: string, userId: string]> = [
    ["as the reference writes it", login(), "account-1", "user-1"],
    ["without a mode", login({ auth_mode: undefined }), "account-1", "user-1"],
    ["with a mode that is null", login({ auth_mode: null }), "account-1", "user-1"],
    ["with an API key beside it, and a mode", login({ OPENAI_API_KEY: "sk-secret" }), "account-1", "user-1"],
    ["whose account is in the id token", login({}, { account_id: "" }), "account-1", "user-1"],
    ["whose account is only in the id token", login({}, { account_id: null }), "account-1", "user-1"],
    ["whose account is another than the id token's", login({}, { account_id: "account-2" }), "account-2", "user-1"],
    [
      "with a user under the other name",
      login({}, { id_token: idToken({ chatgpt_user_id: undefined, user_id: "user-2" }) }),
      "account-1",
      "user-2"
    ],
    [
      "with a user under both names",
      login({}, { id_token: idToken({ user_id: "user-2" }) }),
      "account-1",
      "user-1"
    ],
    ["beside a malformed agent", login({ agent_identity: { agent_runtime_id: 7 } }), "account-1", "user-1"],
    ["beside an agent that is a number", login({ agent_identity: 7 }), "account-1", "user-1"],
    ["beside a JWT", login({ agent_identity: "e30.e30.e30" }), "account-1", "user-1"],
    ["beside another's agent", login({ agent_identity: agent({ account_id: "x" }) }), "account-1", "user-1"]
  ]
  for (const [what, auth, accountId, chatgptUserId] of logins) {
    live(`reads a login ${what}`, () =>
      Effect.gen(function*() {
        const path = yield* file(auth)
        const before = readText(path)
        const current = yield* currentOf(path)
        assert.deepStrictEqual({ ...current.binding }, { accountId, chatgptUserId } as never)
        assert.strictEqual(Redacted.value(current.accessToken), "secret-access-token")
        assert.isFalse(current.fedramp)
        assertClean("the login", shown(current), SECRETS)
        assert.strictEqual(readText(path), before)
      }))
  }

  const refused: ReadonlyArray<readonly [what: string, auth: unknown, reason: string]> = [
    ["an empty object", {}, "LoggedOut"],
    ["a mode without tokens", { auth_mode: "chatgpt" }, "LoggedOut"],
    ["tokens that are null", login({ tokens: null }), "LoggedOut"],
    ...["apikey", "chatgptAuthTokens", "headers", "agentIdentity", "personalAccessToken", "bedrockApiKey", "new"]
      .map((mode) => [`the mode ${mode}`, login({ auth_mode: mode }), "OtherLogin"] as const),
    ["an API key before tokens", login({ auth_mode: undefined, OPENAI_API_KEY: "sk-secret" }), "OtherLogin"],
    [
      "a personal access token before tokens",
      login({ auth_mode: undefined, personal_access_token: "at-secret" }),
      "OtherLogin"
    ],
    ["a Bedrock key before tokens", login({ auth_mode: undefined, bedrock_api_key: { key: "secret" } }), "OtherLogin"],
    ["no last refresh", login({ last_refresh: undefined }), "Incomplete"],
    ["no access token", login({}, { access_token: undefined }), "Incomplete"],
    ["no id token", login({}, { id_token: undefined }), "Incomplete"],
    ["an id token that is none", login({}, { id_token: "secret" }), "Incomplete"],
    ["an id token without JSON", login({}, { id_token: "e30.secret.e30" }), "Incomplete"],
    ["an id token without our claims", login({}, { id_token: jwt({ sub: "secret" }) }), "Incomplete"],
    ["no user", login({}, { id_token: idToken({ chatgpt_user_id: "" }) }), "Incomplete"],
    [
      "no account",
      login({}, { account_id: "", id_token: idToken({ chatgpt_account_id: undefined }) }),
      "Incomplete"
    ],
    ["an account that is no header", login({}, { account_id: "secrét" }), "Invalid"],
    ["a mode that is a number", login({ auth_mode: 7 }), "Invalid"],
    ["tokens that are a text", login({ tokens: "secret" }), "Invalid"],
    ["text that is not JSON", "{secret", "Invalid"],
    ["an empty file", "", "Invalid"],
    ["a list", [], "Invalid"]
  ]
  for (const [what, auth, reason] of refused) {
    live(`refuses ${what}: ${reason}`, () =>
      Effect.gen(function*() {
        const path = yield* file(auth)
        const error = yield* Effect.flip(currentOf(path))
        assert.strictEqual(error.reason, reason)
        assert.include(error.message, path)
        assertClean("the error", shown(error), SECRETS)
        // The store has no record of who is not logged in.
        const store = yield* Effect.flip(entryOf(path))
        assert.strictEqual(
          store.reason,
          what.startsWith("text") || what === "an empty file" || what === "a list"
            ? "Invalid"
            : "StaleAuth"
        )
        assertClean("the error", shown(store), SECRETS)
      }))
  }

  live("takes the login of the workspace that is allowed, and no other", () =>
    Effect.gen(function*() {
      const path = yield* file()
      assert.strictEqual((yield* currentOf(path, "account-1")).binding.accountId, "account-1")
      assert.strictEqual((yield* Effect.flip(currentOf(path, "account-2"))).reason, "OtherWorkspace")
    }))

  live("reads the file anew each time: a refresh, a switch, a logout", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* Effect.gen(function*() {
        const { current } = yield* ChatGptLogin.ChatGptLogin
        yield* current
        write(path, login({}, { access_token: "token-2", id_token: idToken({ chatgpt_account_is_fedramp: true }) }))
        const refreshed = yield* current
        assert.strictEqual(Redacted.value(refreshed.accessToken), "token-2")
        assert.isTrue(refreshed.fedramp)
        write(path, login({}, { account_id: "account-2" }))
        assert.strictEqual((yield* current).binding.accountId, "account-2")
        Fs.rmSync(path)
        assert.strictEqual((yield* Effect.flip(current)).reason, "LoggedOut")
        Fs.mkdirSync(path)
        assert.strictEqual((yield* Effect.flip(current)).reason, "Unreadable")
      }).pipe(Effect.provide(AuthFile.layerLogin({ file: path })))
    }))

  live("waits for a file that is being written in place", () =>
    Effect.gen(function*() {
      const path = yield* file("")
      const whole = JSON.stringify(login())
      setTimeout(() => Fs.writeFileSync(path, whole.slice(0, 300)), 20)
      setTimeout(() => Fs.writeFileSync(path, whole), 50)
      const [current, entry] = yield* Effect.all([currentOf(path), entryOf(path)], { concurrency: 2 })
      assert.strictEqual(current.binding.accountId, "account-1")
      assert.isTrue(Option.isNone(entry))
    }))
})

describe("AuthFile beside the Codex client", () => {
  /** What may stand under the names that the client keeps its locks by. */
  const found: Readonly<Record<string, (path: string) => void>> = {
    "nothing": () => undefined,
    "regular files": (path) => Fs.writeFileSync(path, "", { mode: 0o600 }),
    "files that nobody may read or write": (path) => Fs.writeFileSync(path, "secret", { mode: 0 }),
    "directories": (path) => Fs.mkdirSync(path),
    "directories that are not empty": (path) => Fs.mkdirSync(Path.join(path, "x"), { recursive: true }),
    "links to nowhere": (path) => Fs.symlinkSync("/nowhere/lock", path),
    "links to the file itself": (path) => Fs.symlinkSync("auth.json", path)
  }
  for (const [what, make] of Object.entries(found)) {
    live(`leaves ${what} where its locks are, and works`, () =>
      Effect.gen(function*() {
        const path = yield* file()
        const names = ["auth.lock", "auth.json.lock"]
        for (const name of names) make(Path.join(path, "..", name))
        const look = () =>
          leftovers(path).sort().map((name) => {
            const { ctimeNs, ino, mode } = Fs.lstatSync(Path.join(path, "..", name), { bigint: true })
            return { name, ino, mode, ctimeNs }
          })
        const before = look()
        assert.strictEqual(before.length, what === "nothing" ? 0 : 2)
        yield* put(path, recordOf(1))
        yield* Effect.forEach([storeOf(path), storeOf(path)], Effect.flatMap(increment), { concurrency: 2 })
        assert.strictEqual((yield* currentOf(path)).binding.accountId, "account-1")
        yield* put(path, undefined)
        assert.deepStrictEqual(look(), before)
      }))
  }

  live("makes its own member again where the client has dropped it", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* put(path, { ...recordOf(7), ...common })
      const { agent_identity_provisioning: own, ...auth } = readJson(path)
      write(path, auth)
      const { record, version } = Option.getOrThrow(yield* entryOf(path))
      assert.strictEqual(record.state === "ready" ? String(record.taskId) : record.state, "task-7")
      const store = yield* storeOf(path)
      assert.isTrue(yield* store.compareAndSwap(BINDING, Option.some(version), Option.some(recordOf(8))))
      assert.deepInclude(readJson(path).agent_identity_provisioning, { task: { task_id: "task-8", registered_at: 8 } })
      assert.notDeepEqual(readJson(path).agent_identity_provisioning, own)
    }))

  live("reads a file that begins with a byte order mark, and writes it without one", () =>
    Effect.gen(function*() {
      const path = yield* file(`\ufeff${JSON.stringify(login())}`)
      assert.strictEqual((yield* currentOf(path)).binding.accountId, "account-1")
      yield* put(path, recordOf(1))
      assert.strictEqual(readText(path)[0], "{")
      assert.deepInclude(readJson(path), JSON.parse(JSON.stringify(login())))
      // One mark: another is no part of JSON.
      write(path, `\ufeff${readText(path).replace(/^/, "\ufeff")}`)
      assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Invalid")
    }))
})

describe("AuthFile after a write in place that was broken off", () => {
  const journalOf = (path: string) => `${path}.agent-identity-tmp-journal`
  const textOf = (count: number, length = 0) =>
    JSON.stringify({
      ...login(),
      agent_identity: agent({ task_id: `task-${count}` }),
      agent_identity_provisioning: {
        account_id: "account-1",
        chatgpt_user_id: "user-1",
        revision: `${count}`.repeat(36),
        task: { task_id: `task-${count}`, registered_at: count }
      },
      more: "x".repeat(length)
    })
  const broken = (before: string, after: string, found: string) =>
    Effect.map(file(found), (path) => {
      Fs.writeFileSync(journalOf(path), JSON.stringify({ before, after }), { mode: 0o600 })
      return path
    })
  const taskIn = (path: string) =>
    Effect.map(entryOf(path), (entry) => {
      const { record } = Option.getOrThrow(entry)
      return record.state === "ready" ? [String(record.taskId), record.registeredAt] : record.state
    })

  const lengths: ReadonlyArray<readonly [what: string, before: string, after: string]> = [
    ["as long", textOf(1), textOf(2)],
    ["longer", textOf(1), textOf(2, 300)],
    ["shorter", textOf(1, 300), textOf(2)]
  ]
  for (const [what, before, after] of lengths) {
    live(
      `reads what was coming, and writes it, wherever a text that is ${what} was broken off`,
      () =>
        Effect.gen(function*() {
          const length = Math.max(before.length, after.length)
          const all = Array.from(
            { length: length + 1 },
            (_, at) => after.padEnd(length).slice(0, at) + before.padEnd(length).slice(at)
          )
          const different = [...new Set(all)]
          const some = different.filter((_, index) => index % Math.ceil(different.length / 25) === 0)
          let torn = 0
          for (const found of [before, ...some, after]) {
            const path = yield* broken(before, after, found)
            const expected = found === before ? 1 : 2
            assert.deepStrictEqual(yield* taskIn(path), [`task-${expected}`, expected])
            assert.strictEqual((yield* currentOf(path)).binding.accountId, "account-1")
            assert.strictEqual(readText(path), found)
            if (found !== before && found !== after) torn++
            yield* put(path, recordOf(3))
            assert.deepStrictEqual(yield* taskIn(path), ["task-3", 3])
            assert.strictEqual(readJson(path).more, JSON.parse(expected === 1 ? before : after).more)
            assert.deepStrictEqual(leftovers(path), [])
          }
          assert.isAtLeast(torn, 5)
        })
    )
  }

  live("reads what was coming through a link to the file, and in a run of its login", () =>
    Effect.gen(function*() {
      const [, before, after] = lengths[0]!
      const at = before.indexOf("revision") + 20
      const path = yield* broken(before, after, after.slice(0, at) + before.slice(at))
      const link = `${Path.dirname(yield* file("{}"))}/link.json`
      Fs.symlinkSync(path, link)
      assert.deepStrictEqual(yield* taskIn(link), ["task-2", 2])
      assert.strictEqual((yield* currentOf(link)).binding.accountId, "account-1")
      const error = yield* Effect.flip(CredentialSource.fromAuthFile(link))
      assert.strictEqual(error.reason, "NotFound")
    }))

  live("is a typed error where it is a pipe", () =>
    Effect.gen(function*() {
      const path = `${Path.dirname(yield* file("{}"))}/pipe.json`
      ChildProcess.execFileSync("mkfifo", [path])
      assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Unreadable")
      assert.strictEqual((yield* Effect.flip(CredentialSource.fromAuthFile(path))).reason, "Unreadable")
    }))

  live("reads again where a write that it saw the half of is done by its second look", () =>
    Effect.gen(function*() {
      const [, before, after] = lengths[0]!
      const at = before.indexOf("revision") + 20
      const path = yield* file(after.slice(0, at) + before.slice(at))
      const handle = yield* Effect.promise(() => FsPromises.open(path))
      const prototype: { readFile: () => Promise<Buffer> } = Object.getPrototypeOf(handle)
      yield* Effect.promise(() => handle.close())
      const { readFile } = prototype
      prototype.readFile = async function() {
        prototype.readFile = readFile
        const bytes = await readFile.call(this)
        Fs.writeFileSync(path, after)
        return bytes
      }
      assert.deepStrictEqual(yield* taskIn(path), ["task-2", 2])
    }))

  const [, before, after] = lengths[1]!
  const later: Readonly<Record<string, string>> = {
    "another login": JSON.stringify(login({}, { access_token: "later" })),
    "the same login with another token": after.replace("secret-access-token", "secret-access-tokEn"),
    "what was there before": before
  }
  for (const [what, text] of Object.entries(later)) {
    live(`leaves ${what}, and removes what is beside it at the next change`, () =>
      Effect.gen(function*() {
        const path = yield* broken(before, after, text)
        const { tokens } = JSON.parse(text)
        assert.strictEqual(Redacted.value((yield* currentOf(path)).accessToken), tokens.access_token)
        yield* put(path, recordOf(3))
        assert.deepStrictEqual(readJson(path).tokens, tokens)
        assert.deepStrictEqual(leftovers(path), [])
      }))
  }

  const others: Readonly<Record<string, string>> = {
    "a file that the client has emptied": "",
    "half of what the client writes": JSON.stringify(login(), null, 2).slice(0, 200),
    "half of what was coming, which has no length of ours": after.slice(0, 200)
  }
  for (const [what, text] of Object.entries(others)) {
    live(`takes ${what} for no write of ours`, () =>
      Effect.gen(function*() {
        const path = yield* broken(before, after, text)
        const store = yield* storeOf(path)
        const swap = store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(3)))
        assert.strictEqual((yield* Effect.flip(swap)).reason, "Invalid")
        assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Invalid")
        assert.strictEqual(readText(path), text)
      }))
  }

  live("waits for a file that the client has emptied, and takes what it writes", () =>
    Effect.gen(function*() {
      const path = yield* broken(before, after, "")
      const text = JSON.stringify(login({}, { access_token: "later" }))
      setTimeout(() => Fs.writeFileSync(path, text.slice(0, 300)), 20)
      setTimeout(() => Fs.writeFileSync(path, text), 50)
      const store = yield* storeOf(path)
      const swap = store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(3)))
      const [current, swapped] = yield* Effect.all([currentOf(path), swap], { concurrency: 2 })
      assert.strictEqual(Redacted.value(current.accessToken), "later")
      assert.isTrue(swapped)
      assert.deepStrictEqual(readJson(path).tokens, JSON.parse(text).tokens)
      assert.deepStrictEqual(leftovers(path), [])
    }))

  live("brings no file back after a logout", () =>
    Effect.gen(function*() {
      const path = yield* broken(before, after, after)
      Fs.rmSync(path)
      const store = yield* storeOf(path)
      const swap = store.compareAndSwap(BINDING, Option.none(), Option.some(recordOf(3)))
      assert.strictEqual((yield* Effect.flip(store.get(BINDING))).reason, "StaleAuth")
      assert.strictEqual((yield* Effect.flip(swap)).reason, "StaleAuth")
      assert.isFalse(Fs.existsSync(path))
    }))

  it.scopedLive.skipIf(process.getuid?.() !== 0)("trusts nobody else's file", () =>
    Effect.gen(function*() {
      const path = yield* broken(before, after, after.slice(0, 900) + before.padEnd(after.length).slice(900))
      Fs.chownSync(journalOf(path), 65534, 65534)
      assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Invalid")
      Fs.chownSync(journalOf(path), 0, 0)
      assert.deepStrictEqual(yield* taskIn(path), ["task-2", 2])
      Fs.renameSync(journalOf(path), `${path}.elsewhere`)
      Fs.symlinkSync(`${path}.elsewhere`, journalOf(path))
      assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Invalid")
    }))
})

suite(
  "file",
  Effect.map(file(), (path) => ({
    layer: AuthFile.layerCredentialStore({ file: path }),
    again: AuthFile.layerCredentialStore({ file: path })
  })),
  { manyBindings: false }
)

describe("AuthFile.layerCredentialStore reads", () => {
  const read: ReadonlyArray<readonly [what: string, more: object, record: CredentialStore.AgentRecord | undefined]> = [
    ["nothing", {}, undefined],
    ["an agent that is null", { agent_identity: null }, undefined],
    ["the reference's agent", { agent_identity: agent() }, { ...registered, lease: undefined }],
    ["an agent without an e-mail", { agent_identity: agent({ email: undefined }) }, {
      ...registered,
      lease: undefined
    }],
    ["an agent whose e-mail is null", { agent_identity: agent({ email: null }) }, { ...registered, lease: undefined }],
    ["a blank task", { agent_identity: agent({ task_id: "  " }) }, { ...registered, lease: undefined }],
    ["a task", { agent_identity: agent({ task_id: "task-7" }) }, {
      ...recordOf(7),
      registeredAt: undefined
    } as CredentialStore.AgentRecord],
    ["a key of the second form", { agent_identity: agent({ agent_private_key: KEY_V2 }) }, {
      ...registered,
      lease: undefined,
      privateKey: Redacted.make(KEY_V2)
    }],
    ["a malformed agent of the same login", { agent_identity: agent({ agent_runtime_id: 7 }) }, undefined],
    ["an agent of nobody", { agent_identity: { agent_runtime_id: "agent-1" } }, undefined],
    ["an agent that is a list", { agent_identity: [] }, undefined],
    ["a record of ours that is malformed", { agent_identity_provisioning: { account_id: 7 } }, undefined]
  ]
  for (const [what, more, record] of read) {
    live(`reads ${what}, and another record can be put in its place`, () =>
      Effect.gen(function*() {
        const path = yield* file(login(more))
        const entry = yield* entryOf(path)
        assert.deepStrictEqual(
          Option.getOrUndefined(Option.map(entry, ({ record }) => [record.state, Redacted.value(record.privateKey)])),
          record && [record.state, Redacted.value(record.privateKey)]
        )
        assert.deepEqual(
          JSON.parse(JSON.stringify(Option.getOrUndefined(entry)?.record ?? null)),
          JSON.parse(JSON.stringify(record ?? null))
        )
        if (Option.isSome(entry)) {
          assert.isTrue(Either.isRight(AgentKey.fromPkcs8(entry.value.record.privateKey)))
        }
        yield* put(path, recordOf(9))
        assert.isTrue(Either.isRight(decodeAgent(readJson(path).agent_identity)))
        assert.deepStrictEqual(leftovers(path), [])
      }))
  }

  const occupied: ReadonlyArray<readonly [what: string, member: unknown]> = [
    ["a JWT", "e30.e30.e30"],
    ["another account's agent", agent({ account_id: "account-2" })],
    ["another user's agent", agent({ chatgpt_user_id: "user-2" })],
    ["another account's agent, malformed", { account_id: "account-2", agent_private_key: "secret" }],
    ["another user's agent, malformed", { chatgpt_user_id: "user-2" }]
  ]
  for (const [what, member] of occupied) {
    live(`leaves ${what} alone, byte for byte`, () =>
      Effect.gen(function*() {
        const path = yield* file(JSON.stringify(login({ agent_identity: member }), null, 3))
        const before = readText(path)
        const store = yield* storeOf(path)
        for (
          const use of [
            store.get(BINDING),
            store.compareAndSwap(BINDING, Option.none(), Option.some(keyMade)),
            store.compareAndSwap(BINDING, Option.none(), Option.none())
          ]
        ) {
          const error = yield* Effect.flip(use as Effect.Effect<unknown, CredentialStore.CredentialStoreError>)
          assert.strictEqual(error.reason, "Occupied")
          assertClean("the error", shown(error), SECRETS)
        }
        assert.strictEqual(readText(path), before)
        assert.deepStrictEqual(leftovers(path), [])
      }))
  }

  live("has nothing of another login, and writes nothing to it", () =>
    Effect.gen(function*() {
      for (const auth of [login({}, { account_id: "account-2" }), login({ auth_mode: "apikey" }), {}]) {
        const path = yield* file(auth)
        const before = readText(path)
        const store = yield* storeOf(path)
        assert.strictEqual((yield* Effect.flip(store.get(BINDING))).reason, "StaleAuth")
        const error = yield* Effect.flip(store.compareAndSwap(BINDING, Option.none(), Option.some(keyMade)))
        assert.strictEqual(error.reason, "StaleAuth")
        assert.strictEqual(readText(path), before)
        assert.deepStrictEqual(leftovers(path), [])
      }
    }))

  live("says StaleAuth where there is no file, or no folder, and makes none", () =>
    Effect.gen(function*() {
      const path = yield* folder
      for (const missing of [`${path}/auth.json`, `${path}/none/auth.json`]) {
        const store = yield* storeOf(missing)
        assert.strictEqual((yield* Effect.flip(store.get(BINDING))).reason, "StaleAuth")
        const error = yield* Effect.flip(store.compareAndSwap(BINDING, Option.none(), Option.some(keyMade)))
        assert.strictEqual(error.reason, "StaleAuth")
      }
      assert.deepStrictEqual(Fs.readdirSync(path), [])
    }))

  live("changes nothing in a file that is not JSON", () =>
    Effect.gen(function*() {
      const path = yield* file("{\"secret")
      const store = yield* storeOf(path)
      const error = yield* Effect.flip(store.compareAndSwap(BINDING, Option.none(), Option.some(keyMade)))
      assert.strictEqual(error.reason, "Invalid")
      assertClean("the error", shown(error), SECRETS)
      assert.strictEqual(readText(path), "{\"secret")
      assert.deepStrictEqual(leftovers(path), [])
    }))
})

describe("AuthFile.layerCredentialStore writes", () => {
  for (const record of [registered, recordOf(7), { ...recordOf(7), ...common }]) {
    live(`writes an agent that is ${record.state} to the reference's grammar`, () =>
      Effect.gen(function*() {
        const claims = [
          [{}, {}, { email: "person@example.com", plan_type: "pro", chatgpt_account_is_fedramp: false }],
          [{ chatgpt_plan_type: "hc" }, { email: undefined }, { email: "", plan_type: "enterprise" }],
          [{ chatgpt_plan_type: "galactic" }, { email: null }, { email: "", plan_type: "unknown" }],
          [
            { chatgpt_plan_type: undefined, chatgpt_account_is_fedramp: true },
            { email: undefined, "https://api.openai.com/profile": { email: "p@example.com" } },
            { email: "p@example.com", plan_type: "unknown", chatgpt_account_is_fedramp: true }
          ]
        ] as const
        for (const [auth, more, expected] of claims) {
          const path = yield* file(login({}, { id_token: idToken(auth, more) }))
          yield* put(path, record)
          const member = Either.getOrThrow(decodeAgent(readJson(path).agent_identity))
          assert.deepInclude(member, { ...expected, agent_private_key: KEY, account_id: "account-1" })
          assert.strictEqual(member.task_id, record.state === "ready" ? "task-7" : undefined)
          assert.notProperty(readJson(path), "task_id")
        }
      }))
  }

  live(
    "keeps a key that has no agent in a member of its own, and leaves the reference's out",
    () =>
      Effect.gen(function*() {
        const path = yield* file()
        yield* put(path, keyMade)
        const auth = readJson(path)
        assert.notProperty(auth, "agent_identity")
        assert.deepInclude(auth.agent_identity_provisioning, {
          account_id: "account-1",
          chatgpt_user_id: "user-1",
          agent_private_key: KEY
        })
        yield* put(path, undefined)
        assert.strictEqual(readText(path), JSON.stringify(login(), null, 2))
      })
  )

  live(
    "loses only the lease and the age where the reference drops what it does not know",
    () =>
      Effect.gen(function*() {
        const path = yield* file()
        yield* put(path, { ...recordOf(7), ...common })
        write(path, { ...readJson(path), agent_identity_provisioning: undefined })
        const { record } = Option.getOrThrow(yield* entryOf(path))
        assert.strictEqual(record.state, "ready")
        assert.isUndefined(record.lease)
        assert.notProperty(record, "registeredAt")
      })
  )

  live("keeps numbers that JavaScript would write otherwise, or cannot hold", () =>
    Effect.gen(function*() {
      const path = yield* file()
      const odd = "\"big\": 12345678901234567890, \"one\": 1.0, \"huge\": 1e400, \"text\": \"1.0\""
      Fs.writeFileSync(path, readText(path).replace(/^\{/, `{${odd}, "deep": { "list": [9007199254740993] },`))
      yield* put(path, registered)
      const text = readText(path)
      for (const member of odd.split(", ")) assert.include(text, member)
      assert.include(text, "9007199254740993")
    }))

  live("takes no number for the name of a member", () =>
    Effect.gen(function*() {
      const path = yield* file()
      const text = readText(path).replace(/^\{/, "{1.0: 2,")
      Fs.writeFileSync(path, text)
      assert.strictEqual((yield* Effect.flip(entryOf(path))).reason, "Invalid")
      assert.strictEqual(readText(path), text)
    }))

  live("takes no file that is nested deeper than the reference reads", () =>
    Effect.gen(function*() {
      const path = yield* file()
      const plain = readText(path)
      const nested = (depth: number) => plain.replace(/^\{/, `{"x":${"[".repeat(depth)}${"]".repeat(depth)},`)
      for (const depth of [127, 100_000]) {
        Fs.writeFileSync(path, nested(depth))
        const store = yield* storeOf(path)
        const error = yield* Effect.flip(store.compareAndSwap(BINDING, Option.none(), Option.some(keyMade)))
        assert.strictEqual(error.reason, "Invalid")
        assert.strictEqual((yield* Effect.flip(currentOf(path))).reason, "Invalid")
        assert.strictEqual(readText(path), nested(depth))
      }
      Fs.writeFileSync(path, nested(126))
      yield* put(path, registered)
    }))

  live("takes over a lock that is of the future, once it has seen it stand still", () =>
    Effect.gen(function*() {
      const path = yield* file()
      Fs.mkdirSync(`${path}.agent-identity-lock`)
      const tomorrow = Date.now() / 1000 + 86_400
      Fs.utimesSync(`${path}.agent-identity-lock`, tomorrow, tomorrow)
      yield* put(path, registered)
      assert.deepStrictEqual(leftovers(path), [])
    }))

  live("gives a task that the reference wrote no other task's age", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* put(path, recordOf(7))
      const auth = readJson(path)
      write(path, { ...auth, agent_identity: { ...auth.agent_identity as object, task_id: "task-8" } })
      const { record } = Option.getOrThrow(yield* entryOf(path))
      assert.strictEqual(record.state === "ready" ? String(record.taskId) : record.state, "task-8")
      assert.notProperty(record, "registeredAt")
    }))

  live(
    "keeps all that it does not know, in its order, and of an agent only if it is the same one",
    () =>
      Effect.gen(function*() {
        const auth = {
          first: { "__proto__": 1, b: [1, 2], a: null },
          agent_identity: { zeta: 1, ...agent(), later: { x: 1 } },
          ...login({}, { more: "kept" }),
          agent_identity_provisioning: { account_id: "account-2", chatgpt_user_id: "user-2", revision: "x" },
          last: "é"
        }
        const path = yield* file(auth)
        yield* put(path, recordOf(7))
        const text = readText(path)
        const after = readJson(path)
        assert.deepStrictEqual(
          Object.keys(after).filter((name) => name !== "agent_identity_provisioning"),
          Object.keys(auth).filter((name) => name !== "agent_identity_provisioning")
        )
        for (const name of ["first", "auth_mode", "tokens", "last_refresh", "last"] as const) {
          assert.deepStrictEqual(after[name], (auth as Record<string, unknown>)[name])
        }
        assert.deepStrictEqual(Object.keys(after.agent_identity as object), [
          "zeta",
          ...Object.keys(agent()),
          "later",
          "task_id"
        ])
        assert.notInclude(text, "account-2")
        yield* put(path, { ...registered, agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("agent-2") })
        assert.notProperty(readJson(path).agent_identity, "zeta")
        yield* put(path, undefined)
        assert.deepStrictEqual(Object.keys(readJson(path)), ["first", ...Object.keys(login()), "last"])
      })
  )

  live("has another version only where the agent changes", () =>
    Effect.gen(function*() {
      const path = yield* file()
      yield* put(path, recordOf(7))
      const { version } = Option.getOrThrow(yield* entryOf(path))
      assert.match(version, /^[0-9a-f]{64}$/)
      const auth = readJson(path)
      write(
        path,
        JSON.stringify(Object.fromEntries(
          Object.entries({
            ...auth,
            ...login({ last_refresh: "2026-07-28T00:00:00Z" }, { access_token: "token-2" })
          }).reverse()
        ))
      )
      const store = yield* storeOf(path)
      assert.strictEqual(Option.getOrThrow(yield* store.get(BINDING)).version, version)
      assert.isTrue(yield* store.compareAndSwap(BINDING, Option.some(version), Option.some(recordOf(8))))
      assert.deepInclude(readJson(path).tokens, { access_token: "token-2" })
    }))

  live("makes the file private, and keeps its owner", () =>
    Effect.gen(function*() {
      const path = yield* file()
      Fs.chmodSync(path, 0o644)
      if (process.getuid?.() === 0) Fs.chownSync(path, 65534, 65533)
      const { gid, uid } = Fs.statSync(path)
      yield* put(path, recordOf(1))
      assert.strictEqual(modeOf(path), 0o600)
      assert.deepInclude(Fs.statSync(path), { uid, gid })
      yield* put(path, recordOf(2))
      assert.strictEqual(modeOf(path), 0o600)
      assert.deepStrictEqual(leftovers(path), [])
    }))

  live("leaves a symbolic link one, and locks what it leads to", () =>
    Effect.gen(function*() {
      const path = yield* file()
      const link = Path.join(yield* folder, "auth.json")
      Fs.symlinkSync(path, link)
      yield* put(link, recordOf(1))
      assert.isTrue(Fs.lstatSync(link).isSymbolicLink())
      assert.strictEqual(Fs.readlinkSync(link), path)
      assert.property(readJson(path), "agent_identity")
      assert.deepStrictEqual([...leftovers(link), ...leftovers(path)], [])
      // Both ways at once lose nothing.
      const stores = [yield* storeOf(link), yield* storeOf(path)]
      yield* Effect.forEach(
        stores,
        (store) =>
          Effect.repeatN(
            Effect.repeat(Effect.map(increment(store), Option.isSome), {
              until: (_) => _
            }),
            9
          ),
        { concurrency: 2 }
      )
      assert.deepInclude(readJson(path).agent_identity, { task_id: "task-21" })
    }))

  live("removes what killed processes left, and nothing else", () =>
    Effect.gen(function*() {
      const path = yield* file()
      const others = ["auth.json.bak", "x.agent-identity-tmp-1", "config.toml"]
      for (const name of [...others, "auth.json.agent-identity-tmp-1", "auth.json.agent-identity-tmp-2"]) {
        Fs.writeFileSync(Path.join(path, "..", name), KEY)
      }
      yield* put(path, recordOf(1))
      assert.sameMembers(leftovers(path), others)
    }))
})
