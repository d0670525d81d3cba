import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** One side of a comparison: does the work once and answers with its figure, higher being better. */
export type Side = (round: number) => Promise<number>

export type Comparison = {
  readonly bench: string
  readonly name: string
  readonly against: string
  readonly unit: string
  readonly ours: Side
  readonly theirs: Side
  /** Counted rounds of each side, after one that is not; default 5. */
  readonly rounds?: number
}

/** Whether a comparison is wanted: `BENCH_ONLY` is a pattern of names; without it all are. */
export function isWanted(name: string): boolean {
  return new RegExp(process.env.BENCH_ONLY ?? '').test(name)
}

/** Runs the sides in turn and prints one JSON line: the medians of each and the ratio ours/theirs. */
export async function compare(comparison: Comparison): Promise<void> {
  const { bench, name, against, unit, rounds = 5 } = comparison
  if (!isWanted(name)) return
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const [mine, other] = [await comparison.ours(round), await comparison.theirs(round)]
    if (round === 0) continue
    ours.push(mine)
    theirs.push(other)
  }
  const ratio = median(ours) / median(theirs)
  const line = {
    bench,
    name,
    against,
    ours: short(median(ours)),
    theirs: short(median(theirs)),
    ratio: short(ratio),
  }
  console.log(JSON.stringify({ ...line, unit, spread: [short(Math.min(...ours)), short(Math.max(...ours))] }))
}

/** Operations a second of `count` operations done by `work`. */
export async function rate(count: number, work: () => Promise<void> | void): Promise<number> {
  const start = performance.now()
  await work()
  return (count * 1000) / (performance.now() - start)
}

export function scratch(): { readonly directory: string; remove(): void } {
  const directory = fs.mkdtempSync(path.join(process.env.BENCH_DIR ?? os.tmpdir(), 'pawl-bench-'))
  return { directory, remove: () => fs.rmSync(directory, { recursive: true, force: true }) }
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
}

export function short(value: number): number {
  return Number(value.toPrecision(4))
}
