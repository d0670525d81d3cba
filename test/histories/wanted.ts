import type { Mode } from './history.ts'

/** Which histories a run is asked for: a fixed range of seeds, or the one that failed. */
export function wanted(mode: Mode, count: number): { mode: Mode; from: number; count: number } {
  const { HISTORY_SEED: one, HISTORIES: more } = process.env
  if (one !== undefined) return { mode, from: Number(one), count: 1 }
  return { mode, from: 1, count: more === undefined ? count : Number(more) }
}

export const modes: readonly Mode[] = ['stream', 'letter']

/** What any run of some length has seen: else it says nothing. */
export const seenIn: Readonly<Record<Mode, readonly string[]>> = {
  stream: [
    'exchanges done',
    'power cuts',
    'processes killed',
    'restores, home',
    'restores, anchor',
    'restores, all',
    'restores, both ends',
    'homes refused',
    'recoveries',
    'sessions refused',
    'duel',
    'replay',
    'rekeys done',
    'sealings',
  ],
  letter: [
    'ends without a handshake',
    'letters opened',
    'refused, channel/REPLAY',
    'power cuts',
    'processes killed',
    'restores, home',
    'restores, anchor',
    'restores, all',
    'restores, both ends',
    'homes refused',
    'recoveries',
    'clone',
    'closes opened',
    'sealings',
  ],
}
