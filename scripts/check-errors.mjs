/**
 * docs/errors.md has every error of the packages with every reason, and none that there is not: under a heading with the
 * error's name a row for each reason, or the name in a row of its own where an error has no reasons.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const PAGE = "docs/errors.md"

/** `Tag Reason`, or `Tag` alone. */
const inSource = () => {
  const found = new Set()
  for (
    const folder of ["core", "login", "node", "server", "sql", "authapi", "testing"].map((name) =>
      `packages/${name}/src`
    )
  ) {
    for (const file of readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".ts"))) {
      for (const error of readFileSync(join(folder, file), "utf8").split("Schema.TaggedError<").slice(1)) {
        const [, tag] = /^\w+>\([^)]*\)\(\s*"(\w+)"/.exec(error) ?? []
        if (tag === undefined) throw new Error(`${folder}/${file}: an error whose tag is not seen`)
        const fields = error.slice(0, error.indexOf("override get message"))
        const [, literals] = /reason: Schema\.Literal\(([^)]*)\)/.exec(fields) ?? []
        if (literals === undefined) found.add(tag)
        else for (const [, reason] of literals.matchAll(/"(\w+)"/g)) found.add(`${tag} ${reason}`)
      }
    }
  }
  return found
}

const onPage = () => {
  const found = new Set()
  for (const section of readFileSync(PAGE, "utf8").split(/^#+ `/m).slice(1)) {
    const tag = section.slice(0, section.indexOf("`"))
    const reasons = Array.from(section.matchAll(/^\| ((?:`\w+`(?:, )?)+) \|/gm), ([, cell]) => cell.match(/\w+/g))
      .flat()
    if (reasons.length === 0) found.add(tag)
    for (const reason of reasons) found.add(reason === tag ? tag : `${tag} ${reason}`)
  }
  return found
}

const source = inSource()
const page = onPage()
const wrong = [
  ...[...source].filter((name) => !page.has(name)).map((name) => `${PAGE} does not say what ${name} means`),
  ...[...page].filter((name) => !source.has(name)).map((name) => `${PAGE} has ${name}, which no package has`)
]
for (const line of wrong) console.error(line)
if (wrong.length > 0) process.exit(1)
console.log(`${PAGE}: ${source.size} reasons`)
