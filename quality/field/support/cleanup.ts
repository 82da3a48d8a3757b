/** What is to be ended or deleted after the tests of a file, wherever in it that was begun. */
import { afterAll } from "vitest"

const pending: Array<() => unknown> = []

export const afterTests = (end: () => unknown): void => void pending.unshift(end)

afterAll(async () => {
  for (const end of pending.splice(0)) await end()
})
