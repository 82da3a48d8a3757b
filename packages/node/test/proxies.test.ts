import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import { inspect } from "node:util"
import * as Proxies from "../src/internal/proxies.ts"

const read = (environment: Record<string, string>) =>
  Effect.withConfigProvider(Proxies.read, ConfigProvider.fromMap(new Map(Object.entries(environment))))

/** The host of the proxy for a URL. */
const proxyFor = (url: string, environment: Record<string, string>) =>
  Effect.map(read(environment), (proxies) => proxies(new URL(url))?.url.hostname)

describe("the proxy for a URL", () => {
  const [secure, plain, all] = ["http://secure.test:3128", "http://plain.test", "http://all.test"]
  const cases: ReadonlyArray<readonly [url: string, environment: Record<string, string>, host: string | undefined]> = [
    ["https://a.test", { HTTPS_PROXY: secure }, "secure.test"],
    ["wss://a.test", { HTTPS_PROXY: secure }, "secure.test"],
    ["http://a.test", { HTTPS_PROXY: secure }, undefined],
    ["http://a.test", { HTTP_PROXY: plain }, "plain.test"],
    ["https://a.test", { HTTP_PROXY: plain }, undefined],
    ["https://a.test", { ALL_PROXY: all }, "all.test"],
    ["https://a.test", { ALL_PROXY: all, HTTPS_PROXY: secure }, "secure.test"],
    ["https://a.test", { HTTPS_PROXY: secure, https_proxy: plain }, "plain.test"],
    ["https://a.test", { HTTPS_PROXY: " ", https_proxy: "" }, undefined],
    ["https://localhost", { ALL_PROXY: all }, undefined],
    ["https://app.localhost", { ALL_PROXY: all }, undefined],
    ["https://127.9.9.9", { ALL_PROXY: all }, undefined],
    ["https://[::1]", { ALL_PROXY: all }, undefined],
    ["https://notlocalhost", { ALL_PROXY: all }, "all.test"],
    ["https://a.test", { ALL_PROXY: all, NO_PROXY: "b.test, a.test" }, undefined],
    ["https://x.a.test", { ALL_PROXY: all, NO_PROXY: "a.test" }, undefined],
    ["https://xa.test", { ALL_PROXY: all, NO_PROXY: "a.test" }, "all.test"],
    ["https://a.test", { ALL_PROXY: all, NO_PROXY: "a.test:444" }, "all.test"],
    ["https://a.test:444", { ALL_PROXY: all, no_proxy: "a.test:444" }, undefined],
    ["https://a.test", { ALL_PROXY: all, NO_PROXY: "a.test:443" }, undefined],
    ["https://a.test", { ALL_PROXY: all, NO_PROXY: "*" }, undefined],
    ["https://10.1.2.3", { ALL_PROXY: all, NO_PROXY: "10.0.0.0/8" }, undefined],
    ["https://11.1.2.3", { ALL_PROXY: all, NO_PROXY: "10.0.0.0/8" }, "all.test"],
    ["https://10.1.2.3", { ALL_PROXY: all, NO_PROXY: "10.0.0.0/99" }, "all.test"],
    ["https://[2001:db8::1]", { ALL_PROXY: all, NO_PROXY: "[2001:db8::1]:443" }, undefined],
    ["https://[2001:db8::1]", { ALL_PROXY: all, NO_PROXY: "2001:0db8:0::1" }, undefined],
    ["https://[2001:db8::1]", { ALL_PROXY: all, NO_PROXY: "2001:db8::/32" }, undefined]
  ]
  for (const [url, environment, host] of cases) {
    it.effect(`${url} with ${JSON.stringify(environment)} is ${host ?? "none"}`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* proxyFor(url, environment), host)
      }))
  }

  it.effect("has its login in a header and not in its URL", () =>
    Effect.gen(function*() {
      const proxy = (yield* read({ HTTPS_PROXY: "http://me:p%40ss@proxy.test" }))(new URL("https://a.test"))!
      assert.strictEqual(proxy.authorization, `Basic ${Buffer.from("me:p@ss").toString("base64")}`)
      assert.strictEqual(proxy.url.href, "http://proxy.test/")
    }))

  const refused = ["proxy.test:3128", "socks5://me:secret@proxy.test", "http://[", "http://me:secret%zz@proxy.test"]
  for (const url of refused) {
    it.effect(`is refused, and its password is not shown: ${url}`, () =>
      Effect.gen(function*() {
        const failure = yield* Effect.flip(read({ HTTPS_PROXY: url }))
        assert.strictEqual(failure.reason, "InvalidProxy")
        assert.strictEqual(failure.source, "HTTPS_PROXY")
        assert.notInclude(inspect(failure), "secret")
      }))
  }
})
