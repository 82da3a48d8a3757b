/** A file that passes, but for what it shows. `leaks.hard.test.ts` runs it. */
import { it } from "@effect/vitest"
import { Effect, Redacted } from "effect"

it.effect("shows a secret", () => Effect.log(Redacted.value(Redacted.make(process.env.PLANTED!))))
