import { it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { secret } from "./shared.ts"

it.effect("shows a secret of a module, too", () => Effect.log(Redacted.value(secret)))
