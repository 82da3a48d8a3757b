import { AgentRuntimeId, AssertionHeader, SignedPayload, Signing, TaskId, Timestamp } from "@agent-identity/core"
import { NodeSigning } from "@agent-identity/node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck } from "effect"
import { shown, vector, vectorKey } from "../fixtures.ts"

const reason = (header: string) =>
  Either.match(AssertionHeader.decode(header), {
    onLeft: (error) => error.reason,
    onRight: () => "Accepted" as const
  })

/** A header around any bytes. */
const wrap = (json: string | Uint8Array): string => `AgentAssertion ${Buffer.from(json).toString("base64url")}`

const members = {
  agent_runtime_id: "agent-123",
  signature: Buffer.alloc(64, 7).toString("base64"),
  task_id: "task-123",
  timestamp: vector.timestamp
}
const json = JSON.stringify(members)
const { signature } = members

const assertions = {
  agentRuntimeId: AgentRuntimeId.AgentRuntimeId,
  taskId: TaskId.TaskId,
  signature: FastCheck.uint8Array({ minLength: 64, maxLength: 64 }),
  timestamp: FastCheck.integer({ min: 0, max: 253_402_300_799 }).map((second) => Timestamp.format(second * 1000)!)
}

/** The agent of the vectors: signs a header, and says of any header whether it is one that it signed. */
const agent = Effect.gen(function*() {
  const signing = yield* Signing.Signing
  const signer = yield* signing.importPrivateKey(vectorKey)
  const verifier = yield* signing.importPublicKey(signer.publicKey)
  return {
    sign: (id: string, task: string, timestamp: string) => {
      const agentRuntimeId = AgentRuntimeId.AgentRuntimeId.make(id)
      const taskId = TaskId.TaskId.make(task)
      return Effect.map(
        signer.sign(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp)),
        (signature) => AssertionHeader.encode({ agentRuntimeId, taskId, timestamp, signature })
      )
    },
    verify: (header: string) =>
      Either.match(AssertionHeader.decode(header), {
        onLeft: () => Effect.succeed(false),
        onRight: ({ agentRuntimeId, signature, taskId, timestamp }) =>
          verifier.verify(SignedPayload.assertion("v1", agentRuntimeId, taskId, timestamp), signature)
      })
  }
})

describe("encode and decode", () => {
  it.effect("writes the header of the protocol's vector, byte for byte", () =>
    Effect.gen(function*() {
      const { sign } = yield* agent
      assert.strictEqual(yield* sign("agent-123", "task-123", vector.timestamp), vector.header)
    }).pipe(Effect.provide(Signing.layer)))

  it.prop("decode gives back what encode was given", assertions, (assertion) => {
    assert.deepStrictEqual(AssertionHeader.decode(AssertionHeader.encode(assertion)), Either.right(assertion))
  })

  it("the longest ids fit, however much escaping they need", () => {
    const assertion = {
      agentRuntimeId: AgentRuntimeId.AgentRuntimeId.make("日".repeat(256)),
      taskId: TaskId.TaskId.make("\u0001".repeat(1024)),
      timestamp: vector.timestamp,
      signature: new Uint8Array(64)
    }
    assert.deepStrictEqual(AssertionHeader.decode(AssertionHeader.encode(assertion)), Either.right(assertion))
  })

  it("the scheme is taken in any case, and members in any order", () => {
    const expected = AssertionHeader.decode(wrap(json))
    assert.isTrue(Either.isRight(expected))
    assert.deepStrictEqual(AssertionHeader.decode(wrap(json).replace("AgentAssertion", "aGENTaSSERTION")), expected)
    const reversed = JSON.stringify(Object.fromEntries(Object.entries(members).reverse()))
    assert.notStrictEqual(reversed, json)
    assert.deepStrictEqual(AssertionHeader.decode(wrap(reversed)), expected)
  })

  it("a token is read up to 12 KiB and not a character more", () => {
    assert.strictEqual(reason(`AgentAssertion ${"A".repeat(12 * 1024)}`), "Json")
    assert.strictEqual(reason(`AgentAssertion ${"A".repeat(12 * 1024 + 1)}`), "Length")
  })
})

