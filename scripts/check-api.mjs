/**
 * The public API of each package is what its api.txt says: the declarations that the build has written, without comments
 * and imports. With `--write` it is made so. A change of the API is seen in review by it.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { basename } from "node:path"
import ts from "typescript"
import { publicModules } from "./modules.mjs"

const printer = ts.createPrinter({ removeComments: true })

/** The compiler writes the members of a type that it has inferred in whatever order it met them. */
const sortMembers = (file) => (node) => {
  const visited = ts.visitEachChild(node, sortMembers(file), undefined)
  const sorted = (members) => {
    const printed = members.map((member) => [print(member, file), member])
    return printed.sort(([left], [right]) => left < right ? -1 : 1).map(([, member]) => member)
  }
  if (ts.isUnionTypeNode(visited)) return ts.factory.createUnionTypeNode(sorted(visited.types))
  if (ts.isTypeLiteralNode(visited)) return ts.factory.createTypeLiteralNode(sorted(visited.members))
  return visited
}

const print = (node, file) => printer.printNode(ts.EmitHint.Unspecified, node, file)

const declarationsOf = (path) => {
  const file = ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true)
  return file.statements
    .filter((statement) =>
      !ts.isImportDeclaration(statement) && statement.getText() !== "export {};" &&
      !ts.getJSDocTags(statement).some(({ tagName }) => tagName.text === "internal")
    )
    .map((statement) => `${print(sortMembers(file)(statement), file)}\n`)
    .join("")
}

let differs = false
for (const name of ["core", "login", "node", "server", "sql", "authapi", "testing"]) {
  const folder = `packages/${name}`
  const api = publicModules(name)
    .map((module) => `# ${basename(module)}\n\n${declarationsOf(`${folder}/dist/${module}.d.ts`)}`)
    .join("\n")
  const snapshot = `${folder}/api.txt`
  if (process.argv.includes("--write")) writeFileSync(snapshot, api)
  else if (!existsSync(snapshot) || readFileSync(snapshot, "utf8") !== api) {
    differs = true
    console.error(`The public API is another than ${snapshot} says. If it shall be so: npm run check:api -- --write`)
    console.error(firstDifference(existsSync(snapshot) ? readFileSync(snapshot, "utf8") : "", api))
  }
}
process.exit(differs ? 1 : 0)

function firstDifference(before, after) {
  const [left, right] = [before.split("\n"), after.split("\n")]
  const at = right.findIndex((line, index) => line !== left[index])
  return `  line ${at + 1}\n  - ${left[at]}\n  + ${right[at]}`
}
