/** What happened in histories, counted by name. */
export class Tally {
  readonly counts: Record<string, number> = {}

  add(name: string, count = 1): void {
    this.counts[name] = (this.counts[name] ?? 0) + count
  }

  merge(counts: Readonly<Record<string, number>>): void {
    for (const [name, count] of Object.entries(counts)) this.add(name, count)
  }

  toString(): string {
    const sorted = Object.entries(this.counts).sort(([a], [b]) => (a < b ? -1 : 1))
    return sorted.map(([name, count]) => `${name}: ${count}`).join(', ')
  }
}
