/** The parts of the README and of docs/scaling.md that are numbers: tables that are made of the results, and nothing else. */
import * as Report from "./report.ts"

/** From the repository's root. */
export const PATHS = ["README.md", "docs/scaling.md"]

type Results = ReadonlyArray<Report.GroupResult>

/** Puts each part between its two marks, `<!-- name -->` and `<!-- /name -->`. */
export const update = (page: string, results: Results): string =>
  page.replace(
    /(<!-- bench:(\w+) -->\n)[\s\S]*?(<!-- \/bench:\2 -->)/g,
    (_, open, name, close) => `${open}${(parts[name] ?? unknownPart(name))(of(results))}\n${close}`
  )

const unknownPart = (name: string) => (): never => {
  throw new Error(`There is no part ${name}`)
}

/** Reads a row; a page about a case that is gone has to be rewritten. */
interface Reader {
  readonly rows: (group: string) => Report.GroupResult["rows"]
  readonly nanos: (group: string, row: string) => number
  readonly ratio: (group: string, row: string) => string
}

const of = (results: Results): Reader => {
  const rows = (group: string) => {
    const found = results.find(({ name }) => name === group)
    if (found === undefined) throw new Error(`The results have no group ${group}: npm run bench`)
    return found.rows
  }
  const row = (group: string, name: string) => {
    const found = rows(group).find((row) => row.name.includes(name))
    if (found === undefined) throw new Error(`The results have no ${JSON.stringify(name)} in the group ${group}`)
    return found
  }
  return {
    rows,
    nanos: (group, name) => row(group, name).median,
    ratio: (group, name) => {
      const { ratio, unit } = row(group, name)
      if (ratio === undefined) throw new Error(`${name} has no ratio`)
      if (unit === "bytes a header") return `${ratio.toFixed(1)} bytes a header`
      return ratio < 0.1 ? ratio.toFixed(3) : ratio.toFixed(2)
    }
  }
}

const table = (head: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const count = (value: number): string => {
  const [step, unit] = value >= 1e6 ? [1e6, " million"] : [1, ""]
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(value / step)) - 1)
  return `${(Math.round(value / step / digits) * digits).toLocaleString("en", { maximumSignificantDigits: 3 })}${unit}`
}

const time = (nanos: number) => Report.quantity(nanos, "ns")

/** A core has a second of processor time in each second. */
const perSecond = (nanos: number) => count(1e9 / nanos)

