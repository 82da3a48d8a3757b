/** Numbers that a seed and a name decide, whatever else happens meanwhile. */

/** Numbers from 0 to 1, always the same ones for the same seed: FNV-1a, then mulberry32. */
export const random = (seed: string): () => number => {
  let state = 0x811c9dc5
  for (let at = 0; at < seed.length; at++) state = Math.imul(state ^ seed.charCodeAt(at), 0x01000193)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** One of these, each as often as its weight says; `otherwise` for what is left of 1. */
export const pick = <A>(number: number, weights: ReadonlyArray<readonly [A, number]>, otherwise: A): A => {
  let left = number
  for (const [value, weight] of weights) {
    if (left < weight) return value
    left -= weight
  }
  return otherwise
}

export const shuffle = <A>(values: ReadonlyArray<A>, next: () => number): ReadonlyArray<A> => {
  const left = values.slice()
  return values.map(() => left.splice(Math.floor(next() * left.length), 1)[0]!)
}
