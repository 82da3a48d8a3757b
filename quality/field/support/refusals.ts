/** What refusals say, and the forms in which they come. */
import { Struct } from "effect"
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib"
import type { Answer } from "./backend.ts"

export interface Refusal {
  readonly status: number
  readonly error: { readonly code: string; readonly message: string }
}

export const taskExpired: Refusal = {
  status: 401,
  error: { code: "task_expired", message: "The task has expired." }
}

export const agentDeleted = (status: number): Refusal => ({
  status,
  error: { code: "biscuit_baker_service_agent_error_status", message: "Agent runtime has been deleted." }
})

/** Nothing of a task or an agent. */
export const invalidKey: Refusal = {
  status: 401,
  error: { code: "invalid_api_key", message: "Incorrect API key provided." }
}

const textOf = ({ error, status }: Refusal) =>
  JSON.stringify({ error: { ...error, type: "invalid_request_error", param: null }, status }, null, 2)

const edge = { server: "cloudflare", "cf-ray": "8f2c6ad0be1e9b3a-FRA", "x-request-id": "req_7c1d" }
const page = "<!DOCTYPE html><html><head><title>401</title></head><body>Unauthorized</body></html>"

const compressed =
  (encoding: string, compress: (text: string) => Buffer, type = "application/json") => (refusal: Refusal): Answer => ({
    status: refusal.status,
    headers: { ...edge, "content-type": type, "content-encoding": encoding },
    body: compress(textOf(refusal))
  })

const withType = (type: string | undefined) => (refusal: Refusal): Answer => ({
  status: refusal.status,
  headers: { ...edge, ...(type === undefined ? undefined : { "content-type": type }) },
  body: textOf(refusal)
})

const html = (headersOf: (refusal: Refusal) => Record<string, string>) => (refusal: Refusal): Answer => ({
  status: refusal.status,
  headers: { ...edge, "content-type": "text/html; charset=utf-8", ...headersOf(refusal) },
  body: page
})

export const forms = {
  "JSON": withType("application/json"),
  "problem+json": withType("application/problem+json; charset=utf-8"),
  "JSON of upper case": withType("Application/JSON;charset=UTF-8"),
  "text/plain": withType("text/plain; charset=utf-8"),
  "text/json": withType("text/json"),
  "no content type": withType(undefined),
  "an empty content type": withType(""),
  "JSON said to be HTML": withType("text/html"),
  "HTML with x-error-json": html((refusal) => ({ "x-error-json": Buffer.from(textOf(refusal)).toString("base64") })),
  "HTML with x-error-json in base64url": html((refusal) => ({
    "x-error-json": Buffer.from(textOf(refusal)).toString("base64url")
  })),
  "JSON behind a byte order mark": (refusal: Refusal): Answer => ({
    ...withType("application/json")(refusal),
    body: `\uFEFF${textOf(refusal)}`
  }),
  "text behind a byte order mark": (refusal: Refusal): Answer => ({
    ...withType("text/plain")(refusal),
    body: `\uFEFF${textOf(refusal)}`
  }),
  "gzip": compressed("gzip", gzipSync),
  "x-gzip": compressed("x-gzip", gzipSync),
  "GZIP": compressed("GZIP", gzipSync),
  "deflate": compressed("deflate", deflateSync),
  "br": compressed("br", brotliCompressSync),
  "text in gzip": compressed("gzip", gzipSync, "text/plain"),
  "gzip that is not said": (refusal: Refusal): Answer => ({
    ...withType("application/json")(refusal),
    body: gzipSync(textOf(refusal))
  })
} satisfies Record<string, (refusal: Refusal) => Answer>

/** Only the code is there: nothing says that the agent was deleted, for which its text counts. */
export const codeOnly = {
  "only x-openai-ide-error-code": html(({ error }) => ({ "x-openai-ide-error-code": error.code })),
  "x-openai-ide-error-code and an empty body": ({ error, status }: Refusal): Answer => ({
    status,
    headers: { ...edge, "x-openai-ide-error-code": error.code, "content-length": 0 }
  })
} satisfies Record<string, (refusal: Refusal) => Answer>

/** Those that a 400 is looked into for: one that names no type is handed on. */
export const typed = Struct.omit(forms, "an empty content type", "no content type")
