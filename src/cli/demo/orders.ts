import { text, utf8 } from '../../bytes/bytes.ts'

/** `transfer 0042 emil -> cleo 312.50 for invoice 104417, reference 9c41..`: one line, one message. */
export type Order = {
  readonly id: number
  readonly from: string
  readonly to: string
  readonly cents: number
}

export const accounts = ['ada', 'ben', 'cleo', 'dora', 'emil', 'fay', 'gus', 'hana'] as const

/** What every account starts with, in cents. */
export const openingCents = 10_000_000

/** Each order has all of these in its line, and nothing else in the demo has. */
export const orderWords = ['transfer ', ' for invoice ', ', reference '] as const

const referenceDigits = 160

/** The same orders for the same seed. */
export function writeOrders(count: number, seed: number): Uint8Array {
  const random = mulberry32(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  const lines = Array.from({ length: count }, (_, i) => {
    const from = below(accounts.length)
    const to = (from + 1 + below(accounts.length - 1)) % accounts.length
    const reference = Array.from({ length: referenceDigits }, () => below(16).toString(16)).join('')
    const amount = euros(1 + below(50_000))
    return `transfer ${i + 1} ${accounts[from]} -> ${accounts[to]} ${amount} for invoice ${below(1e6)}, reference ${reference}\n`
  })
  return utf8(lines.join(''))
}

/** The orders of a file; a line that is none is `undefined`. */
export function readOrders(bytes: Uint8Array): (Order | undefined)[] {
  const lines = text(bytes).split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.map(line => {
    const parts = /^transfer (\d+) (\w+) -> (\w+) (\d+)\.(\d\d) for invoice \d+, reference \w+$/.exec(line)
    const [, id, from, to, whole, part] = parts ?? []
    if (from === undefined || to === undefined) return undefined
    return { id: Number(id), from, to, cents: Number(whole) * 100 + Number(part) }
  })
}

/** Every account after the orders, in cents. */
export function balancesAfter(orders: readonly (Order | undefined)[]): Map<string, number> {
  const balances = new Map<string, number>(accounts.map(name => [name, openingCents]))
  for (const order of orders) {
    if (order === undefined) continue
    balances.set(order.from, (balances.get(order.from) ?? 0) - order.cents)
    balances.set(order.to, (balances.get(order.to) ?? 0) + order.cents)
  }
  return balances
}

/** `1204.77` */
export function euros(cents: number): string {
  const sign = cents < 0 ? '-' : ''
  const whole = Math.floor(Math.abs(cents) / 100)
  return `${sign}${whole}.${(Math.abs(cents) % 100).toString().padStart(2, '0')}`
}

/** A small generator that gives the same numbers everywhere; nothing secret comes from it. */
function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
