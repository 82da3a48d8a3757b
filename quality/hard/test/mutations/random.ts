/** Random choices of a seed: the same seed makes the same choices, on every machine. */

export interface Random {
  /** A whole number from 0 to `limit` - 1. */
  readonly below: (limit: number) => number
  /** True in one of `n`. */
  readonly oneIn: (n: number) => boolean
  readonly pick: <A>(from: ReadonlyArray<A>) => A
}

/** FNV-1a of the text for a start, then mulberry32. */
export const make = (seed: string): Random => {
  let state = 0x811c9dc5
  for (let at = 0; at < seed.length; at++) state = Math.imul(state ^ seed.charCodeAt(at), 0x01000193)
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (limit: number) => next() % limit
  return { below, oneIn: (n) => below(n) === 0, pick: (from) => from[below(from.length)]! }
}
