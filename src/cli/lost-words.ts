import type { Lost } from '../mailbox/settlement.ts'

/** Of messages that one end goes without: which end that is, and what it means here. `name` is the peer. */
export function describeLost(name: string, { way, arrived, first, last }: Lost): string {
  const which = numbers('message', first, last)
  const isOne = first === last
  if (!arrived) return `${which} ${way === 'sent' ? 'to' : 'from'} ${name} never arrive${isOne ? 's' : ''}`
  if (way === 'sent')
    return `${name} has ${which}; this home does not know any more what ${isOne ? 'it is' : 'they are'}`
  return `${which} from ${name} ${isOne ? 'is' : 'are'} here; ${name} does not know any more what ${isOne ? 'it is' : 'they are'}`
}

export function numbers(what: string, first: number, last: number): string {
  return first === last ? `${what} ${first}` : `${what}s ${first} to ${last}`
}

/** For a program: what has arrived is not among what is lost. */
export function lostLists(ranges: readonly Lost[]) {
  const those = (wanted: boolean) =>
    ranges.filter(({ arrived }) => arrived === wanted).map(({ way, first, last }) => ({ way, first, last }))
  return { lost: those(false), unknown: those(true) }
}
