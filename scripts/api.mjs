/**
 * Writes the API reference of all packages, from their docstrings, to the folder docs/api. docgen does most of it: it
 * wants a description and `@since` of each module and export, and compiles and runs every `@example`. What it does not
 * look at is checked here.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import ts from "typescript"

const packages = ["core", "node", "server", "sql", "testing"]
const out = "docs/api"
const problems = []

for (const name of packages) {
  for (const file of readdirSync(`packages/${name}/src`).filter((file) => file.endsWith(".ts"))) {
    const path = `packages/${name}/src/${file}`
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
const index = ["# API reference", ""]
for (const name of packages) {
  index.push(`## @agent-identity/${name}`, "")
  mkdirSync(`${out}/${name}`)
  for (const file of readdirSync(`${out}/modules/${name}/src`).sort()) {
    const module = file.replace(/\.ts\.md$/, "")
    const text = readFileSync(`${out}/modules/${name}/src/${file}`, "utf8").replace(/^---\n.*?\n---\n+/s, "")
    writeFileSync(`${out}/${name}/${module}.md`, text)
    const summary = /\n\n(.*?)(?:[.:]\s|\n\n)/s.exec(text)?.[1].replaceAll("\n", " ")
    index.push(`- [${module}](${name}/${module}.md): ${summary}`)
  }
  index.push("")
}
rmSync(`${out}/modules`, { recursive: true })
rmSync(`${out}/_config.yml`)
renameSync(`${out}/index.md`, `${out}/README.md`)
writeFileSync(`${out}/README.md`, index.join("\n"))
