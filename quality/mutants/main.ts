/**
 * Mutation testing: the code is changed in one small place at a time, and a change that no test notices survives.
 *
 * npm run test:mutants -- [module or file...]
 *
 * A survivor is an error, unless quality/mutants/reasons.json says why nobody could tell; so is a reason for what does
 * not survive. All modules together, as without an argument, also write quality/mutants/results.md.
 */
import { Stryker } from "@stryker-mutator/core"
import { existsSync, readFileSync, writeFileSync } from "node:fs"

/**
 * Files of packages/core/src, each of which its own tests have to hold: those of the same name, names.test.ts, and what
 * is listed here.
 */
const modules: Record<string, Record<string, ReadonlyArray<string>>> = {
  codec: {
    "protocol/AssertionHeader": [],
    "protocol/SignedPayload": [],
    "protocol/Timestamp": [],
    "protocol/base64": [],
    "protocol/text": []
  },
  url: {
    "protocol/Environment": [],
    "protocol/Party": [],
    "protocol/baseUrl": ["protocol/Environment", "protocol/Party"],
    "run/UrlDerivation": []
  },
  key: {
    "protocol/AgentKey": ["protocol/keyFormats"],
    "protocol/keyFormats": ["protocol/AgentKey"],
    "protocol/pkcs8": ["protocol/AgentKey", "protocol/keyFormats"],
    "protocol/SealedBox": []
  },
  claims: {
    "token/AgentIdentityJwt": [],
    "token/PlanType": [],
    "protocol/AgentRuntimeId": [],
    "protocol/TaskId": [],
    "protocol/AccountId": []
  },
  run: {
    "run/RunTask": ["provider/ProviderAuth.telemetry"],
    "run/AgentAssertion": ["provider/ProviderAuth", "provider/ProviderAuth.telemetry"],
    "run/TaskRegistration": [],
    "run/backoff": ["run/RunTask"],
    "run/singleFlight": ["run/RunTask", "run/AgentAssertion"]
  },
  road: {
    "provider/ProviderAuth": ["provider/lastStep", "provider/ProviderAuth.recovery", "provider/ProviderAuth.telemetry"],
    "provider/signedRequest": [
      "provider/lastStep",
      "provider/ProviderAuth",
      "provider/ProviderAuth.recovery",
      "provider/clean"
    ],
    "provider/callerResponse": ["provider/inspect", "provider/ProviderAuth", "provider/clean"],
    "provider/clean": [],
    "provider/inspect": [],
    "run/fiberState": ["provider/lastStep"],
    "run/excerpt": [],
    "run/answer": [],
    "run/decompress": ["provider/inspect"]
  }
}

/**
 * What a module's tests have to notice, in percent, whatever the reasons for the rest are. The services are full of texts,
 * spans and short cuts that only save time: there not every survivor is argued, and the floor alone counts.
 */
const floors: Record<string, number> = { codec: 95, url: 95, key: 95, claims: 95, run: 80, road: 80 }
const isArgued = (file: string) => !Object.keys({ ...modules.run, ...modules.road }).includes(file)

type Mutants = Awaited<ReturnType<Stryker["runMutationTest"]>>

interface Change {
  readonly file: string
  readonly code: string
  readonly changed: string
}

const reasons: ReadonlyArray<Change & { readonly why: string }> = JSON.parse(
  readFileSync("quality/mutants/reasons.json", "utf8")
)

const run = (file: string, further: ReadonlyArray<string>): Promise<Mutants> => {
  // Where vitest.config.ts beside this file reads it.
  process.env.MUTANTS_TESTS = [file, "names", ...further].map((name) => `packages/core/test/${name}.test.ts`)
    .filter(existsSync).join(",")
  return new Stryker({
    configFile: "quality/mutants/stryker.config.mjs",
    mutate: [`packages/core/src/${file}.ts`]
  }).runMutationTest()
}

const oneLine = (code: string): string => code.replaceAll(/\s+/g, " ").trim()

/** Whole lines, before and after, so that a place is found again when the lines above it change. */
const describe = ({ fileName, location: { end, start }, replacement }: Mutants[number]): Change => {
  const file = /packages\/core\/src\/(.+)\.ts$/.exec(fileName)![1]!
  const lines = readFileSync(`packages/core/src/${file}.ts`, "utf8").split("\n").slice(start.line - 1, end.line)
  const [before, after] = [lines[0]!.slice(0, start.column - 1), lines.at(-1)!.slice(end.column - 1)]
  return { file, code: oneLine(lines.join(" ")), changed: oneLine(before + replacement + after) }
}

const isReasonFor = (change: Change) => ({ changed, code, file }: Change): boolean =>
  file === change.file && code === change.code && changed === change.changed

const counts = (mutants: Mutants) => {
  const of = (...statuses: ReadonlyArray<Mutants[number]["status"]>) =>
    mutants.filter(({ status }) => statuses.includes(status)).length
  const [noticed, survived] = [of("Killed", "Timeout"), of("Survived", "NoCoverage")]
  return { noticed, timedOut: of("Timeout"), survived, score: noticed / (noticed + survived) * 100 }
}

const given = process.argv.slice(2)
const rows = ["| | mutants | noticed | of them by a time-out | survived | score |", "|---|--:|--:|--:|--:|--:|"]
const errors: Array<string> = []

const report = (name: string, mutants: Mutants): number => {
  const { noticed, score, survived, timedOut } = counts(mutants)
  rows.push(`| ${name} | ${noticed + survived} | ${noticed} | ${timedOut} | ${survived} | ${score.toFixed(1)} % |`)
  console.log(rows.at(-1))
  return score
}

const check = (file: string, mutants: Mutants): void => {
  if (!isArgued(file)) return
  const survivors = mutants.filter(({ status }) => status === "Survived" || status === "NoCoverage").map(describe)
  for (const survivor of survivors) {
    if (!reasons.some(isReasonFor(survivor))) errors.push(`No test notices: ${JSON.stringify(survivor, null, 2)}`)
  }
  for (const reason of reasons.filter((reason) => reason.file === file)) {
    if (!survivors.some((survivor) => isReasonFor(survivor)(reason))) {
      errors.push(`Nothing survives here any more: ${JSON.stringify(reason, null, 2)}`)
    }
  }
}

const all: Mutants = []
for (const [module, files] of Object.entries(modules)) {
  const isWhole = given.length === 0 || given.includes(module)
  const ofModule: Mutants = []
  for (const [file, further] of Object.entries(files).filter(([file]) => isWhole || given.includes(file))) {
    const mutants = await run(file, further)
    report(file, mutants)
    check(file, mutants)
    ofModule.push(...mutants)
  }
  if (isWhole && report(`**${module}**`, ofModule) < floors[module]!) {
    errors.push(`The tests of ${module} notice less than ${floors[module]} %.`)
  }
  all.push(...ofModule)
}
if (all.length === 0) errors.push(`Give some of ${Object.keys(modules).join(", ")}, or of their files.`)

if (given.length === 0) {
  report("**all**", all)
  const survivors = reasons.map(({ changed, code, file, why }) =>
    `**${file}**: ${why}\n\n\`\`\`diff\n- ${code}\n+ ${changed}\n\`\`\`\n`
  )
  writeFileSync(
    "quality/mutants/results.md",
    `# Mutation testing

\`npm run test:mutants\` writes this, from a run and from the reasons in reasons.json.

${rows.join("\n")}

## What survives, and why

${survivors.join("\n")}`
  )
}

for (const error of errors) console.error(error)
console.log(`${all.length} mutants, ${errors.length} errors`)
process.exitCode = errors.length === 0 ? 0 : 1