const parts: Record<string, (results: Reader) => string> = {
  costs: ({ ratio }) => {
    const peer = (group: string, name: string) => `${name} ${ratio(group, `peer: ${name}`)}`
    return table(["", "ratio", "others"], [
      [
        "a header, freshly signed, in a fiber",
        ratio("header", "freshly signed, in a fiber"),
        ["web-bot-auth, sync", "http-message-signatures", "jose", "dpop"].map((name) => peer("header", name)).join(", ")
      ],
      [
        "a header, reused within the second",
        ratio("header", "reused within the second"),
        "not supported by the others"
      ],
      [
        "from a new header to a verified agent with a live task",
        ratio("verify", "a new header"),
        `${
          ["http-message-signatures", "jose", "web-bot-auth"].map((name) => peer("verify", name)).join(", ")
        }; the others look up no task`
      ],
      ["from the same header again", ratio("verify", "the same header again"), ""],
      [
        "a request over a stub, against two constant headers by `mapRequest`",
        ratio("client", "authorize(client)"),
        `two constant headers and no redirects ${ratio("client", "no redirects")}, a fetch wrapper by hand ${
          ratio("client", "peer: a fetch wrapper")
        }`
      ],
      [
        "the same over HTTP on loopback",
        ratio("loopback", "authorize(client)"),
        `a fetch wrapper by hand ${ratio("loopback", "peer: a fetch wrapper")}`
      ],
      [
        "`import \"@agent-identity/core\"`, against `@effect/platform/HttpClient`",
        ratio("imports", "import @agent-identity/core"),
        ""
      ],
      ["heap after a million headers", ratio("heap", "growth, 1,000,000 headers freshly signed"), ""]
    ])
  },

  dependents: ({ rows }) =>
    table(
      ["dependents", "start and end of the run", "each"],
      rows("runStart").filter(({ name }) => name.startsWith("a run with")).map(({ median, name }) => {
        const dependents = name.match(/[\d,]+/)![0]
        return [dependents, time(median), time(median / Number(dependents.replaceAll(",", "")))]
      })
    ),

  hits: ({ rows }) =>
    table(
      ["headers seen before", "a verification", "a second, on one core"],
      rows("hitRate").filter(({ name }) => name.includes("seen")).map((
        { median, name }
      ) => [name.replace(" were seen before", ""), time(median), perSecond(median)])
    ),

  agents: ({ rows }) =>
    table(
      ["agents in turn", "keys kept", "a verification"],
      rows("agents").map(({ median, name }) => [...name.match(/\d[\d,]*/g)!, time(median)])
    ),

  directory: ({ rows }) =>
    table(
      ["directory", "agents", "a look-up, ten at a time", "a second"],
      rows("directory").map(({ median, name }) => {
        const [kind, agents] = name.split(/, (?=\d)/)
        return [kind!, agents!.replace(" agents", ""), time(median), perSecond(median)]
      })
    ),

  server: ({ rows }) =>
    table(
      ["route", "processor time", "a second, on one core"],
      rows("server").map(({ median, name }) => [name.replace("baseline: ", ""), time(median), perSecond(median)])
    ),

  million: (results) => {
    const { everybody, fresh, seen } = serverCosts(results)
    return table(
      ["requests an agent sends in a second", "agents that send", "headers seen before", "cores", "for HTTP alone"],
      [1, 10, 100].map((each) => {
        const rate = 1 - 1 / each
        return [
          count(each),
          count(REQUESTS / each),
          `${rate * 100} %`,
          count(REQUESTS * (fresh + (seen - fresh) * rate) / 1e9),
          count(REQUESTS * everybody / 1e9)
        ]
      })
    )
  },

  limits: (results) => {
    const { fresh, seen } = serverCosts(results)
    const { nanos } = results
    const cores = REQUESTS * fresh / 1e9
    const nodes = Math.ceil(cores / CORES)
    const toImport = Math.max(0, nanos("agents", "20,000 agents, 10,000 keys kept") - nanos("agents", "1,000 agents"))
    const lookup = nanos("directory", "PostgreSQL, 40,000")
    const lookups = 2 * AGENTS / CACHE_SECONDS
    return table(["what", "how many", "how it comes about"], [
      ["verifying nodes", `${nodes} of ${CORES} cores`, `${count(REQUESTS)} requests, ${time(fresh)} each`],
      [
        "keys that a node keeps",
        count(AGENTS / nodes),
        `${count(AGENTS)} agents over ${nodes} nodes, about 1 KiB each; 10,000 unless \`keyCapacity\` says otherwise`
      ],
      [
        "the same, if any node gets any agent's requests",
        `${count(REQUESTS * (fresh + toImport) / 1e9)} cores`,
        `an agent's key is not there as a rule, and to import it costs ${time(toImport)}`
      ],
      [
        "look-ups in the directory",
        `${count(lookups)} a second`,
        `agent and task, each once in ${CACHE_SECONDS} s by \`AgentDirectoryCache\`, on one node each`
      ],
      [
        "databases for that",
        `${Math.ceil(lookups * lookup / 1e9)} like the one measured`,
        `${perSecond(lookup)} look-ups a second each`
      ],
      [
        "registrations of tasks",
        `${count(AGENTS / RUN_SECONDS)} a second`,
        `each agent begins a run every ${RUN_SECONDS / 60} min; ${
          count(AGENTS / 60)
        } a second if all of them begin within a minute`
      ],
      [
        "cores for registrations",
        count(AGENTS / RUN_SECONDS * fresh / 1e9),
        "a signature and a row each; a verification's cost stands for it"
      ],
      [
        "requests for key sets",
        `${count(AGENTS / JWKS_SECONDS)} a second`,
        "by clients with tokens, one process an agent, once in 10 min each: a static document, for a CDN"
      ],
      [
        "after a rotation",
        `${count(AGENTS / REFETCH_SECONDS)} a second at most`,
        "one refetch for an unknown `kid` in 30 s and process"
      ],
      [
        "signatures of one agent",
        "1 a second",
        `${time(nanos("header", "raw: node:crypto sign"))} of its own processor`
      ],
      ["requests that one core answers at most", perSecond(seen), "all headers seen before"]
    ])
  }
}

const AGENTS = 1e6
const REQUESTS = 1e6
/** Of a usual machine. */
const CORES = 16
/** How long `AgentDirectoryCache` remembers. */
const CACHE_SECONDS = 10
/** A run of ten minutes. */
const RUN_SECONDS = 600
/** How long `Jwks` keeps a set, and how often at most it asks for an unknown `kid`. */
const [JWKS_SECONDS, REFETCH_SECONDS] = [600, 30]

const serverCosts = ({ nanos }: Reader) => ({
  everybody: nanos("server", "a route for everybody"),
  fresh: nanos("server", "each header new"),
  seen: nanos("server", "each header seen before")
})
