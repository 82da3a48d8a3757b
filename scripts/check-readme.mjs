/**
 * Every code block of the README that stands under a comment with an example's name is that example, to the letter.
 * With `--write` it is made so.
 */
import { readFileSync, writeFileSync } from "node:fs"

const readme = readFileSync("README.md", "utf8")
const written = readme.replace(
  /<!-- (examples\/\S+) -->\n```ts\n[\s\S]*?```/g,
  (_, file) => `<!-- ${file} -->\n\`\`\`ts\n${readFileSync(file, "utf8")}\`\`\``
)

if (process.argv.includes("--write")) writeFileSync("README.md", written)
else if (written !== readme) {
  console.error("README.md shows an example that is no longer so: node scripts/check-readme.mjs --write")
  process.exit(1)
}
