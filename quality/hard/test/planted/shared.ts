import { Redacted } from "effect"

/** Made once, for all files of a process. */
export const secret = Redacted.make(process.env.PLANTED_SHARED!)