describe("what is refused", () => {
  const token = wrap(json).slice(15)
  const replaced = (part: string, by: string) => {
    assert.include(json, part)
    return wrap(json.replace(part, () => by))
  }
  const withMember = (name: keyof typeof members, value: unknown) => wrap(JSON.stringify({ ...members, [name]: value }))
  const refused: ReadonlyArray<readonly [AssertionHeader.AssertionHeaderError["reason"], Record<string, string>]> = [
    ["Scheme", {
      "nothing": "",
      "a token alone": token,
      "another scheme": `Bearer ${token}`,
      "the scheme alone": "AgentAssertion",
      "a tab": `AgentAssertion\t${token}`,
      "space before it": ` AgentAssertion ${token}`,
      "a longer scheme": `AgentAssertions ${token}`
    }],
    ["Length", { "no token": "AgentAssertion " }],
    ["Base64", {
      "two spaces": `AgentAssertion  ${token}`,
      "space behind it": `AgentAssertion ${token} `,
      "two tokens": `AgentAssertion ${token},${token}`,
      "padding": `AgentAssertion ${Buffer.from(json + " ").toString("base64")}`.replace(/=*$/, "="),
      "the standard alphabet": `AgentAssertion ${Buffer.from("\"???>>>\"").toString("base64").replaceAll("=", "")}`,
      "a line break": `AgentAssertion ${token.slice(0, 8)}\n${token.slice(8)}`
    }],
    ["Json", {
      "bytes that are no UTF-8": wrap(Uint8Array.of(0x22, 0xff, 0x22)),
      "no JSON": wrap("agent-123"),
      "two values": wrap(json + json),
      "half of it": wrap(json.slice(0, -1)),
      "an array": wrap("[]"),
      "null": wrap("null"),
      "a string": wrap("\"x\""),
      "a number": wrap("1"),
      "a byte order mark": wrap("\ufeff" + json),
      "space in front": wrap(" " + json),
      "space behind": wrap(json + "\n"),
      "space inside": replaced("\"task_id\":", "\"task_id\": "),
      "an escape in a name": replaced("\"task_id\"", "\"task\\u005fid\""),
      "an escape in a value": replaced("task-123", "task\\u002d123"),
      "an escaped slash": replaced("task-123", "task\\/123"),
      "a repeated member": replaced("{", "{\"task_id\":\"task-123\","),
      "a repeated member with another value": replaced("{", "{\"task_id\":\"task-1\",")
    }],
    ["Members", {
      "two names that only join to the four": wrap("{\"agent_runtime_id,signature\":\"\",\"task_id,timestamp\":\"\"}"),
      "an empty object": wrap("{}"),
      "one more": withMember("nonce" as "task_id", "x"),
      "one that is __proto__": replaced("{", "{\"__proto__\":{},"),
      "one that is inherited through __proto__": replaced(
        "\"task_id\":\"task-123\"",
        "\"__proto__\":{\"task_id\":\"task-123\"}"
      ),
      "one less": withMember("task_id", undefined),
      "camel case": replaced("task_id", "taskId"),
      "a number in another spelling": replaced("\"task-123\"", "1.0"),
      "a task id that is a number": withMember("task_id", 123),
      "a task id that is null": withMember("task_id", null),
      "an agent runtime id in an array": withMember("agent_runtime_id", ["agent-123"]),
      "a signature that is null": withMember("signature", null),
      "a signature of bytes": withMember("signature", Array(64).fill(7)),
      "a timestamp that is a number": withMember("timestamp", 1_776_902_400),
      // Within the length, and deep enough for a recursion to run out of stack.
      "four thousand arrays in one another": wrap(`{"a":${"[".repeat(4590)}${"]".repeat(4590)}}`),
      "as many in the place of a text": replaced("\"task-123\"", "[".repeat(4300) + "]".repeat(4300))
    }],
    ["Id", {
      "an empty task id": withMember("task_id", ""),
      "a long task id": withMember("task_id", "x".repeat(1025)),
      "a lone surrogate": withMember("task_id", "\ud83d"),
      "a colon in the agent runtime id": withMember("agent_runtime_id", "a:b")
    }],
    ["Signature", {
      "an empty one": withMember("signature", ""),
      "63 bytes": withMember("signature", Buffer.alloc(63).toString("base64")),
      "65 bytes": withMember("signature", Buffer.alloc(65).toString("base64")),
      "the url-safe alphabet": withMember("signature", Buffer.alloc(64, 0xff).toString("base64url") + "=="),
      "no padding": withMember("signature", signature.slice(0, -2)),
      "white space": withMember("signature", signature + "\n")
    }],
    ["Timestamp", {
      "milliseconds": withMember("timestamp", "2026-04-23T00:00:00.000Z"),
      "an offset": withMember("timestamp", "2026-04-23T00:00:00+00:00"),
      "no such day": withMember("timestamp", "2026-02-30T00:00:00Z")
    }]
  ]
  for (const [expected, headers] of refused) {
    for (const [name, header] of Object.entries(headers)) {
      it(`${expected}: ${name}`, () => assert.strictEqual(reason(header), expected))
    }
  }

  const says: Record<AssertionHeader.AssertionHeaderError["reason"], string> = {
    Scheme: "its scheme is not AgentAssertion followed by one space",
    Length: "its token is empty or longer than 12288 characters",
    Base64: "its token is not base64url",
    Json: "its token does not hold compact JSON",
    Members: "agent_runtime_id, signature, task_id and timestamp",
    Id: "its agent_runtime_id or task_id",
    Signature: "its signature is not standard base64 of 64 bytes",
    Timestamp: "its timestamp is not UTC in whole seconds, such as 2026-04-23T00:00:00Z"
  }
  for (const [reason, text] of Object.entries(says)) {
    it(`${reason}: the error says that ${text}`, () => {
      const error = new AssertionHeader.AssertionHeaderError({ reason: reason as keyof typeof says })
      assert.include(error.message, text)
    })
  }

  it("the error names the part and shows nothing of the header", () => {
    for (
      const header of [
        withMember("signature", "c2VjcmV0"),
        "Bearer c2VjcmV0",
        withMember("task_id", "c2VjcmV0:".repeat(999))
      ]
    ) {
      const error = Either.getOrThrow(Either.flip(AssertionHeader.decode(header)))
      assert.include(shown(error), "The Authorization header is no agent assertion")
      assert.notInclude(shown(error), "c2VjcmV0")
    }
  })
})

