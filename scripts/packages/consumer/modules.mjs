/** Each module given is one, by `import` and by `require`; what is internal is neither. */
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"

const require = createRequire(import.meta.url)
const { internals, modules } = JSON.parse(readFileSync("modules.json", "utf8"))

for (const name of modules) assert.equal(require(name), await import(name), name)

const closed = { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }
for (const name of internals) {
  await assert.rejects(() => import(name), closed, name)
  assert.throws(() => require(name), closed, name)
}
console.log(`${modules.length} modules, ${internals.length} closed`)
