import { NodeSigning } from "@agent-identity/node"
import { AuthApi, IssuerApi } from "@agent-identity/server"
import * as AuthApiDocs from "@agent-identity/server/AuthApiDocs"
import { HttpApi } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { existsSync } from "node:fs"
import { chromium } from "playwright-core"
import { layerServerWith, origin, registerAgent, registerTask, request, tokens } from "./utils.ts"

const Server = layerServerWith({ routes: AuthApiDocs.layer }).pipe(Layer.provideMerge(NodeSigning.layer))

interface Operation {
  readonly operationId: string
  readonly tags: ReadonlyArray<string>
  readonly parameters: ReadonlyArray<{ readonly name: string; readonly in: string; readonly required: boolean }>
  readonly security: ReadonlyArray<unknown>
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: unknown }>>
}

interface Document {
  readonly openapi: string
  readonly info: { readonly title: string; readonly version: string }
  readonly tags: ReadonlyArray<{ readonly name: string }>
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, unknown>>; readonly securitySchemes: unknown }
}

const document = Effect.map(request("GET", "/openapi.json"), ({ body }) => body as unknown as Document)

/** What the contracts say: `POST /api/accounts/v1/agent/{agent_runtime_id}/task/register`. */
const endpointsOf = () => {
  const endpoints: Array<string> = []
  for (const api of [AuthApi.AuthApi, IssuerApi.IssuerApi]) {
    HttpApi.reflect(api as never, {
      onGroup: () => undefined,
      onEndpoint: ({ endpoint }) =>
        void endpoints.push(`${endpoint.method} ${endpoint.path.replace(/:(\w+)/g, "{$1}")}`)
    })
  }
  return endpoints.sort()
}

const operationsOf = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const)
  )

/** Every string below a value that stands at this key. */
const stringsAt = (key: string, value: unknown): ReadonlyArray<string> =>
  typeof value !== "object" || value === null
    ? []
    : Object.entries(value).flatMap(([name, inner]) =>
      name === key && typeof inner === "string" ? [inner] : stringsAt(key, inner)
    )

const UNAUTHORIZED = [
  "invalid_assertion",
  "invalid_registration",
  "invalid_token",
  "missing_assertion",
  "replayed_assertion",
  "stale_assertion",
  "stale_registration",
  "task_expired",
  "task_not_found"
]

/** The codes of each status. */
const documented: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>> = {
  "POST /api/accounts/v1/agent/register": {
    400: ["invalid_request"],
    401: UNAUTHORIZED,
    429: ["too_many_registrations"],
    503: ["directory_unavailable"]
  },
  "POST /api/accounts/v1/agent/{agent_runtime_id}/task/register": {
    400: ["invalid_request"],
    401: UNAUTHORIZED,
    429: ["too_many_registrations"],
    503: ["directory_unavailable"]
  },
  "DELETE /api/accounts/v1/agent/{agent_runtime_id}": {
    401: UNAUTHORIZED,
    404: ["agent_not_found"],
    429: ["too_many_registrations"],
    503: ["directory_unavailable"]
  },
  "GET /api/accounts/health": {},
  "GET /backend-api/wham/agent-identities/jwks": {},
  "GET /agent-identities/jwks": {},
  "GET /codex-backend/agent-identity/.well-known/openid-configuration": {}
}

describe("the OpenAPI document", () => {
  it.effect("has every endpoint of both contracts, and no other", () =>
    Effect.gen(function*() {
      const { info, openapi, ...rest } = yield* document
      assert.match(openapi, /^3\.1\./)
      assert.deepInclude(info, { title: "Agent identity", version: "0.1.0" })
      const operations = operationsOf({ info, openapi, ...rest })
      assert.deepStrictEqual(operations.map(([name]) => name).sort(), endpointsOf())
      assert.deepStrictEqual(operations.map(([name]) => name).sort(), Object.keys(documented).sort())
    }).pipe(Effect.provide(Server)))

  it.effect("holds together: its references, parameters, tags and names", () =>
    Effect.gen(function*() {
      const whole = yield* document
      const schemas = Object.keys(whole.components.schemas)
      for (const reference of stringsAt("$ref", whole)) {
        assert.include(schemas, reference.replace("#/components/schemas/", ""))
      }
      const tags = whole.tags.map((_) => _.name)
      assert.deepStrictEqual(tags, ["agent", "health", "issuer"])
      const operations = operationsOf(whole)
      assert.strictEqual(new Set(operations.map(([, _]) => _.operationId)).size, operations.length)
      for (const [name, { parameters, responses, tags: own }] of operations) {
        for (const tag of own) assert.include(tags, tag, name)
        assert.deepStrictEqual(
          parameters.filter((_) => _.in === "path" && _.required).map((_) => `{${_.name}}`),
          name.match(/\{\w+\}/g) ?? [],
          name
        )
        for (const { description } of Object.values(responses)) assert.isNotEmpty(description, name)
      }
    }).pipe(Effect.provide(Server)))

  it.effect("tells every status of an error with its codes, in the form that errors have", () =>
    Effect.gen(function*() {
      const whole = yield* document
      for (const [name, { responses }] of operationsOf(whole)) {
        const errors = Object.entries(responses).filter(([status]) => Number(status) >= 400)
        const codes = errors.map(([status, { content }]) => {
          const identifiers = stringsAt("$ref", content).map((_) => _.replace("#/components/schemas/", ""))
          assert.strictEqual(identifiers.length, 1, `${name} ${status}: ${identifiers}`)
          const { properties, required } = whole.components.schemas[identifiers[0]!] as ErrorSchema
          assert.deepStrictEqual([required, properties.error.required], [["error"], ["code", "message"]])
          return [status, [...properties.error.properties.code.enum].sort()] as const
        })
        assert.deepStrictEqual(Object.fromEntries(codes), { ...documented[name] }, name)
      }
    }).pipe(Effect.provide(Server)))

  it.effect("tells which requests want a bearer", () =>
    Effect.gen(function*() {
      const whole = yield* document
      assert.deepStrictEqual(whole.components.securitySchemes, { bearer: { type: "http", scheme: "bearer" } })
      assert.deepStrictEqual(
        operationsOf(whole).filter(([, _]) => _.security.length > 0).map(([name, _]) => [name, _.security]),
        [
          ["POST /api/accounts/v1/agent/register", [{ bearer: [] }]],
          ["DELETE /api/accounts/v1/agent/{agent_runtime_id}", [{ bearer: [] }]]
        ]
      )
    }).pipe(Effect.provide(Server)))
})

