import { it } from "@effect/vitest"
import { Effect } from "effect"
import { secret } from "./shared.ts"

it.effect("shows no secret", () => Effect.log(secret))
