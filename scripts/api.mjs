/**
 * Writes the API reference of all packages, from their docstrings, to the folder docs/api. docgen does most of it: it
 * wants a description and `@since` of each module and export, and compiles and runs every `@example`. What it does not
 * look at is checked here.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { basename } from "node:path"
import ts from "typescript"
import { publicModules } from "./modules.mjs"

const packages = ["core", "login", "node", "server", "sql", "authapi", "testing"]
const out = "docs/api"
const problems = []

for (const name of packages) {
  for (const file of publicModules(name)) {
    const path = `packages/${name}/src/${file}.ts`
    const source = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true)
    const require = (node, ...wanted) => {
      const tags = ts.getJSDocTags(node).map(({ tagName }) => tagName.text)
      if (tags.includes("internal")) return
      const problem = (text) => {
        const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1
        problems.push(`${path}:${line} ${node.getText().split("\n", 1)[0]}\n  ${text}`)
      }
      for (const tag of wanted.filter((tag) => !tags.includes(tag))) problem(`has no @${tag}`)
      const runs = ts.isVariableStatement(node) || ts.isFunctionDeclaration(node) || ts.isTypeAliasDeclaration(node) ||
        ts.isInterfaceDeclaration(node) || ts.isMethodDeclaration(node)
      if (tags.includes("example") && !runs) problem("has an @example that docgen does not run: move it to a layer")
    }
    for (const statement of source.statements) {
      if (ts.isExportDeclaration(statement)) require(statement, "since")
      else if (ts.getCombinedModifierFlags(statement) & ts.ModifierFlags.Export) {
        require(statement, "since", "category")
        if (ts.isClassDeclaration(statement)) { for (const member of statement.members) require(member, "since") }
      }
    }
  }
}
if (problems.length > 0) {
  console.error(problems.join("\n"))
  process.exit(1)
}

rmSync(out, { recursive: true, force: true })
// Examples import the packages by their names, and are run from source like the tests.
const env = { ...process.env, NODE_OPTIONS: "--conditions=@agent-identity/source" }
const { error, status } = spawnSync("docgen", { stdio: "inherit", env, timeout: 300_000 })
if (error !== undefined) {
  console.error(`docgen: ${error.message}. Perhaps an example does not end: no server, no pool is left open`)
}
if (error !== undefined || status !== 0) process.exit(1)

// One folder a package, without what is meant for the site generator of Effect's own documentation.
const index = [
  "# API reference",
  "",
  "Examples run as they stand, below `import * as assert from \"node:assert\"`.",
  ""
]
for (const name of packages) {
  index.push(`## @agent-identity/${name}`, "")
  mkdirSync(`${out}/${name}`)
  for (const path of publicModules(name).filter((path) => path !== "index")) {
    const module = basename(path)
    const page = readFileSync(`${out}/modules/${name}/src/${path}.ts.md`, "utf8")
    const text = page.slice(page.indexOf("\n## ") + 1).replace(/^## (\w+) overview/, "# $1")
      .replace(/^export declare class (\w+)$/gm, (line, className) => declarationOf(name, className) ?? line)
    writeFileSync(`${out}/${name}/${module}.md`, text)
    index.push(`- [${module}](${name}/${module}.md): ${text.split("\n\n")[1].replaceAll("\n", " ")}`)
  }
  index.push("")
}
rmSync(`${out}/modules`, { recursive: true })
rmSync(`${out}/_config.yml`)
renameSync(`${out}/index.md`, `${out}/README.md`)
writeFileSync(`${out}/README.md`, index.join("\n"))

/** docgen shows nothing of a class but its name: what an error holds and what a tag stands for is in api.txt. */
function declarationOf(name, className) {
  const declaration = `^(?:declare const ${className}_base: [^]*?;\n)?export declare class ${className} [^]*?\n}$`
  return new RegExp(declaration, "m").exec(readFileSync(`packages/${name}/api.txt`, "utf8"))?.[0]
}