interface ErrorSchema {
  readonly required: ReadonlyArray<string>
  readonly properties: {
    readonly error: {
      readonly required: ReadonlyArray<string>
      readonly properties: { readonly code: { readonly enum: ReadonlyArray<string> } }
    }
  }
}

const CHROMIUM = "/usr/bin/chromium"
const hasChromium = existsSync(CHROMIUM)
if (!hasChromium) console.log(`Skipped, for there is no ${CHROMIUM}: the documentation in a browser`)

/** A page of a browser of its own, and all that it did: asked for, said, got wrong. */
const openPage = (own: string, options: { readonly offline: boolean }) =>
  Effect.gen(function*() {
    const browser = yield* Effect.acquireRelease(
      Effect.promise(() => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] })),
      (browser) => Effect.promise(() => browser.close())
    )
    return yield* Effect.promise(async () => {
      const context = await browser.newContext()
      if (options.offline) {
        await context.route((url) => url.origin !== own, (route) => route.abort())
      }
      const page = await context.newPage()
      const requests: Array<string> = []
      const errors: Array<string> = []
      context.on("request", (request) => requests.push(request.url()))
      context.on("weberror", (error) => errors.push(String(error.error())))
      page.on("console", (message) => {
        // A browser asks every server for an icon by itself.
        if (message.location().url.endsWith("/favicon.ico")) return
        if (message.type() === "error" || message.type() === "warning") errors.push(message.text())
      })
      return { page, requests, errors }
    })
  })

describe.skipIf(!hasChromium)("the documentation in a browser", () => {
  for (const offline of [false, true]) {
    it.effect(
      `shows every operation and asks nobody else for anything${offline ? ", nor needs to" : ""}`,
      () =>
        Effect.gen(function*() {
          const own = yield* origin
          const { errors, page, requests } = yield* openPage(own, { offline })
          const shown = yield* Effect.promise(async () => {
            const response = await page.goto(`${own}/docs`)
            assert.strictEqual(response?.status(), 200)
            await page.locator(".opblock").nth(Object.keys(documented).length - 1).waitFor()
            const operations = await page.locator(".opblock-summary").evaluateAll((summaries) =>
              summaries.map((_) => {
                const text = (part: string) => _.querySelector(part)?.textContent ?? ""
                return `${text(".opblock-summary-method")} ${text(".opblock-summary-path")}`
              })
            )
            // An operation that is opened tells its answers.
            await page.locator(".opblock", { hasText: "task/register" }).locator(".opblock-summary").click()
            const open = page.locator(".opblock.is-open tr.response .response-col_status")
            await open.last().waitFor()
            const answers = await open.allInnerTexts()
            return { title: await page.title(), operations, answers: answers.map((_) => _.trim()) }
          })
          // The page lets a line break anywhere in a path.
          const operations = shown.operations.map((_) => _.replaceAll("\u200b", "")).sort()
          assert.deepStrictEqual(operations, Object.keys(documented).sort())
          assert.includeMembers(shown.answers, ["200", "400", "401", "429", "503"])
          assert.deepStrictEqual(errors, [])
          assert.deepStrictEqual(requests.filter((url) => new URL(url).origin !== own), [])
          assert.isNotEmpty(requests)
        }).pipe(Effect.scoped, Effect.provide(Server))
    )
  }

  it.effect("tries an operation with a bearer", () =>
    Effect.gen(function*() {
      const own = yield* origin
      const agent = yield* registerAgent()
      const { errors, page } = yield* openPage(own, { offline: false })
      const status = yield* Effect.promise(async () => {
        await page.goto(`${own}/docs`)
        await page.locator(".auth-wrapper .authorize").click()
        const dialog = page.locator(".dialog-ux")
        await dialog.locator("input").fill(tokens.alice)
        await dialog.locator("button.authorize").click()
        await dialog.locator(".btn-done").click()
        const operation = page.locator(".opblock-delete")
        await operation.locator(".opblock-summary").click()
        await operation.locator(".try-out__btn").click()
        await operation.locator("input[placeholder=agent_runtime_id]").fill(agent.agentRuntimeId)
        await operation.locator("button.execute").click()
        return await operation.locator(".live-responses-table tr.response .response-col_status").innerText()
      })
      assert.strictEqual(status.trim().slice(0, 3), "204")
      assert.deepStrictEqual(errors, [])
      const registered = yield* registerTask(agent)
      assert.strictEqual(registered.status, 401)
    }).pipe(Effect.scoped, Effect.provide(Server)))
})
