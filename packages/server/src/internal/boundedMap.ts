/**
 * A map that holds so many entries and no more, at least the half of them that were used last.
 *
 * Two generations, so that reading an entry changes nothing as a rule: moving it to the end of a `Map` at each use makes
 * V8 copy the whole map again and again.
 * @internal
 */
export class BoundedMap<Key, Value> {
  #recent = new Map<Key, Value>()
  #older = new Map<Key, Value>()
  readonly #generation: number

  constructor(capacity: number) {
    this.#generation = Math.floor(capacity / 2)
  }

  get size(): number {
    return this.#recent.size + this.#older.size
  }

  get(key: Key): Value | undefined {
    const recent = this.#recent.get(key)
    if (recent !== undefined) return recent
    const older = this.#older.get(key)
    if (older !== undefined) this.set(key, older)
    return older
  }

  set(key: Key, value: Value): void {
    if (this.#generation < 1) return
    this.#older.delete(key)
    this.#recent.set(key, value)
    if (this.#recent.size < this.#generation) return
    this.#older = this.#recent
    this.#recent = new Map()
  }

  delete(key: Key): void {
    this.#recent.delete(key)
    this.#older.delete(key)
  }

  deleteWhere(predicate: (value: Value) => boolean): void {
    for (const generation of [this.#recent, this.#older]) {
      for (const [key, value] of generation) if (predicate(value)) generation.delete(key)
    }
  }
}
