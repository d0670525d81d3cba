import type { Random } from '../simulator/random.ts'
import type { Death, EndName } from './homes.ts'

/** What may happen to two ends in mode `stream`: plain data, so that a history can be printed, replayed and cut short. */
export type StreamStep =
  | { readonly do: 'send'; readonly end: EndName; readonly count: number; readonly dies?: Death | undefined }
  | Exchange
  | { readonly do: 'crash'; readonly end: EndName; readonly power?: number | undefined }
  | { readonly do: 'copy'; readonly ends: readonly EndName[] }
  | {
      readonly do: 'restore'
      readonly end: EndName
      readonly what: 'home' | 'anchor' | 'all'
      readonly pick: number
    }
  | { readonly do: 'restore both'; readonly pick: number }
  | { readonly do: 'newest'; readonly end: EndName }
  | { readonly do: 'clone'; readonly end: EndName }
  | { readonly do: 'duel'; readonly end: EndName; readonly seed: number }
  | { readonly do: 'replay'; readonly end: EndName; readonly pick: number }

/** A connects to B until all that both have is delivered, or it is refused. */
export type Exchange = {
  readonly do: 'exchange'
  readonly seed: number
  /** So many connections through bad weather; the next ones are fair. */
  readonly weather: number
  /** How many each queues meanwhile; one at least of A, or there is nothing to meet for. */
  readonly puts: Readonly<Record<EndName, number>>
  /** Once, when all is delivered: the connection is ended for a fresh handshake, or an end asks for new keys; more is queued meanwhile. */
  readonly renews?: 'handshake' | { readonly rekeyBy: EndName } | undefined
  readonly dies?: Readonly<Partial<Record<EndName, Death | undefined>>>
  /** A copy of home and anchor is taken at that call into its disk. */
  readonly keeps?: { readonly end: EndName; readonly calls: number } | undefined
}

export function streamSteps(random: Random): StreamStep[] {
  const steps = Array.from({ length: 5 + random.below(7) }, () => oneStep(random))
  // Early on, so that there is something to put back.
  steps.splice(random.below(3), 0, { do: 'copy', ends: ['A', 'B'] })
  return steps
}

function oneStep(random: Random): StreamStep {
  const end = random.chance(0.5) ? 'A' : 'B'
  const power = () => (random.chance(0.5) ? random.word() : undefined)
  const death = (callsMax: number) => ({ calls: 1 + random.below(callsMax), power: power() })
  const dice = random.below(100)
  if (dice < 12)
    return { do: 'send', end, count: 1 + random.below(4), dies: random.chance(0.3) ? death(12) : undefined }
  if (dice < 44)
    return {
      do: 'exchange',
      seed: random.word(),
      weather: random.chance(0.4) ? 1 + random.below(2) : 0,
      puts: { A: 1 + random.below(3), B: random.below(3) },
      renews: random.chance(0.3)
        ? (['handshake', { rekeyBy: 'A' }, { rekeyBy: 'B' }] as const)[random.below(3)]
        : undefined,
      dies: {
        A: random.chance(0.25) ? death(60) : undefined,
        B: random.chance(0.25) ? death(60) : undefined,
      },
      keeps: random.chance(0.25) ? { end, calls: 1 + random.below(30) } : undefined,
    }
  if (dice < 52) return { do: 'crash', end, power: power() }
  if (dice < 64) return { do: 'copy', ends: random.chance(0.5) ? ['A', 'B'] : [end] }
  if (dice < 78) {
    const what = (['home', 'anchor', 'all', 'all'] as const)[random.below(4)] ?? 'all'
    return { do: 'restore', end, what, pick: random.word() }
  }
  if (dice < 83) return { do: 'restore both', pick: random.word() }
  if (dice < 88) return { do: 'newest', end }
  if (dice < 92) return { do: 'clone', end }
  if (dice < 95) return { do: 'duel', end, seed: random.word() }
  return { do: 'replay', end, pick: random.word() }
}
