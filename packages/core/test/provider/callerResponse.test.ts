import { HttpClientError, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { inspect } from "node:util"
import * as CallerResponse from "../../src/provider/callerResponse.ts"
import { utf8 } from "../fixtures.ts"

const own = HttpClientRequest.get("https://provider.test/")
const signed = HttpClientRequest.setHeader(own, "authorization", "AgentAssertion secret")
const authorization = { _tag: "None", reason: "a test" } as const

const answer = (body: BodyInit, headers: Record<string, string> = {}) =>
  HttpClientResponse.fromWeb(signed, new Response(body, { status: 201, headers }))

const respond = (body: string, headers: Record<string, string> = {}) => ({
  "as it came": CallerResponse.make(own, answer(body, headers), authorization),
  "read in part": CallerResponse.make(own, answer("ignored", headers), authorization, Stream.make(utf8(body)))
})

describe("a caller's response", () => {
  for (const what of ["as it came", "read in part"] as const) {
    it.effect(`hands out its body in every form, again and again where it is one: ${what}`, () =>
      Effect.gen(function*() {
        const json = respond("{\"a\":1}", { "content-type": "application/json" })[what]
        assert.deepStrictEqual(yield* json.json, { a: 1 })
        assert.strictEqual(yield* json.text, "{\"a\":1}")
        if (what === "read in part") assert.deepStrictEqual(new Uint8Array(yield* json.arrayBuffer), utf8("{\"a\":1}"))
        const bytes = respond("bytes")[what]
        assert.deepStrictEqual(new Uint8Array(yield* bytes.arrayBuffer), utf8("bytes"))
        const parameters = respond("a=1&b=2")[what]
        assert.deepStrictEqual(yield* parameters.urlParamsBody, [["a", "1"], ["b", "2"]])
        const type = "multipart/form-data; boundary=b"
        const form = respond(
          "--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n",
          { "content-type": type }
        )[what]
        assert.strictEqual((yield* form.formData).get("a"), "1")
        const streamed = respond("stream")[what]
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(streamed.stream)), "stream")
      }))

    it(`shows the caller's request and no header of the signed one: ${what}`, () => {
      const response = respond("{}")[what]
      assert.strictEqual(response.request, own)
      assert.strictEqual(response.status, 201)
      const json = response.toJSON() as { readonly _id: string; readonly status: number; readonly request: object }
      assert.strictEqual(json._id, "@effect/platform/HttpClientResponse")
      assert.strictEqual(json.status, 201)
      assert.deepStrictEqual(json.request, own.toJSON())
      assert.notInclude(inspect(response, { depth: Infinity, showHidden: true }), "secret")
    })
  }

  it.effect("fails as the caller's own response, with the cause and the description of the error and nothing signed", () =>
    Effect.gen(function*() {
      const broken = answer("")
      const cause = Object.assign(new Error("reset"), { request: signed })
      const error = new HttpClientError.ResponseError({
        request: signed,
        response: broken,
        reason: "Decode",
        description: "it broke off",
        cause
      })
      const response = CallerResponse.make(own, broken, authorization, Stream.fail(error))
      for (const read of [response.text, Stream.runDrain(response.stream)]) {
        const failure = yield* Effect.flip(read as Effect.Effect<unknown, HttpClientError.ResponseError>)
        assert.strictEqual(failure.request, own)
        assert.strictEqual(failure.response, response)
        assert.strictEqual(failure.reason, "Decode")
        assert.strictEqual(failure.description, "it broke off")
        assert.strictEqual((failure.cause as { readonly request: unknown }).request, own)
        assert.notInclude(inspect(failure, { depth: Infinity }), "secret")
      }
      const plain = new HttpClientError.ResponseError({ request: signed, response: broken, reason: "EmptyBody" })
      const bare = yield* Effect.flip(CallerResponse.make(own, broken, authorization, Stream.fail(plain)).text)
      assert.notProperty(bare, "cause")
      assert.notProperty(bare, "description")
    }))
})
