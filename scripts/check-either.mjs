/**
 * No Either stands where an Effect is wanted: Effect 3 takes it for one, Effect 4 does not. The compiler sees no difference,
 * so this asks it for the type of each expression that is yielded, or that is given where an Effect is expected.
 */
import ts from "typescript"

const projects = [
  ...["core", "login", "node", "server", "sql", "authapi", "testing"].flatMap((name) => [
    `packages/${name}/tsconfig.src.json`,
    `packages/${name}/tsconfig.test.json`
  ]),
  "examples/tsconfig.json",
  "scripts/tsconfig.json",
  "quality/tsconfig.json"
]

const found = new Set()
let files = 0
for (const project of projects) {
  const { fileNames, options, projectReferences } = ts.getParsedCommandLineOfConfigFile(project, {}, {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: (problem) => {
      throw new Error(ts.flattenDiagnosticMessageText(problem.messageText, "\n"))
    }
  })
  const program = ts.createProgram({ rootNames: fileNames, options: { ...options, noEmit: true }, projectReferences })
  const checker = program.getTypeChecker()
  for (const name of fileNames) {
    const file = program.getSourceFile(name)
    if (file === undefined) continue
    files += 1
    visit(file)

    function visit(node) {
      if (ts.isYieldExpression(node) && node.asteriskToken !== undefined) {
        if (isEither(checker.getTypeAtLocation(node.expression)) && !isInEitherGen(node)) report(node)
      } else if (ts.isExpression(node) && isEither(checker.getTypeAtLocation(node))) {
        const wanted = checker.getContextualType(node)
        if (wanted !== undefined && !isEither(wanted) && /^Effect</.test(checker.typeToString(wanted))) report(node)
      }
      ts.forEachChild(node, visit)
    }

    function report(node) {
      const { line } = file.getLineAndCharacterOfPosition(node.getStart())
      found.add(`${name.slice(process.cwd().length + 1)}:${line + 1} ${node.getText().split("\n", 1)[0]}`)
    }
  }
}

function isEither(type) {
  const parts = type.isUnion() ? type.types : [type]
  return parts.length > 0 &&
    parts.every(({ symbol }) =>
      ["Left", "Right"].includes(symbol?.name) &&
      /\/Either\.(?:d\.)?ts$/.test(symbol.declarations?.[0]?.getSourceFile().fileName ?? "")
    )
}

/** Whether the generator around it is `Either.gen`'s. */
function isInEitherGen(node) {
  let around = node.parent
  while (around !== undefined && !(ts.isFunctionExpression(around) && around.asteriskToken !== undefined)) {
    around = around.parent
  }
  const call = around?.parent
  return call !== undefined && ts.isCallExpression(call) && call.expression.getText() === "Either.gen"
}

if (found.size > 0) {
  console.error([...found].join("\n"))
  console.error(`${found.size} times an Either stands for an Effect: write \`toEffect\`, or match it`)
  process.exit(1)
}
console.log(`${files} files have no Either in the place of an Effect`)
