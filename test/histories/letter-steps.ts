import type { Random } from '../simulator/random.ts'
import type { Death, EndName } from './homes.ts'

/** What may happen to two ends in mode `letter`: plain data, so that a history can be printed, replayed and cut short. */
export type LetterStep =
  | {
      readonly do: 'bounds'
      readonly late: number
      readonly follow: number
      readonly digests?: number | undefined
    }
  | { readonly do: 'handshake'; readonly dies?: Readonly<Partial<Record<EndName, Death | undefined>>> }
  | { readonly do: 'seal'; readonly end: EndName; readonly count: number; readonly dies?: Death | undefined }
  | {
      readonly do: 'open'
      readonly end: EndName
      /** Which of the letters to it: any, in any order, also again. */
      readonly picks: readonly number[]
      readonly dies?: Death | undefined
      /** A copy of home and anchor is taken at that call into its disk. */
      readonly keeps?: number | undefined
    }
  | { readonly do: 'close'; readonly end: EndName }
  | { readonly do: 'crash'; readonly end: EndName; readonly power?: number | undefined }
  | { readonly do: 'copy'; readonly ends: readonly EndName[] }
  | {
      readonly do: 'restore'
      readonly end: EndName
      readonly what: 'home' | 'anchor' | 'all'
      readonly pick: number
    }
  | { readonly do: 'restore both'; readonly what: 'home' | 'all'; readonly pick: number }
  | { readonly do: 'newest'; readonly end: EndName }
  | { readonly do: 'clone'; readonly end: EndName }
  | { readonly do: 'other copy'; readonly end: EndName }

export function letterSteps(random: Random): LetterStep[] {
  const steps = Array.from({ length: 6 + random.below(14) }, () => oneStep(random))
  const bounds: LetterStep = {
    do: 'bounds',
    late: random.chance(0.6) ? 64 : random.below(4),
    follow: random.chance(0.7) ? 64 : 1 + random.below(3),
    digests: random.chance(0.3) ? 3 + random.below(12) : undefined,
  }
  const meeting: LetterStep[] = [
    bounds,
    { do: 'handshake' },
    { do: 'seal', end: 'A', count: 2 },
    { do: 'open', end: 'B', picks: [0, 1] },
  ]
  steps.splice(random.below(4), 0, { do: 'copy', ends: ['A', 'B'] })
  return [...meeting, ...steps]
}

function oneStep(random: Random): LetterStep {
  const end = random.chance(0.5) ? 'A' : 'B'
  const power = () => (random.chance(0.5) ? random.word() : undefined)
  const death = (callsMax: number): Death => ({ calls: 1 + random.below(callsMax), power: power() })
  const dice = random.below(100)
  if (dice < 24)
    return { do: 'seal', end, count: 1 + random.below(4), dies: random.chance(0.2) ? death(16) : undefined }
  if (dice < 60)
    return {
      do: 'open',
      end,
      picks: Array.from({ length: 1 + random.below(5) }, () => random.below(1000)),
      dies: random.chance(0.2) ? death(24) : undefined,
      keeps: random.chance(0.1) ? 1 + random.below(12) : undefined,
    }
  if (dice < 65)
    return {
      do: 'handshake',
      dies: {
        A: random.chance(0.2) ? death(30) : undefined,
        B: random.chance(0.2) ? death(30) : undefined,
      },
    }
  if (dice < 71) return { do: 'crash', end, power: power() }
  if (dice < 78) return { do: 'copy', ends: random.chance(0.6) ? ['A', 'B'] : [end] }
  if (dice < 88) {
    const what = (['home', 'home', 'anchor', 'all'] as const)[random.below(4)] ?? 'home'
    return { do: 'restore', end, what, pick: random.word() }
  }
  if (dice < 92) return { do: 'restore both', what: random.chance(0.7) ? 'home' : 'all', pick: random.word() }
  if (dice < 94) return { do: 'newest', end }
  if (dice < 96) return { do: 'clone', end }
  return dice < 98 ? { do: 'other copy', end } : { do: 'close', end }
}
