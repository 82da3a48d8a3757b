import { it } from "vitest"

/** A test for each of them. Those in `notYet` are expected to fail, and turn red once they hold. */
export const each = <Name extends string, A>(
  cases: Readonly<Record<Name, A>>,
  notYet: ReadonlyArray<NoInfer<Name>>,
  test: (value: A, name: Name) => Promise<void>
): void => {
  for (const name of keys(cases)) {
    const declare = notYet.includes(name) ? it.fails : it
    declare(name, () => test(cases[name], name))
  }
}

/** All of them, as a mark. */
export const keys = <Name extends string>(cases: Readonly<Record<Name, unknown>>): Array<Name> =>
  Object.keys(cases) as Array<Name>
