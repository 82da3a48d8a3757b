import { it } from "vitest"

/** A test for each of them. */
export const each = <Name extends string, A>(
  cases: Readonly<Record<Name, A>>,
  test: (value: A, name: Name) => Promise<void>
): void => {
  for (const name of Object.keys(cases) as Array<Name>) it(name, () => test(cases[name], name))
}
