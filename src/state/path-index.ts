/** The paths of the live records in byte order, so that a listing costs what it lists. */
export class PathIndex {
  /** In order; made when the first listing asks for it. */
  #sorted: string[] | undefined
  /** What has come and gone since: merged in when it is much. */
  readonly #added = new Set<string>()
  readonly #removed = new Set<string>()

  /** Whether a listing has asked for it yet. */
  get isMade(): boolean {
    return this.#sorted !== undefined
  }

  add(path: string): void {
    if (this.#sorted === undefined) return
    if (!this.#removed.delete(path)) this.#added.add(path)
  }

  remove(path: string): void {
    if (this.#sorted === undefined) return
    if (!this.#added.delete(path)) this.#removed.add(path)
  }

  /** Paths that begin with `prefix` and come behind `after`, at most `max` of them. `all` says what there is. */
  list(all: () => Iterable<string>, prefix: string, after: string, max: number): string[] {
    const sorted = this.#upToDate(all)
    const added = [...this.#added].filter(path => path.startsWith(prefix) && path > after).sort()
    const found: string[] = []
    let next = 0
    for (let at = firstAt(sorted, prefix > after ? prefix : after); found.length < max; ) {
      const path = sorted[at]
      const here = path?.startsWith(prefix) ? path : undefined
      const come = added[next]
      if (here === undefined && come === undefined) break
      if (here === undefined || (come !== undefined && come < here)) {
        if (come !== undefined) found.push(come)
        next++
        continue
      }
      at++
      if (here > after && !this.#removed.has(here)) found.push(here)
    }
    return found
  }

  #upToDate(all: () => Iterable<string>): string[] {
    const changed = this.#added.size + this.#removed.size
    if (this.#sorted === undefined || changed > 1000 + this.#sorted.length / 64) {
      this.#sorted = [...all()].sort()
      this.#added.clear()
      this.#removed.clear()
    }
    return this.#sorted
  }
}

/** Where the first path that is not before `from` stands. */
function firstAt(sorted: readonly string[], from: string): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] ?? '') < from) low = middle + 1
    else high = middle
  }
  return low
}
