/** Which module may import which, type imports included. `npm run check:arrows` */

/** Package → the packages that its `src` may import. */
const packages = {
  core: [],
  login: ["core"],
  node: ["core", "login"],
  server: ["core"],
  sql: ["core", "login", "server"],
  testing: ["core", "login", "server"],
  authapi: ["core", "login", "node", "server", "sql", "testing"]
}

/** Folder of core's `src` → the folders that it may import. What stands beside them, `index.ts` and `Run.ts`, may all. */
const core = {
  protocol: [],
  run: ["protocol"],
  token: ["run", "protocol"],
  provider: ["run", "protocol"]
}

const anyOf = (names) => `(${names.join("|")})/`

/** One rule for each row of a table. */
const rules = (table, prefix, suffix, all) =>
  Object.entries(table).map(([name, others]) => ({
    name: `${name} may import ${others.length === 0 ? "nothing" : `only ${others.join(", ")}`}`,
    severity: "error",
    from: { path: `^${prefix}${name}/${suffix}` },
    to: { path: all, pathNot: `^${prefix}${anyOf([name, ...others])}${suffix}` }
  }))

const source = "^packages/[^/]+/src/"

export default {
  forbidden: [
    ...rules(packages, "packages/", "src/", "^(packages|quality|examples|scripts|docs)/"),
    ...rules(core, "packages/core/src/", "", "^packages/core/src/"),
    {
      name: "every package has a row in the table",
      severity: "error",
      from: { path: source, pathNot: `^packages/${anyOf(Object.keys(packages))}` },
      to: {}
    },
    { name: "no circle", severity: "error", from: { path: source }, to: { circular: true } },
    // The rules above see nothing of an import that leads nowhere.
    { name: "every import is found", severity: "error", from: { path: source }, to: { couldNotResolve: true } }
  ],
  options: {
    tsConfig: { fileName: "tsconfig.base.json" },
    // Type imports, too.
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    // Imports of one package by another lead to its source, not to what was built.
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["@agent-identity/source", "types", "import", "default"]
    }
  }
}