describe("a signed header", () => {
  it.effect.prop(
    "verifies",
    [AgentRuntimeId.AgentRuntimeId, TaskId.TaskId, assertions.timestamp],
    ([id, task, timestamp]) =>
      Effect.gen(function*() {
        const { sign, verify } = yield* agent
        assert.isTrue(yield* verify(yield* sign(id, task, timestamp)))
      }).pipe(Effect.provide(Signing.layer)),
    { fastCheck: { numRuns: 25 } }
  )

  /** One for each number of spare bits that the outer base64 can have: none, two and four. */
  const concrete = ["task-12", "task-123", "日本:45"]

  for (const task of concrete) {
    it.effect(`with the task ${task} holds no bit that could be another`, () =>
      Effect.gen(function*() {
        const { sign, verify } = yield* agent
        const header = yield* sign("agent-123", task, vector.timestamp)
        assert.isTrue(yield* verify(header))
        let decoded = 0
        for (let at = 15; at < header.length; at++) {
          for (let bit = 0; bit < 8; bit++) {
            const char = String.fromCharCode(header.charCodeAt(at) ^ (1 << bit))
            const changed = header.slice(0, at) + char + header.slice(at + 1)
            if (Either.isRight(AssertionHeader.decode(changed))) decoded++
            assert.isFalse(yield* verify(changed), `bit ${bit} of character ${at}`)
          }
        }
        // Some are still well-formed, and it is the signature that refuses them.
        assert.isAbove(decoded, 100)
      }).pipe(Effect.provide(NodeSigning.layer)))
  }

  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

  it.effect("has zeros in the spare bits of its token", () =>
    Effect.gen(function*() {
      const { sign } = yield* agent
      const lengths = new Set<number>()
      for (const task of concrete) {
        const header = yield* sign("agent-123", task, vector.timestamp)
        const spare = [0, undefined, 4, 2][(header.length - 15) % 4]!
        lengths.add(spare)
        const last = `${alphabet}-_`.indexOf(header.at(-1)!)
        for (let bits = 1; bits < 1 << spare; bits++) {
          const changed = header.slice(0, -1) + `${alphabet}-_`[last | bits]
          assert.deepStrictEqual(
            Buffer.from(changed.slice(15), "base64url"),
            Buffer.from(header.slice(15), "base64url")
          )
          assert.strictEqual(reason(changed), "Base64")
        }
      }
      assert.deepStrictEqual(lengths, new Set([0, 2, 4]))
    }).pipe(Effect.provide(Signing.layer)))

  it("has zeros in the four spare bits of its signature", () => {
    const last = `${alphabet}+/`.indexOf(signature.at(-3)!)
    assert.strictEqual(reason(wrap(json)), "Accepted")
    for (let bits = 1; bits < 16; bits++) {
      const changed = `${signature.slice(0, -3)}${`${alphabet}+/`[last | bits]}==`
      assert.deepStrictEqual(Buffer.from(changed, "base64"), Buffer.from(signature, "base64"))
      assert.strictEqual(reason(wrap(JSON.stringify({ ...members, signature: changed }))), "Signature")
    }
  })

  it.effect.prop(
    "does not verify with any character changed",
    [AgentRuntimeId.AgentRuntimeId, TaskId.TaskId, FastCheck.nat(), FastCheck.integer({ min: 0, max: 63 })],
    ([id, task, at, char]) =>
      Effect.gen(function*() {
        const { sign, verify } = yield* agent
        const header = yield* sign(id, task, vector.timestamp)
        const place = 15 + at % (header.length - 15)
        const changed = header.slice(0, place) + `${alphabet}-_`[char] + header.slice(place + 1)
        assert.strictEqual(yield* verify(changed), changed === header)
      }).pipe(Effect.provide(NodeSigning.layer)),
    { fastCheck: { numRuns: 100 } }
  )
})
